//go:build e2e

package deadman

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

func open(t *testing.T, n *machine.Node) *systemd.Manager {
	t.Helper()
	m, err := systemd.Open(t.Context(), tree(t, n))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	return m
}

func unit(t *testing.T, m *systemd.Manager, name string) systemd.Unit {
	t.Helper()
	u, err := m.Unit(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// Every job has its result, with the reason; every value is systemd's own.
func TestSystemd(t *testing.T) {
	n := startNode(t)
	m := open(t, n)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	write(t, n, "/etc/systemd/system/sleeper.service", "[Service]\nExecStart=/bin/sleep infinity\nRestart=always\n[Install]\nWantedBy=multi-user.target\n")
	must(m.Reload(ctx))
	must(m.Restart(ctx, "sleeper.service"))
	first := unit(t, m, "sleeper.service")
	if !first.Running() || first.SubState != "running" || first.Result != "success" || first.Type != "simple" ||
		first.FragmentPath != "/etc/systemd/system/sleeper.service" || time.Since(first.ExecMainStart) > 2*time.Minute {
		t.Errorf("after the start: %+v", first)
	}
	run(t, n, "kill -KILL $(systemctl show -P MainPID sleeper.service)")
	eventually(t, "systemd restarts it", func() bool { u := unit(t, m, "sleeper.service"); return u.Running() && u.NRestarts == 1 })
	must(m.Restart(ctx, "sleeper.service"))
	if u := unit(t, m, "sleeper.service"); u.MainPID == first.MainPID || u.NRestarts != 0 || !u.ExecMainStart.After(first.ExecMainStart) {
		t.Errorf("after the restart: %+v", u)
	}

	write(t, n, "/etc/systemd/system/sleeper.service", "[Service]\nType=notify\nExecStart=/bin/sh -c 'exit 7'\n[Install]\nWantedBy=multi-user.target\n")
	if u := unit(t, m, "sleeper.service"); !u.NeedDaemonReload {
		t.Errorf("the file has changed: %+v", u)
	}
	must(m.Reload(ctx))
	err := m.Restart(ctx, "sleeper.service")
	var failed *systemd.JobError
	if !errors.As(err, &failed) || failed.Result != "failed" || err.Error() != "restart sleeper.service: failed: exited with status 7, result exit-code" {
		t.Errorf("a service that exits: %v", err)
	}
	must(m.ResetFailed(ctx, "sleeper.service"))
	if u := unit(t, m, "sleeper.service"); !u.Down() {
		t.Errorf("after the reset: %+v", u)
	}

	link := func() bool {
		_, err := os.Lstat(filepath.Join(tree(t, n).Dir(), "etc/systemd/system/multi-user.target.wants/sleeper.service"))
		return err == nil
	}
	must(m.Enable(ctx, "sleeper.service"))
	if !link() {
		t.Error("not enabled")
	}
	must(m.Disable(ctx, "sleeper.service"))
	if link() {
		t.Error("not disabled")
	}

	// A unit that never gets ready: whoever waits may stop waiting.
	write(t, n, "/etc/systemd/system/sleeper.service", "[Service]\nType=notify\nExecStart=/bin/sleep infinity\n")
	must(m.Reload(ctx))
	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if err := m.Start(short, "sleeper.service"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a service that is never ready: %v", err)
	}
	must(m.Stop(ctx, "sleeper.service"))

	if u := unit(t, m, "nothing.service"); u.LoadState != "not-found" || !u.Down() {
		t.Errorf("a unit that does not exist: %+v", u)
	}
	if err := m.Start(ctx, "nothing.service"); err == nil || !strings.Contains(err.Error(), "nothing.service not found") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a unit that does not exist: %v", err)
	}
}

// The bus serves where systemd's own socket is out of reach.
func TestSystemdByBus(t *testing.T) {
	n := startNode(t)
	run(t, n, "mv /run/systemd/private /run/systemd/private.away")
	defer run(t, n, "mv /run/systemd/private.away /run/systemd/private")
	m := open(t, n)
	if err := m.Restart(t.Context(), "ssh.service"); err != nil {
		t.Fatal(err)
	}
	if u := unit(t, m, "ssh.service"); !u.Running() {
		t.Errorf("%+v", u)
	}
}
