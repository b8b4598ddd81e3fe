//go:build linux

package txn

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// ErrNotOverdue says that the process which holds the lock has time left, or
// never said how much it needs.
var ErrNotOverdue = errors.New("the process that holds the lock is within its time")

// Evict ends the process that holds the lock of a node after it has had more
// than the time that it asked for itself (Store.Overdue): with SIGTERM, on which
// the program undoes what is not proven, and after grace with SIGKILL. It returns
// when the lock is free; whoever calls it opens the Store and recovers.
//
// Why a process of the program may be ended: it has changed a component and has
// not proven it in the time that it gave itself, so that it hangs, is stopped, or
// waits for something that does not come. The node would stay unproven for as
// long as it lives, and nobody else can take the lock. Ending it is safe at any
// moment: that is what the journal is for.
//
// Only that very process is ended: the one that has the lock file open and
// locked, was started when the lock says, and runs the program that the lock
// names. The number in the lock is not used: it may be of another PID namespace.
func Evict(ctx context.Context, root *host.FS, grace time.Duration) (pid int, err error) {
	pid, err = evict(ctx, root, grace)
	if err != nil {
		return pid, fmt.Errorf("end the process that holds the lock: %w", err)
	}
	return pid, nil
}

func evict(ctx context.Context, root *host.FS, grace time.Duration) (int, error) {
	dir, base, err := parent(root, StateDir+"/"+lockName)
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	lock, err := dir.open(base, unix.O_RDONLY)
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	h := readHolder(lock)
	if h.Deadline == 0 || monotonic() < h.Deadline {
		return 0, ErrNotOverdue
	}
	var st unix.Stat_t
	if err := unix.Fstat(lock.fd(), &st); err != nil {
		return 0, failed("stat", lock.path, err)
	}
	pid, err := findHolder(h, &st)
	if err != nil {
		return 0, err
	}
	// From here on a pidfd stands for the process, if the kernel has them; that
	// it is still the same one is looked at once more.
	p, err := os.FindProcess(pid)
	if err != nil {
		return pid, err
	}
	defer p.Release()
	if gone(pid, h) {
		return pid, nil
	}
	for _, step := range []struct {
		signal syscall.Signal
		wait   time.Duration
	}{{syscall.SIGTERM, grace}, {syscall.SIGKILL, 10 * time.Second}} {
		if err := p.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return pid, fmt.Errorf("process %d: %w", pid, err)
		}
		for began := time.Now(); time.Since(began) < step.wait; {
			if gone(pid, h) || free(lock) {
				return pid, nil
			}
			select {
			case <-ctx.Done():
				return pid, context.Cause(ctx)
			case <-time.After(20 * time.Millisecond):
			}
		}
	}
	return pid, fmt.Errorf("process %d does not end", pid)
}

// gone tells whether nothing is left of the holder. While it ends it still has
// the lock for a moment, and threads of it when the first one has ended.
func gone(pid int, h holder) bool {
	start, _ := processStart(strconv.Itoa(pid))
	return start != h.Start
}

// free tells whether nobody holds the lock, by taking it for a moment: a process
// that ended and that its parent does not wait for is there for ever.
func free(lock openFile) bool {
	if flock(lock) != nil {
		return false
	}
	return unix.Flock(lock.fd(), unix.LOCK_UN) == nil
}

// readHolder reads what the holder has written; nothing in the moment before.
func readHolder(lock openFile) (h holder) {
	_ = json.NewDecoder(io.LimitReader(lock.File, 4096)).Decode(&h)
	return h
}

// findHolder looks for the process in this PID namespace.
func findHolder(h holder, lock *unix.Stat_t) (int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return 0, err
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && pid != os.Getpid() && h.is(pid) && locks(pid, lock) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no process here was started as %s says and has it locked", lockName)
}

// is tells whether a process that runs is the holder, but for the lock.
func (h holder) is(pid int) bool {
	start, running := processStart(strconv.Itoa(pid))
	if !running || start == "" || start != h.Start {
		return false
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	// Of a container's file the path is that in the container; a program that was
	// replaced meanwhile is marked.
	return err == nil && path.Base(strings.TrimSuffix(exe, " (deleted)")) == h.Exe
}

// locks tells whether a process has the lock file open and locked, as the kernel
// says (proc(5), fdinfo: "lock: 1: FLOCK ADVISORY WRITE ...").
func locks(pid int, lock *unix.Stat_t) bool {
	fds, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	for _, fd := range fds {
		var st unix.Stat_t
		if unix.Stat(fd, &st) != nil || st.Dev != lock.Dev || st.Ino != lock.Ino {
			continue
		}
		info, err := os.ReadFile(strings.Replace(fd, "/fd/", "/fdinfo/", 1))
		if err == nil && strings.Contains(string(info), "FLOCK") {
			return true
		}
	}
	return false
}

// processStart is when a process, by its number or "self", started, in clock ticks since boot (proc(5),
// stat field 22), the same in every PID namespace. One that has ended and only
// waits for its parent holds no lock any more.
func processStart(pid string) (start string, running bool) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return "", false
	}
	// The name in parentheses may hold anything, also parentheses.
	fields := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
	if len(fields) < 20 {
		return "", false
	}
	return fields[19], fields[0] != "Z" && fields[0] != "X"
}

// monotonic is the clock that timers of systemd go by, in nanoseconds since boot.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts) // fails only for a clock that is not there
	return ts.Nano()
}
