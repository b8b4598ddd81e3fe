package hardener_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// BenchmarkCheck is a whole check of the sample node with profiles read anew,
// which is what one run of the program does after its start.
func BenchmarkCheck(b *testing.B) {
	dir := b.TempDir() + "/node"
	if err := sample.Write(dir); err != nil {
		b.Fatal(err)
	}
	if err := sample.RenderProcesses(dir); err != nil {
		b.Fatal(err)
	}
	for _, mode := range []struct {
		name string
		raw  bool
	}{{"raw", true}, {"adjudicated", false}} {
		b.Run(mode.name, func(b *testing.B) {
			cfg, err := profiles.FS()
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				catalog, err := profile.Open(cfg)
				if err != nil {
					b.Fatal(err)
				}
				_, err = hardener.Check(b.Context(), hardener.Options{
					FS: openTree(b, dir), Catalog: catalog, Benchmark: "cis-1.12", Raw: mode.raw,
					Targets: []string{"master", "node", "etcd", "controlplane"},
				})
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestShellOfTheNode runs audits that are not written for dash on a node that has
// it as /bin/sh: kube-bench's verdict suffers from it, what is true does not.
func TestShellOfTheNode(t *testing.T) {
	n := newNode(t)
	if err := os.MkdirAll(filepath.Join(n.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("dash", filepath.Join(n.dir, "bin/sh")); err != nil {
		t.Fatal(err)
	}
	calls := 0
	n.options.Commands = func() map[string]shell.Command {
		calls++
		return map[string]shell.Command{"kubectl": func(_ context.Context, c shell.Call) error {
			_, err := io.WriteString(c.Stdout, "cluster-admin   cluster-admin   system:masters\n")
			return err
		}}
	}
	n.options.Benchmark, n.options.Targets, n.options.Checks = "cis-1.12", []string{"policies"}, []string{"5.1.1"}
	r, err := hardener.Check(t.Context(), n.options)
	if err != nil {
		t.Fatal(err)
	}
	for _, result := range r.Results() {
		if result.Status != check.Pass || result.KubeBenchStatus != check.Warn || !strings.Contains(result.VerdictReason, "/bin/sh") {
			t.Errorf("5.1.1 is %s, kube-bench's %s, because %q; want PASS, kube-bench's WARN, because of /bin/sh", result.Status, result.KubeBenchStatus, result.VerdictReason)
		}
	}
	if calls != 1 {
		t.Errorf("the commands of an audit were made %d times", calls)
	}
}
