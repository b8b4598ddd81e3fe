package profile

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// corpus opens the embedded profiles.
func corpus(t testing.TB) *Catalog {
	t.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		t.Skip(err)
	}
	return openCatalog(t, cfg)
}

func openCatalog(t testing.TB, cfg fs.FS) *Catalog {
	t.Helper()
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// plainCIS are the benchmarks for upstream Kubernetes.
var plainCIS = []string{"cis-1.5", "cis-1.6", "cis-1.20", "cis-1.23", "cis-1.24", "cis-1.7", "cis-1.8", "cis-1.9", "cis-1.10", "cis-1.11", "cis-1.12"}

// kubespray is a control plane node with etcd as a service.
func kubespray() Lookup {
	present := map[string]bool{
		"/etc/kubernetes/manifests/kube-apiserver.yaml": true, "/etc/kubernetes/manifests/kube-scheduler.yaml": true,
		"/etc/kubernetes/manifests/kube-controller-manager.yaml": true, "/etc/kubernetes/scheduler.conf": true,
		"/etc/kubernetes/controller-manager.conf": true, "/etc/kubernetes/pki/ca.crt": true,
		"/etc/systemd/system/kubelet.service": true, "/etc/kubernetes/kubelet.conf": true, "/etc/kubernetes/kubelet-config.yaml": true,
	}
	commands := map[string][]string{
		"kube-apiserver": {"kube-apiserver --anonymous-auth=false"}, "kube-scheduler": {"kube-scheduler"},
		"kube-controller-manager": {"kube-controller-manager --profiling=False"}, "etcd": {"/usr/local/bin/etcd"},
		"kubelet": {"/usr/local/bin/kubelet --v=2"}, "kube-proxy": {"/usr/local/bin/kube-proxy"},
	}
	return Lookup{
		Exists:   func(path string) (bool, error) { return present[path], nil },
		Commands: func(name string) []string { return commands[name] },
	}
}

func TestEveryProfileLoads(t *testing.T) {
	got, err := corpus(t).LoadAll()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("profiles: %d benchmarks, %d control files, %d groups, %d checks, %d test items\n", got.Benchmarks, got.Files, got.Groups, got.Checks, got.Items)
	want := Counts{Benchmarks: 46, Files: 229, Groups: 704, Checks: 4860, Items: 3971}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("counts of kube-bench v0.15.6 (-want +got):\n%s", d)
	}
}

func BenchmarkLoadNode(b *testing.B) {
	cfg, err := profiles.FS()
	if err != nil {
		b.Skip(err)
	}
	for b.Loop() {
		c, err := Open(cfg)
		if err != nil {
			b.Fatal(err)
		}
		targets, err := c.Targets("cis-1.12")
		if err != nil {
			b.Fatal(err)
		}
		for _, target := range targets {
			v, err := c.Variables("cis-1.12", target, kubespray())
			if err != nil {
				b.Fatal(err)
			}
			for range 2 { // as seen, and as it is
				if _, err := c.Controls("cis-1.12", target, v); err != nil {
					b.Fatal(err)
				}
			}
		}
	}
}
