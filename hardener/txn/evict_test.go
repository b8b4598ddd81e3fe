//go:build linux

package txn

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

const holdEnv = "HARDENER_TXN_HOLD"

// holdChild takes the lock of a tree, asks for a time, and keeps the lock. It
// does not hear SIGTERM when it is told to be deaf.
func holdChild(spec string) {
	fail := func(err error) {
		if err != nil {
			fmt.Println(err)
			os.Exit(2)
		}
	}
	parts := strings.SplitN(spec, "|", 3)
	within, err := time.ParseDuration(parts[0])
	fail(err)
	root, err := host.Open(parts[2])
	fail(err)
	s, err := Open(root)
	fail(err)
	if within > 0 {
		fail(s.Overdue(time.Hour)) // longer than what comes then
		fail(s.Overdue(within))
	}
	if parts[1] == "deaf" {
		signal.Ignore(syscall.SIGTERM)
	}
	for until := monotonic() + int64(within); within < time.Second && monotonic() <= until; {
	}
	fmt.Println("held")
	for {
		time.Sleep(time.Hour)
	}
}

// hold starts a process that holds the lock.
func hold(t *testing.T, root, within, hearing string) *os.Process {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.StartProcess("/proc/self/exe", []string{"hold"}, &os.ProcAttr{
		Env:   append(os.Environ(), fmt.Sprintf("%s=%s|%s|%s", holdEnv, within, hearing, root)),
		Files: []*os.File{nil, w, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { p.Kill(); p.Wait(); r.Close() })
	if line, err := bufio.NewReader(r).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q %v", line, err)
	}
	return p
}

func TestEvict(t *testing.T) {
	for _, c := range []struct {
		hearing string
		want    syscall.Signal
	}{{"hears", syscall.SIGTERM}, {"deaf", syscall.SIGKILL}} {
		root := tempDir(t)
		h := openRoot(t, root)
		p := hold(t, root, "1ms", c.hearing)
		if _, err := Open(h); !errors.Is(err, ErrLocked) {
			t.Fatalf("%v", err)
		}
		grace := 30 * time.Second
		if c.hearing == "deaf" {
			grace = 300 * time.Millisecond
		}
		pid, err := Evict(t.Context(), h, grace)
		if err != nil || pid != p.Pid {
			t.Fatalf("%s: process %d, %v; it is %d", c.hearing, pid, err, p.Pid)
		}
		openStore(t, root) // the lock is free
		state, err := p.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if status := state.Sys().(syscall.WaitStatus); status.Signal() != c.want {
			t.Errorf("%s: %v, want %v", c.hearing, state, c.want)
		}
	}
}

// Nobody is ended who has time, or who is not that very process.
func TestEvictRefuses(t *testing.T) {
	root := tempDir(t)
	h := openRoot(t, root)
	lives := func(p *os.Process, reason string) {
		t.Helper()
		if err := p.Signal(syscall.Signal(0)); err != nil {
			t.Errorf("%s: it was ended: %v", reason, err)
		}
		if _, err := Open(h); !errors.Is(err, ErrLocked) {
			t.Errorf("%s: the lock: %v", reason, err)
		}
	}
	for _, within := range []string{"0s", "1h"} {
		p := hold(t, root, within, "hears")
		if _, err := Evict(t.Context(), h, time.Second); !errors.Is(err, ErrNotOverdue) {
			t.Errorf("within %s: %v", within, err)
		}
		lives(p, within)
		p.Kill()
		p.Wait()
	}
	p := hold(t, root, "1ms", "hears")
	lock := filepath.Join(root, StateDir, lockName)
	b, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	start, _ := processStart(strconv.Itoa(p.Pid))
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	for reason, was := range map[string]string{
		"another start":   `"start":"` + start + `"`,
		"another program": `"exe":"` + filepath.Base(exe) + `"`,
	} {
		other := strings.Replace(string(b), was, was[:len(was)-1]+`9"`, 1)
		if other == string(b) {
			t.Fatalf("%s: not in %s", was, b)
		}
		if err := os.WriteFile(lock, []byte(other), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Evict(t.Context(), h, time.Second); err == nil || errors.Is(err, ErrNotOverdue) {
			t.Errorf("%s: %v", reason, err)
		}
		lives(p, reason)
	}
	// The same process, but with the lock of another tree.
	elsewhere := tempDir(t)
	plant(t, elsewhere, entry{name: StateDir[1:] + "/lock", mode: 0o600, content: string(b)})
	if _, err := Evict(t.Context(), openRoot(t, elsewhere), time.Second); err == nil || errors.Is(err, ErrNotOverdue) {
		t.Errorf("a lock that it does not hold: %v", err)
	}
	lives(p, "a lock that it does not hold")
}
