// Package cell runs programs on a generated node: a directory tree that
// is the root of new mount, pid, network, uts and ipc namespaces, with the
// machine's own /usr, /bin, /sbin and /lib mounted into it read-only, and with
// real processes whose names, arguments and environment were chosen.
//
// Everything a cell sets up ends with it: its mounts live in its own mount
// namespace, and its processes die with the first of its pid namespace.
//
// It leaves to others what is in the tree (package specimen) and what the
// programs should say (package parity).
package cell

import (
	"bytes"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Spec is a cell: what is in it, and what to run there.
type Spec struct {
	Root      string // the node's tree, absolute
	Binds     []Bind
	Processes []Process // started in this order, before the commands
	Commands  []Command // run one after the other
}

// Bind is a file or folder of the machine that appears in the cell read-only.
type Bind struct {
	Source, Target string // Target is absolute in the cell
}

// Process is a process that does nothing but be there.
type Process struct {
	Comm     string // base name of what is executed; the kernel keeps 15 bytes
	Argv     []string
	Env      []string // the whole environment
	UID, GID uint32
	Zombie   bool // dead and never waited for
	Script   bool // a shell script of that name instead of a program
}

// Command is a program to run in the cell, its working directory is the root.
type Command struct {
	Argv  []string
	Env   []string // the whole environment
	Trace bool     // run it under ptrace and report Effects
}

// Output is what a Command did.
type Output struct {
	Stdout, Stderr []byte
	Exit           int // -1 when a signal ended it
	Wall           time.Duration
	MaxRSS         int64 // bytes: the largest resident set of the program or of a child it waited for

	// Effects are, of a traced Command, its system calls that start a process
	// or program or could change a file, in order. Syscalls is how many were
	// looked at. The other figures are missing.
	Effects  []string
	Syscalls int
}

// Folders inside the cell's root.
const (
	// Private is the folder that belongs to the cell and not to the node.
	Private = "/.cell"
	// Over holds what is mounted over folders that the machine provides: a
	// file of the node at /usr/local/x lies at Over + "/usr/local/x".
	Over = Private + "/over"
)

// overlaid are the folders below /usr that the node may bring itself.
var overlaid = []string{"/usr/local", "/usr/lib/systemd/system"}

// Locate is where a file of the node lies in the tree, relative to its root:
// the same path, except below folders that the machine provides.
func Locate(path string) string {
	if strings.HasPrefix(path, "/lib/systemd/system/") {
		path = "/usr" + path
	}
	for _, dir := range overlaid {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return Over + path
		}
	}
	return path
}

// Run starts the cell, runs its commands, and ends it. inmate is the program of
// folder inmate. It needs root.
func Run(ctx context.Context, inmate string, spec Spec) ([]Output, error) {
	if err := copyProgram(inmate, spec.Root+Private+"/inmate"); err != nil {
		return nil, fmt.Errorf("cell: inmate: %w", err)
	}
	var request bytes.Buffer
	if err := gob.NewEncoder(&request).Encode(spec); err != nil {
		return nil, fmt.Errorf("cell: encode: %w", err)
	}
	read, write, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("cell: %w", err)
	}
	defer read.Close()

	// The kernel ends the cell when the thread that started it ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, inmate)
	cmd.Args = []string{InitName}
	cmd.Stdin = &request
	cmd.ExtraFiles = []*os.File{write}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig:  syscall.SIGKILL,
	}
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, fmt.Errorf("cell: start: %w", err)
	}
	var outputs []Output
	decodeErr := gob.NewDecoder(read).Decode(&outputs)
	if err := errors.Join(cmd.Wait(), decodeErr); err != nil {
		return nil, fmt.Errorf("cell: %w: %s", err, strings.TrimSpace(stderr.String()))
	}
	return outputs, nil
}

// copyProgram gives the tree an inmate of its own, which the cell can link.
func copyProgram(from, to string) error {
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}

// tools are the programs that the audits of kube-bench's upstream profiles run
// by name.
var tools = []string{
	"sh", "ps", "grep", "sed", "awk", "stat", "find", "xargs", "cat", "tail", "head", "tr", "uniq", "sort", "cut", "wc",
	"echo", "test", "[", "jq", "bash", "id", "ls", "true", "false", "sleep", "env",
}

// Tools gives the tree a folder of the tools that audits run by name, and a
// kubelet that only knows its version, and returns the PATH of a cell with
// it. Other programs of the machine, kubectl above all, cannot be found by
// name then, so that a cell is the same on every machine.
func Tools(root string) (path string, err error) {
	dir := root + Private + "/tools"
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("cell: tools: %w", err)
	}
	for _, name := range tools {
		program, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		// Alternatives lead through /etc, which is the node's own in a cell.
		if program, err = filepath.EvalSymlinks(program); err != nil {
			return "", fmt.Errorf("cell: tools: %w", err)
		}
		if err := os.Symlink(program, filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("cell: tools: %w", err)
		}
	}
	if err := os.Symlink(Private+"/inmate", filepath.Join(dir, "kubelet")); err != nil {
		return "", fmt.Errorf("cell: tools: %w", err)
	}
	return Private + "/tools", nil
}
