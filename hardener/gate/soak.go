package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Soak watches components for a time: none of them may restart, and every probe
// of their manifests, startup probes included, keeps answering. Like the kubelet
// it bears single failures: it gives up where a probe fails as often in a row as
// its failureThreshold says, and at most three times. A component that still
// restarts when it begins, such as a scheduler that lost its Lease while the
// only API server was away, is given the time of one start.
func (g *Gates) Soak(ctx context.Context, components []string, d time.Duration) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var watched []*soaking
	for _, name := range staticPods(components) {
		s, err := g.soak(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		watched = append(watched, s)
	}
	faults, services, err := g.watchServices(ctx, components, d)
	if err != nil {
		return err
	}
	if len(watched)+services < len(components) {
		return fmt.Errorf("no gate for all of %s", strings.Join(components, ", "))
	}
	for end := time.Now().Add(d); ; {
		select {
		case err := <-faults:
			if services--; err != nil {
				return err
			}
		default:
		}
		for _, s := range watched {
			if err := s.look(ctx); err != nil {
				if ctx.Err() != nil {
					err = context.Cause(ctx)
				}
				return fmt.Errorf("%s: %w", s.p.component, err)
			}
		}
		if !time.Now().Before(end) && services == 0 {
			return nil
		}
		if err := sleep(ctx, g.Limits.Poll); err != nil {
			return err
		}
	}
}

// soaking is one component that is watched.
type soaking struct {
	*Gates
	p       staticPod
	at      place
	runtime *runtime
	id      string // of the container
	next    map[string]time.Time
	failed  map[string]int
	silent  int // looks in a row at which the runtime did not answer
}

// soak waits until a component runs, and begins to watch it.
func (g *Gates) soak(ctx context.Context, component string) (*soaking, error) {
	at, p, r, err := g.open(component, Snapshot{})
	if err != nil {
		return nil, err
	}
	s := &soaking{Gates: g, p: p, at: at, runtime: r, next: map[string]time.Time{}, failed: map[string]int{}}
	for limit := time.Now().Add(p.startup() + g.Limits.Margin); ; {
		err := s.begin(ctx)
		if err == nil {
			return s, nil
		}
		if time.Now().After(limit) {
			return nil, err
		}
		if cancelled := sleep(ctx, g.Limits.Poll); cancelled != nil {
			return nil, errors.Join(cancelled, err)
		}
	}
}

func (s *soaking) begin(ctx context.Context) error {
	now, err := s.runtime.look(ctx, s.p)
	if err != nil {
		return err
	}
	_, c, err := now.current(s.p)
	if err != nil {
		return err
	}
	for _, p := range probes(s.p.main) {
		if err := replay(ctx, p, s.p.main, s.at.address); err != nil && !errors.Is(err, errNotReplayed) {
			return err
		}
	}
	s.id = c.id
	return nil
}

func (s *soaking) look(ctx context.Context) error {
	seen, err := s.runtime.look(ctx, s.p)
	if err != nil {
		if s.silent++; s.silent < 3 {
			return nil
		}
		return err
	}
	s.silent = 0
	_, c, err := seen.current(s.p)
	if err != nil || c.id != s.id {
		return s.gone(ctx, err)
	}
	for _, p := range probes(s.p.main) {
		if time.Now().Before(s.next[p.kind]) {
			continue
		}
		s.next[p.kind] = time.Now().Add(period(p.probe))
		err := replay(ctx, p, s.p.main, s.at.address)
		if err == nil || errors.Is(err, errNotReplayed) {
			s.failed[p.kind] = 0
			continue
		}
		if s.failed[p.kind]++; s.failed[p.kind] >= int(min(3, cmp.Or(p.probe.FailureThreshold, 3))) {
			return fmt.Errorf("%w, %d times in a row", err, s.failed[p.kind])
		}
	}
	return nil
}

// gone says how the watched container ended.
func (s *soaking) gone(ctx context.Context, err error) error {
	if err == nil {
		err = errors.New("it was restarted")
	}
	d, lost := s.runtime.details(ctx, s.id)
	if lost != nil || d.finished.Unix() <= 0 {
		return err
	}
	return fmt.Errorf("%w: its container exited with %d: %s", err, d.exit, s.lastWords(d))
}

// staticPods are those of the components that have a gate here.
func staticPods(components []string) []string {
	var names []string
	for _, name := range components {
		if programs[name] != "" {
			names = append(names, name)
		}
	}
	return names
}

// program is how a component calls itself in a message.
func program(component string) string {
	if component == node.Kubelet {
		return "kubelet"
	}
	return cmp.Or(programs[component], component)
}
