//go:build linux

// Package deadman owns the dead-man switch of a node: if the process that
// changes a component dies, hangs, or loses its machine before the change is
// proven, the node gets its old files back by itself, without the API and without
// anybody.
//
// A switch that is armed consists of files that package txn places, and of a
// timer that runs:
//
//	/var/lib/kubespray-hardener/hardener      the program, which needs no file of ours but this
//	/var/lib/kubespray-hardener/armed         for which run
//	kubespray-hardener-recover.service        runs "hardener recover"
//	kubespray-hardener-recover-[ab].timer     starts it when the time is over; two, so that
//	                                          one runs while the other is given a new time
//	kubespray-hardener-boot.service           runs "hardener recover --boot" at boot, before
//	                                          anything starts with the new files; linked
//	                                          into multi-user.target
//
// The units lie in /etc/systemd/system. There are two services because the one at
// boot is ordered before the kubelet and etcd: a service that is ordered before a
// unit and waits for its restart waits for ever.
//
// What a recovery puts back, and that it never touches what somebody else changed
// since, is package txn's; what a restart comes to, package systemd's. Whether
// the component is healthy afterwards is not asked: there is nothing older to go
// back to.
//
// A file that cannot be put back, ever, because its backup is damaged or missing,
// disarms the switch all the same. Its component is restarted with what is there:
// the rest of its files has changed under it, and a component that runs what its
// files no longer say would surprise somebody at the next reboot. The failed unit
// stays listed, and the next fix stops once to say so. What may go away, such as a
// full disk, is tried every half minute until it has, or until somebody gives the
// run up (GiveUp).
package deadman

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// Options say what is armed.
type Options struct {
	Root  *host.FS
	Store *txn.Store // of Root; its lock says until when this process has time

	Run    string        // the run that is recovered
	Within time.Duration // in which Arm is called again, or the switch disarmed; at least 1 s

	Program string // the program to leave on the node; empty: this one
}

// armed is the content of txn.Armed. It is for people, and for the run.
type armed struct {
	Run    string    `json:"run"`
	Since  time.Time `json:"since"`
	Within string    `json:"within"`
}

// Arm arms the switch, or gives it a new time when it is armed already; there is
// no moment without it in between. It comes before the edit: when Arm returns,
// everything is durable, the program has been started by systemd once, and the
// timer runs.
//
// disarm is Disarm; it comes when the journal has nothing that a recovery would
// undo. A node
// without systemd is systemd.ErrNone. After an error nothing new is armed, and
// what was armed before still is.
func Arm(ctx context.Context, o Options) (disarm func(context.Context) error, err error) {
	if err := arm(ctx, o); err != nil {
		return nil, fmt.Errorf("arm the dead-man switch: %w", err)
	}
	return func(ctx context.Context) error { return Disarm(ctx, o.Root, o.Store) }, nil
}

func arm(ctx context.Context, o Options) (err error) {
	if o.Within < time.Second {
		return fmt.Errorf("%s is no time", o.Within)
	}
	m, err := systemd.Open(ctx, o.Root)
	if err != nil {
		return err
	}
	defer m.Close()
	next, last := txn.TimerUnitA, txn.TimerUnitB
	a, err := m.Unit(ctx, path.Base(next))
	if err != nil {
		return err
	}
	b, err := m.Unit(ctx, path.Base(last))
	if err != nil {
		return err
	}
	if !a.Down() {
		next, last = last, next
	}
	again := !a.Down() || !b.Down()
	defer func() {
		if err != nil && !again {
			err = errors.Join(err, Disarm(context.WithoutCancel(ctx), o.Root, o.Store))
		}
	}()
	if err := place(o, next); err != nil {
		return err
	}
	if err := m.Reload(ctx); err != nil {
		return err
	}
	if !again {
		// Whether the program starts there, and as what systemd starts it, shows
		// only when it is tried (noexec, SELinux, another architecture's image).
		// This process holds the lock and has time, so that it finds nothing to do.
		if err := m.Start(ctx, path.Base(txn.BootUnit)); err != nil {
			return fmt.Errorf("%s cannot be started by systemd: %w", txn.Program, err)
		}
	}
	if err := o.Store.Overdue(o.Within); err != nil {
		return err
	}
	if err := m.Restart(ctx, path.Base(next)); err != nil { // Restart: also a timer that has elapsed
		return err
	}
	switch u, err := m.Unit(ctx, path.Base(next)); {
	case err != nil:
		return err
	case u.ActiveState != "active":
		return fmt.Errorf("%s is %s (%s)", path.Base(next), u.ActiveState, u.SubState)
	}
	return errors.Join(stop(ctx, m, last), o.Store.Remove(last))
}

