package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// heard is something that the watcher said.
type heard struct {
	at    time.Time // of the line, as it says itself; of an Event, when it got here
	event string    // reason, "" for a line of the log
	text  string
}

// ear hears all that the watcher says.
type ear struct {
	mu  sync.Mutex
	all []heard
	err error // what keeps it from hearing any more
}

// listen hears the log of this node's watcher, which the kubelet keeps in a file,
// and the Events of the cluster, through its API.
func listen(ctx context.Context, pattern, kubeconfig string) (*ear, error) {
	logs, err := filepath.Glob(pattern)
	if err != nil || len(logs) != 1 {
		return nil, fmt.Errorf("the log of the watcher: %d files, want one: %v", len(logs), err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	e := &ear{}
	opened := make(chan struct{})
	go func() { e.fail(ctx, e.readLog(ctx, logs[0])) }()
	go func() { e.fail(ctx, e.readEvents(ctx, config, opened)) }()
	select {
	case <-opened:
		return e, nil
	case <-time.After(missed):
		return nil, fmt.Errorf("events: no answer: %v", e.err)
	}
}

func (e *ear) fail(ctx context.Context, err error) {
	if ctx.Err() == nil {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.err = err
	}
}

func (e *ear) hear(h heard) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.all = append(e.all, h)
}

// readLog follows a log of a pod: "TIME stderr F LINE", where the line is logrus's
// JSON. When it is read does not matter: each line has its time.
func (e *ear) readLog(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	var rest []byte
	buffer := make([]byte, 64<<10)
	for ; ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		n, _ := f.Read(buffer) // at the end it is 0
		rest = append(rest, buffer[:n]...)
		for {
			line, after, whole := bytes.Cut(rest, []byte("\n"))
			if !whole {
				break
			}
			rest = after
			var said struct {
				Time time.Time
				Msg  string
			}
			if i := bytes.IndexByte(line, '{'); i >= 0 && json.Unmarshal(line[i:], &said) == nil {
				e.hear(heard{at: said.Time, text: said.Msg})
			}
		}
	}
	return ctx.Err()
}

// readEvents watches the Events on Nodes.
func (e *ear) readEvents(ctx context.Context, config *rest.Config, opened chan struct{}) error {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		config.Host+"/apis/events.k8s.io/v1/namespaces/default/events?watch=true&timeoutSeconds=36000", nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("events: %s", answer.Status)
	}
	close(opened)
	for d := json.NewDecoder(answer.Body); ; {
		var seen struct{ Object struct{ Reason, Note string } }
		if err := d.Decode(&seen); err != nil {
			return fmt.Errorf("events: %w", err)
		}
		e.hear(heard{at: time.Now(), event: seen.Object.Reason, text: seen.Object.Note})
	}
}

// since is all that was said after a moment.
func (e *ear) since(moment time.Time) []heard {
	e.mu.Lock()
	defer e.mu.Unlock()
	var all []heard
	for _, h := range e.all {
		if h.at.After(moment) {
			all = append(all, h)
		}
	}
	return all
}

// wait waits for something that is said after a moment.
func (e *ear) wait(ctx context.Context, since time.Time, what string, is func(heard) bool) (heard, error) {
	for end := time.Now().Add(missed); time.Now().Before(end); {
		for _, h := range e.since(since) {
			if is(h) {
				return h, nil
			}
		}
		e.mu.Lock()
		err := e.err
		e.mu.Unlock()
		if err != nil {
			return heard{}, err
		}
		if err := pause(ctx, 2*time.Millisecond); err != nil {
			return heard{}, err
		}
	}
	return heard{}, fmt.Errorf("missed: %s: nothing within %s; heard: %s", what, missed, e.last(since))
}

// last is what was said last after a moment, in short.
func (e *ear) last(since time.Time) string {
	var all []string
	for _, h := range e.since(since) {
		all = append(all, fmt.Sprintf("%s %.200q", h.event, h.text))
	}
	return strings.Join(all[max(0, len(all)-5):], "; ")
}

// line tells whether it is a line of the log that begins so and has words in it.
func (h heard) line(begins, words string) bool {
	return h.event == "" && strings.HasPrefix(h.text, begins) && strings.Contains(h.text, words)
}

var checkNumber = regexp.MustCompile(`\b\d+\.\d+\.\d+\b`)

// numbers are the checks that something said after a moment is about.
func (e *ear) numbers(since time.Time, is func(heard) bool) map[string]bool {
	all := map[string]bool{}
	for _, h := range e.since(since) {
		if is(h) {
			for _, id := range checkNumber.FindAllString(h.text, -1) {
				all[id] = true
			}
		}
	}
	return all
}
