package kubectl

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// countingServer has twenty pods, writes down the requests it gets, and lets the
// caller get each pod only if all is true, else every other one.
func countingServer(t *testing.T, all bool) (config *rest.Config, requests func() []string) {
	t.Helper()
	var mu sync.Mutex
	var got []string
	pod := func(i int, head string) string {
		return fmt.Sprintf(`{%s"metadata":{"name":"p%d","namespace":"a"},"spec":{"hostPID":true}}`, head, i)
	}
	refuse := func(w http.ResponseWriter, code int, reason string) {
		w.WriteHeader(code)
		fmt.Fprintf(w, `{"kind":"Status","status":"Failure","reason":%q,"message":"no","code":%d}`, reason, code)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		got = append(got, r.Method+" "+r.URL.Path)
		mu.Unlock()
		var i int
		switch {
		case r.URL.Path == "/api/v1/pods":
			var items []string
			for i := range 20 {
				items = append(items, pod(i, ""))
			}
			fmt.Fprintf(w, `{"kind":"PodList","apiVersion":"v1","metadata":{},"items":[%s]}`, strings.Join(items, ","))
		case strings.HasSuffix(r.URL.Path, "selfsubjectaccessreviews"):
			fmt.Fprintf(w, `{"status":{"allowed":%t}}`, all)
		default:
			if _, err := fmt.Sscanf(r.URL.Path, "/api/v1/namespaces/a/pods/p%d", &i); err != nil || i >= 20 {
				refuse(w, http.StatusNotFound, "NotFound")
			} else if !all && i%2 == 1 {
				refuse(w, http.StatusForbidden, "Forbidden")
			} else {
				fmt.Fprint(w, pod(i, `"kind":"Pod","apiVersion":"v1",`))
			}
		}
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

// TestKept asks for a list and then for each object by its name, twice, and wants
// what single requests would have said, with few of them.
func TestKept(t *testing.T) {
	for _, tt := range []struct {
		name     string
		all      bool
		requests int
	}{
		{"all may be got", true, 1 + fewGets + 1 + 1}, // list, the first ones, review, the one that is missing
		{"some may be got", false, 1 + 20 + 1 + 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			config, requests := countingServer(t, tt.all)
			kept := Command(func() (*rest.Config, error) { return config, nil })
			ask := func(command shell.Command, args string) string {
				var out bytes.Buffer
				err := command(context.Background(), shell.Call{Args: strings.Fields("kubectl " + args), Stdin: strings.NewReader(""), Stdout: &out, Stderr: &out})
				return fmt.Sprint(out.String(), err)
			}
			var args []string
			for range 2 {
				args = append(args, "get pods -A -o json")
				for i := range 21 { // the last one is missing
					args = append(args, fmt.Sprintf("get pod p%d -n a -o json", i))
				}
			}
			var answers []string
			for _, a := range args {
				answers = append(answers, ask(kept, a))
			}
			if n := len(requests()); n != tt.requests {
				t.Errorf("%d requests, want %d: %q", n, tt.requests, requests())
			}
			for i, a := range args {
				fresh := ask(Command(func() (*rest.Config, error) { return config, nil }), a)
				if answers[i] != fresh {
					t.Errorf("kubectl %s: %q, a single one gives %q", a, answers[i], fresh)
				}
			}
		})
	}
}

func TestNotKeptWhenLarge(t *testing.T) {
	config, requests := countingServer(t, true)
	c, err := newClient(config)
	if err != nil {
		t.Fatal(err)
	}
	c.kept = maxKept
	for range 2 {
		for i := range 6 {
			r, _ := lookup("pod")
			if _, err := c.get(t.Context(), r, options{namespace: "a"}, fmt.Sprintf("p%d", i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// Each one anew, besides the review and the list that came to nothing.
	if n := len(requests()); n != 12+2 {
		t.Errorf("%d requests, want 14: %q", n, requests())
	}
}
