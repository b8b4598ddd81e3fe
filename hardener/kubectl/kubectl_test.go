package kubectl

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// apiServer answers like a Kubernetes API server with two pods on two pages, a
// ClusterRoleBinding, and an access review that refuses everything.
func apiServer(t *testing.T) *rest.Config {
	t.Helper()
	mux := http.NewServeMux()
	answer := func(path string, body func(*http.Request) string) {
		mux.HandleFunc(path, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprint(w, body(r))
		})
	}
	pod := func(name, extra string) string {
		return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"kube-system","managedFields":[{}]},"spec":{%s}}`, name, extra)
	}
	answer("/api/v1/pods", func(r *http.Request) string {
		if r.URL.Query().Get("continue") == "" {
			return `{"kind":"PodList","apiVersion":"v1","metadata":{"continue":"2"},"items":[` + pod("a", `"hostPID":true,"priority":2000001000`) + `]}`
		}
		return `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[` + pod("long-name-b", "") + `]}`
	})
	answer("/api/v1/namespaces/kube-system/pods/a", func(*http.Request) string { return pod("a", `"hostPID":true`) })
	answer("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", func(*http.Request) string {
		return `{"kind":"ClusterRoleBindingList","apiVersion":"rbac.authorization.k8s.io/v1","items":[{"metadata":{"name":"x"},"roleRef":{"name":"cluster-admin"},"subjects":[{"name":"u1"},{"name":"u2"}]},{"metadata":{"name":"y"},"roleRef":{"name":"view"}}]}`
	})
	answer("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", func(r *http.Request) string {
		if r.Method != http.MethodPost || r.Header.Get("Impersonate-User") != "system:authenticated" {
			return `{"status":{"allowed":true}}`
		}
		return `{"status":{"allowed":false}}`
	})
	answer("/version", func(*http.Request) string { return `{"major":"1","minor":"30+","gitVersion":"v1.30.4+k3s1"}` })
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusNotFound)
		fmt.Fprint(w, `{"kind":"Status","status":"Failure","reason":"NotFound","message":"pods \"gone\" not found","code":404}`)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func TestCommand(t *testing.T) {
	config := apiServer(t)
	tests := map[string]struct {
		reason         string
		args           string
		stdout, stderr string
		fails          bool
	}{
		"columns over pages": {
			reason: "all pages are read, missing fields print <none>, numbers as the server wrote them",
			args:   "get pods --all-namespaces -o custom-columns=NAME:.metadata.name,PID:.spec.hostPID,P:.spec.priority --no-headers",
			stdout: "a             true     2000001000\nlong-name-b   <none>   <none>\n",
		},
		"columns with header and lists": {
			reason: "list elements are joined with commas",
			args:   "get clusterrolebindings -o=custom-columns=NAME:.metadata.name,ROLE:.roleRef.name,SUBJECT:.subjects[*].name",
			stdout: "NAME   ROLE            SUBJECT\nx      cluster-admin   u1,u2\ny      view            <none>\n",
		},
		"one pod as json": {
			reason: "a single name is not wrapped in a list, managed fields are left out",
			args:   "get pod a --namespace kube-system -o json",
			stdout: "{\n    \"metadata\": {\n        \"name\": \"a\",\n        \"namespace\": \"kube-system\"\n    },\n    \"spec\": {\n        \"hostPID\": true\n    }\n}\n",
		},
		"jsonpath": {
			reason: "no newline is added",
			args:   "get pod a --namespace kube-system -o jsonpath={.spec.hostPID}",
			stdout: "true",
		},
		"not found": {
			reason: "the server's own words, status 1",
			args:   "get pod gone -n default -o json",
			stderr: "Error from server (NotFound): pods \"gone\" not found\n",
			fails:  true,
		},
		"not found ignored": {
			reason: "nothing is printed",
			args:   "get pod gone -n default -o json --ignore-not-found",
		},
		"can-i denied": {
			reason: "impersonation reaches the server, the answer no has status 1",
			args:   "auth can-i get,list,watch secrets --all-namespaces --as=system:authenticated",
			stdout: "no\n", fails: true,
		},
		"can-i allowed": {reason: "status 0", args: "auth can-i create pods -A", stdout: "yes\n"},
		"unknown resource": {
			reason: "kubectl's words",
			args:   "get frobs -o json",
			stderr: "error: the server doesn't have a resource type \"frobs\"\n", fails: true,
		},
		"unknown flag": {reason: "no guessing", args: "get pods --wide", stderr: "error: unknown flag: --wide\n", fails: true},
		"writes":       {reason: "only reading commands exist", args: "delete pod a", stderr: "error: kubectl delete is not available in process\n", fails: true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := call(t, func() (*rest.Config, error) { return config, nil }, tt.args)
			if stdout != tt.stdout || stderr != tt.stderr || (err != nil) != tt.fails {
				t.Errorf("%s\nkubectl %s\nstdout %q\nwant   %q\nstderr %q\nwant   %q\nerr %v, want failure %v", tt.reason, tt.args, stdout, tt.stdout, stderr, tt.stderr, err, tt.fails)
			}
		})
	}
}

func TestNoServer(t *testing.T) {
	_, stderr, err := call(t, func() (*rest.Config, error) { return nil, ErrNoServer }, "get pods -A -o json")
	if err == nil || !strings.HasPrefix(stderr, "The connection to the server localhost:8080 was refused") {
		t.Errorf("without a kubeconfig: stderr %q, err %v", stderr, err)
	}
}

func TestServerVersion(t *testing.T) {
	config := apiServer(t)
	got, err := ServerVersion(t.Context(), func() (*rest.Config, error) { return config, nil })
	if err != nil || got != "v1.30.4+k3s1" {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := ServerVersion(t.Context(), func() (*rest.Config, error) { return nil, ErrNoServer }); !errors.Is(err, ErrNoServer) {
		t.Errorf("without a kubeconfig: %v", err)
	}
	gone := &rest.Config{Host: config.Host + "/gone"}
	if _, err := ServerVersion(t.Context(), func() (*rest.Config, error) { return gone, nil }); err == nil {
		t.Error("an answer without version is no error")
	}
}

func TestConnectError(t *testing.T) {
	_, stderr, err := call(t, func() (*rest.Config, error) { return nil, errors.New("kubeconfig: broken") }, "get pods -A -o json")
	if err == nil || stderr != "kubeconfig: broken\n" {
		t.Errorf("with a broken kubeconfig: stderr %q, err %v", stderr, err)
	}
}

func call(t *testing.T, connect func() (*rest.Config, error), args string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	err = Command(connect)(context.Background(), shell.Call{
		Args:   append([]string{"kubectl"}, strings.Fields(args)...),
		Stdin:  strings.NewReader(""),
		Stdout: &out, Stderr: &errs,
	})
	return out.String(), errs.String(), err
}
