//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

const (
	kubeletConfig = "/etc/kubernetes/kubelet-config.yaml"
	etcdEnv       = "/etc/etcd.env"
)

// A restarted kubelet that exits, or that does not know a field, and an etcd with
// a cipher that does not exist, are refused early, with the reason; with the old
// file they are proven again, also when nobody knows how they ran before.
func TestGateServices(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	probing(t, cp, worker)
	refused := func(t *testing.T, p probed, within float64, want string) {
		t.Helper()
		if !strings.Contains(p.Error, want) || strings.Contains(p.Error, "\n") || p.Seconds > within {
			t.Errorf("after %.1f s, at most %.0f: %q, want %q", p.Seconds, within, p.Error, want)
		}
	}
	t.Run("kubelet", func(t *testing.T) {
		for _, f := range []struct {
			node       *machine.Node
			edit, want string
			within     float64
			mute       bool // it has not what it takes to ask for configz
		}{
			{worker, "sed -i '/^imageGCHigh/d; $aimageGCHighThresholdPercent: 700' /root/.edit", "must be between 0 and 100", 60, true},
			{cp, "sed -i '$aeventRecordQps: 77' /root/.edit", "eventRecordQps is not set, not 77", 30, false},
		} {
			t.Run(f.node.Name, func(t *testing.T) {
				t.Parallel()
				taken, was := change(t, f.node, "kubelet", kubeletConfig, f.edit)
				refused(t, taken, f.within, f.want)
				back := putBack(t, f.node, "kubelet", kubeletConfig, was)
				if back.Seconds < 30 {
					t.Errorf("proven after %.1f s; one process has to run for 30 s", back.Seconds)
				}
				seen := call(t, f.node, "-components", "kubelet", "before")
				if mute := strings.Contains(seen.Progress, "this node has no credentials for it"); mute != f.mute || seen.Error != "" {
					t.Errorf("mute is %v: %s", mute, seen.Error)
				}
			})
		}
	})
	t.Run("kubelet that would not start", func(t *testing.T) {
		pid := must(t, worker, "systemctl", "show", "-P", "MainPID", "kubelet.service")
		must(t, worker, "sh", "-c", "sed -i.was '/^failCgroupV1/d' "+kubeletConfig)
		refused(t, call(t, worker, "-components", "kubelet", "before"), 20, "the node has cgroup v1 and failCgroupV1 is true")
		must(t, worker, "mv", kubeletConfig+".was", kubeletConfig)
		if now := must(t, worker, "systemctl", "show", "-P", "MainPID", "kubelet.service"); now != pid {
			t.Errorf("the kubelet was restarted: %s, now %s", pid, now)
		}
	})
	t.Run("etcd", func(t *testing.T) {
		taken, _ := change(t, cp, "etcd", etcdEnv, "echo ETCD_CIPHER_SUITES=TLS_NOTHING >> /root/.edit")
		refused(t, taken, 120, `unexpected TLS cipher suite "TLS_NOTHING"`)
		// By then systemd has tried it several times, which is not the old file's fault.
		until(t, 2*time.Minute, "systemd has tried it again, twice", func() (bool, string) {
			n := strings.TrimSpace(must(t, cp, "systemctl", "show", "-P", "NRestarts", "etcd"))
			return len(n) > 1 || n >= "2", n
		})
		putBack(t, cp, "etcd", etcdEnv, "")
	})
	if soak := call(t, cp, "-components", "etcd,kubelet", "-soak", "6s", "soak"); soak.Error != "" {
		t.Error(soak.Error)
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}
