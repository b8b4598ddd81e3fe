//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// outage counts the time in which an API server gave no answer at all; a refusal
// is one.
type outage struct {
	stop  context.CancelFunc
	ended sync.WaitGroup

	mu     sync.Mutex
	silent time.Duration
	spells int
}

// watchAPI asks the API server of the first control plane ten times a second,
// each time on a new connection, until silence is called.
func watchAPI(t *testing.T, c *lab.Cluster) *outage {
	t.Helper()
	config, err := c.Config(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{
		Timeout: 2 * time.Second,
		Transport: &http.Transport{
			DialContext: config.Dial, DisableKeepAlives: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // whether it answers, not who it is
		},
	}
	ctx, stop := context.WithCancel(t.Context())
	o := &outage{stop: stop}
	o.ended.Go(func() {
		var since time.Time // of the first request without an answer
		for ctx.Err() == nil {
			asked := time.Now()
			answers := answers(ctx, client, config.Host+"/livez")
			o.mu.Lock()
			switch {
			case answers && !since.IsZero():
				o.silent += time.Since(since)
				since = time.Time{}
			case !answers && since.IsZero() && ctx.Err() == nil:
				since = asked
				o.spells++
			}
			o.mu.Unlock()
			time.Sleep(100 * time.Millisecond)
		}
	})
	t.Cleanup(stop)
	return o
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, response.Body)
	return response.Body.Close() == nil
}

// silence ends the watch. It is the time without an answer in all, and how often
// it began.
func (o *outage) silence() (time.Duration, int) {
	o.stop()
	o.ended.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.silent, o.spells
}

func (o *outage) String() string {
	silent, spells := o.silence()
	return fmt.Sprintf("%.1f s without an answer in %d spells", silent.Seconds(), spells)
}
