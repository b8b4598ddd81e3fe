package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

func TestReportTo(t *testing.T) {
	broken := errors.New("fix: it is broken")
	tests := map[string]struct {
		failure error
		status  []int // what the API server answers, one after the other
		code    int
		exit    string // as delivered
	}{
		"nothing found":                      {nil, []int{200}, exitOK, "0"},
		"findings are no failure of a Job":   {errFindings, []int{200}, exitOK, "1"},
		"a failure is one":                   {broken, []int{200}, exitFailed, "3"},
		"a mistake is one":                   {usage("", "no such flag"), []int{200}, exitInput, "2"},
		"the API server is away for a while": {nil, []int{503, 503, 200}, exitOK, "0"},
		"it does not arrive":                 {errFindings, []int{403}, exitFailed, "1"},
		"a failure that does not arrive":     {usage("", "no such flag"), []int{403}, exitInput, "2"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var path, exit string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Path == "/readyz" { // a refusal is taken at its word from one that is ready
					return
				}
				status := tt.status[0]
				tt.status = tt.status[min(1, len(tt.status)-1):]
				var patch struct {
					Metadata   struct{ Annotations map[string]string }
					BinaryData map[string][]byte
				}
				if err := json.NewDecoder(r.Body).Decode(&patch); err != nil || len(patch.BinaryData["report.json.gz"]) == 0 {
					t.Errorf("%v: no report in %+v", err, patch)
				}
				path, exit = r.Method+" "+r.URL.Path, patch.Metadata.Annotations["kubespray-hardener/exit"]
				w.WriteHeader(status)
				io.WriteString(w, "{}")
			}))
			defer server.Close()
			f := reportTo{
				to: "configmap/ns/report-w1", patience: time.Minute, last: time.Minute,
				account: func() (*rest.Config, error) { return &rest.Config{Host: server.URL}, nil },
			}
			r := report.New(nil)
			var stderr strings.Builder
			err := f.run(t.Context(), streams{err: &stderr}, &outputFlags{written: &r}, func() error { return tt.failure })
			if code := exitCode(io.Discard, err); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tt.code)
			}
			if path != "PATCH /api/v1/namespaces/ns/configmaps/report-w1" || exit != tt.exit {
				t.Errorf("%s with exit code %q, want %q", path, exit, tt.exit)
			}
		})
	}
}

// TestReportToWhenStopped delivers also when the command was told to stop.
func TestReportToWhenStopped(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++; io.WriteString(w, "{}") }))
	defer server.Close()
	f := reportTo{
		to: "configmap/ns/report-w1", patience: time.Minute, last: time.Minute,
		account: func() (*rest.Config, error) { return &rest.Config{Host: server.URL}, nil },
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := f.run(ctx, streams{}, &outputFlags{}, func() error { return context.Canceled }); !errors.Is(err, context.Canceled) || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
}

// TestReportToKeepsAuditsFromTheCluster runs kubectl as an audit of a Job does.
func TestReportToKeepsAuditsFromTheCluster(t *testing.T) {
	for to, want := range map[string]string{"": "asked\n", "configmap/ns/report-w1": "was refused - did you specify the right host or port?\n"} {
		options := hardener.Options{Commands: func() map[string]shell.Command {
			return map[string]shell.Command{"kubectl": func(_ context.Context, c shell.Call) error {
				_, err := io.WriteString(c.Stderr, "asked\n")
				return err
			}}
		}}
		(&reportTo{to: to}).limit(&options, "")
		var stderr strings.Builder
		options.Commands()["kubectl"](t.Context(), shell.Call{Args: []string{"kubectl", "get", "pods"}, Stdout: io.Discard, Stderr: &stderr})
		if !strings.HasSuffix(stderr.String(), want) {
			t.Errorf("--report-to=%q: kubectl says %q, want %q", to, stderr.String(), want)
		}
	}
}
