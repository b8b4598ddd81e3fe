//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// Whatever of a rollout is killed, the nodes end whole, the same command finishes
// it, and a node that was done is not begun again.
func TestRolloutKilled(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	r := newRollout(t, cp, importImage(t, cp, worker))
	r.apply(t)

	// The pod of the rollout, on its own or with its machine, is replaced by its Job
	// and goes on.
	r.waitFor(t, worker, "", "watching kubelet")
	pod := r.pod(t, "app.kubernetes.io/component=rollout")
	must(t, cp, "kubectl", "-n", rollout.Namespace, "delete", "pod", pod, "--force", "--grace-period=0")
	until(t, 10*time.Minute, "another pod of the rollout goes on to cp1", func() (bool, string) {
		out, err := cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "get", "pods", "-o", "name")
		return err == nil && strings.Contains(out, "-cp1-"), fmt.Sprint(out, err)
	})

	// The program of the control plane is killed while the API server restarts: the
	// switch on the node puts back what was not proven, the rollout says so and stops.
	r.waitFor(t, cp, "", "apiserver: taking its new configuration")
	if err := cp.KillProcess(t.Context(), "hardener"); err != nil {
		t.Fatal(err)
	}
	if r.ends(t) != "Failed" {
		t.Errorf("the rollout went on after a node whose program was killed: %s", r.last(t))
	}
	if said := r.last(t); !strings.Contains(said, "node cp1: ") {
		t.Errorf("it does not say which node failed: %s", said)
	}
	whole(t, c, cp)

	first := r.report(t)
	r.completes(t)
	last := r.report(t)
	allDone(t, last, "cp1", "worker1")
	if last.Rollout.ID != first.Rollout.ID {
		t.Errorf("rollout %s is another one, want %s gone on with", last.Rollout.ID, first.Rollout.ID)
	}
	works(t, c)
	fmt.Println("e2e: a rollout whose own pod and one of whose node programs were killed was finished by the same command")
}

// The machine under a node's program, and under the rollout, may go down like any
// other: both nodes end whole, and what is left is finished.
func TestRolloutPowerCut(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	r := newRollout(t, cp, importImage(t, cp, worker))
	cut := func(n *machine.Node) {
		t.Helper()
		if err := n.CutPower(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := n.Start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
	}

	// The rollout's pod prefers the worker, whose own program runs beside it. Its Job
	// makes another, which takes the worker once more and goes on by itself.
	r.apply(t)
	r.waitFor(t, worker, "", "watching kubelet")
	cut(worker)

	// The rollout outlives its API server. What failed on the control plane is for a
	// person to look at.
	r.waitFor(t, cp, "", "apiserver: taking its new configuration")
	cut(cp)
	if r.ends(t) != "Failed" || !strings.Contains(r.last(t), "node cp1: ") {
		t.Errorf("it does not say that cp1 failed: %s", r.last(t))
	}
	whole(t, c, worker)
	whole(t, c, cp)
	first := r.report(t)

	r.completes(t)
	last := r.report(t)
	allDone(t, last, "cp1", "worker1")
	if last.Rollout.ID != first.Rollout.ID {
		t.Errorf("rollout %s is another one, want %s gone on with", last.Rollout.ID, first.Rollout.ID)
	}
	works(t, c)
	fmt.Println("e2e: a rollout on both of whose machines the power was cut was finished by the same command")
}

// whole waits until a node has ended what it was interrupted in, and wants it and
// the cluster to work.
func whole(t *testing.T, c *lab.Cluster, n *machine.Node) {
	t.Helper()
	install(t, n)
	until(t, 10*time.Minute, n.Name+" has ended its run", func() (bool, string) {
		out, err := n.Run(t.Context(), "hardener", "rollback", "--list", "--output=json")
		var runs []struct{ ID, State string }
		if err == nil {
			err = json.Unmarshal([]byte(out), &runs)
		}
		open := slices.ContainsFunc(runs, func(r struct{ ID, State string }) bool {
			return !slices.Contains([]string{"committed", "undone", "rolled-back"}, r.State)
		})
		return err == nil && len(runs) > 0 && !open, fmt.Sprint(out, err)
	})
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	works(t, c)
}
