package hardener

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// Gate makes components of a live node take their new configuration and proves
// them healthy. Package gate has it.
type Gate interface {
	// Fit says why components of this node must not be restarted now, nil when
	// they may. It changes nothing.
	Fit(ctx context.Context, components []string) error
	// Before looks at a component whose files are about to change. What it
	// returns makes the component run what its files then say and proves it,
	// also when they have been put back.
	Before(ctx context.Context, component string) (take func(context.Context) error, err error)
	// Soak watches components that were proven: what only fails later.
	Soak(ctx context.Context, components []string) error
}

// DeadMan arms the switch that puts the node's files back when nobody disarms it
// in time: after the death of this process, or of the machine.
type DeadMan func(ctx context.Context, deadline time.Duration) (disarm func(context.Context) error, err error)

// How long a run may take: each component, and on top of that the one that fails.
// A gate that sees a static pod fail at the end of every stage, and waits out the
// kubelet's back-off, comes to 22 minutes (package gate, Limits), and as long again
// with the old files.
const (
	componentTime = 10 * time.Minute
	failureTime   = 45 * time.Minute
)

// applier carries a plan out, group by group.
type applier struct {
	in      *inspection
	inputs  Options
	run     *txn.Run
	store   *txn.Store
	onDisk  func(txn.Change) (txn.Change, error)
	gate    Gate
	deadMan DeadMan
	say     func(string)
	phase   fix.Phase // "" for fixes

	sections []section       // verdicts after the last group in place
	pending  map[string]int  // groups still to come, by the key of each check
	partly   map[string]bool // checks one of whose groups is not applied
	outcome  map[string]fix.State
	reasons  map[string]string
	done     []fix.Group // groups in place
	stuck    bool        // a group that failed could not be undone: recovery has to
	kept     keptState
	notes    []string // for the report: what is no failure
}

// apply carries out the groups of the plan in order. A group that fails is
// undone and stops the run; the groups before it stay. The error says what
// failed, nil when everything that the plan offers is in place.
func (a *applier) apply(ctx context.Context, plan fix.Plan) error {
	a.kept = keptState{in: a.in, sections: a.sections}
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
	var restarts []fix.Group
	for i, g := range plan.Groups {
		switch {
		case !applicable(g):
		case g.Component == fix.FilesGroup || a.gate == nil:
			err := a.group(ctx, g, nil)
			if err == nil {
				if err = a.keep(); err != nil {
					err = a.takeAllBack(context.WithoutCancel(ctx), err)
				}
			}
			if err != nil {
				err = fmt.Errorf("%s: %w", g.Component, err)
				a.notBegun(slices.Concat(restarts, plan.Groups[i+1:]), err)
				return err
			}
		default:
			restarts = append(restarts, g)
		}
	}
	if len(restarts) == 0 {
		return nil
	}
	return a.restart(ctx, restarts)
}

// restart carries out the groups whose components have to take a new
// configuration. Each is proven before the next is begun; all are watched
// together before any is kept.
func (a *applier) restart(ctx context.Context, groups []fix.Group) error {
	if err := a.gate.Fit(ctx, components(groups)); err != nil {
		a.refuse(groups, "not now: "+err.Error())
		return fmt.Errorf("nothing was restarted: %w", err)
	}
	after := context.WithoutCancel(ctx) // what ends the run must not keep it from cleaning up
	// Armed once, for all. That this process is dead is found at once however much
	// time it had (package deadman); the time only ends one that lives and hangs.
	// One sum leaves to a component that is slow what the others did not need, where
	// a time of its own would end it; and to arm again for each would be one more
	// thing that can fail between two proofs.
	// Where nothing is written it would find nothing to put back.
	disarm, err := func(context.Context) error { return nil }, error(nil)
	if slices.ContainsFunc(groups, fix.Group.Writes) {
		disarm, err = a.deadMan(ctx, time.Duration(len(groups))*componentTime+failureTime)
	}
	if err != nil {
		a.refuse(groups, "not without a dead-man switch: "+err.Error())
		return fmt.Errorf("nothing was restarted: dead-man switch: %w", err)
	}
	// While anything is neither kept nor undone, the switch stays armed. It is
	// disarmed before the run ends: what is kept no recovery undoes.
	defer func() {
		if a.run.Unkept() {
			return
		}
		if off := disarm(after); off != nil {
			a.notes = append(a.notes, staysArmed(off))
		}
	}()
	var failure error
	for i, g := range groups {
		if failure = a.component(ctx, g); failure != nil {
			a.notBegun(groups[i+1:], failure)
			break
		}
	}
	done := a.done[a.kept.groups:]
	if a.stuck || len(done) == 0 {
		return failure
	}
	if err := a.watch(ctx, done); err != nil {
		return errors.Join(failure, a.takeAllBack(after, err))
	}
	if err := a.keep(); err != nil {
		return errors.Join(failure, a.takeAllBack(after, err))
	}
	return failure
}

