package hardener

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// Gate makes a component take its new configuration and proves it healthy. Its
// error undoes the changes of the component.
type Gate func(ctx context.Context, component string) error

// applier carries a plan out, group by group.
type applier struct {
	in     *inspection
	run    *txn.Run
	onDisk func(txn.Change) (txn.Change, error)
	gate   Gate

	sections []section       // verdicts after the last group that stayed
	pending  map[string]int  // groups still to come, by the key of each check
	partly   map[string]bool // checks one of whose groups is not applied
	outcome  map[string]fix.State
	reasons  map[string]string
	done     []fix.Group // groups that stay
	inputs   Options
}

// apply carries out the groups of the plan in order. A group that fails is
// undone and stops the run; the groups before it stay. The error says what
// failed, nil when everything that the plan offers is in place.
func (a *applier) apply(ctx context.Context, plan fix.Plan) error {
	a.pending, a.partly = map[string]int{}, map[string]bool{}
	for _, g := range plan.Groups {
		for _, key := range checksOf(g) {
			if g.Refused != "" {
				a.partly[key] = true
			} else {
				a.pending[key]++
			}
		}
	}
	for _, g := range plan.Groups {
		if !applicable(g) {
			continue
		}
		if err := a.group(ctx, g); err != nil {
			return fmt.Errorf("%s: %w", g.Component, err)
		}
	}
	return nil
}

func (a *applier) group(ctx context.Context, g fix.Group) error {
	changes, err := a.changes(g)
	if err != nil {
		return err
	}
	if err := a.run.Apply(ctx, changes); err != nil {
		a.mark(g, fix.Undone, err.Error())
		return err
	}
	err = a.prove(ctx, g)
	if err == nil {
		err = a.run.Keep()
	}
	if err == nil {
		for _, key := range checksOf(g) {
			a.outcome[key] = fix.Applied
		}
		a.done = append(a.done, g)
		return nil
	}
	// The run's own context may be what ended; undoing must go on all the same.
	undo := context.WithoutCancel(ctx)
	if undoErr := a.run.UndoGroup(); undoErr != nil {
		return errors.Join(err, undoErr)
	}
	a.mark(g, fix.Undone, err.Error())
	if a.gate != nil && g.Component != fix.FilesGroup {
		if gateErr := a.gate(undo, g.Component); gateErr != nil {
			return fmt.Errorf("%w; restored, but %w", err, gateErr)
		}
	}
	return fmt.Errorf("%w; everything of this group was restored", err)
}

// changes turns the plan's changes into those of the transaction.
func (a *applier) changes(g fix.Group) ([]txn.Change, error) {
	var changes []txn.Change
	for _, c := range g.Changes {
		t := txn.Change{
			Kind: txn.Kind(c.Kind), Path: c.Path, Content: c.After.Content, Mode: c.After.Mode,
			UID: c.After.UID, GID: c.After.GID, Component: g.Component, Checks: c.Checks,
			Expect: txn.State{Absent: c.Before == nil},
		}
		if c.Before != nil {
			t.Expect.Mode, t.Expect.UID, t.Expect.GID = c.Before.Mode, c.Before.UID, c.Before.GID
			if c.Kind == fix.Write {
				t.Expect.Digest = txn.Digest(c.Before.Content)
			}
		}
		if a.onDisk != nil {
			var err error
			if t, err = a.onDisk(t); err != nil {
				return nil, err
			}
		}
		changes = append(changes, t)
	}
	return changes, nil
}

// prove runs the gate of the component, then all checks again: nothing that
// passed may fail, and what the group was to fix must not fail any more. Modes
// and owners stay even then: they do no harm, and an audit can fail for other
// reasons, such as a file name with a blank, which xargs takes for two.
func (a *applier) prove(ctx context.Context, g fix.Group) error {
	if a.gate != nil && g.Component != fix.FilesGroup {
		if err := a.gate(ctx, g.Component); err != nil {
			return err
		}
	}
	in, err := inspect(ctx, a.inputs)
	if err != nil {
		return err
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return err
	}
	was, now := verdicts(a.sections), verdicts(sections)
	var broken []string
	for key, state := range was {
		if state == check.Pass && now[key] != check.Pass {
			broken = append(broken, key+" passed before")
		}
	}
	for _, key := range checksOf(g) {
		a.pending[key]--
		if a.pending[key] > 0 || a.partly[key] || now[key] != check.Fail {
			continue
		}
		if g.Component == fix.FilesGroup {
			a.reasons[key] = "the check fails all the same"
			continue
		}
		broken = append(broken, key+" still fails")
	}
	if len(broken) > 0 {
		slices.Sort(broken)
		return fmt.Errorf("checked again: %s", strings.Join(broken, ", "))
	}
	a.in, a.sections = in, sections
	return nil
}

func (a *applier) mark(g fix.Group, state fix.State, reason string) {
	for _, key := range checksOf(g) {
		a.outcome[key], a.reasons[key] = state, reason
	}
}

// verdicts are the states of all checks, by fix.Key.
func verdicts(sections []section) map[string]check.State {
	states := map[string]check.State{}
	for _, s := range sections {
		for _, o := range s.outcomes {
			states[fix.Key(o.target, o.check.ID)] = o.verdict.State
		}
	}
	return states
}

// checksOf lists the keys of the checks that a group answers, each once.
func checksOf(g fix.Group) []string {
	var keys []string
	for _, c := range g.Changes {
		for _, key := range c.Checks {
			if !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}
