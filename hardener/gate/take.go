package gate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// certain is a failure that waiting cannot mend.
type certain struct{ error }

func (e certain) Unwrap() error { return e.error }

// stage is one step of the proof.
type stage struct {
	name     string
	limit    time.Duration // since the stage before it first held, for this container
	check    func(context.Context) error
	needsAPI bool // and is left out, with a word in the log, when no API server answers
}

// taking is one Take of a static pod.
type taking struct {
	*Gates
	p         staticPod
	at        place
	runtime   *runtime
	before    *PodSnapshot
	since     time.Time // the moment of before; zero when there is none
	fileCheck time.Duration
	began     time.Time

	// What the looks so far have shown.
	box       sandbox
	c         container
	known     map[string]bool // containers that had exited when it began
	exits     map[string]bool // containers that exited with an error since
	starts    map[string]bool // containers that were seen running
	backOff   bool            // the kubelet waits before it starts the container again
	lastBox   time.Time       // when a sandbox was last seen to run
	refused   time.Time       // since when a probe is refused; zero when none is
	served    string          // the container that has done its work
	tries     int             // of exec
	renewed   time.Time       // first renewTime of the leader Lease
	noAPI     bool            // no API server has answered for long enough
	abandoned map[string]bool // stages left out
}

func (g *Gates) takePod(ctx context.Context, component string, before Snapshot) error {
	at, p, r, err := g.open(component, before)
	if err != nil {
		return err
	}
	t := &taking{
		Gates: g, p: p, at: at, runtime: r, before: before.Pod, since: before.At,
		fileCheck: g.fileCheck(at.facts), began: time.Now(),
		exits: map[string]bool{}, starts: map[string]bool{}, abandoned: map[string]bool{},
	}
	t.lastBox = t.began
	return t.wait(ctx)
}

// wait goes through the stages again and again until all of them hold in one
// round.
func (t *taking) wait(ctx context.Context) error {
	stages := t.stages()
	overall := 2*t.Limits.Margin + t.Limits.BackOff
	for _, s := range stages {
		overall += s.limit
	}
	reached, since, of, told := -1, t.began, "", ""
	for {
		failed, err := t.round(ctx, stages)
		now := time.Now()
		if err == nil {
			if t.settled(now) {
				return nil
			}
			failed, err = 0, errors.New("the kubelet may not have seen the files yet")
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%w: last seen: %s", context.Cause(ctx), cmp.Or(told, "nothing"))
		}
		if t.c.id != of || failed > reached {
			reached, since, of = failed, now, t.c.id
		}
		// A request that is cut short says nothing: the runtime may know of the end of
		// ctx before this process does.
		cut := status.Code(err) == codes.Canceled
		if line := fmt.Sprintf("%s: %v", stages[failed].name, err); line != told && !cut {
			told = line
			t.log("%s: %s", t.p.component, line)
		}
		s := stages[failed]
		if failed == 0 && t.backOff {
			s.limit += t.Limits.BackOff
		}
		var sure certain
		switch {
		case errors.As(err, &sure):
			return err
		case now.Sub(since) > s.limit && failed >= reached, now.Sub(t.began) > overall, t.noAPI && unreachable(err):
			if s.needsAPI && unreachable(err) {
				t.noAPI = true // has been waited for
				t.log("%s: %s: left out, judged by the container runtime and the probes alone: %v", t.p.component, s.name, err)
				t.abandoned[s.name] = true
				continue
			}
			return fmt.Errorf("%s: not within %s: %w", s.name, now.Sub(since).Round(time.Second), err)
		}
		if ended := sleep(ctx, t.Limits.Poll); ended != nil {
			return fmt.Errorf("%w: last seen: %s", ended, cmp.Or(told, "nothing"))
		}
	}
}

// round gives the first stage that does not hold.
func (t *taking) round(ctx context.Context, stages []stage) (int, error) {
	for i, s := range stages {
		if t.abandoned[s.name] {
			continue
		}
		if err := s.check(ctx); err != nil {
			return i, err
		}
	}
	// The stages take a moment: the same container must still be there.
	of := t.c.id
	if err := t.appeared(ctx); err != nil {
		return 0, err
	}
	if t.c.id != of {
		return 0, errors.New("the container was restarted meanwhile")
	}
	return 0, nil
}

