package gate

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// balancer has the kubelet reach the API by another address, until it is closed.
func (w *world) balancer() *httptest.Server {
	w.t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(w.serve)) // with the certificate of every such server
	w.t.Cleanup(s.Close)
	w.rewrite("etc/kubernetes/kubelet.conf", w.server.URL, s.URL)
	return s
}

// What worked by the load balancer has to work again, and what did not has not.
func TestWays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before, fault func(w *world, balancer *httptest.Server)
		ways          string
		words         []string
	}{
		"a balancer": {ways: "/etc/kubernetes/kubelet.conf"},
		"a balancer that ends": {ways: "/etc/kubernetes/kubelet.conf", fault: func(_ *world, b *httptest.Server) { b.Close() },
			words: []string{"serve: not within", "of /etc/kubernetes/kubelet.conf", "connection refused", "which worked before"}},
		"a balancer that was away": {before: func(_ *world, b *httptest.Server) { b.Close() }},
		"a kubelet that may not read": {ways: "/etc/kubernetes/kubelet.conf", fault: func(w *world, _ *httptest.Server) { w.answers["/api/v1/nodes/cp1"] = http.StatusForbidden },
			words: []string{"of /etc/kubernetes/kubelet.conf: read", "403"}},
		"no balancer": {before: func(w *world, b *httptest.Server) { w.rewrite("etc/kubernetes/kubelet.conf", b.URL, w.server.URL) }},
		"one for both": {ways: "/etc/kubernetes/kubelet.conf /etc/kubernetes/admin.conf",
			before: func(w *world, b *httptest.Server) { w.rewrite("etc/kubernetes/admin.conf", w.server.URL, b.URL) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, node.APIServer)
			b := w.balancer()
			if c.before != nil {
				c.before(w, b)
			}
			s := before(t, w)
			if got := strings.Join(s.Pod.Ways, " "); got != c.ways {
				t.Errorf("ways %q, not %q", got, c.ways)
			}
			w.manifest("--profiling=false")
			w.run("uid-2", "c2", w.argv("--profiling=false"))
			if c.fault != nil {
				c.fault(w, b)
			}
			wants(t, w.gates.Take(t.Context(), w.component, s), c.words...)
		})
	}
}
