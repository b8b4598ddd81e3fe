//go:build linux

package watch

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// exits tells which of some processes have ended.
type exits struct {
	ended func(pid int)    // called once for each, from any goroutine
	open  map[int]*os.File // pidfds by process id, nil for one that had ended before
}

// follow waits for these processes from now on, and for no others. One that has
// ended already is told at once. It fails where the kernel has no pidfds (before
// Linux 5.10).
func (e *exits) follow(pids []int) error {
	for pid, f := range e.open {
		if !slices.Contains(pids, pid) {
			f.Close()
			delete(e.open, pid)
		}
	}
	var first error
	for _, pid := range pids {
		if _, known := e.open[pid]; known {
			continue
		}
		fd, err := unix.PidfdOpen(pid, unix.PIDFD_NONBLOCK)
		if errors.Is(err, unix.ESRCH) {
			// Told once: in another pid namespace no process is there, and to tell that in
			// every round would be a round without end.
			e.open[pid] = nil
			e.ended(pid)
			continue
		}
		if err != nil {
			if first == nil {
				first = fmt.Errorf("watch process %d: %w", pid, err)
			}
			continue
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		e.open[pid] = f
		go e.wait(pid, f)
	}
	return first
}

// wait waits in the runtime's poller, without a thread of its own: a pidfd can be
// read from when its process has ended (pidfd_open(2)).
func (e *exits) wait(pid int, f *os.File) {
	raw, err := f.SyscallConn()
	if err != nil {
		return
	}
	ended := false
	err = raw.Read(func(fd uintptr) bool {
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 0)
		ended = err == nil && n > 0
		return ended
	})
	if err == nil && ended {
		e.ended(pid)
	}
}

func (e *exits) close() {
	for _, f := range e.open {
		f.Close()
	}
}
