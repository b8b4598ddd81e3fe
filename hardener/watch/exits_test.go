//go:build linux

package watch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sleeper is a child process that stays until it is killed.
func sleeper(t *testing.T) *exec.Cmd {
	t.Helper()
	c := exec.Command("sleep", "1000000")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	return c
}

func needPidfds(t *testing.T) {
	t.Helper()
	fd, err := unix.PidfdOpen(os.Getpid(), unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		t.Skip("needs pidfds (Linux 5.10)")
	}
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

// endedBy are the processes that have been told as ended, until a certain one is.
func (g *ground) endedBy(last int) []int {
	g.Helper()
	var all []int
	for !slices.Contains(all, last) {
		c := g.next()
		all = append(all, c.Ended...)
	}
	return all
}

func TestExits(t *testing.T) {
	needPidfds(t)
	g := watched(t, quick, nil)
	var last *exec.Cmd
	// wants kills one more process, so that what has not been told by then never is.
	wants := func(reason string, want ...int) {
		t.Helper()
		last.Process.Kill()
		if diff := cmp.Diff(append(want, last.Process.Pid), g.endedBy(last.Process.Pid)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", reason, diff)
		}
	}
	follow := func(pids ...int) {
		t.Helper()
		last = sleeper(t)
		g.must(g.w.FollowProcesses(append(pids, last.Process.Pid)))
	}

	killed, other := sleeper(t), sleeper(t)
	follow(killed.Process.Pid, other.Process.Pid)
	killed.Process.Kill()
	if diff := cmp.Diff([]int{killed.Process.Pid}, g.endedBy(killed.Process.Pid)); diff != "" {
		t.Errorf("killed, and not waited for by its parent (-want +got):\n%s", diff)
	}
	wants("nothing more")
	follow(killed.Process.Pid, other.Process.Pid)
	wants("the dead one followed still")

	gone := exec.Command("true")
	g.must(gone.Run())
	follow(gone.Process.Pid, other.Process.Pid)
	wants("ended before it was followed", gone.Process.Pid)
	follow(gone.Process.Pid, other.Process.Pid)
	wants("the same followed still")

	follow()
	other.Process.Kill()
	other.Wait()
	wants("followed no longer")

	zombie := sleeper(t)
	zombie.Process.Kill()
	g.must(waitid(zombie.Process.Pid))
	follow(zombie.Process.Pid)
	if diff := cmp.Diff([]int{zombie.Process.Pid}, g.endedBy(zombie.Process.Pid)); diff != "" {
		t.Errorf("dead before it was followed (-want +got):\n%s", diff)
	}

	if err := g.w.FollowProcesses([]int{-1, last.Process.Pid}); err == nil || !strings.HasPrefix(err.Error(), "watch process -1: ") {
		t.Errorf("a process that cannot be: %v", err)
	}
	wants("the others are followed all the same")
}

// waitid waits for a child to end without taking it away.
func waitid(pid int) error {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// TestManyProcesses wants processes to be waited for without a thread for each.
func TestManyProcesses(t *testing.T) {
	needPidfds(t)
	const children = 50
	g := watched(t, quick, nil)
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	var pids []int
	var all []*exec.Cmd
	for range children {
		c := sleeper(t)
		all, pids = append(all, c), append(pids, c.Process.Pid)
	}
	slices.Sort(pids)
	own := openFiles(t) - fds // os.Process has a pidfd as well
	threads := readThreads(t)
	g.must(g.w.FollowProcesses(pids))
	if now := openFiles(t) - fds - own; now != children {
		t.Errorf("%d descriptors for %d processes", now, children)
	}
	for _, c := range all {
		c.Process.Kill()
	}
	var ended []int
	for len(ended) < children {
		ended = append(ended, g.next().Ended...)
	}
	slices.Sort(ended)
	if diff := cmp.Diff(pids, ended); diff != "" {
		t.Errorf("ended (-want +got):\n%s", diff)
	}
	now := readThreads(t) // the runtime keeps a thread that it has made
	t.Logf("%d processes: %d threads before, %d after", children, threads, now)
	if now > threads+children/5 {
		t.Errorf("%d threads before, %d after", threads, now)
	}
	g.must(g.w.FollowProcesses(nil))
	eventually(t, "descriptors and goroutines as before", func() (string, bool) {
		f, g := openFiles(t)-own, runtime.NumGoroutine()
		return fmt.Sprintf("%d descriptors, %d before; %d goroutines, %d before", f, fds, g, goroutines), f <= fds && g <= goroutines
	})
}

// TestUnfollowed wants nothing to be left of processes that live on.
func TestUnfollowed(t *testing.T) {
	needPidfds(t)
	g := watched(t, quick, nil)
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 200 {
		g.must(g.w.FollowProcesses([]int{os.Getpid(), os.Getppid()}))
		g.must(g.w.FollowProcesses(nil))
	}
	eventually(t, "descriptors and goroutines as before", func() (string, bool) {
		f, g := openFiles(t), runtime.NumGoroutine()
		return fmt.Sprintf("%d descriptors, %d before; %d goroutines, %d before", f, fds, g, goroutines), f <= fds && g <= goroutines
	})
}

func readThreads(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(b), "\nThreads:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
