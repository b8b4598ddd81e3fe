//go:build e2e

package e2e

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// gated is what tests/e2e/gatenode prints.
type gated struct {
	Stage   string
	Error   string
	Notes   []string
	Seconds map[string]float64
}

// gateNode is the command that goes through a gate on a node.
func gateNode(t *testing.T, nodes ...*machine.Node) func(n *machine.Node, args ...string) gated {
	t.Helper()
	program := filepath.Join(t.TempDir(), "gatenode")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./gatenode")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build gatenode: %v: %s", err, out)
	}
	for _, n := range nodes {
		f, err := os.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Feed(t.Context(), f, "sh", "-c", "cat > /usr/local/bin/.gatenode && chmod 0755 /usr/local/bin/.gatenode && mv /usr/local/bin/.gatenode /usr/local/bin/gatenode")
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	return func(n *machine.Node, args ...string) gated {
		t.Helper()
		var g gated
		out := must(t, n, "gatenode", args...)
		if err := json.Unmarshal([]byte(out), &g); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		t.Logf("%s: %s: stage %s, %v, notes %q, error %q", n.Name, strings.Join(args, " "), g.Stage, g.Seconds, g.Notes, g.Error)
		return g
	}
}

const (
	kubeletConfig = "/etc/kubernetes/kubelet-config.yaml"
	etcdEnv       = "/etc/etcd.env"
)

// A restarted kubelet is proven on either kind of node; one that exits, or that
// does not know a field, is refused early, with the reason; with the old file it
// is proven again.
func TestGateKubelet(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	run := gateNode(t, cp, worker)
	for _, n := range []*machine.Node{cp, worker} {
		g := run(n, "-component=kubelet", "-watch=6s", "-edit=sed -i 's/^containerLogMaxFiles:.*/containerLogMaxFiles: 6/' "+kubeletConfig)
		if g.Error != "" || g.Stage != "watch" {
			t.Fatalf("%s: a good change: %+v", n.Name, g)
		}
		if g.Seconds["prove"] < 30 {
			t.Errorf("%s: proven after %.1f s; one process has to run for 30 s", n.Name, g.Seconds["prove"])
		}
		// Only a control plane has what it takes to ask for configz.
		if asked := len(g.Notes) == 0; asked != (n == cp) {
			t.Errorf("%s: notes %q", n.Name, g.Notes)
		}
	}
	for _, f := range []struct {
		reason, edit, want string
		node               *machine.Node
		within             float64
	}{
		{"a value out of range", "sed -i '/^imageGCHigh/d; $aimageGCHighThresholdPercent: 700' ", "must be between 0 and 100", worker, 60},
		{"a field that does not exist", "sed -i '$aeventRecordQps: 77' ", "eventRecordQps is not set, not 77", cp, 30},
	} {
		g := run(f.node, "-component=kubelet", "-edit=cp -p "+kubeletConfig+" /root/kept && "+f.edit+kubeletConfig)
		if g.Stage != "prove" || !strings.Contains(g.Error, f.want) || strings.Contains(g.Error, "\n") {
			t.Errorf("%s: %+v", f.reason, g)
		}
		if g.Seconds["prove"] > f.within {
			t.Errorf("%s: it took %.1f s", f.reason, g.Seconds["prove"])
		}
		if g := run(f.node, "-component=kubelet", "-back", "-edit=cp -p /root/kept "+kubeletConfig); g.Error != "" {
			t.Errorf("%s: with the old file: %+v", f.reason, g)
		}
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}

// What keeps a kubelet from starting is found before it is restarted.
func TestGateKubeletPreflight(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("worker1")
	run := gateNode(t, n)
	pid := must(t, n, "systemctl", "show", "-P", "MainPID", "kubelet.service")
	for edit, want := range map[string]string{
		"sed -i '/^failCgroupV1/d' " + kubeletConfig: "the node has cgroup v1 and failCgroupV1 is true",
		"mv /var/lib/kubelet/pki /root/pki":          "kubelet-client-current.pem",
	} {
		must(t, n, "sh", "-c", "cp -p "+kubeletConfig+" /root/kept && "+edit)
		g := run(n, "-component=kubelet")
		if g.Stage != "before" || !strings.Contains(g.Error, want) || strings.Contains(g.Error, "\n") {
			t.Errorf("%s: %+v", edit, g)
		}
		must(t, n, "sh", "-c", "cp -p /root/kept "+kubeletConfig+"; [ ! -d /root/pki ] || mv /root/pki /var/lib/kubelet/pki")
	}
	if now := must(t, n, "systemctl", "show", "-P", "MainPID", "kubelet.service"); now != pid {
		t.Errorf("the kubelet was restarted: %s, now %s", pid, now)
	}
}

// A restarted etcd is proven; one with a cipher that does not exist is refused
// early, with the reason.
func TestGateEtcd(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	run := gateNode(t, n)
	g := run(n, "-component=etcd", "-watch=6s", "-edit=sed -i 's/^ETCD_MAX_WALS=.*/ETCD_MAX_WALS=6/' "+etcdEnv)
	if g.Error != "" || g.Stage != "watch" || len(g.Notes) > 0 {
		t.Fatalf("a good change: %+v", g)
	}
	g = run(n, "-component=etcd", "-edit=cp -p "+etcdEnv+" /root/kept && echo ETCD_CIPHER_SUITES=TLS_NOTHING >> "+etcdEnv)
	if g.Stage != "restart" || !strings.Contains(g.Error, `unexpected TLS cipher suite "TLS_NOTHING"`) || strings.Contains(g.Error, "\n") {
		t.Errorf("an unknown cipher: %+v", g)
	}
	// By then systemd has tried it several times, which is not the old file's fault.
	if g := run(n, "-component=etcd", "-back", "-edit=until [ $(systemctl show -P NRestarts etcd) -ge 3 ]; do sleep 1; done; cp -p /root/kept "+etcdEnv); g.Error != "" {
		t.Errorf("with the old file: %+v", g)
	}
}
