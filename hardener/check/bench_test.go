package check

import (
	"context"
	"os"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// BenchmarkJudgeNode judges all checks of a benchmark on outputs that are there
// already.
func BenchmarkJudgeNode(b *testing.B) {
	cfg, err := profiles.FS()
	if err != nil {
		b.Skip(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		b.Fatal(err)
	}
	kubelet, err := os.ReadFile("testdata/kubelet-config.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var checks []*profile.Check
	for _, target := range []string{"master", "etcd", "controlplane", "node"} {
		controls, err := catalog.Controls("cis-1.12", target, profile.Variables{})
		if err != nil {
			b.Fatal(err)
		}
		for g := range controls.Groups {
			for i := range controls.Groups[g].Checks {
				checks = append(checks, &controls.Groups[g].Checks[i])
			}
		}
	}
	audit := func(_ context.Context, script string) (string, error) {
		if script == "/bin/cat $kubeletconf" {
			return string(kubelet), nil
		}
		return "root 1 0 0 10:00 ? 00:00:01 kube-apiserver --anonymous-auth=false --profiling=False --authorization-mode=Node,RBAC\n", nil
	}
	b.Run("shared", func(b *testing.B) {
		for b.Loop() {
			e := new(Evaluator)
			for _, c := range checks {
				e.Run(context.Background(), c, audit)
			}
		}
	})
	b.Run("each alone", func(b *testing.B) {
		for b.Loop() {
			for _, c := range checks {
				Run(context.Background(), c, audit)
			}
		}
	})
}
