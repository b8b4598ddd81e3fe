package hardener

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// FixOptions say how far a fix may go, and with what it writes.
type FixOptions struct {
	MaxRisk fix.Risk
	DryRun  bool
	Only    []string // checks whose findings are answered, by fix.Key; empty for all
	// Store opens the node's journal. It is called only when there is
	// something to write, so that a run with nothing to do leaves no trace;
	// whoever gave it closes the Store.
	Store func() (*txn.Store, error)

	// OnDisk, when set, changes what is written: a tree whose files cannot be
	// given away keeps its owners elsewhere.
	OnDisk func(txn.Change) (txn.Change, error)
	// Gate, when set, restarts components that run on the node and proves them,
	// guarded by DeadMan. Without it their changes are shown, not made.
	Gate    Gate
	DeadMan func(store *txn.Store, run string) DeadMan
	// UnknownFlags, when set, says which flags, by name without dashes, the
	// program of a process does not know.
	UnknownFlags func(pid int, names []string) ([]string, error)
	// Pending, when set, says what a restart of a component would put into force of
	// its configuration file, see fix.Input.
	Pending func(component string) (map[string]string, error)
	// Phase, when set, is made instead of fixes: the node's part of a step across
	// nodes. That the other nodes are ready for it is for the caller to know.
	Phase fix.Phase
	// EncryptionKey is for phases of encryption at rest, see fix.Input.
	EncryptionKey string
	// Retry also makes changes that failed on this node before.
	Retry bool
	// Failed are the changes that failed on this node before.
	Failed []txn.Failure
	// Say, when set, is told what is being done, a line each.
	Say func(string)
}

// Fixed is what a fix came to.
type Fixed struct {
	Before, After report.Report // the same report when nothing was changed
}

// Fix checks a node, plans, carries the plan out and checks again. The report
// is complete also when the error is not nil: it then says what was taken back
// and what stays.
func Fix(ctx context.Context, o Options, f FixOptions) (Fixed, error) {
	started := time.Now()
	if o.Raw {
		return Fixed{}, &InputError{
			Err:  errors.New("fix needs verdicts that are true for the layout; --raw gives kube-bench's"),
			Hint: "hardener check --raw shows kube-bench's verdicts before and after a fix",
		}
	}
	in, err := inspect(ctx, o)
	if err != nil {
		return Fixed{}, err
	}
	if err := in.broken(); err != nil {
		return Fixed{}, err
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return Fixed{}, err
	}
	plan, err := in.plan(sections, f)
	if err != nil {
		return Fixed{}, fmt.Errorf("plan: %w", err)
	}
	before := in.report(sections, plan.Decisions)
	before.Run = in.runInfo("fix", started)
	before.Run.MaxRisk, before.Run.Phase, before.Run.DryRun = f.MaxRisk, f.Phase, f.DryRun
	if f.DryRun {
		before.Run.Changes = summaries(plan.Groups)
		return Fixed{Before: before, After: before}, nil
	}
	if !slices.ContainsFunc(plan.Groups, applicable) {
		before.Run.State = "unchanged"
		return Fixed{Before: before, After: before.WithBefore(before)}, nil
	}
	return carryOut(ctx, in, sections, plan, before, f, started)
}

