//go:build linux

package systemd

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// What needs a systemd is tested on one, in tests/deadman.

func openRoot(t *testing.T, dir string) *host.FS {
	t.Helper()
	root, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func TestOpenNone(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		reason string
		make   func() error
	}{
		{"an empty tree", func() error { return nil }},
		{"a file where the socket should be", func() error {
			if err := os.MkdirAll(filepath.Join(dir, "run/systemd"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(dir, privateSocket), nil, 0o600)
		}},
	} {
		if err := c.make(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(t.Context(), openRoot(t, dir)); !errors.Is(err, ErrNone) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", c.reason, err)
		}
	}
}

// listen makes the bus socket of a tree and lets answer have what connects.
func listen(t *testing.T, answer func(net.Conn)) *host.FS {
	t.Helper()
	// Longer than the address of a socket may be.
	dir := filepath.Join(t.TempDir(), strings.Repeat("long/", 20))
	if err := os.MkdirAll(filepath.Join(dir, "run/dbus"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Chdir(filepath.Join(dir, "run/dbus"))
	l, err := net.Listen("unix", "system_bus_socket")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go answer(c)
		}
	}()
	return openRoot(t, dir)
}

// A bus that accepts and says nothing must not keep a run for ever.
func TestOpenSilent(t *testing.T) {
	reached := make(chan struct{}, 10)
	root := listen(t, func(c net.Conn) {
		reached <- struct{}{}
		io.Copy(io.Discard, c)
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-reached
		cancel()
	}()
	began := time.Now()
	_, err := Open(ctx, root)
	if err == nil || errors.Is(err, ErrNone) {
		t.Errorf("connected to a bus that says nothing: %v", err)
	}
	if took := time.Since(began); took >= connectLimit {
		t.Errorf("the context was not heard: it took %s", took)
	}
}

func TestOpenRefuses(t *testing.T) {
	root := listen(t, func(c net.Conn) {
		buf := make([]byte, 100)
		c.Read(buf)
		io.WriteString(c, "REJECTED\r\n")
		c.Close()
	})
	_, err := Open(t.Context(), root)
	if err == nil || errors.Is(err, ErrNone) || !strings.HasPrefix(err.Error(), "connect to systemd: "+busSocket+": ") {
		t.Errorf("%v", err)
	}
}

func TestPlain(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{dbus.Error{Name: "org.freedesktop.systemd1.NoSuchUnit", Body: []any{"Unit nothing.service not found."}}, "Unit nothing.service not found"},
		{dbus.Error{Name: "x.y", Body: []any{"two\nlines"}}, "two; lines"},
		{dbus.Error{Name: "x.y"}, "x.y"},
		{context.Canceled, "context canceled"},
	} {
		if got := plain(c.err).Error(); got != c.want {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
	}
}

func TestFailure(t *testing.T) {
	for want, u := range map[string]Unit{
		"": {ActiveState: "active", MainPID: 7, Result: "success", NRestarts: 2},
		"exited with status 1, result exit-code, restarted 3 times": {ExecMainCode: 1, ExecMainStatus: 1, Result: "exit-code", NRestarts: 3},
		"killed by killed, result signal":                           {ExecMainCode: 2, ExecMainStatus: 9, Result: "signal"},
		`result timeout, status "joining"`:                          {Result: "timeout", StatusText: "joining"},
	} {
		if got := u.Failure(); got != want {
			t.Errorf("%+v: %q, want %q", u, got, want)
		}
	}
}
