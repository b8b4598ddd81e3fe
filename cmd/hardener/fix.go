package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/deadman"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

type fixOptions struct {
	checkFlags
	outputFlags
	reportTo reportTo
	dryRun   bool
	maxRisk  oneOf
	soak     time.Duration
	retry    bool
	phase    string
	sealed   string
}

// nodeRisks are the values of --max-risk.
var nodeRisks = []string{string(fix.RiskFiles), string(fix.RiskRestart), string(fix.RiskCluster), string(fix.RiskWorkload)}

// defaultSoak is longer than kubeadm's startup probe can hide a failure: 24
// tries, ten seconds apart (kubeadm app/util/staticpod/utils.go).
const defaultSoak = 5 * time.Minute

func newFixCommand(s streams) *cobra.Command {
	o := fixOptions{reportTo: newReportTo(), soak: defaultSoak, maxRisk: oneOf{string(fix.RiskRestart), nodeRisks}}
	c := &cobra.Command{
		Use:   "fix",
		Short: "Check this node, fix what fails, check again",
		Long: `fix checks this node, plans a change for each finding that can be fixed, writes
the changes through a journal, and checks again. A change after which something
fails that passed before is taken back. What was changed can be undone with
hardener rollback.

--dry-run shows the plan as unified diffs and writes nothing. --max-risk says
how far fixes may go:

  files     modes and owners; nothing restarts
  restart   also what a component of this node has to be restarted for
  cluster   on one node the same as restart: steps across nodes are for
            hardener rollout fix
  workload  also what may change how workloads behave

A component that runs here is restarted only when this node and the rest of the
control plane are fit for it. It has to prove that it took its new configuration
and works: its own probes, asked as the kubelet asks them, its part in the
cluster, and no restart for as long as --soak says. Otherwise its files are put
back. A dead-man switch of systemd does the same when this program dies, is
stopped, or the machine goes down before the proof. What failed is not tried
again until what it rests on has changed, or with --retry.

A fix that is known to break clusters is explained, never made.
` + exitHelp,
		Example: `  hardener fix --dry-run
  hardener fix --max-risk files
  hardener fix --root /mnt/node --check 1.1.1,1.1.9`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			return o.reportTo.run(c.Context(), s, &o.outputFlags, func() error { return runFix(c.Context(), s, &o) })
		},
	}
	o.checkFlags.add(c.Flags())
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "show the plan, write nothing")
	c.Flags().DurationVar(&o.soak, "soak", o.soak, "how long restarted components are watched before their changes are kept")
	c.Flags().BoolVar(&o.retry, "retry", false, "also make changes that failed on this node before")
	c.Flags().Var(&o.maxRisk, "max-risk", "how far fixes may go")
	c.RegisterFlagCompletionFunc("max-risk", o.maxRisk.complete)
	c.Flags().StringVar(&o.phase, "phase", "", "make one phase of a step across nodes instead: for rollouts, which know that the other nodes are ready for it")
	c.Flags().StringVar(&o.sealed, "sealed-key", "", "the key of encryption at rest, as another control plane has sealed it")
	addStartedBy(c.Flags(), &o.startedBy)
	c.Flags().MarkHidden("phase")
	c.Flags().MarkHidden("sealed-key")
	o.outputFlags.add(c)
	o.reportTo.add(c.Flags())
	return c
}

// addStartedBy adds a flag for playbooks, which may be run on one of the nodes and would
// then be taken for somebody else at work there.
func addStartedBy(flags *pflag.FlagSet, value *string) {
	flags.StringVar(value, "started-by", "", "BOOT-ID/PID of the playbook that waits for this")
	flags.MarkHidden("started-by")
}

