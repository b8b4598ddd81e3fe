package gate

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// A pod may be replaced meanwhile, or one of them be broken: exec through any of
// the node's will do, at one try a look.
func TestExecElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	s := before(t, w)
	s.Pod.Exec = "kube-system/gone/main"
	list := []string{podOf("broken", `"command":["x"]`), podOf("proxy", `"command":["x"]`)}
	w.bodies["/api/v1/pods"] = fmt.Sprintf(`{"items":[%s]}`, strings.Join(list, ","))
	broken := strings.Replace(execPath, "proxy", "broken", 1)
	w.answers[broken] = http.StatusNotFound
	wants(t, w.gates.Take(t.Context(), w.component, s))
	var tried []string
	for _, r := range w.requests {
		if path, _, _ := strings.Cut(strings.TrimPrefix(r, "GET "), "?"); strings.HasSuffix(path, "/exec") {
			tried = append(tried, path)
		}
	}
	if want := []string{execPath, broken, execPath}; !slices.Equal(tried, want) { // the first is of before
		t.Errorf("tried %q, not %q", tried, want)
	}
	w.bodies["/api/v1/pods"] = `{}`
	w.run("uid-1", "c3", w.argv())
	wants(t, w.gates.Take(t.Context(), w.component, s), "which worked before in kube-system/gone/main", "no container of kube-system on this node is up")
}

// Nobody's pod but the cluster's own is tried, none with a limit of memory, and
// static ones last.
func TestTryable(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	a, err := w.gates.admin(fitnessOf(w).at)
	if err != nil {
		t.Fatal(err)
	}
	free := `"command":["x"]`
	static := strings.Replace(podOf("static", free), `"namespace"`, `"annotations":{"kubernetes.io/config.mirror":"x"},"namespace"`, 1)
	w.bodies["/api/v1/pods"] = fmt.Sprintf(`{"items":[%s]}`, strings.Join([]string{
		static, podOf("self", free), podOf("proxy", free), podOf("limited", `"resources":{"limits":{"memory":"1Gi"}}`),
		strings.Replace(podOf("down", free), `"ready":true`, `"ready":false`, 1),
		strings.Replace(podOf("going", free), `"namespace"`, `"deletionTimestamp":"2026-01-02T03:04:05Z","namespace"`, 1),
		strings.Replace(podOf("sandboxed", free), `"containers"`, `"runtimeClassName":"kata","containers"`, 1),
		strings.Replace(podOf("bounded", free), `"containers"`, `"resources":{"limits":{"memory":"1Gi"}},"containers"`, 1),
	}, ","))
	w.requests = nil
	got, err := a.tryable(t.Context(), fitnessOf(w).at, "self")
	if want := []string{"kube-system/proxy/main", "kube-system/static/main"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v, not %q", got, err, want)
	}
	if !strings.Contains(w.requests[0], "metadata.namespace%3Dkube-system") {
		t.Errorf("not only the cluster's own pods are asked for: %q", w.requests)
	}
}

// An API server that does not trust the kubelet's certificate is not waited for,
// whichever of logs and exec worked before.
func TestUntrustedKubelet(t *testing.T) {
	t.Parallel()
	for _, path := range []string{execPath, "/api/v1/namespaces/ns/pods/other/log"} {
		w := newWorld(t, node.APIServer)
		w.gates.Limits.Serve = time.Hour
		s := before(t, w)
		w.manifest("--kubelet-certificate-authority=/ca.crt")
		w.run("uid-2", "c2", w.argv("--kubelet-certificate-authority=/ca.crt"))
		w.answers[path], w.bodies[path] = http.StatusInternalServerError, `{"kind":"Status","apiVersion":"v1","code":500,"message":"tls: failed to verify certificate: x509: no IP SANs"}`
		wants(t, w.gates.Take(t.Context(), w.component, s), "before", "answered 500: tls: failed to verify certificate: x509: no IP SANs")
	}
}
