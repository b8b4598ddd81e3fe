//go:build linux

// Package systemd owns the conversation with the service manager of a node: it
// restarts, starts and stops units and waits for the result, makes systemd read
// its unit files again, and tells how a unit is. It speaks D-Bus over a socket
// below the node's root, so that it works from a container that has the host's
// tree, and forks nothing.
//
// It leaves to others what a unit should be doing and whether it is healthy
// (package gate), and writes no unit file (package txn does).
package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	systemdbus "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// ErrNone says that a node has no systemd to talk to: a copied tree, a container
// without the host's /run, another init.
var ErrNone = errors.New("no systemd below this root")

// The sockets, below the node's root. The first is systemd's own: only root may
// use it, and it is there before D-Bus is, and when D-Bus has died
// (systemd src/core/dbus.c, bus_init_private).
const (
	privateSocket = "/run/systemd/private"
	busSocket     = "/run/dbus/system_bus_socket"
)

// connectLimit is how long the greeting may take: both sockets are local.
const connectLimit = 10 * time.Second

// Manager is a connection to the systemd of a node. It is safe for concurrent
// use.
type Manager struct{ conn *systemdbus.Conn }

// Open connects to the systemd of the node whose tree root is. The error is
// ErrNone's when there is none. Whoever calls it closes the result.
func Open(ctx context.Context, root *host.FS) (*Manager, error) {
	sockets := []string{busSocket}
	if os.Geteuid() == 0 {
		sockets = []string{privateSocket, busSocket}
	}
	var errs []error
	for _, socket := range sockets {
		info, err := root.Lstat(strings.TrimPrefix(socket, "/"))
		if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().Type() != fs.ModeSocket {
			continue
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		conn, err := systemdbus.NewConnection(func() (*dbus.Conn, error) { return dial(ctx, root, socket) })
		if err == nil {
			return &Manager{conn}, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", socket, err))
	}
	if errs == nil {
		return nil, fmt.Errorf("connect to systemd: %w: neither %s nor %s is there", ErrNone, privateSocket, busSocket)
	}
	if len(errs) == 2 {
		return nil, fmt.Errorf("connect to systemd: %w; %w", errs[0], errs[1])
	}
	return nil, fmt.Errorf("connect to systemd: %w", errs[0])
}

// dial opens one connection. ctx bounds the greeting, not what comes after it:
// a connection outlives the call that needed it first.
func dial(ctx context.Context, root *host.FS, socket string) (*dbus.Conn, error) {
	dir, base, err := root.OpenParent(socket)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	// By way of the open directory: links in the path resolve inside the root,
	// and it fits into the 108 bytes of an address (unix(7)).
	ctx, cancel := context.WithTimeout(ctx, connectLimit)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), base))
	if err != nil {
		var op *net.OpError // names the path of the descriptor
		if errors.As(err, &op) {
			err = op.Err
		}
		return nil, err
	}
	deadline, _ := ctx.Deadline()
	if err := c.SetDeadline(deadline); err != nil {
		c.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	conn, err := dbus.NewConn(c)
	if err != nil {
		stop()
		c.Close()
		return nil, err
	}
	// The number, not the name: a lookup of names needs the C library.
	err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	if err == nil && socket == busSocket { // systemd itself is no bus
		err = conn.Hello()
	}
	if err == nil && !stop() {
		err = context.Cause(ctx)
	}
	if err == nil {
		err = c.SetDeadline(time.Time{})
	}
	if err != nil {
		stop()
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// Close ends the connection.
func (m *Manager) Close() { m.conn.Close() }

// Restart restarts a unit, or starts one that is not running, and waits for the
// result. For Type=notify that is until the service says that it is ready, for
// Type=simple until it was started, which proves nothing.
//
// When ctx ends first, the job goes on in systemd.
func (m *Manager) Restart(ctx context.Context, unit string) error {
	return m.job(ctx, "restart", unit, m.conn.RestartUnitContext)
}

// Start starts a unit and waits for the result, see Restart.
func (m *Manager) Start(ctx context.Context, unit string) error {
	return m.job(ctx, "start", unit, m.conn.StartUnitContext)
}

// Stop stops a unit and waits until it has stopped.
func (m *Manager) Stop(ctx context.Context, unit string) error {
	return m.job(ctx, "stop", unit, m.conn.StopUnitContext)
}

// QueueRestart is Restart without waiting: for a unit that systemd starts only
// after the service that asks, where waiting would never end.
func (m *Manager) QueueRestart(ctx context.Context, unit string) error {
	if _, err := m.conn.RestartUnitContext(ctx, unit, "replace", nil); err != nil {
		return fmt.Errorf("restart %s: %w", unit, plain(err))
	}
	return nil
}

// job asks for a job and waits for its result.
func (m *Manager) job(ctx context.Context, verb, unit string, ask func(context.Context, string, string, chan<- string) (int, error)) error {
	done := make(chan string, 1)
	if _, err := ask(ctx, unit, "replace", done); err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, plain(err))
	}
	lost := time.NewTicker(time.Second)
	defer lost.Stop()
	for {
		select {
		case result := <-done:
			if result == "done" {
				return nil
			}
			return fmt.Errorf("%s %s: %w", verb, unit, m.explain(ctx, unit, result))
		case <-ctx.Done():
			return fmt.Errorf("%s %s: no result yet: %w", verb, unit, context.Cause(ctx))
		case <-lost.C:
			if !m.conn.Connected() {
				return fmt.Errorf("%s %s: no result: the connection to systemd was lost", verb, unit)
			}
		}
	}
}

