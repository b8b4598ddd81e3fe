//go:build e2e

package e2e

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	fixes "github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// Steps across nodes on a fresh cluster: kubelets get serving certificates of the
// cluster and then the API server demands them, and Secrets are encrypted, though
// the rollout is replaced on the way and a node's program killed in the phase that
// could lose data. Somebody else asks for a certificate too, and does not get it.
// All of it is taken back.
func TestRolloutSteps(t *testing.T) {
	s := newStepped(t, lab.Small, []string{"cp1"}, "cp1", "worker1")
	must(t, s.cp, "sh", "-c", forged)
	s.plain(t)
	began := time.Now()
	r := newRollout(t, s.cp, s.image, "fix", "--max-risk=cluster", "--etcd-snapshot-stored", "--check="+stepChecks, "--soak=5s")
	r.apply(t)
	r.says(t, "phase serving-certificates:apiserver")
	r.apply(t) // in place of the one that has got there
	r.says(t, "going on with rollout")
	r.waitFor(t, s.cp, fixes.EncryptionWrite, "apiserver: taking its new configuration")
	if err := s.cp.KillProcess(t.Context(), "hardener"); err != nil {
		t.Fatal(err)
	}
	if r.ends(t) != "Failed" || !strings.Contains(r.last(t), "node cp1: ") {
		t.Errorf("a node's program was killed: %s", r.last(t))
	}
	whole(t, s.Cluster, s.cp)
	s.read(t, "before")
	r.completes(t)
	if said := r.last(t); !strings.Contains(said, "going on with rollout") {
		t.Errorf("it did not go on: %s", said)
	}
	fmt.Printf("e2e: steps across nodes made in %.0f s, in three goes\n", time.Since(began).Seconds())
	s.made(t)
	if status := must(t, s.cp, "kubectl", "get", "csr", "forged", "-o", "jsonpath={.status}"); strings.Contains(status, "Approved") {
		t.Errorf("a person's request was approved: %s", status)
	}
	merged := r.report(t)
	allDone(t, merged, "cp1", "worker1")
	changed := map[string]string{}
	for _, n := range merged.Nodes {
		for _, c := range n.Changes {
			changed[n.Name] += c + " "
		}
	}
	for node, file := range map[string]string{"cp1": "secrets_encryption.yaml", "worker1": "kubelet-config.yaml"} {
		if !strings.Contains(changed[node], file) {
			t.Errorf("the report does not tell of %s on %s: %s", file, node, changed[node])
		}
	}

	began = time.Now()
	newRollout(t, s.cp, s.image, stepsUndo...).completes(t)
	fmt.Printf("e2e: steps across nodes taken back in %.0f s\n", time.Since(began).Seconds())
	s.takenBack(t)
}

// All steps across nodes on a control plane of three, there and back, while a client
// writes and reads: logs and exec work on every node through every API server, and
// every API server reads every Secret, at the end of each.
func TestHASteps(t *testing.T) {
	s := newStepped(t, lab.HA, []string{"cp1", "cp2", "cp3"}, "cp1", "cp2", "cp3", "worker1")
	s.plain(t)
	busy := startClient(t, s.cp, s.Node("worker1"))
	watch := observe(t, s.Cluster)
	began := time.Now()
	newRollout(t, s.cp, s.image, "fix", "--max-risk=cluster", "--etcd-snapshot-stored", "--check="+stepChecks, "--soak=5s").completes(t)
	fmt.Printf("e2e: ha: steps across nodes made in %.0f s\n", time.Since(began).Seconds())
	s.made(t)
	files := map[string]bool{}
	for _, n := range s.control {
		files[must(t, n, "cat", "/etc/kubernetes/ssl/secrets_encryption.yaml")] = true
	}
	if len(files) != 1 {
		t.Errorf("control planes have %d different keys", len(files))
	}
	newRollout(t, s.cp, s.image, stepsUndo...).completes(t)
	took := time.Since(began)
	fmt.Printf("e2e: ha: and taken back in %.0f s altogether\n", took.Seconds())
	s.takenBack(t)
	busy.end(t, took)
	watch.end(t, "API servers")
}

// stepChecks are those that the steps are for: all others would take their time.
const stepChecks = "1.2.5,1.2.6,1.2.27,1.2.28,4.2.9"

var stepsUndo = []string{"undo", "--steps=serving-certificates,encryption-at-rest", "--etcd-snapshot-stored", "--check=" + stepChecks, "--soak=5s"}