func runFix(ctx context.Context, s streams, o *fixOptions) (err error) {
	if o.soak < 0 {
		return usage("", "--soak: %s is no time", o.soak)
	}
	phase := fix.Phase(o.phase)
	if phase != "" && !slices.Contains(fix.Phases(), phase) {
		return usage("", "--phase: unknown phase %q", o.phase)
	}
	options, tree, err := o.options()
	if err != nil {
		return err
	}
	defer tree.Close()
	o.reportTo.limit(&options, o.kubeconfig)
	f := hardener.FixOptions{
		MaxRisk: fix.Risk(o.maxRisk.value), Phase: phase, DryRun: o.dryRun, Retry: o.retry,
		Say: func(line string) { fmt.Fprintln(s.err, "hardener:", line) },
	}
	live, err := makeReady(ctx, o.hostFlags, tree, options, o.soak, &f)
	if err != nil {
		return err
	}
	if live != nil {
		defer func() { err = errors.Join(err, live.Close()) }()
		if phase != "" {
			f.Gate = phaseGate{live, phase}
		}
	}
	if live != nil && !o.dryRun {
		if err := persist(tree); err != nil {
			f.Say("whether this program would survive a power cut now is not known: " + oneLine(err.Error()))
		}
	}
	if phase != "" && live == nil {
		return usage("", "--phase is for a live node")
	}
	var secret *phaseKey
	if phase.Encrypts() {
		if secret, err = openPhaseKey(tree, options, phase, o.sealed); err != nil {
			return fmt.Errorf("fix: phase %s: %w", phase, err)
		}
		f.EncryptionKey = secret.key
	}
	if err := inject(&f); err != nil {
		return err
	}
	unfinished, damaged, err := unfinishedRuns(tree)
	if err != nil {
		return err
	}
	runs, err := txn.List(tree)
	if err != nil {
		return err
	}
	unknown, lost := untold(runs)
	if o.dryRun && len(damaged) > 0 { // a plan that no fix would carry out
		return damagedError(damaged)
	}
	if o.dryRun {
		if lost != nil {
			f.Say(oneLine(lost.Error()))
		}
		for _, id := range unfinished {
			fmt.Fprintf(s.err, "hardener: run %s is under way or died; the next fix or rollback recovers it\n", id)
		}
	} else {
		var done func()
		f.Store, done = storeOnce(ctx, s, tree)
		defer done()
		if len(unfinished)+len(damaged)+len(unknown) > 0 { // what it left must not be taken for the node as it is
			if _, err := f.Store(); err != nil {
				return err
			}
		}
	}
	fixed, failure := hardener.Fix(ctx, options, f)
	if fixed.After.Controls == nil { // it did not get as far as a report
		return failure
	}
	if phase != "" && failure == nil && len(fixed.After.Run.Changes) == 0 && !o.dryRun {
		failure = live.holds(ctx, phase)
	}
	if secret != nil && failure == nil && !o.dryRun {
		o.reportTo.handover, failure = secret.handover()
	}
	if err := o.write(s, fixed.After); err != nil {
		return errors.Join(failure, err)
	}
	switch {
	case failure != nil:
		return fmt.Errorf("fix: %w", failure)
	case fixed.After.Failing():
		return errFindings
	}
	return nil
}

// makeReady gives a fix what it needs of the node: what failed on it before and, if
// it is live, gates and a dead-man switch. Whoever calls it closes the live node,
// which is nil for a picture of one.
func makeReady(ctx context.Context, at hostFlags, tree *host.FS, options hardener.Options, soak time.Duration, f *hardener.FixOptions) (live *liveNode, err error) {
	if f.Failed, err = txn.Failures(tree); err != nil {
		f.Say("what failed on this node before is not known, and is tried again: " + oneLine(err.Error()))
	}
	if !tree.LiveProcesses() {
		return nil, nil
	}
	if live, err = openLive(at, tree, options, soak, f.Say); err != nil {
		return nil, err
	}
	f.Gate, f.DeadMan, f.UnknownFlags = live, live.deadMan, unknownFlags(at.procDir())
	f.Pending = func(component string) (map[string]string, error) { return live.gates.Pending(ctx, component) }
	return live, nil
}

// storeOnce opens the node's journal when it is first asked for, and finishes what
// a run that died left; done closes it.
func storeOnce(ctx context.Context, s streams, tree *host.FS) (open func() (*txn.Store, error), done func()) {
	var store *txn.Store
	open = func() (_ *txn.Store, err error) {
		if store == nil {
			if store, _, err = openStore(ctx, s, tree, ""); err == nil {
				err = stopOnce(store)
			}
		}
		return store, err
	}
	return open, func() {
		if store != nil {
			store.Close()
		}
	}
}

// openStore takes the node's lock and finishes what a run that died left. A run
// whose journal is damaged is an error, but for the one that is about to be
// rolled back by force, which may be empty. That one is given up when it cannot be
// finished.
func openStore(ctx context.Context, s streams, tree *host.FS, forced string) (*txn.Store, deadman.Recovery, error) {
	store, err := txn.Open(tree)
	if err != nil {
		return nil, deadman.Recovery{}, err
	}
	recovery, err := deadman.Recover(ctx, tree, store, true)
	tellRecovery(s, recovery)
	if err != nil && forced != "" {
		if unfinished, _, lerr := unfinishedRuns(tree); lerr == nil && slices.Contains(unfinished, forced) {
			fmt.Fprintf(s.err, "hardener: run %s is given up: %s\n", forced, oneLine(err.Error()))
			recovery, err = deadman.GiveUp(ctx, tree, store, forced)
			tellRecovery(s, recovery)
		}
	}
	if damaged := recovery.Damaged(); err == nil && len(damaged) > 0 && !slices.Contains(damaged, forced) {
		err = damagedError(damaged)
	}
	if err != nil {
		store.Close()
		return nil, recovery, err
	}
	return store, recovery, nil
}

// damagedError says what a person has to do about runs whose journals are
// damaged, the newest first.
func damagedError(runs []string) error {
	var all []string
	for _, id := range runs {
		all = append(all, fmt.Sprintf("the journal of run %s is damaged: hardener rollback --run %s --force puts back what can be read of it", id, id))
	}
	return errors.New(strings.Join(all, "; "))
}

// unfinishedRuns are the runs that are under way or died, and those whose
// journals are damaged, the newest first.
func unfinishedRuns(tree *host.FS) (unfinished, damaged []string, err error) {
	runs, err := txn.List(tree)
	if err != nil {
		return nil, nil, err
	}
	for _, run := range slices.Backward(runs) {
		switch run.State {
		case txn.Unfinished, txn.RollingBack:
			unfinished = append(unfinished, run.ID)
		case txn.Damaged:
			damaged = append(damaged, run.ID)
		}
	}
	return unfinished, damaged, nil
}
