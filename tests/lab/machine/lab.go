// Package machine makes machines out of this one: a lab is a set of Linux
// namespaces of its own, and its nodes boot systemd inside it, each on a disk of
// its own. The package knows nothing of Kubernetes: it starts, stops, saves and
// restores nodes, runs programs in them, and does to them what goes wrong in a
// data centre (faults: power cuts, cut networks, full, slow and read-only disks,
// wrong clocks).
//
// Nothing it makes outlives a lab, by construction: every process of a lab lives
// in one PID namespace, every mount in a mount namespace, every bridge and veth
// in a network namespace, and the kernel ends all three when the lab's first
// process ends. What is left to take away are empty cgroups and the lab's folder.
//
// What a node consists of is decided by package kubespray, where its programs
// come from by package component, and what the nodes do together by package lab.
package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Network of a lab: a bridge without an uplink, in a network namespace without a
// route out.
const (
	Bridge  = "lab0"
	Gateway = "10.90.0.1" // the bridge's own address, from which tests talk to nodes; nobody routes through it
	Prefix  = 24
)

// Lab is a running set of namespaces.
type Lab struct {
	Name string
	Dir  string // the lab's folder: disks, saved disks, consoles
	init process
	stop io.Closer // closing it ends a tied lab; nil for one that stays
}

