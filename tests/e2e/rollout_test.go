//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// rollouts runs rollouts inside a lab, from an image of this repository.
type rollouts struct {
	*lab.Cluster
	t     *testing.T
	nodes []string // with a kubelet
	image string
}

// newRollouts imports the image into every node.
func newRollouts(t *testing.T, topology lab.Topology, nodes ...string) *rollouts {
	t.Helper()
	r := &rollouts{Cluster: lab.Need(t, topology), t: t, nodes: nodes}
	const repository = "registry.invalid/team/hardener"
	archive := filepath.Join(t.TempDir(), "image.tar")
	save := exec.CommandContext(t.Context(), "go", "run", "./cmd/hardener-image", "save", archive, "--name", repository, "--tag", "e2e", "--output", "json")
	save.Dir, save.Stderr = "../..", os.Stderr
	out, err := save.Output()
	if err != nil {
		t.Fatal(err)
	}
	var saved struct{ Digest string }
	if err := json.Unmarshal(out, &saved); err != nil {
		t.Fatal(err)
	}
	r.image = repository + "@" + saved.Digest
	for _, node := range nodes {
		file, err := os.Open(archive)
		if err != nil {
			t.Fatal(err)
		}
		_, err = r.Node(node).Feed(t.Context(), file, "ctr", "-n", "k8s.io", "images", "import", "-")
		file.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	install(t, r.Node("cp1"))
	return r
}

// start begins a rollout from inside the cluster, whose only API server may be
// restarting because of an earlier one.
func (r *rollouts) start(args ...string) {
	r.t.Helper()
	script := "kubectl -n kubespray-hardener delete job rollout --ignore-not-found && hardener rollout " + strings.Join(args, " ") + " --image=" + r.image + " --print | kubectl apply -f -"
	until(r.t, 3*time.Minute, "the rollout is begun", func() (bool, string) {
		out, err := r.Node("cp1").Run(r.t.Context(), "sh", "-c", script)
		return err == nil, fmt.Sprint(out, err)
	})
}

// says is what the rollout's pods have told so far.
func (r *rollouts) says() string {
	out, _ := r.Node("cp1").Run(context.WithoutCancel(r.t.Context()), "kubectl", "-n", "kubespray-hardener", "logs", "-l", "job-name=rollout", "--tail=-1", "--prefix")
	return out
}

// waits looks for words in what the rollout says.
func (r *rollouts) waits(limit time.Duration, words string) {
	r.t.Helper()
	until(r.t, limit, words, func() (bool, string) { said := r.says(); return strings.Contains(said, words), said })
}

// ends waits for the rollout's good end.
func (r *rollouts) ends(limit time.Duration) {
	r.t.Helper()
	began := time.Now()
	until(r.t, limit, "the rollout has ended", func() (bool, string) {
		out, err := r.Node("cp1").Run(r.t.Context(), "kubectl", "-n", "kubespray-hardener", "get", "job", "rollout", "-o", "jsonpath={.status.conditions[*].type}")
		if err != nil {
			return false, err.Error()
		}
		if strings.Contains(out, "Failed") {
			r.t.Fatalf("the rollout failed:\n%s", r.says())
		}
		return strings.Contains(out, "Complete"), out + "\n" + r.says()
	})
	r.t.Logf("ended after %s", time.Since(began).Round(time.Second))
}

// reachable wants logs and exec of a pod on each node, through each API server.
func (r *rollouts) reachable(servers ...string) {
	r.t.Helper()
	for _, server := range servers {
		kubectl := "kubectl --kubeconfig=/etc/kubernetes/admin.conf --server=https://" + server + ":6443 -n kube-system "
		for _, node := range r.nodes {
			script := "pod=$(" + kubectl + "get pods -l k8s-app=kube-proxy --field-selector spec.nodeName=" + node + " -o name) && " +
				kubectl + "logs --tail=1 $pod && " + kubectl + "exec $pod -- /kubectl-exec-finds-no-program 2>&1 | grep -q 'no such file'"
			if out, err := r.Node("cp1").Run(r.t.Context(), "sh", "-c", script); err != nil {
				r.t.Errorf("%s through %s: %v %s", node, server, err, out)
			}
		}
	}
}

// issuer is who has signed what the kubelet of a node serves, by openssl.
func (r *rollouts) issuer(node string) string {
	r.t.Helper()
	address := strings.TrimSpace(must(r.t, r.Node("cp1"), "kubectl", "get", "node", node, "-o", `jsonpath={.status.addresses[?(@.type=="InternalIP")].address}`))
	out, _ := r.Node("cp1").Run(r.t.Context(), "sh", "-c", "openssl s_client -verify_return_error -verify_ip "+address+" -CAfile /etc/kubernetes/ssl/ca.crt -connect "+address+":10250 </dev/null 2>&1 | grep -E '^issuer|^Verify return code|^verify error'")
	return out
}

// Kubelets get serving certificates of the cluster and then API servers demand
// them, though the rollout is ended on the way and begun again, and somebody else asks for a
// certificate too; it is taken back in the other order.
func TestRolloutServingCertificates(t *testing.T) {
	r := newRollouts(t, lab.Small, "cp1", "worker1")
	r.Spoil()
	cp := r.Node("cp1")
	// A person's request, for another node's address. He may ask, that is all.
	must(t, cp, "sh", "-c", forged)
	fix := []string{"fix", "--max-risk=cluster", "--steps=serving-certificates", "--check=1.2.5,4.2.9", "--soak=5s"}
	r.start(fix...)
	r.waits(3*time.Minute, "serving-certificates-kubelet-worker1")
	r.start(fix...) // ends the first one
	r.ends(6 * time.Minute)
	if said := r.says(); !strings.Contains(said, "going on with rollout") {
		t.Errorf("the second one did not go on with the first one's rollout:\n%s", said)
	}
	for _, node := range r.nodes {
		if said := r.issuer(node); !strings.Contains(said, "Verify return code: 0") {
			t.Errorf("%s: %s", node, said)
		}
	}
	const flag = "--kubelet-certificate-authority="
	if manifest := must(t, cp, "cat", "/etc/kubernetes/manifests/kube-apiserver.yaml"); !strings.Contains(manifest, flag) {
		t.Errorf("the API server does not ask for the authority:\n%s", manifest)
	}
	r.reachable("10.90.0.11")
	if status := must(t, cp, "kubectl", "get", "csr", "forged", "-o", "jsonpath={.status}"); strings.Contains(status, "Approved") {
		t.Errorf("a person's request was approved: %s", status)
	}
	told := must(t, cp, "hardener", "rollout", "report", "--output=json", "--kubeconfig=/etc/kubernetes/admin.conf")
	for _, file := range []string{"/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/kubelet-config.yaml"} {
		if !strings.Contains(told, file) {
			t.Errorf("the report does not tell of %s: %s", file, told)
		}
	}

	r.start("undo", "--steps=serving-certificates", "--check=1.2.5,4.2.9", "--soak=5s")
	r.ends(6 * time.Minute)
	if manifest := must(t, cp, "cat", "/etc/kubernetes/manifests/kube-apiserver.yaml"); strings.Contains(manifest, flag) {
		t.Error("the flag is still there")
	}
	for _, node := range r.nodes {
		if said := r.issuer(node); strings.Contains(said, "Verify return code: 0") {
			t.Errorf("%s still serves a certificate of the cluster: %s", node, said)
		}
	}
	r.reachable("10.90.0.11")
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
