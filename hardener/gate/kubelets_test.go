package gate

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// kubeletsWorld is an API server whose pod sees the authority of the host, and two
// nodes: what answers as the kubelet of each is this world's server.
func kubeletsWorld(t *testing.T) *world {
	t.Helper()
	w := newWorld(t, node.APIServer)
	w.manifestFlag()
	w.bodies["/api/v1/nodes"] = kubeletsAre(w.port(), w.port())
	w.bodies["/api/v1/pods"] = `{"items":[` + on("cp1", podOf("proxy", `"command":["x"]`)) + `,` + on("w1", podOf("proxy", `"command":["x"]`)) + `]}`
	return w
}

// manifestFlag writes the manifest with volumes, and with more flags.
func (w *world) manifestFlag(more ...string) {
	t := w.t
	t.Helper()
	w.manifest(append([]string{"--client-ca-file=/pki/ca.crt", "--kubelet-preferred-address-types=InternalDNS,InternalIP,Hostname"}, more...)...)
	file := filepath.Join(w.dir, w.manifestFile())
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	w.write(w.manifestFile(), string(data)+`    volumeMounts:
    - {name: none, mountPath: /}
    - {name: pki, mountPath: /pki/}
  volumes:
  - {name: none, emptyDir: {}}
  - {name: pki, hostPath: {path: /etc/kubernetes/ssl}}
`)
}

func kubeletsAre(first, second string) string {
	one := func(name, port string) string {
		return `{"metadata":{"name":"` + name + `"},"status":{"daemonEndpoints":{"kubeletEndpoint":{"Port":` + port + `}},"addresses":[{"type":"Hostname","address":"` + name + `.invalid"},{"type":"InternalIP","address":"127.0.0.1"}]}}`
	}
	return `{"items":[` + one("cp1", first) + `,` + one("w1", second) + `]}`
}

func on(name, pod string) string {
	return strings.Replace(pod, `"spec":{`, `"spec":{"nodeName":"`+name+`",`, 1)
}

func TestKubeletsTrusted(t *testing.T) {
	t.Parallel()
	w := kubeletsWorld(t)
	wants(t, w.gates.KubeletsTrusted(t.Context()))

	w.mu.Lock()
	w.bodies["/api/v1/nodes"] = kubeletsAre(w.port(), "1")
	w.mu.Unlock()
	wants(t, w.gates.KubeletsTrusted(t.Context()), "node w1", "refused")

	// By name the same certificate is not good, and the first type counts.
	w.mu.Lock()
	w.bodies["/api/v1/nodes"] = strings.ReplaceAll(kubeletsAre(w.port(), w.port()), `{"type":"Hostname","address":"w1.invalid"}`, `{"type":"InternalDNS","address":"localhost"}`)
	w.mu.Unlock()
	wants(t, w.gates.KubeletsTrusted(t.Context()), "node w1", "localhost")

	w.mu.Lock()
	w.bodies["/api/v1/nodes"] = `{"items":[{"metadata":{"name":"bare"}}]}`
	w.mu.Unlock()
	wants(t, w.gates.KubeletsTrusted(t.Context()), "node bare has no address")
}

// TestKubeletsUntrusted tells apart who has not signed what the kubelets serve.
func TestKubeletsUntrusted(t *testing.T) {
	t.Parallel()
	w := kubeletsWorld(t)
	other := certificate(t, -time.Hour, time.Hour, true)
	w.write("etc/kubernetes/ssl/other.crt", other)
	w.write("etc/kubernetes/ssl/none.crt", "none")
	w.manifestFlag("--kubelet-certificate-authority=/pki/other.crt")
	wants(t, w.gates.KubeletsTrusted(t.Context()), "node cp1", "node w1", "signed by unknown authority")
	w.manifestFlag("--kubelet-certificate-authority=/pki/none.crt")
	wants(t, w.gates.KubeletsTrusted(t.Context()), "no certificate")
	w.manifestFlag("--kubelet-certificate-authority=/elsewhere/ca.crt")
	wants(t, w.gates.KubeletsTrusted(t.Context()), "no file of this host")
}

func TestReachKubelets(t *testing.T) {
	t.Parallel()
	w := kubeletsWorld(t)
	before, err := w.gates.ReachKubelets(t.Context())
	if err != nil || len(before) != 2 || before["w1"] != (reach{"kube-system/proxy", "kube-system/proxy/main"}) {
		t.Fatalf("%+v, %v", before, err)
	}
	wants(t, w.gates.StillReach(t.Context(), before))

	// Its log is refused for a reason that another pod would not change.
	const log = "/api/v1/namespaces/kube-system/pods/proxy/log"
	w.mu.Lock()
	w.answers[log], w.bodies[log] = 500, `{"message":"x509: certificate signed by unknown authority"}`
	w.mu.Unlock()
	wants(t, w.gates.StillReach(t.Context(), before), "x509", "worked before")
	if _, err := w.gates.ReachKubelets(t.Context()); err == nil {
		t.Error("kubelets whose logs cannot be had are reached")
	}

	// A pod that is gone gives way to another.
	w.mu.Lock()
	w.answers[log], w.bodies[log] = 404, `{"message":"not found"}`
	w.bodies["/api/v1/pods"] = `{"items":[` + on("cp1", podOf("other", `"resources":{"limits":{"memory":"1Gi"}}`)) + `]}`
	w.mu.Unlock()
	wants(t, w.gates.StillReach(t.Context(), Reached{"cp1": {logs: "kube-system/proxy"}}))
	wants(t, w.gates.StillReach(t.Context(), before), "node cp1", "node w1")
}
