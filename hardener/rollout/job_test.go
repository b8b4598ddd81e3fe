package rollout

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"k8s.io/client-go/rest"
)

// TestDriveLooksAtItsJobAlone counts what is asked while a Job is under way. The
// pods are asked for once at most, when the Job is late to say that they run.
func TestDriveLooksAtItsJobAlone(t *testing.T) {
	const (
		jobPath    = "/apis/batch/v1/namespaces/kubespray-hardener/jobs/j"
		podsPath   = "/api/v1/namespaces/kubespray-hardener/pods"
		reportPath = "/api/v1/namespaces/kubespray-hardener/configmaps/report-n"
	)
	tests := map[string]struct {
		status string // of the Job while it is under way
		start  time.Duration
		pods   int // lists of pods
	}{
		"it runs":                         {`{"active":1,"ready":1}`, time.Nanosecond, 0},
		"it does not run yet":             {`{"active":1}`, time.Hour, 0},
		"it does not say so, but it runs": {`{"active":1}`, time.Nanosecond, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			asked := map[string]int{}
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				asked[r.URL.Path]++
				switch r.URL.Path {
				case jobPath:
					status := tt.status
					if asked[jobPath] == 4 {
						status = `{"conditions":[{"type":"Complete","status":"True"}]}`
					}
					io.WriteString(w, `{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":900}}},"status":`+status+`}`)
				case podsPath:
					io.WriteString(w, `{"items":[{"status":{"containerStatuses":[{"state":{"running":{}}}]}}]}`)
				case reportPath:
					io.WriteString(w, `{"metadata":{"labels":{"kubespray-hardener/rollout":"id"},"annotations":{"kubespray-hardener/exit":"0"}}}`)
				default:
					w.WriteHeader(http.StatusNotFound)
				}
			}))
			defer server.Close()
			api, err := Connect(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			times := Times{Node: time.Hour, Start: tt.start, Settle: time.Hour, Poll: time.Millisecond}
			if _, err := api.drive(t.Context(), "id", "n", "j", times, nil); err != nil {
				t.Fatal(err)
			}
			if asked[jobPath] != 4 || asked[podsPath] != tt.pods || asked[reportPath] != 1 {
				t.Errorf("asked %v, want 4 looks at the Job, %d at its pods and 1 at the report", asked, tt.pods)
			}
		})
	}
}