// stepped is a cluster that steps across nodes are taken on.
type stepped struct {
	*lab.Cluster
	cp      *machine.Node
	control []*machine.Node // with an API server
	nodes   []*machine.Node // with a kubelet
	image   savedImage
}

func newStepped(t *testing.T, topology lab.Topology, control []string, nodes ...string) stepped {
	t.Helper()
	s := stepped{Cluster: lab.Need(t, topology)}
	s.Spoil()
	for _, name := range control {
		s.control = append(s.control, s.Node(name))
	}
	for _, name := range nodes {
		s.nodes = append(s.nodes, s.Node(name))
	}
	s.cp, s.image = s.control[0], importImage(t, s.nodes...)
	return s
}

const (
	plainText       = "plain-as-day"
	encryptedPrefix = "k8s:enc:secretbox:v1:key:"
)

// plain makes a Secret that anybody who has etcd's files can read.
func (s stepped) plain(t *testing.T) {
	t.Helper()
	must(t, s.cp, "kubectl", "create", "secret", "generic", "before", "--from-literal=word="+plainText)
	if said := s.stored(t, "before"); !strings.Contains(said, plainText) {
		t.Fatalf("before: etcd has %q", said)
	}
}

// made wants both steps to be in force: every kubelet's certificate verified, every
// Secret encrypted, that of before and a new one, and the key told nowhere.
func (s stepped) made(t *testing.T) {
	t.Helper()
	s.certified(t, true)
	s.reachable(t)
	must(t, s.cp, "kubectl", "create", "secret", "generic", "after", "--from-literal=word="+plainText)
	for _, name := range []string{"before", "after"} {
		if said := s.stored(t, name); !strings.Contains(said, encryptedPrefix) || strings.Contains(said, plainText) {
			t.Errorf("%s: etcd has %q", name, said)
		}
	}
	s.read(t, "before", "after")
	if n, encrypted := s.count(t, ""), s.count(t, encryptedPrefix); n < 3 || n != encrypted {
		t.Errorf("%d of %d Secrets are encrypted in etcd", encrypted, n)
	}
	for _, n := range s.control {
		s.untold(t, n)
	}
}

// takenBack wants neither to be.
func (s stepped) takenBack(t *testing.T) {
	t.Helper()
	s.certified(t, false)
	s.reachable(t)
	if encrypted := s.count(t, encryptedPrefix); encrypted != 0 {
		t.Errorf("taken back: %d Secrets are still encrypted", encrypted)
	}
	s.read(t, "before", "after")
}

