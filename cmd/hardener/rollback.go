package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

type rollbackOptions struct {
	hostFlags
	run    string
	list   bool
	force  bool
	output oneOf
}

func newRollbackCommand(s streams) *cobra.Command {
	o := rollbackOptions{output: oneOf{"text", []string{"text", "json"}}}
	c := &cobra.Command{
		Use:   "rollback",
		Short: "Undo a run of fix",
		Long: `rollback puts back every file that a run of fix changed: its content, mode and
owner. A file that somebody changed since is left as it is and the whole
rollback is refused, unless --force is given. A run whose journal is damaged is
only undone with --run and --force, as far as its journal can be read; until then
nothing else is changed on the node. A run that died, and that cannot be undone for
a fault that does not go away, is given up with --run and --force: what can be put
back is, the rest is left as it is and named.

On a live node each component takes its old files, the newest change first, and
has to be healthy with them before the next one loses its own.
`,
		Example: `  hardener rollback
  hardener rollback --list
  hardener rollback --run 20260102T030405Z-1a2b3c`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runRollback(c.Context(), s, o) },
	}
	o.hostFlags.add(c.Flags())
	c.Flags().StringVar(&o.run, "run", "", "the run to undo (default: the last one)")
	c.Flags().BoolVar(&o.list, "list", false, "list the runs of this node, undo nothing")
	c.Flags().BoolVar(&o.force, "force", false, "also put back files that were changed since")
	c.Flags().VarP(&o.output, "output", "o", "output format")
	c.RegisterFlagCompletionFunc("output", o.output.complete)
	return c
}

func runRollback(ctx context.Context, s streams, o rollbackOptions) (err error) {
	if o.list && (o.run != "" || o.force) {
		return usage("", "--list goes with neither --run nor --force")
	}
	tree, err := o.open()
	if err != nil {
		return err
	}
	defer tree.Close()
	if o.list {
		runs, err := txn.List(tree)
		if err != nil {
			return err
		}
		return printRuns(s, o, runs)
	}
	runs, err := txn.List(tree)
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return usage("hardener fix records its runs below ROOT"+txn.StateDir, "roll back: this node has no runs")
	}
	forced := ""
	if o.force {
		forced = o.run
	}
	store, recovery, err := openStore(ctx, s, tree, forced)
	if err != nil {
		return err
	}
	defer store.Close()
	for _, out := range recovery.Outcomes {
		if out.ID == o.run && (out.State == txn.Undone || out.State == txn.RolledBack) {
			return errors.Join(printOutcome(s, o, out), tellLost(store, out)) // it is what was asked for
		}
		if lost := lostError(out.ID, out.Lost()); lost != nil {
			fmt.Fprintln(s.err, "hardener:", oneLine(lost.Error()))
		}
	}
	r := hardener.RollbackOptions{
		Run: o.run, Force: o.force,
		Say: func(line string) { fmt.Fprintln(s.err, "hardener:", line) },
	}
	if tree.LiveProcesses() {
		live, err := openLive(o.hostFlags, tree, hardener.Options{FS: tree}, 0, r.Say)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, live.Close()) }()
		r.Gate, r.DeadMan = live, live.deadMan
	}
	out, err := hardener.Rollback(ctx, store, r)
	if errors.Is(err, txn.ErrNoRun) {
		return usage("hardener rollback --list shows the runs of this node", "%w", err)
	}
	if errors.Is(err, txn.ErrChanged) && !o.force {
		return fmt.Errorf("%w; --force puts them back all the same", err)
	}
	if errors.Is(err, txn.ErrLost) && !o.force && out.State == txn.Committed {
		return fmt.Errorf("%w; --force leaves these as they are and puts back the rest", err)
	}
	if out.State != txn.RolledBack && out.State != txn.Undone { // Undone: its journal was damaged before its end
		return err
	}
	if i := slices.IndexFunc(runs, func(r txn.RunInfo) bool { return r.ID == out.ID }); i >= 0 && runs[i].State == txn.Damaged {
		r.Say(fmt.Sprintf("the journal of run %s was damaged: what it no longer says was not undone; %s/runs/%s/backup has every file that the run was to replace, as it was", out.ID, txn.StateDir, out.ID))
	}
	return errors.Join(err, printOutcome(s, o, out), tellLost(store, out))
}

// tellLost is an error for what a rollback could not put back.
func tellLost(store *txn.Store, out txn.Outcome) error {
	err := lostError(out.ID, out.Lost())
	if err != nil {
		err = errors.Join(err, store.Told(out.ID))
	}
	return err
}

func printOutcome(s streams, o rollbackOptions, out txn.Outcome) error {
	if o.output.value == "json" {
		return json.NewEncoder(s.out).Encode(out)
	}
	fmt.Fprintf(s.out, "Run %s is rolled back. As before the run:\n", out.ID)
	for _, path := range out.Restored {
		fmt.Fprintln(s.out, "  "+path)
	}
	if len(out.Left) > 0 {
		fmt.Fprintln(s.out, "Left as they are:")
	}
	for _, left := range out.Left {
		fmt.Fprintf(s.out, "  %s: %s\n", left.Path, left.Reason)
	}
	return nil
}

func printRuns(s streams, o rollbackOptions, runs []txn.RunInfo) error {
	if o.output.value == "json" {
		return json.NewEncoder(s.out).Encode(runs)
	}
	if len(runs) == 0 {
		fmt.Fprintln(s.out, "This node has no runs.")
	}
	for _, run := range runs {
		fmt.Fprintf(s.out, "%s  %-12s %d paths\n", run.ID, run.State, len(run.Paths))
		for _, l := range run.Lost {
			fmt.Fprintf(s.out, "  not put back: %s: %s\n", l.Path, l.Reason)
		}
	}
	return nil
}
