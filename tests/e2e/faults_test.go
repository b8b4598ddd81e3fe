//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// Each fault of package machine does to a live cluster what it does in a data
// centre, and most of it passes when the fault does.
func TestFaults(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	heal := func(t *testing.T, undo error) {
		t.Helper()
		if undo != nil {
			t.Fatal(undo)
		}
		if err := c.Ready(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("killed process", func(t *testing.T) {
		before := strings.TrimSpace(must(t, cp, "pgrep", "-x", "kube-scheduler"))
		if err := cp.KillProcess(t.Context(), "kube-scheduler"); err != nil {
			t.Fatal(err)
		}
		until(t, 3*time.Minute, "the kubelet starts the scheduler again", func() (bool, string) {
			now, err := cp.Run(t.Context(), "pgrep", "-x", "kube-scheduler")
			return err == nil && strings.TrimSpace(now) != before, now
		})
		heal(t, nil)
	})
	t.Run("cut port", func(t *testing.T) {
		undo, err := cp.CutPort(t.Context(), 6443)
		if err != nil {
			t.Fatal(err)
		}
		const ask = "curl -sk -m 5 https://10.90.0.11:6443/readyz"
		if out, err := worker.Run(t.Context(), "sh", "-c", ask); err == nil {
			t.Errorf("the worker still reaches the API server: %s", out)
		}
		if out, err := cp.Run(t.Context(), "sh", "-c", ask); err != nil || out != "ok" {
			t.Errorf("the control plane itself does not reach its API server: %s %v", out, err)
		}
		heal(t, undo(t.Context()))
		if out := must(t, worker, "sh", "-c", ask); out != "ok" {
			t.Errorf("the worker gets %q after the fault", out)
		}
	})
	t.Run("slow disk", func(t *testing.T) {
		before := synced(t, cp)
		undo, err := cp.Slow(machine.Throttle{WriteIOPS: 5})
		if err != nil {
			t.Fatal(err)
		}
		slow := synced(t, cp)
		heal(t, undo())
		if slow < 5*before || slow < 500*time.Millisecond {
			t.Errorf("ten synced writes take %s on a disk of 5 writes a second, %s before", slow, before)
		}
		fmt.Printf("e2e: slow disk: ten synced writes in %s, %s before\n", slow.Round(time.Millisecond), before.Round(time.Millisecond))
	})
	t.Run("wrong clock", func(t *testing.T) {
		undo, err := worker.SetClock(20 * 365 * 24 * time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		// In twenty years the cluster's own authority has expired.
		if out, err := worker.Run(t.Context(), "curl", "-sS", "-m", "20", "--cacert", "/etc/kubernetes/ssl/ca.crt", "https://localhost:6443/readyz"); err == nil || !strings.Contains(err.Error(), "expired") {
			t.Errorf("a client of another time trusts the API server: %s %v", out, err)
		}
		heal(t, undo())
		if out := must(t, worker, "curl", "-sS", "--cacert", "/etc/kubernetes/ssl/ca.crt", "https://localhost:6443/readyz"); out != "ok" {
			t.Errorf("the clock is right again, and the API server answers %q", out)
		}
	})
	t.Run("unplugged", func(t *testing.T) {
		if err := worker.Unplug(t.Context()); err != nil {
			t.Fatal(err)
		}
		k := client(t, c)
		until(t, 5*time.Minute, "the node is seen as lost", func() (bool, string) {
			ready, said := condition(t, k, "worker1", core.NodeReady)
			return ready == core.ConditionUnknown, said
		})
		heal(t, worker.Plug(t.Context()))
	})
	t.Run("full disk", func(t *testing.T) {
		undo, err := worker.Fill(0)
		if err != nil {
			t.Fatal(err)
		}
		if out, err := worker.Run(t.Context(), "sh", "-c", "echo text > /root/file && sync /root/file && cat /root/file"); err == nil {
			t.Errorf("a file can still be written: %s", out)
		}
		k := client(t, c)
		until(t, 5*time.Minute, "the kubelet tells of it", func() (bool, string) {
			out, err := worker.Run(t.Context(), "df", "--output=avail", "/root")
			fields := strings.Fields(out)
			if err != nil || len(fields) == 0 || fields[len(fields)-1] != "0" {
				return false, fmt.Sprint(out, err)
			}
			pressure, said := condition(t, k, "worker1", core.NodeDiskPressure)
			return pressure == core.ConditionTrue, said
		})
		if err := undo(); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("read-only disk", func(t *testing.T) {
		if err := cp.ReadOnly(); err != nil {
			t.Fatal(err)
		}
		if out, err := cp.Run(t.Context(), "touch", "/root/file"); err == nil || !strings.Contains(err.Error(), "Read-only") {
			t.Errorf("a file can still be made: %s %v", out, err)
		}
		const write = "kubectl --kubeconfig=/root/.kube/config --request-timeout=10s -n default create configmap written"
		until(t, 5*time.Minute, "nothing can be written to the cluster", func() (bool, string) {
			out, err := cp.Run(t.Context(), "sh", "-c", write+strconv.FormatInt(time.Now().UnixNano(), 10))
			return err != nil, out
		})
	})
}

// synced is how long ten small writes of a service of the node take, each on the
// disk before the next. What Run starts is no service, and is not slowed down.
func synced(t *testing.T, n *machine.Node) time.Duration {
	t.Helper()
	began := time.Now()
	must(t, n, "systemd-run", "--quiet", "--wait", "dd", "if=/dev/zero", "of=/root/.synced", "bs=4096", "count=10", "oflag=dsync", "status=none")
	return time.Since(began)
}

// condition is a condition of a node as the API has it, and its message.
func condition(t *testing.T, k kubernetes.Interface, node string, kind core.NodeConditionType) (core.ConditionStatus, string) {
	t.Helper()
	n, err := k.CoreV1().Nodes().Get(t.Context(), node, meta.GetOptions{})
	if err != nil {
		return "", err.Error()
	}
	for _, c := range n.Status.Conditions {
		if c.Type == kind {
			return c.Status, c.Message
		}
	}
	return "", "the node has no condition " + string(kind)
}