func carryOut(ctx context.Context, in *inspection, sections []section, plan fix.Plan, before report.Report, f FixOptions, started time.Time) (Fixed, error) {
	store, err := f.Store()
	if err != nil {
		return Fixed{}, err
	}
	run, err := store.Begin(txn.RunInfo{Command: "fix", Phase: string(f.Phase), Version: in.Program})
	if err != nil {
		return Fixed{Before: before, After: before}, err
	}
	a := applier{
		in: in, inputs: in.Options, run: run, store: store, sections: sections,
		onDisk: f.OnDisk, gate: f.Gate, say: f.Say, phase: f.Phase,
		outcome: map[string]fix.State{}, reasons: map[string]string{},
	}
	if a.say == nil {
		a.say = func(string) {}
	}
	if a.gate != nil {
		a.deadMan = f.DeadMan(store, run.ID())
	}
	failure := errors.Join(a.apply(ctx, plan), a.end())

	// What stays in place is judged once more; the verdicts of a group that was
	// taken back are those from before it.
	rest, err := a.in.plan(a.sections, f)
	if err != nil {
		return Fixed{Before: before, After: before}, errors.Join(failure, fmt.Errorf("plan: %w", err))
	}
	a.settle(rest.Decisions)
	a.settle(plan.Decisions)
	for key, d := range rest.Decisions {
		if _, now := plan.Decisions[key]; now && d.State == fix.InForce {
			delete(rest.Decisions, key) // made just now, which says more
		}
	}
	after := a.in.report(a.sections, rest.Decisions)
	after.Run = a.in.runInfo("fix", started)
	after.Run.MaxRisk, after.Run.Phase = f.MaxRisk, f.Phase
	for _, g := range a.done {
		after.Run.Changes = append(after.Run.Changes, summaries([]fix.Group{g})...)
	}
	after.Run.State = "unchanged"
	wrote := run.Groups() > 0 // a restart alone leaves no run that could be taken back
	switch {
	case wrote:
		after.Run.ID, after.Run.State = run.ID(), string(txn.Committed)
	case len(a.done) > 0:
		after.Run.State = restarted
		a.notes = append(a.notes, "nothing was written, so that nothing of this can be rolled back: hardener rollback takes back an earlier run")
	}
	if failure != nil {
		after.Run.State = "stopped"
		after.Run.Notes = append(after.Run.Notes, failure.Error())
	}
	after.Run.Notes = append(after.Run.Notes, a.notes...)
	before = withDecisions(before, plan.Decisions)
	after = after.WithBefore(before)
	if wrote {
		failure = errors.Join(failure, a.save(store, after))
	}
	return Fixed{Before: before, After: after}, failure
}

// end ends the run. What is neither proven nor undone must not be committed: a
// recovery has to find it.
func (a *applier) end() error {
	if a.run.Unkept() {
		a.revert("not proven, and could not be put back yet")
		return fmt.Errorf("run %s is unfinished: what could not be put back is tried again, by the dead-man switch where one is armed, and by the next fix or rollback", a.run.ID())
	}
	err := a.run.Commit()
	if err == nil {
		return nil
	}
	runs, listErr := a.store.Runs()
	if listErr == nil && slices.ContainsFunc(runs, func(r txn.RunInfo) bool { return r.ID == a.run.ID() && r.State == txn.Committed }) {
		a.notes = append(a.notes, err.Error()) // of old runs
		return nil
	}
	return fmt.Errorf("%w; what was made is proven and stays, and the next fix or rollback ends the run", err)
}

// restarted is the state of a run that wrote nothing.
const restarted = "restarted"

// applicable reports a group that this run carries out.
func applicable(g fix.Group) bool { return g.Refused == "" && len(g.Changes) > 0 }

// save stores the report beside the run's journal.
func (a *applier) save(store *txn.Store, r report.Report) error {
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		return err
	}
	return store.SaveReport(r.Run.ID, b.Bytes())
}

// settle puts what became of the plan into its decisions.
func (a *applier) settle(decisions map[string]fix.Decision) {
	for key, state := range a.outcome {
		d, ok := decisions[key]
		over := state == fix.Undone || state == fix.Manual // of a process that has ended, the plan knows little
		if !ok || d.State != fix.Planned && !over {
			continue
		}
		d.State = state
		if reason := a.reasons[key]; reason != "" {
			d.Reason = reason
		}
		decisions[key] = d
	}
}

// withDecisions gives the findings of a report their settled decisions.
func withDecisions(r report.Report, decisions map[string]fix.Decision) report.Report {
	for s, result := range r.Results() {
		if d, ok := decisions[fix.Key(s.Target, result.ID)]; ok && result.Fix != nil {
			result.Fix = &d
		}
	}
	return r
}

func summaries(groups []fix.Group) []report.ChangeSummary {
	var all []report.ChangeSummary
	for _, g := range groups {
		for _, c := range g.Changes {
			all = append(all, report.ChangeSummary{Path: c.Path, Kind: c.Kind, Component: g.Component, Checks: c.Checks, Diff: c.Diff, Refused: g.Refused})
		}
	}
	return all
}
