package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// nodeReport is a report with these statuses for the checks 1.1.2, 1.1.10 and,
// a second time, 1.1.2.
func nodeReport(reason string, states ...check.State) *Report {
	var results []Result
	for i, id := range []string{"1.1.10", "1.1.2", "1.1.2"}[:len(states)] {
		results = append(results, Result{ID: id, Text: "check " + id + " (Automated)", Status: states[i], VerdictReason: reason})
	}
	s := Section{ID: "1", Target: "master", Groups: []Group{{ID: "1.1", Results: results}}}
	s.count()
	r := New([]Section{s})
	r.Run.Mode = Adjudicated
	r.Run.Changes = []ChangeSummary{{Path: "/etc/x", Kind: fix.Meta}}
	return &r
}

// TestClusterKept: what is the same on two nodes stands once, what differs twice,
// and all of it can be read again.
func TestClusterKept(t *testing.T) {
	of := func(value, lost string) *Report {
		r := nodeReport("", check.Pass)
		r.Controls[0].Groups[0].Results[0].Fix = &fix.Decision{
			State: fix.InForce, Settings: []string{"apiserver --x"}, Lost: lost, Variables: []fix.Variable{{Name: "x", Value: value}}, Paths: []string{value},
		}
		r.Layout.Kubespray = &node.ReleaseRange{Min: "2.28", Max: "2.28"}
		return r
	}
	var c Cluster
	c.Add(ClusterNode{Name: "n2", State: NodeDone}, of("1", "x is 0"))
	c.Add(ClusterNode{Name: "n3", State: NodeDone}, of("2", ""))
	c.Add(ClusterNode{Name: "n1", State: NodeDone}, of("1", "x is 0"))
	c.Sort()
	if len(c.Kept) != 2 || !cmp.Equal(c.Kept[0].Nodes, []string{"n1", "n2"}) || c.Kept[0].Fix.Paths != nil {
		t.Fatalf("kept: %+v", c.Kept)
	}
	var b bytes.Buffer
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	again, ok, err := DecodeCluster(b.Bytes())
	if err != nil || !ok || !cmp.Equal(again.Kept, c.Kept) || *again.Nodes[0].Kubespray != *c.Nodes[0].Kubespray {
		t.Errorf("read again: %v, %+v", ok, again)
	}
	if _, ok, _ := DecodeCluster([]byte(`{"Controls": []}`)); ok {
		t.Error("a node's report is taken for a cluster's")
	}
	b.Reset()
	if err := c.Text(&b, Style{}); err != nil || !strings.Contains(b.String(), "n1, n2\n          lost       x is 0\n") || strings.Contains(b.String(), "n3\n          lost") {
		t.Errorf("text: %v\n%s", err, b.String())
	}
}

func TestCluster(t *testing.T) {
	var c Cluster
	c.Rollout = ClusterRun{ID: "abc", Command: "fix", EtcdOnly: []string{"10.0.0.9"}, Stopped: "stopped: node w3: it failed"}
	c.Add(ClusterNode{Name: "w2", State: NodeDone}, nodeReport("the mode is 0644", check.Fail, check.Pass, check.Warn))
	c.Add(ClusterNode{Name: "w1", State: NodeDone}, nodeReport("the mode is 0644", check.Fail, check.Pass, check.Pass))
	c.Add(ClusterNode{Name: "w3", State: NodeFailed, Reason: "its pod did not start\x1b[2J"}, nil)
	c.Sort()

	if want := (Totals{Pass: 3, Fail: 2, Warn: 1}); c.Totals != want {
		t.Errorf("totals %+v, want %+v", c.Totals, want)
	}
	var order []string
	for _, one := range c.Checks {
		order = append(order, one.ID)
	}
	if want := []string{"1.1.2", "1.1.2", "1.1.10"}; !cmp.Equal(order, want) {
		t.Errorf("checks %v, want %v", order, want)
	}
	if got := c.Checks[2]; len(got.Nodes) != 2 || got.Nodes[0].Node != "w1" || got.Totals.Fail != 2 {
		t.Errorf("1.1.10: %+v", got)
	}
	if got := c.Checks[0]; len(got.Nodes) != 0 || got.Totals.Pass != 2 {
		t.Errorf("a check that passes everywhere names no node: %+v", got)
	}

	var b bytes.Buffer
	if err := c.Text(&b, Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Rollout abc: fix on 3 nodes", "ended early  stopped: node w3: it failed", "etcd member 10.0.0.9",
		"  w1    done         2     1     0     0        1\n", "  w3    failed       -     -     -     -        0\n",
		"  1.1.10  check 1.1.10\n          on         w1, w2\n          why        the mode is 0644\n",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Error("a node's words steer the terminal")
	}

	b.Reset()
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var again Cluster
	if err := json.Unmarshal(b.Bytes(), &again); err != nil {
		t.Fatal(err)
	}
	if again.Nodes[0].Name != "w1" || again.Checks[2].Nodes[1].Reason != "the mode is 0644" {
		t.Errorf("JSON: %s", b.String())
	}
}

func TestSlim(t *testing.T) {
	r := *nodeReport("why", check.Fail)
	r.Run.Changes[0].Diff = "long"
	r.Controls[0].Groups[0].Results[0].Evidence = []string{"long"}
	slim := r.WithoutDiffs().WithoutEvidence()
	if slim.Run.Changes[0].Diff != "" || slim.Controls[0].Groups[0].Results[0].Evidence != nil || len(slim.Run.Notes) != 2 {
		t.Errorf("%+v", slim)
	}
	if r.Run.Changes[0].Diff == "" || r.Controls[0].Groups[0].Results[0].Evidence == nil {
		t.Error("the report itself has changed")
	}
	if slim.Totals != r.Totals || slim.Controls[0].Groups[0].Results[0].VerdictReason != "why" {
		t.Error("verdicts are lost")
	}
}
