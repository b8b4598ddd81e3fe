package hardener_test

import (
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
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
