package hardener

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// keptState is what a node comes back to when what is not kept is put back.
type keptState struct {
	groups   int // of applier.done
	in       *inspection
	sections []section
}

// component carries out one group, from before its edit to its proof.
func (a *applier) component(ctx context.Context, g fix.Group) error {
	take, err := a.gate.Before(ctx, g.Component)
	if err != nil {
		a.mark(g, fix.Refused, "not now: "+err.Error())
		return fmt.Errorf("%s: nothing of it was changed: %w", g.Component, err)
	}
	for _, c := range g.Changes {
		if c.Kind == fix.Restart {
			a.say(c.Diff)
		}
	}
	a.say(g.Component + ": taking its new configuration")
	began := time.Now()
	if err := a.group(ctx, g, take); err != nil {
		return fmt.Errorf("%s: %w", g.Component, err)
	}
	a.say(fmt.Sprintf("%s: proven after %.0f s", g.Component, time.Since(began).Seconds()))
	return nil
}

// watch watches what was proven. What then fails is not tried again as it is.
func (a *applier) watch(ctx context.Context, done []fix.Group) error {
	a.say("watching " + strings.Join(components(done), ", "))
	err := a.gate.Soak(ctx, components(done))
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("not watched to the end: %w", err)
	}
	var errs []error
	for _, g := range done {
		errs = append(errs, a.remember(g, err))
	}
	return errors.Join(append([]error{fmt.Errorf("not healthy for long: %w", err)}, errs...)...)
}

// keep says that all that is in place is proven.
func (a *applier) keep() error {
	if err := a.run.Keep(); err != nil {
		return err
	}
	a.kept = keptState{len(a.done), a.in, a.sections}
	return nil
}

// takeAllBack undoes what is not kept, because of cause, and lets each component
// take its old files before the next one loses its own. The error is cause, with
// what came of it.
func (a *applier) takeAllBack(ctx context.Context, cause error) error {
	written := slices.DeleteFunc(slices.Clone(a.done[a.kept.groups:]), func(g fix.Group) bool { return !g.Writes() })
	if len(written) == 0 {
		a.revert(cause.Error())
		return fmt.Errorf("%w; %s", cause, nothingBack)
	}
	names := strings.Join(components(written), ", ")
	a.say(firstLine(cause) + "; putting the files of " + names + " back")
	var errs []error
	err := a.run.UndoUnkept(takeBack(ctx, a.gate, a.say, &errs))
	if err = errors.Join(append(errs, err)...); err != nil {
		err = errors.Join(cause, err)
	} else {
		err = fmt.Errorf("%w; restored: %s", cause, names)
	}
	a.revert(cause.Error())
	return err
}

// revert takes down that what is not kept is undone, or will be by a recovery.
func (a *applier) revert(reason string) {
	for _, g := range a.done[a.kept.groups:] {
		a.failed(g, reason)
	}
	a.done, a.in, a.sections = a.done[:a.kept.groups], a.kept.in, a.kept.sections
}