// certified looks at what kubelets serve, by openssl, and at what API servers want.
func (s stepped) certified(t *testing.T, want bool) {
	t.Helper()
	for _, n := range s.nodes {
		address := strings.TrimSpace(must(t, s.cp, "kubectl", "get", "node", n.Name, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`))
		said, _ := s.cp.Run(t.Context(), "sh", "-c", "openssl s_client -verify_return_error -verify_ip "+address+
			" -CAfile /etc/kubernetes/ssl/ca.crt -connect "+address+":10250 </dev/null 2>&1")
		if strings.Contains(said, "Verify return code: 0") != want {
			t.Errorf("%s: a certificate of the cluster: want %t: %s", n.Name, want, said)
		}
	}
	for _, n := range s.control {
		manifest := must(t, n, "cat", "/etc/kubernetes/manifests/kube-apiserver.yaml")
		for _, flag := range []string{"--kubelet-certificate-authority=", "--encryption-provider-config="} {
			if strings.Contains(manifest, flag) != want {
				t.Errorf("%s: %s: want %t", n.Name, flag, want)
			}
		}
	}
}

// kubectl asks one API server, on its own address.
func (s stepped) kubectl(t *testing.T, server *machine.Node) string {
	t.Helper()
	address := strings.TrimSpace(must(t, s.cp, "kubectl", "get", "node", server.Name, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`))
	return "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://" + address + ":6443 "
}

// reachable wants logs and exec of a pod on each node, through each API server.
func (s stepped) reachable(t *testing.T) {
	t.Helper()
	for _, server := range s.control {
		kubectl := s.kubectl(t, server) + "-n kube-system "
		for _, n := range s.nodes {
			script := "pod=$(" + kubectl + "get pods -l k8s-app=kube-proxy --field-selector spec.nodeName=" + n.Name + " -o name) && " +
				kubectl + "logs --tail=1 $pod && " + kubectl + "exec $pod -- /kubectl-exec-finds-no-program 2>&1 | grep -q 'no such file'"
			if out, err := s.cp.Run(t.Context(), "sh", "-c", script); err != nil {
				t.Errorf("%s through %s: %v %s", n.Name, server.Name, err, out)
			}
		}
	}
}

// read reads Secrets through each API server.
func (s stepped) read(t *testing.T, names ...string) {
	t.Helper()
	for _, server := range s.control {
		for _, name := range names {
			word := must(t, s.cp, "sh", "-c", s.kubectl(t, server)+"get secret "+name+" -o 'jsonpath={.data.word}'")
			if plain, _ := base64.StdEncoding.DecodeString(word); string(plain) != plainText {
				t.Errorf("%s through %s: %q", name, server.Name, plain)
			}
		}
	}
}

// etcdctl runs it on the first control plane, which has a member.
func (s stepped) etcdctl(t *testing.T, args string) string {
	t.Helper()
	const pair = "/etc/ssl/etcd/ssl/admin-cp1"
	return must(t, s.cp, "sh", "-c", "etcdctl --endpoints=https://127.0.0.1:2379 --cacert=/etc/ssl/etcd/ssl/ca.pem --cert="+pair+".pem --key="+pair+"-key.pem "+args)
}

// stored is how a Secret of namespace default lies in etcd.
func (s stepped) stored(t *testing.T, name string) string {
	t.Helper()
	return s.etcdctl(t, "get --print-value-only /registry/secrets/default/"+name)
}

// count is how many Secrets begin with a prefix in etcd.
func (s stepped) count(t *testing.T, prefix string) int {
	t.Helper()
	pipe := `get --prefix /registry/secrets/ --keys-only | grep -c ^/registry; true`
	if prefix != "" {
		pipe = `get --prefix /registry/secrets/ | grep -ac '^` + prefix + `'; true`
	}
	n, err := strconv.Atoi(strings.TrimSpace(s.etcdctl(t, pipe)))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// untold looks for the key where anybody but root of a control plane could see it:
// in what lies in the cluster, in what was logged, and in journals but for the
// copies of files that a rollback needs.
func (s stepped) untold(t *testing.T, on *machine.Node) {
	t.Helper()
	const script = `set -e
key=$(sed -n 's/.*secret: //p' /etc/kubernetes/ssl/secrets_encryption.yaml)
test ${#key} -eq 44
text=$(echo "$key" | base64 -d)
test ${#text} -eq 32
stat -c '%a %U' /etc/kubernetes/ssl/secrets_encryption.yaml | grep -x '600 root'
k="kubectl --kubeconfig=/etc/kubernetes/admin.conf -n ` + rollout.Namespace + `"
{ $k get configmaps,jobs,pods,events,secrets -o json; $k get events -A -o json; $k logs -l app.kubernetes.io/name=` + rollout.Namespace + ` --tail=-1
  for c in $($k get configmaps -l app.kubernetes.io/component=report -o name); do $k get $c -o jsonpath='{.binaryData.report\.json\.gz}' | base64 -d | gunzip; $k get $c -o jsonpath='{.binaryData.earlier\.json\.gz}' | base64 -d | gunzip; done
  journalctl --no-pager; find /var/lib/kubespray-hardener -type f -not -path '*/backup/*' -exec cat {} + ; } > /tmp/told 2>/dev/null || true
test $(wc -c < /tmp/told) -gt 100000
if grep -aqF -e "$key" -e "$text" /tmp/told; then echo told; grep -aF -e "$key" -e "$text" /tmp/told | cut -c1-300; exit 1; fi`
	if out, err := on.Run(t.Context(), "sh", "-c", script); err != nil {
		t.Errorf("%s: the key is told, or what was looked at is not all there: %v\n%s", on.Name, err, out)
	}
}

// forged asks as the administrator, who is no kubelet, for worker1's certificate.
const forged = `set -e
cd /tmp
openssl req -new -newkey rsa:2048 -nodes -keyout forged.key -subj '/O=system:nodes/CN=system:node:worker1' -addext 'subjectAltName=DNS:worker1,IP:10.90.0.12' -out forged.csr 2>/dev/null
kubectl apply -f - <<END
apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {name: forged}
spec:
  signerName: kubernetes.io/kubelet-serving
  usages: ["digital signature", "key encipherment", "server auth"]
  request: $(base64 -w0 forged.csr)
END
`
