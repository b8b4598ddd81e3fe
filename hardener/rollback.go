package hardener

import (
	"context"
	"errors"
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
	restarts, err := restarts(store, o.Run)
	if err != nil {
		return out, err
	}
	if o.Gate == nil || !restarts {
		return store.Rollback(o.Run, o.Force, nil)
	}
	disarm, err := o.DeadMan(store, o.Run)(ctx, rollbackTime)
	if err != nil {
		return out, err
	}
	after := context.WithoutCancel(ctx)
	var errs []error
	out, err = store.Rollback(o.Run, o.Force, takeBack(after, o.Gate, o.Say, &errs))
	err = errors.Join(append(errs, err)...)
	if out.State == txn.RollingBack { // for the switch to finish
		return out, err
	}
	return out, errors.Join(err, disarm(after))
}

// restarts tells whether undoing a run restarts anything. An empty id is the last
// run with changes in place, as for txn.Store.Rollback.
func restarts(store *txn.Store, id string) (bool, error) {
	runs, err := store.Runs()
	if err != nil {
		return false, err
	}
	for _, run := range slices.Backward(runs) {
		if run.ID == id || id == "" && run.State == txn.Committed && len(run.Components) > 0 {
			return slices.ContainsFunc(run.Components, func(c string) bool { return c != fix.FilesGroup }), nil
		}
	}
	return false, nil // the rollback says that there is none
}

// rollbackTime is for all components of a control plane.
const rollbackTime = 6 * componentTime
