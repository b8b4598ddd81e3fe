package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/deadman"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// newRecoverCommand is what the units of the dead-man switch run (package
// deadman). People have rollback, and every fix and rollback recovers first.
func newRecoverCommand(s streams) *cobra.Command {
	var flags hostFlags
	var boot bool
	c := &cobra.Command{
		Use:    "recover",
		Short:  "Put back what a run that died or overran its time has not proven",
		Hidden: true,
		Args:   noArguments,
		RunE:   func(c *cobra.Command, _ []string) error { return runRecover(c.Context(), s, flags, boot) },
	}
	flags.add(c.Flags())
	c.Flags().BoolVar(&boot, "boot", false, "ask for restarts, do not wait for them")
	return c
}

// evictGrace is what a process that overran its time gets to undo by itself what
// it has not proven.
const evictGrace = 15 * time.Second

func runRecover(ctx context.Context, s streams, flags hostFlags, boot bool) error {
	tree, err := flags.open()
	if err != nil {
		return err
	}
	defer tree.Close()
	store, err := openOverdue(ctx, s, tree)
	if errors.Is(err, txn.ErrNotOverdue) {
		fmt.Fprintln(s.err, "hardener: recover: nothing to do:", oneLine(err.Error()))
		return nil
	}
	if err != nil {
		return fmt.Errorf("recover: %w", err)
	}
	defer store.Close()
	recovery, err := deadman.Recover(ctx, tree, store, !boot)
	tellRecovery(s, recovery)
	if damaged := recovery.Damaged(); len(damaged) > 0 {
		// The failed unit stays listed by systemctl --failed.
		err = errors.Join(err, damagedError(damaged))
	}
	for _, out := range recovery.Outcomes {
		err = errors.Join(err, lostError(out.ID, out.Lost()))
	}
	if err == nil && len(recovery.Outcomes) == 0 {
		fmt.Fprintln(s.err, "hardener: recover: no run had died")
	}
	return err
}

// openOverdue takes the node's lock, if need be from a process that overran its
// time.
func openOverdue(ctx context.Context, s streams, tree *host.FS) (*txn.Store, error) {
	for attempt := 0; ; attempt++ {
		store, err := txn.Open(tree)
		if !errors.Is(err, txn.ErrLocked) || attempt == 3 {
			return store, err
		}
		pid, err := txn.Evict(ctx, tree, evictGrace)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(s.err, "hardener: recover: process %d had not proven its changes in the time that it gave itself, and was ended\n", pid)
	}
}

// tellRecovery says what a recovery did.
func tellRecovery(s streams, r deadman.Recovery) {
	for _, out := range r.Outcomes {
		if out.State == txn.Damaged {
			continue // an error, see damagedError
		}
		fmt.Fprintf(s.err, "hardener: run %s had died and is %s now", out.ID, out.State)
		if len(out.Restored) > 0 {
			fmt.Fprintf(s.err, "; restored %s", strings.Join(out.Restored, ", "))
		}
		fmt.Fprintln(s.err)
	}
	if len(r.Restarted) > 0 {
		fmt.Fprintf(s.err, "hardener: restarted %s\n", strings.Join(r.Restarted, ", "))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(s.err, "hardener: %s\n", note)
	}
}
