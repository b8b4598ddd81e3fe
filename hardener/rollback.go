package hardener

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// RollbackOptions say which run is undone, and with what components of a live
// node take their old files.
type RollbackOptions struct {
	Run   string // empty: the last one
	Force bool   // also over what was changed since

	Gate    Gate // nil: files are put back, nothing is restarted
	DeadMan func(store *txn.Store, run string) DeadMan
	Say     func(string)
}

// Rollback undoes a run, component by component, the newest change first. Each
// component takes its old files and is proven before the next one loses its own:
// two that restart at once can leave the kubelet without an API server that it
// needs to clear away an old static pod. A proof that fails is an error and ends
// nothing: there is nothing older to go back to.
func Rollback(ctx context.Context, store *txn.Store, o RollbackOptions) (out txn.Outcome, err error) {
	if o.Say == nil {
		o.Say = func(string) {}
	}
	run, err := store.CanRollback(o.Run, o.Force)
	if err != nil {
		return txn.Outcome{ID: run.ID, State: run.State}, err
	}
	if run.Phase != "" && !o.Force {
		return txn.Outcome{ID: run.ID, State: run.State}, &InputError{
			Err:  fmt.Errorf("roll back: run %s is this node's part of a step across nodes (%s): taken back here alone, it breaks what other nodes rest on", run.ID, run.Phase),
			Hint: "hardener rollout undo takes the step back on all nodes, in order; --force does it here all the same",
		}
	}
	restarts := slices.ContainsFunc(run.Components, func(c string) bool { return c != fix.FilesGroup })
	if o.Gate == nil || !restarts {
		return store.Rollback(run.ID, o.Force, nil)
	}
	disarm, err := o.DeadMan(store, run.ID)(ctx, rollbackTime)
	if err != nil {
		return txn.Outcome{ID: run.ID, State: run.State}, fmt.Errorf("roll back: run %s: nothing was put back: %w", run.ID, err)
	}
	after := context.WithoutCancel(ctx)
	var errs []error
	out, err = store.Rollback(run.ID, o.Force, takeBack(after, o.Gate, o.Say, &errs))
	err = errors.Join(append(errs, err)...)
	if out.State == txn.RollingBack || out.State == txn.Unfinished { // for the switch to finish; Unfinished was Damaged
		return out, err
	}
	if off := disarm(after); off != nil {
		o.Say(staysArmed(off))
	}
	return out, err
}

// staysArmed tells of a switch that could not be disarmed after all was settled.
// It is no failure: once this process has ended it finds nothing to undo and takes
// itself away (package deadman).
func staysArmed(err error) string {
	return firstLine(err) + ": it goes by itself within a minute or with the next boot; hardener recover takes it away too"
}

// rollbackTime is for all components of a control plane.
const rollbackTime = 6*componentTime + failureTime