// JobError is the result of a job that did not succeed.
type JobError struct {
	Result string // systemd's word: failed, timeout, canceled, dependency, skipped, ...
	Unit   Unit   // after it; without a Name when it could not be asked
}

func (e *JobError) Error() string {
	if said := e.Unit.Failure(); said != "" {
		return e.Result + ": " + said
	}
	return e.Result
}

func (m *Manager) explain(ctx context.Context, unit, result string) error {
	u, err := m.Unit(ctx, unit)
	if err != nil {
		u = Unit{}
	}
	return &JobError{Result: result, Unit: u}
}

// ResetFailed makes systemd forget that a unit has failed, and how often it was
// started lately: a unit that hit its start limit can be started again.
func (m *Manager) ResetFailed(ctx context.Context, unit string) error {
	if err := m.conn.ResetFailedUnitContext(ctx, unit); err != nil {
		return fmt.Errorf("reset %s: %w", unit, plain(err))
	}
	return nil
}

// Reload makes systemd read all unit files again ("daemon-reload"). It returns
// when that is done; no unit is restarted.
func (m *Manager) Reload(ctx context.Context) error {
	if err := m.conn.ReloadContext(ctx); err != nil {
		return fmt.Errorf("reload unit files: %w", plain(err))
	}
	return nil
}

// Enable makes the links that the [Install] sections of unit files ask for.
// files are absolute paths on the node, or names of units that systemd finds.
// Reload comes after it.
func (m *Manager) Enable(ctx context.Context, files ...string) error {
	if _, _, err := m.conn.EnableUnitFilesContext(ctx, files, false, false); err != nil {
		return fmt.Errorf("enable %s: %w", strings.Join(files, ", "), plain(err))
	}
	return nil
}

// Disable removes the links to units, also to those whose files are gone.
// Reload comes after it.
func (m *Manager) Disable(ctx context.Context, units ...string) error {
	names := make([]string, len(units))
	for i, u := range units {
		names[i] = path.Base(u)
	}
	if _, err := m.conn.DisableUnitFilesContext(ctx, names, false); err != nil {
		return fmt.Errorf("disable %s: %w", strings.Join(names, ", "), plain(err))
	}
	return nil
}

// plain takes the name of the D-Bus error off, which says what the text says.
func plain(err error) error {
	var answer dbus.Error
	if errors.As(err, &answer) && len(answer.Body) > 0 {
		if text, ok := answer.Body[0].(string); ok {
			return errors.New(strings.TrimSuffix(strings.ReplaceAll(text, "\n", "; "), "."))
		}
	}
	return err
}
