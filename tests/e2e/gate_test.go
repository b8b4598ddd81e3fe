//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

const scheduler = "/etc/kubernetes/manifests/kube-scheduler.yaml"

// probed is what gateprobe prints.
type probed struct {
	Error    string          `json:"error"`
	Seconds  float64         `json:"seconds"`
	Snapshot json.RawMessage `json:"snapshot"`
	Progress string          `json:"-"`
}

// gateprobe builds the program of that name and lays it on a node.
func gateprobe(t *testing.T, n *machine.Node) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "gateprobe")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./gateprobe")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build gateprobe: %v: %s", err, out)
	}
	f, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := n.Feed(t.Context(), f, "sh", "-c", "cat > /root/gateprobe && chmod 0755 /root/gateprobe"); err != nil {
		t.Fatal(err)
	}
}

// call runs gateprobe on a node.
func call(t *testing.T, n *machine.Node, args ...string) probed {
	t.Helper()
	cmd := n.Command(t.Context(), "/root/gateprobe", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("gateprobe %v: %v: %s", args, err, stderr.String())
	}
	var p probed
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatalf("gateprobe %v: %v: %s", args, err, stdout.String())
	}
	p.Progress = stderr.String()
	return p
}

// change edits a manifest between Before and Take, and gives what Take says and
// the snapshot.
func change(t *testing.T, n *machine.Node, component, manifest, edit string) (probed, string) {
	t.Helper()
	before := call(t, n, "-components", component, "before")
	if before.Error != "" {
		t.Fatal(before.Error)
	}
	must(t, n, "sh", "-c", fmt.Sprintf("cp -p %[1]s /root/.was && cp -p %[1]s /root/.edit && %[2]s && ! cmp -s %[1]s /root/.edit && mv /root/.edit %[1]s", manifest, edit))
	taken := call(t, n, "-components", component, "-before", string(before.Snapshot), "take")
	t.Logf("%s: %s: %.1f s\n%s", component, edit, taken.Seconds, taken.Progress)
	return taken, string(before.Snapshot)
}

// putBack restores the manifest that change edited, and wants the gate to open.
func putBack(t *testing.T, n *machine.Node, component, manifest, before string) {
	t.Helper()
	must(t, n, "sh", "-c", "cp -p /root/.was /root/.edit && mv /root/.edit "+manifest)
	taken := call(t, n, "-components", component, "-before", before, "take")
	t.Logf("%s: put back: %.1f s\n%s", component, taken.Seconds, taken.Progress)
	if taken.Error != "" {
		t.Fatalf("after the manifest was put back: %s", taken.Error)
	}
}

var staticPods = []string{"-components", "scheduler,controllermanager,apiserver"}

// A fresh cluster is fit for a restart. Faults that are there already are told,
// and those that pass leave it fit again.
func TestGateFit(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n, worker := c.Node("cp1"), c.Node("worker1")
	gateprobe(t, n)
	fit := func() string { return call(t, n, append(staticPods, "fit")...).Error }
	p := call(t, n, append(staticPods, "fit")...)
	t.Logf("fit: %.1f s\n%s", p.Seconds, p.Progress)
	if p.Error != "" {
		t.Fatal(p.Error)
	}
	for _, f := range []struct {
		node       *machine.Node
		make, undo string
		says       string
	}{
		{n, "cp " + scheduler + " " + scheduler + ".bak", "rm " + scheduler + ".bak", "hold the same pod kube-scheduler"},
		{n, "cp /bin/sleep /root/ansible-playbook && systemd-run --unit=other /root/ansible-playbook 1h", "systemctl stop other", "runs ansible-playbook"},
		{n, "sed -i.was 's/pause:3/pause:9/' /etc/containerd/config.toml", "mv /etc/containerd/config.toml.was /etc/containerd/config.toml", "is not on the node"},
		{worker, "systemctl stop kubelet", "systemctl start kubelet", "node worker1 is not ready"},
	} {
		must(t, f.node, "sh", "-c", f.make)
		until(t, 3*time.Minute, "told: "+f.says, func() (bool, string) { said := fit(); return strings.Contains(said, f.says), said })
		must(t, f.node, "sh", "-c", f.undo)
		until(t, 3*time.Minute, "fit again", func() (bool, string) { said := fit(); return said == "", said })
	}
}

// A harmless flag of the scheduler and of the API server is taken and proven.
func TestGateTake(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	gateprobe(t, n)
	if p, _ := change(t, n, "scheduler", scheduler, `sed -i "s/^    - kube-scheduler$/&\n    - --v=1/" /root/.edit`); p.Error != "" {
		t.Errorf("a harmless flag of the scheduler: %s", p.Error)
	}
	down := downtime(t, n)
	p, _ := change(t, n, "apiserver", apiserver, `sed -i "s/--event-ttl=1h0m0s/--event-ttl=59m/" /root/.edit`)
	if p.Error != "" {
		t.Errorf("a harmless flag of the API server: %s", p.Error)
	}
	must(t, n, "sh", "-c", "pgrep -f '[k]ube-apiserver.*--event-ttl=59m'")
	t.Logf("the API server did not answer for %s; the gate opened after %.1f s", down(), p.Seconds)
	soak := call(t, n, append(staticPods, "-soak", "30s", "soak")...)
	t.Logf("soak: %.1f s\n%s", soak.Seconds, soak.Progress)
	if soak.Error != "" {
		t.Error(soak.Error)
	}
}