// place puts all files of a switch in place.
func place(o Options, timer string) error {
	name := o.Program
	if name == "" {
		name = "/proc/self/exe"
	}
	program, err := os.Open(name)
	if err != nil {
		return err
	}
	defer program.Close()
	if err := o.Store.Place(txn.Program, program); err != nil {
		return err
	}
	state, err := json.Marshal(armed{Run: o.Run, Since: time.Now().UTC().Truncate(time.Second), Within: o.Within.String()})
	if err != nil {
		return err
	}
	for _, f := range []struct{ path, text string }{
		{txn.Armed, string(state) + "\n"},
		{txn.RecoverUnit, recoverUnit},
		{txn.BootUnit, bootUnit},
		{timer, timerUnit(o.Within)},
		// Last: a boot that finds it finds the rest. Made here and not by systemd,
		// which does not sync the folder.
		{txn.BootLink, txn.BootUnit},
	} {
		if err := o.Store.Place(f.path, strings.NewReader(f.text)); err != nil {
			return err
		}
	}
	return nil
}

// Disarm stops the timer and takes every file of the switch away, also what a
// process that died has left of one. It may be repeated, and does nothing where
// nothing is. Where systemd cannot be reached it is an error and the switch stays
// whole: when its time is over, or at the next boot, it finds that nothing is left
// to do and disarms itself.
func Disarm(ctx context.Context, root *host.FS, store *txn.Store) error {
	if err := disarm(ctx, root, store); err != nil {
		return fmt.Errorf("disarm the dead-man switch: %w", err)
	}
	return nil
}

func disarm(ctx context.Context, root *host.FS, store *txn.Store) error {
	errs := []error{store.Overdue(0)}
	placed, err := store.Placed()
	if err != nil || len(placed) == 0 {
		return errors.Join(append(errs, err)...)
	}
	m, err := systemd.Open(ctx, root)
	if err != nil {
		return errors.Join(append(errs, err)...)
	}
	defer m.Close()
	errs = append(errs, stop(ctx, m, txn.TimerUnitA), stop(ctx, m, txn.TimerUnitB))
	for _, p := range placed {
		errs = append(errs, store.Remove(p))
	}
	errs = append(errs, m.Reload(ctx))
	for _, p := range []string{txn.RecoverUnit, txn.BootUnit} {
		if u, err := m.Unit(ctx, path.Base(p)); err == nil && u.ActiveState == "failed" {
			errs = append(errs, m.ResetFailed(ctx, u.Name)) // else it stays listed
		}
	}
	return errors.Join(errs...)
}

// stop stops a unit that is not down. Its file is not needed for that.
func stop(ctx context.Context, m *systemd.Manager, file string) error {
	u, err := m.Unit(ctx, path.Base(file))
	if err != nil || u.Down() {
		return err
	}
	return m.Stop(ctx, u.Name)
}

// armedRun is the run for which the switch is armed, "" when it is not.
func armedRun(store *txn.Store) (string, error) {
	b, err := store.ReadArmed()
	if err != nil || len(b) == 0 {
		return "", err
	}
	var a armed
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&a); err != nil {
		return "", fmt.Errorf("%s: %w", txn.Armed, err)
	}
	return a.Run, nil
}