func (t *taking) stages() []stage {
	m := t.Limits.Margin
	stages := []stage{
		{name: "appear", limit: 3*t.fileCheck + t.p.grace + m, check: t.appeared},
		{name: "probes", limit: t.p.startup() + m, check: t.answered},
	}
	if t.p.component == node.APIServer {
		stages = append(stages, stage{name: "serve", limit: t.Limits.Serve, check: t.serves})
	} else {
		stages = append(stages,
			stage{name: "serve", limit: t.Limits.Serve, check: t.healthz},
			stage{name: "lease", limit: t.Limits.Serve, check: t.leads, needsAPI: true})
	}
	wait := t.Limits.Kubelet
	if p := t.p.main.StartupProbe; p != nil {
		wait += time.Duration(p.InitialDelaySeconds)*time.Second + period(p)
	}
	return append(stages, stage{name: "kubelet", limit: wait, check: t.ready, needsAPI: true})
}

// settled tells whether a sandbox that the kubelet had no reason to replace has
// stayed for long enough. A kubelet that has seen a change and its undoing
// still replaces it at its next round over the manifests.
func (t *taking) settled(now time.Time) bool {
	if t.before != nil && t.box.id != t.before.Sandbox {
		return true
	}
	return now.Sub(t.began) > t.fileCheck+t.fileCheck/4
}

// appeared holds when the pod of the manifest runs.
func (t *taking) appeared(ctx context.Context) error {
	s, err := t.runtime.look(ctx, t.p)
	if err != nil {
		return err
	}
	if err := t.crashed(ctx, s); err != nil {
		return err
	}
	now := time.Now()
	for _, b := range s.sandboxes {
		if b.ready {
			t.lastBox = now
		}
	}
	if now.Sub(t.lastBox) > 3*t.fileCheck {
		return certain{fmt.Errorf("the kubelet has started no sandbox of pod %s/%s for %s: it refuses %s or cannot mount a volume of it; its log says why",
			t.p.namespace, t.p.name, now.Sub(t.lastBox).Round(time.Second), t.p.file)}
	}
	box, c, err := s.taken(t.p, t.before)
	if t.backOff = err != nil && t.wanted(box.uid) && s.backedOff(box); t.backOff {
		return fmt.Errorf("%w: the kubelet waits before it starts it again (back-off, up to %s)", err, t.Limits.BackOff)
	}
	if err != nil {
		return err
	}
	argv, err := t.argv(ctx, t.runtime, t.p, c)
	if err != nil {
		return err
	}
	if err := sameArgv(argv, t.p.argv()); err != nil {
		return err
	}
	if t.before != nil {
		for _, name := range repeated(argv) {
			if !slices.Contains(t.before.Repeated, name) {
				return certain{fmt.Errorf("--%s is given more than once", name)}
			}
		}
	}
	if c.id != t.c.id {
		t.starts[c.id], t.refused = true, time.Time{}
	}
	t.box, t.c = box, c
	if len(t.starts) > 2 {
		return certain{fmt.Errorf("container %s was restarted twice", t.p.main.Name)}
	}
	return nil
}

// crashed looks for containers of the new pod that exited with an error, twice.
func (t *taking) crashed(ctx context.Context, s seen) error {
	first := t.known == nil
	if first {
		t.known = map[string]bool{}
	}
	for _, c := range s.containers {
		if !c.exited || t.known[c.id] {
			continue
		}
		t.known[c.id] = true
		if t.since.IsZero() && first || c.created.Before(t.since) {
			continue // before the change
		}
		if !t.wanted(c.uid) {
			continue
		}
		d, err := t.runtime.details(ctx, c.id)
		if err != nil || d.exit == 0 {
			continue // gone already, or it was told to end
		}
		t.exits[c.id] = true
		words := t.lastWords(d)
		t.log("%s: the container exited with %d: %s", t.p.component, d.exit, words)
		if len(t.exits) >= 2 {
			return certain{fmt.Errorf("container %s exited with %d, the second time: %s", t.p.main.Name, d.exit, words)}
		}
	}
	return nil
}

// wanted tells whether a pod of the runtime can be that of the manifest, and is
// not the one of before a change or of before its undoing.
func (t *taking) wanted(uid string) bool {
	return t.before == nil || (uid == t.before.UID) == (t.p.hash == t.before.Hash)
}
