package sample

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestRenderProcesses(t *testing.T) {
	dir, _ := writeRecorded(t)
	read := func() node.Processes {
		t.Helper()
		if err := RenderProcesses(dir); err != nil {
			t.Fatal(err)
		}
		procs, err := node.ReadProcesses(os.DirFS(dir))
		if err != nil {
			t.Fatal(err)
		}
		return procs
	}
	procs := read()
	for _, c := range []struct {
		comm  string
		count int
		words []string // of the first process
	}{
		{"etcd", 2, []string{"/bin/bash", "/usr/local/bin/etcd"}},
		{"docker", 1, []string{"--env-file=/etc/etcd.env", "--net=host", "quay.io/coreos/etcd:v3.3.12"}},
		{"kubelet", 1, []string{"/usr/local/bin/kubelet", "--hostname-override=node1", "--config=/etc/kubernetes/kubelet-config.yaml", "--runtime-cgroups=/systemd/system.slice", "--cni-conf-dir=/etc/cni/net.d"}},
		{"kube-apiserver", 1, []string{"--anonymous-auth=True", "--insecure-port=0"}},
		{"kube-controller", 1, []string{"--bind-address=0.0.0.0"}},
		{"kube-scheduler", 1, []string{"--leader-elect=true"}},
		{"kube-proxy", 1, []string{"--config=/var/lib/kube-proxy/config.conf"}},
	} {
		named := procs.Named(c.comm)
		if len(named) != c.count {
			t.Errorf("%d processes called %s, want %d", len(named), c.comm, c.count)
			continue
		}
		for _, w := range c.words {
			if !strings.Contains(" "+named[0].Command()+" ", " "+w+" ") {
				t.Errorf("%s lacks %s: %s", c.comm, w, named[0].Command())
			}
		}
	}
	if env, err := os.ReadFile(filepath.Join(dir, "proc/1289/environ")); err != nil || !strings.Contains(string(env), "\x00ETCD_CLIENT_CERT_AUTH=true\x00") {
		t.Errorf("the environment of etcd is %q, %v", env, err)
	}
	if diff := cmp.Diff(procs, read()); diff != "" {
		t.Errorf("rendered again without a change (-first +second):\n%s", diff)
	}

	// A changed manifest, a new container in it and a removed one are a changed process table.
	manifest := filepath.Join(dir, manifestDir, "kube-scheduler.yaml")
	old, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(old), "    - --leader-elect=true\n", "    - --leader-elect=true\n    - --profiling=false\n", 1)
	if err := os.WriteFile(manifest, []byte(changed), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := read().Named("kube-scheduler")[0].Args; got[len(got)-1] != "--profiling=false" {
		t.Errorf("the scheduler's new argv is %q", got)
	}
	if err := os.Remove(manifest); err != nil {
		t.Fatal(err)
	}
	if n := len(read().Named("kube-scheduler")); n != 0 {
		t.Errorf("%d schedulers without a manifest", n)
	}
	if err := os.WriteFile(manifest, []byte("spec: [\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RenderProcesses(dir); err == nil || !strings.Contains(err.Error(), "kube-scheduler.yaml") {
		t.Errorf("a broken manifest gives %v", err)
	}
}

// TestRenderProcessesElsewhere keeps RenderProcesses from replacing the proc of
// anything but a sample.
func TestRenderProcessesElsewhere(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "proc", "1")
	if err := os.MkdirAll(kept, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := RenderProcesses(dir); err == nil || !strings.Contains(err.Error(), "not a sample node") {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}
