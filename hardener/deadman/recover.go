//go:build linux

package deadman

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// Recovery is what Recover did.
type Recovery struct {
	Outcomes  []txn.Outcome // runs that had died
	Restarted []string      // units that run with the old files again, or soon will
	Notes     []string      // what a person has to know or do
}

// services are the units of components that systemd runs, in the order in which
// they are restarted. Static pods are not here: the kubelet sees their manifest.
var services = []struct{ component, unit string }{
	{"etcd", "etcd.service"},
	{"etcd-events", "etcd-events.service"},
	{"kubelet", "kubelet.service"},
}

// restartLimit is how long one restart may take. A unit that takes longer goes
// on starting by itself.
const restartLimit = 3 * time.Minute

// Damaged are the runs that need a person, because their journals cannot be read
// to the end: nothing of them was undone.
func (r *Recovery) Damaged() []string {
	var ids []string
	for _, out := range r.Outcomes {
		if out.State == txn.Damaged {
			ids = append(ids, out.ID)
		}
	}
	return ids
}

// Recover undoes what a process that died has left unproven, makes the components
// whose files were put back take them, and disarms the switch. Everything that
// takes the lock of a node does this first, so that nothing is left over from a
// process that died. The API is not asked for anything, and where nothing was
// left, systemd is not either.
//
// With wait, restarts are waited for and their failure is an error. Without it
// they are only asked for: at boot nothing runs yet that would have to be
// restarted, and what waits for the caller must not be waited for.
//
// The switch stays armed after an error of the undoing itself, so that it is
// tried again, and where there is no systemd, as in a container that does not see
// the host's: then it is for the node to restart what has to be restarted. A run
// that is Damaged keeps nothing armed: to try again would come to the same.
//
// What is Lost is not among the notes; the outcomes have it.
func Recover(ctx context.Context, root *host.FS, store *txn.Store, wait bool) (Recovery, error) {
	return finish(ctx, root, store, wait, store.Recover)
}

// GiveUp is Recover, with restarts that are waited for, but ends one run for good:
// what of it cannot be put back now is Lost.
func GiveUp(ctx context.Context, root *host.FS, store *txn.Store, run string) (Recovery, error) {
	return finish(ctx, root, store, true, func() ([]txn.Outcome, error) { return store.GiveUp(run) })
}

func finish(ctx context.Context, root *host.FS, store *txn.Store, wait bool, putBack func() ([]txn.Outcome, error)) (Recovery, error) {
	var r Recovery
	run, err := armedRun(store)
	if err != nil { // a damaged note must not keep the files from coming back
		r.Notes = append(r.Notes, err.Error())
	}
	var undo error
	r.Outcomes, undo = putBack()
	for _, out := range r.Outcomes {
		for _, left := range out.Left {
			if left.Lost {
				continue
			}
			r.Notes = append(r.Notes, fmt.Sprintf("%s was left as it is: %s", left.Path, left.Reason))
		}
	}
	units, err := r.units(store, run)
	if err == nil {
		err = r.restart(ctx, root, units, wait)
	}
	if undo != nil || ctx.Err() != nil {
		return r, errors.Join(undo, err)
	}
	off := Disarm(ctx, root, store)
	if errors.Is(off, systemd.ErrNone) {
		off = nil // it disarms itself, and restarts what could not be restarted from here
	}
	return r, errors.Join(err, off)
}

// units are those to restart: of the components whose changes were undone, by
// this recovery or by one that died before it could restart them.
func (r *Recovery) units(store *txn.Store, run string) ([]string, error) {
	infos, err := store.Runs()
	if err != nil {
		return nil, err
	}
	var components []string
	for _, info := range infos {
		recovered := slices.ContainsFunc(r.Outcomes, func(o txn.Outcome) bool { return o.ID == info.ID })
		if recovered || info.ID == run {
			components = append(components, info.Undone...)
		}
	}
	var units []string
	for _, s := range services {
		if slices.Contains(components, s.component) {
			units = append(units, s.unit)
		}
	}
	return units, nil
}

// restart makes units that run, or should, take the files that were put back.
func (r *Recovery) restart(ctx context.Context, root *host.FS, units []string, wait bool) error {
	reload := slices.ContainsFunc(r.Outcomes, func(o txn.Outcome) bool {
		return slices.ContainsFunc(o.Restored, func(p string) bool { return strings.Contains(p, "/systemd/system/") })
	})
	if len(units) == 0 && !reload {
		return nil
	}
	m, err := systemd.Open(ctx, root)
	if errors.Is(err, systemd.ErrNone) {
		if len(units) > 0 {
			r.Notes = append(r.Notes, "there is no systemd here: restart "+strings.Join(units, ", "))
		}
		return nil
	}
	if err != nil {
		return err
	}
	defer m.Close()
	if reload {
		if err := m.Reload(ctx); err != nil {
			return err
		}
	}
	var errs []error
	for _, name := range units {
		u, err := m.Unit(ctx, name)
		if err != nil || u.Down() { // stopped by somebody, or not started yet
			errs = append(errs, err)
			continue
		}
		if u.ActiveState == "failed" {
			errs = append(errs, m.ResetFailed(ctx, name)) // with the new file it was started too often
		}
		ask := m.QueueRestart
		if wait {
			ask = m.Restart
		}
		limited, cancel := context.WithTimeout(ctx, restartLimit)
		err = ask(limited, name)
		cancel()
		if err == nil {
			r.Restarted = append(r.Restarted, name)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
