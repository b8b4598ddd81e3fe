package gate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// daemon is what the gates of the components that systemd runs have in common.
type daemon struct {
	*Gates
	name      string
	at        place
	component node.Component
	unit      string // "etcd.service"
	manager   *systemd.Manager
}

// up gives the unit, and an error when it does not run.
func (d *daemon) up(ctx context.Context) (systemd.Unit, error) {
	u, err := d.manager.Unit(ctx, d.unit)
	if err == nil && !u.Running() {
		err = d.not(u)
	}
	return u, err
}

func (d *daemon) not(u systemd.Unit) error {
	return fmt.Errorf("%s is %s (%s) %s", d.unit, u.ActiveState, u.SubState, cmp.Or(u.Failure(), "and has not failed"))
}

// restart makes systemd read its units again, and restarts this one. Whether it
// has to read them is not asked (NeedDaemonReload): it has been seen to miss the
// first drop-in of a unit. That a Type=simple unit was started proves nothing:
// prove does.
func (d *daemon) restart(ctx context.Context) error {
	if err := d.manager.Reload(ctx); err != nil {
		return err
	}
	return d.manager.Restart(ctx, d.unit)
}

// looking is a proof of a daemon that goes on: it follows the main process.
type looking struct {
	*daemon
	stable time.Duration        // how long one process must run
	words  func(pid int) string // what a process that ended has logged
	// asks says what is still missing of the process that runs, or fails for good.
	asks func(ctx context.Context, u systemd.Unit) (missing string, err error)

	unit  systemd.Unit // as the process that is being watched began
	since time.Time    // it has been; zero while none runs
	exits int          // of processes before it
	last  int          // PID of the last one
}

// wait looks until nothing is missing. It tells what is when the limit has
// passed.
func (l *looking) wait(ctx context.Context) error {
	limit := l.Limits.Service
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not proven within %s", limit))
	defer cancel()
	for seen := "nothing was asked yet"; ; {
		missing, err := l.look(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w: last seen: %s", context.Cause(ctx), seen)
		case err != nil:
			return err
		case missing == "":
			return nil
		}
		seen = missing
		if ended := sleep(ctx, 2*l.Limits.Poll); ended != nil {
			return fmt.Errorf("%w: last seen: %s", ended, seen)
		}
	}
}

func (l *looking) look(ctx context.Context) (missing string, err error) {
	u, err := l.manager.Unit(ctx, l.daemon.unit)
	if err != nil {
		return "", err
	}
	if !u.Running() {
		if u.ExecMainPID != l.last && u.ExecMainCode != 0 {
			l.last = u.ExecMainPID
			l.exits++
		}
		// One exit may have a reason that passes; the second has none.
		if u.ActiveState == "failed" || u.Down() || l.exits > 1 {
			return "", l.ended(u)
		}
		l.since = time.Time{}
		return l.not(u).Error(), nil
	}
	if l.since.IsZero() || u.MainPID != l.unit.MainPID || u.NRestarts != l.unit.NRestarts {
		if !l.since.IsZero() {
			l.exits++
			l.last = l.unit.MainPID
		}
		if l.exits > 1 {
			return "", l.ended(u)
		}
		l.unit, l.since = u, time.Now()
	}
	if missing, err := l.asks(ctx, u); missing != "" || err != nil {
		return missing, err
	}
	if up := time.Since(l.since); up < l.stable {
		return fmt.Sprintf("up for %s, %s are asked for", up.Round(time.Second), l.stable), nil
	}
	return "", nil
}

func (l *looking) ended(u systemd.Unit) error {
	return fmt.Errorf("%s does not stay up: %s%s", l.daemon.unit, u.Failure(), l.words(l.last))
}

// watchProcess looks on for a time: the same process, and healthy. A fault that
// lasts for three looks is one.
func (d *daemon) watchProcess(ctx context.Context, lasts time.Duration, healthy func(context.Context) error) error {
	first, err := d.manager.Unit(ctx, d.unit)
	if err != nil {
		return err
	}
	bad := 0
	for end := time.Now().Add(lasts); ; {
		fault := healthy(ctx)
		u, err := d.manager.Unit(ctx, d.unit)
		if err != nil {
			return err
		}
		if u.MainPID != first.MainPID || u.NRestarts != first.NRestarts {
			return fmt.Errorf("%s was restarted: process %d, now %d %s", d.unit, first.MainPID, u.MainPID, u.Failure())
		}
		if bad++; fault == nil {
			bad = 0
		} else if bad == 3 {
			return fault
		}
		left := time.Until(end)
		if left <= 0 {
			return nil
		}
		if err := sleep(ctx, min(left, 10*d.Limits.Poll)); err != nil {
			return err
		}
	}
}
