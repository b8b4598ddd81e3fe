//go:build linux

package systemd

import (
	"context"
	"fmt"
	"path"
	"strings"
	"syscall"
	"time"
)

// Unit is how a unit is at one moment. The names are those of systemctl show;
// what a type of unit does not have is zero.
type Unit struct {
	Name             string
	LoadState        string // loaded, not-found, masked, bad-setting, error
	ActiveState      string // active, activating, deactivating, reloading, inactive, failed
	SubState         string // running, auto-restart, dead, waiting, elapsed, ...
	FragmentPath     string // the unit file
	NeedDaemonReload bool   // its files on disk are not those that systemd has read

	Type           string // simple, notify, oneshot, ...
	Result         string // success, exit-code, signal, timeout, start-limit-hit, ...
	MainPID        int    // in the numbers of systemd; 0 when nothing runs
	NRestarts      int    // automatic restarts since the last start that somebody asked for; 0 before systemd 235
	ExecMainPID    int    // of the last main process, also when it has ended
	ExecMainStart  time.Time
	ExecMainCode   int    // how it ended: CLD_EXITED 1, CLD_KILLED 2, CLD_DUMPED 3 (sigaction(2)); 0 while it runs
	ExecMainStatus int    // its exit code, or the signal
	StatusText     string // what a Type=notify service says of itself
}

// Running tells whether the unit is up and its main process is there.
func (u Unit) Running() bool { return u.ActiveState == "active" && u.MainPID > 0 }

// Down tells whether nobody wants the unit to run: it is stopped, or not there.
// One that has failed, or waits to be started again, is not down.
func (u Unit) Down() bool { return u.ActiveState == "inactive" }

// Failure says in a few words how the last main process of a unit ended, "" when
// it has not, or well.
func (u Unit) Failure() string {
	var said []string
	switch {
	case u.ExecMainCode == 1 && u.ExecMainStatus != 0:
		said = append(said, fmt.Sprintf("exited with status %d", u.ExecMainStatus))
	case u.ExecMainCode > 1:
		said = append(said, fmt.Sprintf("killed by %v", syscall.Signal(u.ExecMainStatus)))
	}
	if u.Result != "" && u.Result != "success" {
		said = append(said, "result "+u.Result)
	}
	if u.NRestarts > 0 && len(said) > 0 { // by itself it may be of long ago
		said = append(said, fmt.Sprintf("restarted %d times", u.NRestarts))
	}
	if len(said) > 0 && u.StatusText != "" {
		said = append(said, fmt.Sprintf("status %q", u.StatusText))
	}
	return strings.Join(said, ", ")
}

// interfaces are the D-Bus interfaces of the types of units that this program
// looks at.
var interfaces = map[string]string{".service": "Service", ".timer": "Timer"}

// Unit tells how a unit is. One that does not exist has the LoadState
// "not-found", which is no error.
func (m *Manager) Unit(ctx context.Context, name string) (Unit, error) {
	u := Unit{Name: name}
	all, err := m.conn.GetUnitPropertiesContext(ctx, name)
	if err != nil {
		return u, fmt.Errorf("look at %s: %w", name, plain(err))
	}
	p := properties(all)
	u.LoadState, u.ActiveState, u.SubState = p.text("LoadState"), p.text("ActiveState"), p.text("SubState")
	u.FragmentPath = p.text("FragmentPath")
	u.NeedDaemonReload, _ = p["NeedDaemonReload"].(bool)
	kind, ok := interfaces[path.Ext(name)]
	if !ok {
		return u, nil
	}
	more, err := m.conn.GetUnitTypePropertiesContext(ctx, name, kind)
	if err != nil {
		return u, fmt.Errorf("look at %s: %w", name, plain(err))
	}
	p = properties(more)
	u.Type, u.Result, u.StatusText = p.text("Type"), p.text("Result"), p.text("StatusText")
	u.MainPID, u.NRestarts = p.number("MainPID"), p.number("NRestarts")
	u.ExecMainPID, u.ExecMainCode, u.ExecMainStatus = p.number("ExecMainPID"), p.number("ExecMainCode"), p.number("ExecMainStatus")
	u.ExecMainStart = p.time("ExecMainStartTimestamp")
	return u, nil
}

// properties are values as D-Bus has them, by name.
type properties map[string]any

func (p properties) text(name string) string { s, _ := p[name].(string); return s }

func (p properties) number(name string) int {
	switch n := p[name].(type) {
	case uint32:
		return int(n)
	case int32:
		return int(n)
	}
	return 0
}

// time reads a wall clock time in microseconds; 0 means never.
func (p properties) time(name string) time.Time {
	if n, _ := p[name].(uint64); n > 0 {
		return time.UnixMicro(int64(n))
	}
	return time.Time{}
}
