//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// steps are the steps of one fix, by name: each operation of its journal and on
// the node's files ("rename /etc/etcd.env"), and each call of a gate and of the
// dead-man switch ("take kubelet"). The same fix has the same steps; what is
// random in a path is left out, and a number tells one from another of the same
// name ("fsync .../journal#3").
type steps struct {
	mu    sync.Mutex
	began time.Time
	notes *os.File // nil for none
	stop  string
	seen  map[string]int
}

// stoppedFile is there while a fix waits before the step that HARDENER_STOP
// names. It goes on when the file is taken away. It lies in memory: a power cut
// takes it too.
const stoppedFile = "/run/hardener.stopped"

func newSteps(notes, stop string) (*steps, error) {
	s := &steps{began: time.Now(), stop: stop, seen: map[string]int{}}
	var err error
	if notes != "" {
		s.notes, err = os.Create(notes)
	}
	return s, err
}

// random is what differs from run to run in a path: the run's name, and the end of
// a temporary file's.
var random = regexp.MustCompile(`(/runs/)[^/ ]+|(\.hardener-)[0-9a-f]+`)

// at comes just before a step.
func (s *steps) at(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name = random.ReplaceAllString(name, "$1${2}X")
	s.seen[name]++
	if strings.HasPrefix(name, "write ") && s.seen[name] > 1 {
		return // of a big file, piece by piece
	}
	name = fmt.Sprintf("%s#%d", name, s.seen[name])
	if s.notes != nil {
		fmt.Fprintf(s.notes, "%.3f %s\n", time.Since(s.began).Seconds(), name)
	}
	if name != s.stop {
		return
	}
	if err := os.WriteFile(stoppedFile, []byte(name), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "hardener:", err)
		os.Exit(3)
	}
	for {
		if _, err := os.Stat(stoppedFile); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// steppedGate is a gate each of whose calls is a step, and its end another.
type steppedGate struct {
	hardener.Gate
	*steps
}

func (g steppedGate) Fit(ctx context.Context, components []string) error {
	g.at("fit")
	return g.Gate.Fit(ctx, components)
}

func (g steppedGate) Before(ctx context.Context, component string) (func(context.Context) error, error) {
	g.at("before " + component)
	take, err := g.Gate.Before(ctx, component)
	return func(ctx context.Context) error {
		g.at("take " + component)
		defer g.at("taken " + component)
		return take(ctx)
	}, err
}

func (g steppedGate) Soak(ctx context.Context, components []string) error {
	g.at("soak")
	defer g.at("soaked")
	return g.Gate.Soak(ctx, components)
}

func (s *steps) deadMan(inner func(*txn.Store, string) hardener.DeadMan) func(*txn.Store, string) hardener.DeadMan {
	return func(store *txn.Store, run string) hardener.DeadMan {
		arm := inner(store, run)
		return func(ctx context.Context, deadline time.Duration) (func(context.Context) error, error) {
			s.at("arm")
			disarm, err := arm(ctx, deadline)
			s.at("armed")
			return func(ctx context.Context) error {
				s.at("disarm")
				return disarm(ctx)
			}, err
		}
	}
}