// firstProcess is PID 1 of a lab. It hides the machine's /run, where
// systemd-nspawn keeps its locks, and waits: for the end of its input when the
// lab is tied to the process that started it, else for ever.
const firstProcess = `
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs -o mode=755 lab /run
mkdir /run/nodes
ip link set lo up
ip link add ` + Bridge + ` type bridge
ip address add ` + Gateway + `/24 dev ` + Bridge + `
ip link set ` + Bridge + ` up
echo up
if [ "$1" = tied ]; then read -r _ || exit 0; fi
exec sleep infinity
`

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9]{0,10}$`)

// CheckName refuses what cannot be the name of a lab: it becomes part of the
// names of cgroups and, with callers, of a folder that Stop removes.
func CheckName(name string) error {
	if !nameRule.MatchString(name) {
		return fmt.Errorf("lab %q: a name is up to 11 lower case letters and digits, a letter first", name)
	}
	return nil
}

// Start makes the namespaces of a lab whose folder is dir, which must not exist
// or be empty of a lab. A tied lab ends with this process, however that ends; one
// that is not stays until Stop.
func Start(ctx context.Context, name, dir string, tied bool) (*Lab, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if err := Preflight(filepath.Dir(dir), 1); err != nil {
		return nil, err
	}
	if running, err := Find(name, dir); err == nil {
		return nil, fmt.Errorf("lab %s: is already up, as process %d", name, running.init.pid)
	}
	l := &Lab{Name: name, Dir: dir}
	if err := l.sweep(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	mode := "stays"
	if tied {
		mode = "tied"
	}
	// Only the namespaces of the child are new: the calling process stays where it is.
	cmd := exec.Command("/bin/sh", "-c", firstProcess, "lab-"+name, mode)
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	if tied {
		if l.stop, err = cmd.StdinPipe(); err != nil {
			return nil, fmt.Errorf("lab %s: %w", name, err)
		}
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("lab %s: new namespaces: %w", name, err)
	}
	said := make([]byte, 3)
	if _, err := io.ReadFull(stdout, said); err != nil {
		_ = cmd.Wait()
		return nil, fmt.Errorf("lab %s: %s", name, strings.TrimSpace(stderr.String()))
	}
	go func() { _ = cmd.Wait() }() // reaps it when the lab ends
	if l.init, err = lookUp(cmd.Process.Pid); err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	if err := os.WriteFile(l.pidFile(), []byte(l.init.String()), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lab %s: %w", name, err), l.Stop(ctx))
	}
	return l, nil
}

// ErrNotUp says that no lab of that name is running.
var ErrNotUp = errors.New("is not up")

// Find returns the running lab whose folder is dir, or an error that wraps
// ErrNotUp.
func Find(name, dir string) (*Lab, error) {
	l := &Lab{Name: name, Dir: dir}
	text, err := os.ReadFile(l.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("lab %s: %w", name, ErrNotUp)
	}
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	if l.init, err = parseProcess(string(text)); err != nil {
		return nil, fmt.Errorf("lab %s: %s: %w", name, l.pidFile(), err)
	}
	if !l.init.alive() {
		return nil, fmt.Errorf("lab %s: %w", name, ErrNotUp)
	}
	return l, nil
}

func (l *Lab) pidFile() string { return filepath.Join(l.Dir, "pid") }

// Stop ends a lab and everything in it at once, and takes away what it leaves:
// its cgroups and its folder.
func (l *Lab) Stop(ctx context.Context) error {
	if l.init.alive() {
		if err := unix.Kill(l.init.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("lab %s: end process %d: %w", l.Name, l.init.pid, err)
		}
	}
	if l.stop != nil {
		_ = l.stop.Close()
	}
	if err := waitFor(ctx, time.Minute, func() bool { return !l.init.alive() }); err != nil {
		return fmt.Errorf("lab %s: process %d does not end: %w", l.Name, l.init.pid, err)
	}
	if err := waitFor(ctx, time.Minute, func() bool { return !loopHolds(l.Dir) }); err != nil {
		return fmt.Errorf("lab %s: a loop device still holds a disk: %w", l.Name, err)
	}
	return l.sweep()
}

// Sweep takes away what a lab that has ended without Stop has left: its cgroups
// and the folder dir.
func Sweep(name, dir string) error { return (&Lab{Name: name, Dir: dir}).sweep() }

// SweepDead is Sweep for every lab whose folder is in dir and that has ended,
// as when its tests were killed. It returns their names. A lab that is coming up
// has no process on record yet and is left alone.
func SweepDead(dir string) (swept []string, err error) {
	pids, err := filepath.Glob(filepath.Join(dir, "*", "pid"))
	if err != nil {
		return nil, fmt.Errorf("labs in %s: %w", dir, err)
	}
	for _, pid := range pids {
		name := filepath.Base(filepath.Dir(pid))
		if _, found := Find(name, filepath.Dir(pid)); !errors.Is(found, ErrNotUp) || CheckName(name) != nil {
			continue
		}
		if err := Sweep(name, filepath.Dir(pid)); err != nil {
			return swept, err
		}
		swept = append(swept, name)
	}
	return swept, nil
}

// sweep is Sweep.
func (l *Lab) sweep() error {
	if err := removeCgroups("kubespray-hardener." + l.Name + "."); err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	if err := os.RemoveAll(l.Dir); err != nil {
		return fmt.Errorf("lab %s: %w", l.Name, err)
	}
	return nil
}

// Command is a command that runs in the lab's namespaces but in no node: it sees
// the bridge and the machine's programs.
func (l *Lab) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(l.init.pid), "--mount", "--net", "--pid", "--uts", "--ipc", "--", name,
	}, args...)...)
}

// Dial connects to an address in the lab's network, which this process's own
// network namespace does not see. Addresses are numeric.
func (l *Lab) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	done := make(chan result, 1)
	go func() {
		// A thread that has changed its namespace is not given back to the
		// scheduler: the goroutine ends locked, and the thread with it.
		runtime.LockOSThread()
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", l.init.pid))
		if err != nil {
			done <- result{nil, fmt.Errorf("lab %s: %w", l.Name, ErrNotUp)}
			return
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("lab %s: enter its network: %w", l.Name, err)}
			return
		}
		conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, address)
		done <- result{conn, err}
	}()
	r := <-done
	return r.conn, r.err
}

// process is a process told from a later one with the same number by the time
// it started, in clock ticks since boot (proc(5), stat field 22).
type process struct {
	pid   int
	start string
}

func (p process) String() string { return fmt.Sprintf("%d %s\n", p.pid, p.start) }

func parseProcess(text string) (process, error) {
	var p process
	if _, err := fmt.Sscanf(text, "%d %s", &p.pid, &p.start); err != nil {
		return p, fmt.Errorf("not a process number and start time: %q", text)
	}
	return p, nil
}

func lookUp(pid int) (process, error) {
	start, state, err := processStat(pid)
	if err != nil || state == "Z" || state == "X" {
		return process{}, fmt.Errorf("process %d has ended", pid)
	}
	return process{pid, start}, nil
}

func (p process) alive() bool {
	if p.pid == 0 {
		return false
	}
	now, err := lookUp(p.pid)
	return err == nil && now.start == p.start
}

func processStat(pid int) (start, state string, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", "", err
	}
	// The name in parentheses may hold anything, also parentheses.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	if len(fields) < 20 {
		return "", "", fmt.Errorf("/proc/%d/stat: %d fields", pid, len(fields))
	}
	return fields[19], fields[0], nil
}

// waitFor waits until a condition holds.
func waitFor(ctx context.Context, limit time.Duration, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for !holds() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("not within %s", limit)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// loopHolds tells whether a loop device of this machine has a file, or one below
// a folder of that name.
func loopHolds(name string) bool {
	backing, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, b := range backing {
		if text, err := os.ReadFile(b); err == nil && (strings.TrimSpace(string(text)) == name || strings.HasPrefix(string(text), name+"/")) {
			return true
		}
	}
	return false
}
