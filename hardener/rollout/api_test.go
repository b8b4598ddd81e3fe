package rollout

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// TestPatience has an API server answer one status after the other.
func TestPatience(t *testing.T) {
	tests := map[string]struct {
		answers []int
		ok      bool
		left    int // answers that were not asked for
	}{
		"at once":                              {[]int{200}, true, 0},
		"away, then there":                     {[]int{503, 429, 200}, true, 0},
		"a server that wakes knows no rights":  {[]int{503, 403, 401, 200}, true, 0},
		"one that is awake means what it says": {[]int{403, 200, 403, 200}, false, 1}, // the second is of /readyz
		"one that woke up just before":         {[]int{403, 500, 403, 401, 200}, true, 0},
		"one that woke up meanwhile":           {[]int{403, 200, 200}, true, 0},
		"one that knows nobody yet":            {[]int{403, 403, 403, 200}, true, 0},
		"a mistake is not repeated":            {[]int{422, 200}, false, 1},
		"what is not there":                    {[]int{404, 200}, false, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			answers := slices.Clone(tt.answers)
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				status := answers[0]
				answers = answers[1:]
				w.WriteHeader(status)
				io.WriteString(w, `{"kind":"Status","message":"no"}`)
			}))
			defer server.Close()
			api, err := Connect(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			api.Patience = time.Minute
			if err := api.get(t.Context(), "/x", nil); (err == nil) != tt.ok || len(answers) != tt.left {
				t.Errorf("got %v with %d answers left", err, len(answers))
			}
		})
	}
}

// A refusal for ever is one, though nobody may ask whether the server is ready
// either.
func TestPatienceEnds(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer server.Close()
	api, err := Connect(&rest.Config{Host: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	api.wakes = 10 * time.Millisecond
	if err := api.get(t.Context(), "/x", nil); !forbidden(err) {
		t.Errorf("got %v", err)
	}
}

// TestReadyzGoesToItsAddress asks a server by its address, where the name that
// the kubeconfig goes by leads elsewhere.
func TestReadyzGoesToItsAddress(t *testing.T) {
	etcd := "[+]etcd ok\n"
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusNotFound)
		}
		io.WriteString(w, "[+]ping ok\n"+etcd)
	}))
	defer server.Close()
	api, err := Connect(&rest.Config{Host: "https://lb.invalid:8443", TLSClientConfig: rest.TLSClientConfig{Insecure: true}})
	if err != nil {
		t.Fatal(err)
	}
	address := strings.TrimPrefix(server.URL, "https://")
	if err := api.readyz(t.Context(), address); err != nil {
		t.Error(err)
	}
	etcd = ""
	if err := api.readyz(t.Context(), address); err == nil || !strings.Contains(err.Error(), "etcd") {
		t.Errorf("without etcd: %v", err)
	}
	server.Close()
	if err := api.readyz(t.Context(), address); err == nil {
		t.Error("a server that has ended is ready")
	}
}

func TestEtcdServers(t *testing.T) {
	for _, argv := range [][]string{
		{"kube-apiserver", "--etcd-servers=https://10.0.0.1:2379,https://[fd00::2]:2379", "--etcd-servers-overrides=/events#https://10.0.0.3:2383"},
		{"kube-apiserver", "--etcd-servers", "https://10.0.0.1:2379, https://[fd00::2]:2379"},
	} {
		if got := etcdServers(argv); !slices.Equal(got, []string{"10.0.0.1", "fd00::2"}) {
			t.Errorf("%q: %q", argv, got)
		}
	}
}
