//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	fixes "github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	reports "github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// rolloutLimit is within which a rollout over a lab ends, with its restarts and
// what it watches.
const rolloutLimit = 30 * time.Minute

// One file, applied to a fresh cluster whose nodes have our image from its archive
// alone, hardens all nodes and tells so: a report of the cluster, Events on each
// node. Applied again it changes nothing.
func TestRollout(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	image := importImage(t, cp, worker)
	began := time.Now()
	r := newRollout(t, cp, image)
	r.completes(t)
	merged := r.report(t)
	allDone(t, merged, "cp1", "worker1")
	for _, n := range merged.Nodes {
		if len(n.Changes) == 0 || n.Run == "" {
			t.Errorf("%s: %d changes, run %q", n.Name, len(n.Changes), n.Run)
		}
	}
	for _, check := range merged.Checks {
		// Never set by itself; a matter of the workload.
		if check.Totals.Fail > 0 && check.ID != "1.2.5" && check.ID != "1.2.30" {
			t.Errorf("%s still fails on %v", check.ID, check.Nodes)
		}
	}
	fmt.Printf("e2e: kubectl apply hardened %d nodes in %.0f s; %d pass, %d fail with a reason\n", len(merged.Nodes), time.Since(began).Seconds(), merged.Totals.Pass, merged.Totals.Fail)
	for node, words := range map[string][]string{"cp1": {"FixApplied", "CheckFailed"}, "worker1": {"FixApplied", "Compliant"}} {
		text := must(t, cp, "kubectl", "describe", "node", node)
		for _, word := range words {
			if !strings.Contains(text, word) {
				t.Errorf("kubectl describe node %s has no Event %s:\n%s", node, word, text[strings.Index(text, "Events:"):])
			}
		}
	}
	works(t, c)
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}

	r.completes(t)
	again := r.report(t)
	allDone(t, again, "cp1", "worker1")
	for _, n := range again.Nodes {
		if len(n.Changes) != 0 {
			t.Errorf("%s: the second rollout changed %v", n.Name, n.Changes)
		}
	}
	if diff := cmp.Diff(merged.Totals, again.Totals); diff != "" {
		t.Errorf("verdicts of the second rollout (-first +second):\n%s", diff)
	}
}

// rolledOut is the one-shot Job on a cluster.
type rolledOut struct {
	cp    *machine.Node
	image savedImage
	args  []string // of hardener rollout
}

// newRollout makes a rollout, by default of the usual fixes.
func newRollout(t *testing.T, cp *machine.Node, image savedImage, args ...string) rolledOut {
	t.Helper()
	if len(args) == 0 {
		args = []string{"fix", "--soak=" + min(*soak, time.Minute).String(), "--benchmark=" + latestBenchmark()}
	}
	t.Cleanup(func() {
		// The tests that follow want their namespaces for themselves.
		cp.Run(context.Background(), "kubectl", "delete", "namespace", rollout.Namespace, "--ignore-not-found", "--wait")
	})
	return rolledOut{cp, image, args}
}

// apply starts the Job, in place of an earlier one. The API server may be restarting
// because of that.
func (r rolledOut) apply(t *testing.T) {
	t.Helper()
	print := exec.CommandContext(t.Context(), hardener, slices.Concat([]string{"rollout"}, r.args, []string{"--print", "--image=" + r.image.pinned()})...)
	print.Stderr = os.Stderr
	manifests, err := print.Output()
	if err != nil {
		t.Fatal(err)
	}
	until(t, 5*time.Minute, "the rollout is begun", func() (bool, string) {
		if out, err := r.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "delete", "job", "rollout", "--ignore-not-found", "--wait"); err != nil {
			return false, fmt.Sprint(out, err)
		}
		out, err := r.cp.Feed(t.Context(), bytes.NewReader(manifests), "kubectl", "apply", "-f", "-")
		return err == nil, fmt.Sprint(out, err)
	})
}

// completes starts the Job and wants it to get to its end.
func (r rolledOut) completes(t *testing.T) {
	t.Helper()
	r.apply(t)
	if r.ends(t) != "Complete" {
		t.Fatal(r.last(t))
	}
}

// ends waits for the end of the Job: Complete or Failed. The API server may be
// away at times.
func (r rolledOut) ends(t *testing.T) (condition string) {
	t.Helper()
	until(t, rolloutLimit, "the rollout has ended", func() (bool, string) {
		out, err := r.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "get", "job", "rollout", "-o",
			`jsonpath={.status.conditions[?(@.status=="True")].type}`)
		words := strings.Fields(out)
		for _, end := range []string{"Complete", "Failed"} {
			if err == nil && slices.Contains(words, end) {
				condition = end
				return true, end
			}
		}
		said, _ := r.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "logs", "job/rollout", "--tail=3")
		return false, fmt.Sprint(out, err, said)
	})
	return condition
}

// last is what the rollout's newest pod said.
func (r rolledOut) last(t *testing.T) string {
	t.Helper()
	return must(t, r.cp, "kubectl", "-n", rollout.Namespace, "logs", r.pod(t, "app.kubernetes.io/component=rollout"))
}

// says waits until the rollout has said something.
func (r rolledOut) says(t *testing.T, words string) {
	t.Helper()
	until(t, rolloutLimit, "the rollout says "+words, func() (bool, string) {
		said, err := r.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "logs", "job/rollout")
		return err == nil && strings.Contains(said, words), fmt.Sprint(said, err)
	})
}

// pod is the newest with a label.
func (r rolledOut) pod(t *testing.T, selector string) string {
	t.Helper()
	out := must(t, r.cp, "kubectl", "-n", rollout.Namespace, "get", "pods", "-l", selector, "--sort-by=.metadata.creationTimestamp", "-o", "jsonpath={.items[*].metadata.name}")
	names := strings.Fields(out)
	if len(names) == 0 {
		t.Fatalf("no pod of %s", selector)
	}
	return names[len(names)-1]
}

// waitFor waits until the program in a node's Job, in a phase or "" for any, has said
// something. Its log is read on the node: the API server may be away.
func (r rolledOut) waitFor(t *testing.T, n *machine.Node, phase fixes.Phase, words string) {
	t.Helper()
	log := "/var/log/pods/" + rollout.Namespace + "_hardener-*" + strings.ReplaceAll(string(phase), ":", "-") + "-" + n.Name + "-*/hardener/*.log"
	until(t, rolloutLimit, n.Name+" says "+words, func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", "cat "+log+" | tail -n 3; grep -qF '"+words+"' "+log)
		return err == nil, out
	})
}

// report is what one command shows of the rollout.
func (r rolledOut) report(t *testing.T) (merged reports.Cluster) {
	t.Helper()
	install(t, r.cp)
	out := must(t, r.cp, "hardener", "rollout", "report", "--output=json")
	if err := json.Unmarshal([]byte(out), &merged); err != nil {
		t.Fatalf("%v: %.300s", err, out)
	}
	return merged
}

// allDone wants each of these nodes, and no other, to be done.
func allDone(t *testing.T, merged reports.Cluster, nodes ...string) {
	t.Helper()
	var done []string
	for _, n := range merged.Nodes {
		if n.State == reports.NodeDone {
			done = append(done, n.Name)
		}
	}
	if !slices.Equal(done, nodes) || len(merged.Nodes) != len(nodes) {
		t.Errorf("done: %v of %+v, want %v", done, merged.Nodes, nodes)
	}
}
