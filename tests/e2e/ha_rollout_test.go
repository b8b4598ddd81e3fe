//go:build e2e

package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// On a control plane of three, all steps across nodes there and back: logs and exec
// work on every node through every API server, and every API server reads every
// Secret, at the end of each.
func TestHARollout(t *testing.T) {
	r := newRollouts(t, lab.HA, "cp1", "cp2", "cp3", "worker1")
	r.Spoil()
	servers := []string{"10.90.0.11", "10.90.0.12", "10.90.0.13"}
	const etcd = "10.90.0.11"
	r.plain(etcd)
	more := []string{"--etcd-snapshot-stored", "--check=1.2.5,1.2.27,1.2.28,4.2.9", "--soak=5s"}
	r.start(append([]string{"fix", "--max-risk=cluster"}, more...)...)
	r.ends(30 * time.Minute)
	for _, node := range r.nodes {
		if said := r.issuer(node); !strings.Contains(said, "Verify return code: 0") {
			t.Errorf("%s: %s", node, said)
		}
	}
	r.reachable(servers...)
	r.encrypted(etcd, servers...)
	files := map[string]bool{}
	for _, node := range []string{"cp1", "cp2", "cp3"} {
		files[must(t, r.Node(node), "cat", "/etc/kubernetes/ssl/secrets_encryption.yaml")] = true
		r.untold(node)
	}
	if len(files) != 1 {
		t.Errorf("control planes have %d different files", len(files))
	}

	r.start(append([]string{"undo", "--steps=serving-certificates,encryption-at-rest"}, more...)...)
	r.ends(30 * time.Minute)
	if encrypted := r.count(etcd, encryptedPrefix); encrypted != 0 {
		t.Errorf("undone: %d Secrets are still encrypted", encrypted)
	}
	for _, node := range []string{"cp1", "cp2", "cp3"} {
		manifest := must(t, r.Node(node), "cat", "/etc/kubernetes/manifests/kube-apiserver.yaml")
		for _, flag := range []string{"--encryption-provider-config", "--kubelet-certificate-authority"} {
			if strings.Contains(manifest, flag) {
				t.Errorf("undone: %s still has %s", node, flag)
			}
		}
	}
	r.reachable(servers...)
	r.read("before", servers...)
	r.read("after", servers...)
}
