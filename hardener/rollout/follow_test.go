package rollout

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"k8s.io/client-go/rest"
)

// TestFollow plays the log of a Job's pod, look by look.
func TestFollow(t *testing.T) {
	const (
		pods = "/api/v1/namespaces/kubespray-hardener/pods"
		log  = pods + "/p/log"
	)
	tests := map[string]struct {
		looks []string // what the log ends with, "" for an answer of 500
		told  []string
		asked int // for the log
	}{
		"each line once":          {[]string{"hardener: a\n", "hardener: a\n", "hardener: a\nhardener: b\n"}, []string{"a", "b"}, 3},
		"not what is in a report": {[]string{"hardener: a\nhardener:x\n[PASS] 1.1.1\n", "nothing"}, []string{"a"}, 2},
		"a node that is restarted": {
			[]string{"hardener: a\n", "", "", "hardener: b\n", "", "", "hardener: c\n"}, []string{"a", "b", "c"}, 7},
		"whoever may not": {[]string{"", "", "", "hardener: a\n"}, nil, 3},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			asked, look := 0, 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch r.URL.Path {
				case pods:
					io.WriteString(w, `{"items":[{"metadata":{"name":"p"}}]}`)
				case log:
					asked++
					if tt.looks[look] == "" {
						w.WriteHeader(http.StatusInternalServerError)
					}
					io.WriteString(w, tt.looks[look])
				}
			}))
			defer server.Close()
			api, err := Connect(&rest.Config{Host: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			var told []string
			f := &follower{api: api, job: "j", tell: func(line string) { told = append(told, line) }}
			for look = range tt.looks {
				f.look(t.Context())
			}
			if !slices.Equal(told, tt.told) || asked != tt.asked {
				t.Errorf("told %q after %d requests for the log, want %q after %d", told, asked, tt.told, tt.asked)
			}
		})
	}
	var none *follower
	none.look(t.Context())
}