// downtime watches the API server from the node; what it returns ends that and
// tells how long it did not answer.
func downtime(t *testing.T, n *machine.Node) func() time.Duration {
	t.Helper()
	const watch = `while [ ! -e /root/.enough ]; do
		[ "$(curl -skm 2 -o /dev/null -w "%{http_code}" https://10.90.0.11:6443/livez)" = 200 ] || date +%s.%N
		sleep 0.2; done`
	must(t, n, "rm", "-f", "/root/.enough")
	cmd := n.Command(t.Context(), "sh", "-c", watch)
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() time.Duration {
		must(t, n, "touch", "/root/.enough")
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		lines := strings.Fields(out.String())
		if len(lines) == 0 {
			t.Error("the API server was never away")
			return 0
		}
		var first, last float64
		_, err1 := fmt.Sscan(lines[0], &first)
		_, err2 := fmt.Sscan(lines[len(lines)-1], &last)
		if err1 != nil || err2 != nil {
			t.Fatal(err1, err2)
		}
		return time.Duration((last - first) * float64(time.Second)).Round(100 * time.Millisecond)
	}
}

// What TestNaiveAnonymousAuth shows does not come so far: the gate names the 401
// long before the kubelet kills the API server, and opens again after the
// manifest was put back.
func TestGateAnonymousAuth(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	gateprobe(t, n)
	p, before := change(t, n, "apiserver", apiserver, `sed -i "s/--anonymous-auth=True/--anonymous-auth=False/" /root/.edit`)
	if !strings.Contains(p.Error, "startup probe https://10.90.0.11:6443/livez is answered 401") {
		t.Errorf("take: %q", p.Error)
	}
	// The new API server takes up to 40 s to come, and then a minute.
	if p.Seconds > 180 {
		t.Errorf("take: %.0f s; the kubelet would have killed it at four minutes", p.Seconds)
	}
	putBack(t, n, "apiserver", apiserver, before)
}

// An API server that cannot reach kubelets any more is ready by its own word, and
// by the kubelet's (TestNaiveKubeletCertificateAuthority); the gate reads a log
// through it.
func TestGateKubeletCertificateAuthority(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	gateprobe(t, n)
	p, before := change(t, n, "apiserver", apiserver, `sed -i "s|^    - kube-apiserver$|&\n    - --kubelet-certificate-authority=/etc/kubernetes/ssl/ca.crt|" /root/.edit`)
	if !strings.Contains(p.Error, "logs of kube-system/") || !strings.Contains(p.Error, "x509") {
		t.Errorf("take: %q", p.Error)
	}
	putBack(t, n, "apiserver", apiserver, before)
}

// A change that is taken back at once gives the pod the UID that it had, and with
// it the kubelet's back-off of earlier exits: the gate waits for it.
func TestGateUndoAtOnce(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	gateprobe(t, n)
	for range 3 { // 10, 20, 40 seconds of back-off
		was := strings.TrimSpace(must(t, n, "pgrep", "-x", "kube-scheduler"))
		must(t, n, "kill", "-9", was)
		until(t, 3*time.Minute, "the scheduler is started again", func() (bool, string) {
			now, err := n.Run(t.Context(), "pgrep", "-x", "kube-scheduler")
			return err == nil && strings.TrimSpace(now) != was, now
		})
	}
	before := call(t, n, "-components", "scheduler", "before")
	if before.Error != "" {
		t.Fatal(before.Error)
	}
	must(t, n, "sh", "-c", fmt.Sprintf(`f=%s; cp -p $f /root/.was && sed "s/^    - kube-scheduler$/&\n    - --v=1/" $f > /root/.edit && ! cmp -s $f /root/.edit && mv /root/.edit $f && mv /root/.was $f`, scheduler))
	taken := call(t, n, "-components", "scheduler", "-before", string(before.Snapshot), "take")
	t.Logf("take: %.1f s\n%s", taken.Seconds, taken.Progress)
	if taken.Error != "" {
		t.Error(taken.Error)
	}
}

// Manifests that cannot work fail early, with the reason.
func TestGateFailsEarly(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	gateprobe(t, n)
	for _, f := range []struct {
		what, edit, says string
		within           float64
	}{
		{"broken YAML", `printf "apiVersion: v1\n  kind: [Pod\n" > /root/.edit`, "not a pod", 10},
		{"an unknown flag", `sed -i "s/^    - kube-scheduler$/&\n    - --nonsense=1/" /root/.edit`, "unknown flag: --nonsense", 120},
		// The kubelet refuses it, and after its next round the pod is gone.
		{"a path mounted twice", `sed -i "s#^    volumeMounts:#&\n    - {mountPath: /etc/kubernetes/scheduler.conf, name: kubeconfig}#" /root/.edit`, "has started no sandbox", 240},
	} {
		t.Run(f.what, func(t *testing.T) {
			p, before := change(t, n, "scheduler", scheduler, f.edit)
			if !strings.Contains(p.Error, f.says) {
				t.Errorf("take: %q; want %q", p.Error, f.says)
			}
			if p.Seconds > f.within {
				t.Errorf("take: %.0f s, more than %.0f", p.Seconds, f.within)
			}
			putBack(t, n, "scheduler", scheduler, before)
		})
	}
}
