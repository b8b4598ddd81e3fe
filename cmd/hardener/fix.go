package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/deadman"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

type fixOptions struct {
	checkFlags
	outputFlags
	dryRun  bool
	maxRisk oneOf
}

func newFixCommand(s streams) *cobra.Command {
	o := fixOptions{maxRisk: oneOf{string(fix.RiskRestart), []string{string(fix.RiskFiles), string(fix.RiskRestart), string(fix.RiskWorkload)}}}
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
  workload  also what may change how workloads behave

A fix that would restart a component that is running here is shown, but not yet
made. A fix that is known to break clusters is explained, never made.
` + exitHelp,
		Example: `  hardener fix --dry-run
  hardener fix --max-risk files
  hardener fix --root /mnt/node --check 1.1.1,1.1.9`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return runFix(c.Context(), s, o) },
	}
	o.checkFlags.add(c.Flags())
	c.Flags().BoolVar(&o.dryRun, "dry-run", false, "show the plan, write nothing")
	c.Flags().Var(&o.maxRisk, "max-risk", "how far fixes may go")
	c.RegisterFlagCompletionFunc("max-risk", o.maxRisk.complete)
	o.outputFlags.add(c)
	return c
}

func runFix(ctx context.Context, s streams, o fixOptions) (err error) {
	options, tree, err := o.options()
	if err != nil {
		return err
	}
	defer tree.Close()
	f := hardener.FixOptions{MaxRisk: fix.Risk(o.maxRisk.value), DryRun: o.dryRun}
	unfinished, err := unfinishedRuns(tree)
	if err != nil {
		return err
	}
	if o.dryRun {
		for _, id := range unfinished {
			fmt.Fprintf(s.err, "hardener: run %s is under way or died; the next fix or rollback recovers it\n", id)
		}
	} else {
		var store *txn.Store
		defer func() {
			if store != nil {
				store.Close()
			}
		}()
		f.Store = func() (_ *txn.Store, err error) {
			if store == nil {
				store, err = openStore(ctx, s, tree)
			}
			return store, err
		}
		if len(unfinished) > 0 { // what it left must not be taken for the node as it is
			if _, err := f.Store(); err != nil {
				return err
			}
		}
	}
	fixed, failure := hardener.Fix(ctx, options, f)
	if fixed.After.Controls == nil { // it did not get as far as a report
		return failure
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

// openStore takes the node's lock and finishes what a run that died left.
func openStore(ctx context.Context, s streams, tree *host.FS) (*txn.Store, error) {
	store, err := txn.Open(tree)
	if err != nil {
		return nil, err
	}
	recovery, err := deadman.Recover(ctx, tree, store, true)
	tellRecovery(s, recovery)
	if err != nil {
		store.Close()
		return nil, err
	}
	return store, nil
}

// unfinishedRuns are the runs that are under way or died.
func unfinishedRuns(tree *host.FS) ([]string, error) {
	runs, err := txn.List(tree)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, run := range runs {
		if run.State == txn.Unfinished || run.State == txn.RollingBack {
			ids = append(ids, run.ID)
		}
	}
	return ids, nil
}
