//go:build e2e

package e2e

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// Secrets are encrypted, though the rollout is ended and begun again on the way. The
// key is told nowhere. TestHARollout takes it back too.
func TestRolloutEncryption(t *testing.T) {
	r := newRollouts(t, lab.Small, "cp1", "worker1")
	r.Spoil()
	const server = "10.90.0.11"
	r.plain(server)
	fix := []string{"fix", "--max-risk=cluster", "--steps=encryption-at-rest", "--etcd-snapshot-stored", "--check=1.2.27,1.2.28", "--soak=5s"}
	r.start(fix...)
	r.waits(4*time.Minute, "encryption-at-rest-read-cp1")
	r.start(fix...) // ends the first one
	r.ends(10 * time.Minute)
	if said := r.says(); !strings.Contains(said, "going on with rollout") {
		t.Errorf("the second one did not go on with the first one's rollout:\n%s", said)
	}
	r.encrypted(server, server)
	r.untold("cp1")
}

const (
	plainText       = "plain-as-day"
	encryptedPrefix = "k8s:enc:secretbox:v1:key:"
)

// plain makes a Secret that anybody who has etcd's files can read.
func (r *rollouts) plain(etcd string) {
	t := r.t
	t.Helper()
	must(t, r.Node("cp1"), "kubectl", "create", "secret", "generic", "before", "--from-literal=word="+plainText)
	if said := r.stored(etcd, "before"); !strings.Contains(said, plainText) {
		t.Fatalf("before: etcd has %q", said)
	}
}

// encrypted wants every Secret to be, that of before and a new one, and each API
// server to read both.
func (r *rollouts) encrypted(etcd string, servers ...string) {
	t, cp := r.t, r.Node("cp1")
	t.Helper()
	must(t, cp, "kubectl", "create", "secret", "generic", "after", "--from-literal=word="+plainText)
	for _, name := range []string{"before", "after"} {
		if said := r.stored(etcd, name); !strings.Contains(said, encryptedPrefix) || strings.Contains(said, plainText) {
			t.Errorf("%s: etcd has %q", name, said)
		}
		r.read(name, servers...)
	}
	if n, encrypted := r.count(etcd, ""), r.count(etcd, encryptedPrefix); n < 3 || n != encrypted {
		t.Errorf("%d of %d Secrets are encrypted in etcd", encrypted, n)
	}
}

// read reads a Secret through each API server.
func (r *rollouts) read(name string, servers ...string) {
	r.t.Helper()
	for _, server := range servers {
		word := must(r.t, r.Node("cp1"), "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--server=https://"+server+":6443", "get", "secret", name, "-o", "jsonpath={.data.word}")
		if plain, _ := base64.StdEncoding.DecodeString(word); string(plain) != plainText {
			r.t.Errorf("%s through %s: %q", name, server, plain)
		}
	}
}

// etcdctl runs it on cp1.
func (r *rollouts) etcdctl(endpoint string, args string) string {
	r.t.Helper()
	const pair = "/etc/ssl/etcd/ssl/admin-cp1"
	return must(r.t, r.Node("cp1"), "sh", "-c", "etcdctl --endpoints=https://"+endpoint+":2379 --cacert=/etc/ssl/etcd/ssl/ca.pem --cert="+pair+".pem --key="+pair+"-key.pem "+args)
}

// stored is how a Secret of namespace default lies in etcd.
func (r *rollouts) stored(endpoint, name string) string {
	return r.etcdctl(endpoint, "get --print-value-only /registry/secrets/default/"+name)
}

// count is how many Secrets begin with a prefix in etcd.
func (r *rollouts) count(endpoint, prefix string) int {
	pipe := `get --prefix /registry/secrets/ --keys-only | grep -c ^/registry`
	if prefix != "" {
		pipe = `get --prefix /registry/secrets/ | grep -ac '^` + prefix + `'; true`
	}
	n := 0
	for _, c := range strings.TrimSpace(r.etcdctl(endpoint, pipe)) {
		n = 10*n + int(c-'0')
	}
	return n
}

// untold looks on a control plane for the key where anybody but root of a control plane could see it:
// in what lies in the cluster, in what was logged, and in journals but for the
// copies of files that a rollback needs.
func (r *rollouts) untold(on string) {
	t, cp := r.t, r.Node(on)
	t.Helper()
	const script = `set -e
key=$(sed -n 's/.*secret: //p' /etc/kubernetes/ssl/secrets_encryption.yaml)
test ${#key} -eq 44
text=$(echo "$key" | base64 -d)
test ${#text} -eq 32
stat -c '%a %U' /etc/kubernetes/ssl/secrets_encryption.yaml | grep -x '600 root'
k="kubectl --kubeconfig=/etc/kubernetes/admin.conf -n kubespray-hardener"
{ $k get configmaps,jobs,pods,events,secrets -o json; $k get events -A -o json; $k logs -l app.kubernetes.io/name=kubespray-hardener --tail=-1
  for c in $($k get configmaps -l app.kubernetes.io/component=report -o name); do $k get $c -o jsonpath='{.binaryData.report\.json\.gz}' | base64 -d | gunzip; $k get $c -o jsonpath='{.binaryData.earlier\.json\.gz}' | base64 -d | gunzip; done
  journalctl --no-pager; find /var/lib/kubespray-hardener -type f -not -path '*/backup/*' -exec cat {} + ; } > /tmp/told 2>/dev/null || true
test $(wc -c < /tmp/told) -gt 100000
if grep -aqF -e "$key" -e "$text" /tmp/told; then echo told; grep -aF -e "$key" -e "$text" /tmp/told | cut -c1-300; exit 1; fi`
	if out, err := cp.Run(t.Context(), "sh", "-c", script); err != nil {
		t.Errorf("the key is told, or what was looked at is not all there: %v\n%s", err, out)
	}
}
