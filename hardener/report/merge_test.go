package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// rolledOut is the JSON of a rollout over w1 and cp1.
func rolledOut(t *testing.T) []byte {
	t.Helper()
	c := Cluster{Rollout: ClusterRun{ID: "abc", Command: "fix", EtcdOnly: []string{"10.0.0.4", "10.0.0.5"}}}
	c.Add(ClusterNode{Name: "w1", State: NodeDone}, nodeReport("", check.Pass, check.Fail, check.Pass))
	c.Add(ClusterNode{Name: "cp1", State: NodeDone}, nodeReport("", check.Pass, check.Pass, check.Fail))
	c.Sort()
	var b bytes.Buffer
	if err := c.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func merged(t *testing.T) Cluster {
	t.Helper()
	part, ok, err := DecodeCluster(rolledOut(t))
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	var c Cluster
	if err := c.Merge(part); err != nil {
		t.Fatal(err)
	}
	return c
}

// A host with etcd alone joins the nodes of a rollout, and what could not be done is
// said.
func TestMerge(t *testing.T) {
	c := merged(t)
	c.Put("etcd1", nodeReport("", check.Fail))
	c.Fail("w2", "unreachable")
	c.Fail("w1", "its binary could not be copied")
	c.Reach("10.0.0.5", "etcd1")
	c.Sort()

	if want := (Totals{Pass: 4, Fail: 3}); c.Totals != want {
		t.Errorf("totals %+v, want %+v", c.Totals, want)
	}
	if want := []string{"10.0.0.4"}; !cmp.Equal(c.Rollout.EtcdOnly, want) || c.Rollout.ID != "abc" {
		t.Errorf("%+v, want %v not reached", c.Rollout, want)
	}
	states := map[string]NodeState{}
	for _, n := range c.Nodes {
		states[n.Name] = n.State
	}
	if diff := cmp.Diff(map[string]NodeState{"cp1": NodeDone, "etcd1": NodeDone, "w1": NodeFailed, "w2": NodeFailed}, states); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	var of []string
	for _, one := range c.Checks {
		of = append(of, one.Target+"/"+one.ID)
	}
	if diff := cmp.Diff([]string{"master/1.1.2", "master/1.1.2", "master/1.1.10"}, of); diff != "" {
		t.Errorf("checks (-want +got):\n%s", diff)
	}
	if got := c.Checks[2]; got.Totals.Pass != 2 || got.Totals.Fail != 1 || got.Nodes[0].Node != "etcd1" {
		t.Errorf("1.1.10: %+v", got)
	}
}

// The reports of a rollout's nodes take the place of what it says of them, and a
// section that no Job may judge that of its node's.
func TestMergeOwnReports(t *testing.T) {
	part, _, _ := DecodeCluster(rolledOut(t))
	bare, reported := part.Bare()
	if diff := cmp.Diff([]string{"cp1", "w1"}, reported); diff != "" || bare.Totals != (Totals{}) || bare.Checks != nil {
		t.Errorf("%+v, reported (-want +got):\n%s", bare, diff)
	}
	bare.Nodes[0].State, bare.Nodes[0].Reason = NodeFailed, "afterwards the cluster is not whole"
	own := *nodeReport("", check.Pass, check.Pass, check.Fail)
	unjudged, judged := *nodeReport("", check.Warn), *nodeReport("", check.Pass)
	unjudged.Controls[0].Target, judged.Controls[0].Target = "policies", "policies"
	own = own.WithSections(unjudged).WithSections(judged)
	bare.Put("cp1", &own)
	bare.Put("w1", nodeReport("", check.Pass, check.Fail, check.Pass))
	bare.Sort()
	if want := (Totals{Pass: 5, Fail: 2}); bare.Totals != want {
		t.Errorf("totals %+v, want %+v", bare.Totals, want)
	}
	if n := bare.Nodes[0]; len(bare.Nodes) != 2 || n.Name != "cp1" || n.State != NodeFailed || *n.Totals != (Totals{Pass: 3, Fail: 1}) {
		t.Errorf("nodes: %+v", bare.Nodes)
	}
}

// Nothing is counted twice.
func TestMergeRefuses(t *testing.T) {
	c := merged(t)
	part, _, _ := DecodeCluster(rolledOut(t))
	if err := c.Merge(part); err == nil || !strings.Contains(err.Error(), "cp1 is in two") {
		t.Errorf("the same nodes twice: %v", err)
	}
	other := Cluster{Rollout: ClusterRun{ID: "xyz", Command: "fix"}}
	if err := c.Merge(other); err == nil || !strings.Contains(err.Error(), "two rollouts") {
		t.Errorf("two rollouts: %v", err)
	}
	if _, ok, _ := DecodeCluster([]byte(`{"Controls": [], "Totals": {}}`)); ok {
		t.Error("a node's report is taken for a cluster's")
	}
}

func TestThreshold(t *testing.T) {
	r := nodeReport("", check.Fail, check.Fail, check.Warn)
	results := r.Controls[0].Groups[0].Results
	results[0].Fix = &fix.Decision{State: fix.Never}
	var explained, refused Cluster
	explained.Add(ClusterNode{Name: "a"}, r)
	again := nodeReport("", check.Fail, check.Fail, check.Warn)
	again.Controls[0].Groups[0].Results[0].Fix = &fix.Decision{State: fix.Refused}
	refused.Add(ClusterNode{Name: "a"}, again)
	for text, want := range map[string][2]bool{
		"never": {false, false}, "unfixed": {false, true}, "fail": {true, true}, "warn": {true, true}, "1": {true, true}, "2": {false, false},
	} {
		threshold, err := ParseThreshold(text)
		if err != nil {
			t.Fatal(err)
		}
		_, a := explained.Exceeded(threshold)
		why, b := refused.Exceeded(threshold)
		if a != want[0] || b != want[1] {
			t.Errorf("%s: explained %v, refused %v (%s); want %v", text, a, b, why, want)
		}
	}
	for _, text := range []string{"", "all", "-1", "3%"} {
		if _, err := ParseThreshold(text); err == nil {
			t.Errorf("%q is taken for a threshold", text)
		}
	}
}
