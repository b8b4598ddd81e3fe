package gate

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

// etcdOf plays the JSON gateway of an etcd with these values, which gives out two
// at a time.
func etcdOf(t *testing.T, values map[string]string) storage {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		var asked struct {
			Key      []byte `json:"key"`
			RangeEnd []byte `json:"range_end"`
		}
		if err := json.NewDecoder(r.Body).Decode(&asked); err != nil || r.URL.Path != "/v3/kv/range" {
			t.Errorf("%s: %v", r.URL, err)
		}
		var keys []string
		for k := range values {
			if k >= string(asked.Key) && k < string(asked.RangeEnd) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		type kv struct {
			Key   []byte `json:"key"`
			Value []byte `json:"value"`
		}
		answer := struct {
			Kvs  []kv `json:"kvs"`
			More bool `json:"more"`
		}{More: len(keys) > 2}
		for _, k := range keys[:min(2, len(keys))] {
			answer.Kvs = append(answer.Kvs, kv{[]byte(k), []byte(values[k])})
		}
		_ = json.NewEncoder(rw).Encode(answer)
	}))
	t.Cleanup(s.Close)
	return storage{members{s.Client(), s.URL, quick}, "/registry"}
}

func TestStorageForms(t *testing.T) {
	t.Parallel()
	const ours = "k8s:enc:secretbox:v1:key:"
	s := etcdOf(t, map[string]string{
		"/registry/secrets/a/1": "k8s\x00plain", "/registry/secrets/a/2": ours + "x", "/registry/secrets/a/3": "k8s:enc:aescbc:v1:key:x",
		"/registry/secrets/b/1": ours + "y", "/registry/secrets/b/2": "k8s\x00" + ours, "/registry/secretsx/a": "another kind", "/registry/pods/a": "x",
	})
	for _, tt := range []struct {
		key, prefix string
		all         int
		others      string
	}{
		{"/registry/secrets/", ours, 5, "a/1 a/3 b/2"},
		{"/registry/secrets/", "", 5, "a/2 a/3 b/1"},
		{"/registry/secrets/b/1", ours, 1, ""},
		{"/registry/secrets/c/", ours, 0, ""},
	} {
		f, err := s.list(t.Context(), tt.key, tt.prefix)
		others := strings.ReplaceAll(strings.Join(f.others, " "), "/registry/secrets/", "")
		if err != nil || f.all != tt.all || others != tt.others {
			t.Errorf("%s %q: %d, %q, %v; want %d, %q", tt.key, tt.prefix, f.all, others, err, tt.all, tt.others)
		}
	}
}

// TestRewrite writes what it has read, again when somebody was faster, and tells
// nothing of it when it may not.
func TestRewrite(t *testing.T) {
	t.Parallel()
	const secret = `{"data":{"password":"aHVzaA=="},"metadata":{"resourceVersion":"7"}}`
	for _, tt := range []struct {
		what  string
		codes []int // of the PUTs
		want  string
	}{
		{"at once", []int{200}, ""},
		{"after conflicts", []int{409, 409, 503, 200}, ""},
		{"gone", []int{404}, ""},
		{"forbidden by a webhook", []int{403}, "answered 403"},
		{"not valid", []int{422}, "answered 422"},
		{"always in conflict", []int{409, 409, 409, 409, 409}, "answered 409"},
	} {
		t.Run(tt.what, func(t *testing.T) {
			t.Parallel()
			n := 0
			s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					fmt.Fprint(rw, secret)
					return
				}
				var got map[string]any
				if err := json.NewDecoder(r.Body).Decode(&got); err != nil || fmt.Sprint(got) != "map[data:map[password:aHVzaA==] metadata:map[resourceVersion:7]]" {
					t.Errorf("written: %v, %v", got, err)
				}
				rw.WriteHeader(tt.codes[n])
				n++
				fmt.Fprint(rw, `{"message":"of aHVzaA=="}`)
			}))
			defer s.Close()
			err := (&api{http: s.Client(), base: s.URL}).rewrite(t.Context(), "ns", "name")
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "aHVzaA") {
				t.Errorf("the error tells the Secret: %v", err)
			}
			if n != len(tt.codes) {
				t.Errorf("written %d times, want %d", n, len(tt.codes))
			}
		})
	}
}

func TestFailedTransformations(t *testing.T) {
	t.Parallel()
	const name = "apiserver_storage_transformation_operations_total"
	metrics := "# HELP " + name + " x\n" + name + `{resource="secrets",status="OK",transformer_prefix="k8s:enc:secretbox:v1:key:"} 12` + "\n" +
		name + `{resource="secrets",status="Unknown",transformer_prefix="a}b"} 3` + "\n" + name + `{status="InvalidArgument"} 2e+00` + "\nother{status=\"Unknown\"} 9\n"
	if n := failures(metrics); n != 5 {
		t.Errorf("%g failures, want 5", n)
	}
	if n := failures(""); n != 0 {
		t.Errorf("%g failures of none", n)
	}
}

// TestSecretsAgree tells servers apart that do not list the same.
func TestSecretsAgree(t *testing.T) {
	t.Parallel()
	w := kubeletsWorld(t)
	second := kubeletsWorld(t)
	list := `{"metadata":{"resourceVersion":"5"},"items":[{"metadata":{"namespace":"n","name":"a","resourceVersion":"3"},"data":{"x":"eA=="}}]}`
	servers := func(ports ...string) string {
		var all []string
		for _, p := range ports {
			all = append(all, `{"endpoints":[{"addresses":["127.0.0.1"]}],"ports":[{"port":`+p+`}]}`)
		}
		return `{"items":[` + strings.Join(all, ",") + `]}`
	}
	const slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
	w.bodies["/api/v1/secrets"], w.bodies[slices] = list, servers(w.port())
	wants(t, w.gates.SecretsAgree(t.Context()))
	// The second one lists none, and then the same, as of the same version.
	w.mu.Lock()
	w.bodies[slices] = servers(w.port(), second.port())
	w.mu.Unlock()
	wants(t, w.gates.SecretsAgree(t.Context()), "read Secrets otherwise", "has 1", "has 0")
	second.mu.Lock()
	second.bodies["/api/v1/secrets"] = list
	second.mu.Unlock()
	wants(t, w.gates.SecretsAgree(t.Context()))
	exact := func(asked string) bool {
		return strings.Contains(asked, "resourceVersion=5") && strings.Contains(asked, "resourceVersionMatch=Exact")
	}
	if asked := w.requests[len(w.requests)-1] + second.requests[len(second.requests)-1]; !exact(asked) {
		t.Errorf("asked %q", asked)
	}
	w.mu.Lock()
	w.bodies[slices] = servers(w.port())
	w.answers["/api/v1/secrets"], w.bodies["/api/v1/secrets"] = 500, `{"message":"unable to transform key"}`
	w.mu.Unlock()
	wants(t, w.gates.SecretsAgree(t.Context()), "not every API server reads all Secrets", "unable to transform")
	w.mu.Lock()
	w.bodies[slices] = `{}`
	w.mu.Unlock()
	wants(t, w.gates.SecretsAgree(t.Context()), "no API server has registered")
}