// group writes a group and proves it; take is nil for what restarts nothing. A
// group that fails is undone.
func (a *applier) group(ctx context.Context, g fix.Group, take func(context.Context) error) error {
	changes, err := a.changes(g)
	if err != nil {
		a.mark(g, fix.Refused, err.Error())
		return err
	}
	before := a.run.Groups()
	if err := a.run.Apply(ctx, changes); err != nil {
		a.mark(g, fix.Undone, err.Error())
		a.stuck = a.run.Groups() > before
		return err
	}
	if take != nil {
		err = take(ctx)
	}
	if err == nil {
		err = a.recheck(ctx, g)
	}
	if err == nil {
		for _, key := range checksOf(g) {
			a.outcome[key] = fix.Applied
		}
		a.done = append(a.done, g)
		return nil
	}
	a.failed(g, err.Error())
	if take != nil && ctx.Err() == nil {
		err = errors.Join(err, a.remember(g, err))
	}
	if !g.Writes() {
		return fmt.Errorf("%w; %s", err, nothingBack)
	}
	if a.run.Groups() == before { // it changed nothing: the newest group is another
		return fmt.Errorf("%w; its files were as planned already", err)
	}
	a.say(g.Component + ": " + firstLine(err) + "; putting its files back")
	undoErr := a.run.UndoGroup()
	if a.stuck = a.run.Groups() > before; a.stuck {
		return errors.Join(err, undoErr)
	}
	if take != nil {
		if takeErr := take(context.WithoutCancel(ctx)); takeErr != nil {
			return errors.Join(fmt.Errorf("%w; restored, but %w", err, takeErr), undoErr)
		}
	}
	if undoErr != nil { // somebody else's files were left as they are
		return errors.Join(err, undoErr)
	}
	return fmt.Errorf("%w; everything of this group was restored", err)
}

// takeBack is what each component needs while its files are put back. One that was
// not healthy before is no fault when it is with its old files.
func takeBack(ctx context.Context, gate Gate, say func(string), errs *[]error) txn.GroupFunc {
	return func(component string, undo func() error) {
		var take func(context.Context) error
		var before error
		if gate != nil && component != fix.FilesGroup && component != "" {
			take, before = gate.Before(ctx, component)
			say(component + ": putting its files back")
		}
		if undo() == nil && take != nil {
			if err := take(ctx); err != nil {
				*errs = append(*errs, fmt.Errorf("%s: restored, but %w", component, errors.Join(err, before)))
			}
		}
	}
}

// remember keeps a group that failed from being tried again as it is.
func (a *applier) remember(g fix.Group, reason error) error {
	return a.store.Remember(txn.Failure{Digest: g.Digest(), Component: g.Component, Reason: firstLine(reason)})
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// refuse marks groups that this run does not begin.
func (a *applier) refuse(groups []fix.Group, reason string) {
	for _, g := range groups {
		a.mark(g, fix.Refused, reason)
	}
}

// notBegun marks groups that are not begun after a failure. What a check already
// came to by another group stays.
func (a *applier) notBegun(groups []fix.Group, failure error) {
	for _, g := range slices.DeleteFunc(slices.Clone(groups), func(g fix.Group) bool { return !applicable(g) }) {
		for _, key := range checksOf(g) {
			if a.outcome[key] != fix.Undone && a.outcome[key] != fix.Refused {
				a.outcome[key], a.reasons[key] = fix.Refused, "not begun after a failure: "+firstLine(failure)
			}
		}
	}
}

func components(groups []fix.Group) []string {
	var names []string
	for _, g := range groups {
		names = append(names, g.Component)
	}
	return names
}

// changes turns the plan's changes into those of the transaction.
func (a *applier) changes(g fix.Group) ([]txn.Change, error) {
	var changes []txn.Change
	for _, c := range g.Changes {
		if c.Kind == fix.Restart {
			continue
		}
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

// recheck runs all checks again: nothing that passed may fail, and what the group
// was to fix must not fail any more. Modes and owners stay even then: they do no
// harm, and an audit can fail for other reasons, such as a file name with a
// blank, which xargs takes for two.
func (a *applier) recheck(ctx context.Context, g fix.Group) error {
	in, err := inspect(ctx, a.inputs)
	if err != nil {
		return err
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return err
	}
	was, now := verdicts(a.sections), verdicts(sections)
	for _, s := range a.sections {
		for _, o := range s.outcomes {
			if a.phase.GivesUp(o.check) {
				delete(was, fix.Key(o.target, o.check.ID))
			}
		}
	}
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

// nothingBack is what a restart that fails leaves to a person.
const nothingBack = "nothing was written, so that nothing can be put back"

// failed marks a group that is not to stay. A restart cannot be taken back.
func (a *applier) failed(g fix.Group, reason string) {
	if g.Writes() {
		a.mark(g, fix.Undone, reason)
		return
	}
	a.mark(g, fix.Manual, reason+"; "+nothingBack)
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
