package cell

import (
	"bytes"
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

	"golang.org/x/sys/unix"
)

// InitName is the argv[0] that makes an inmate the first process of a cell.
const InitName = "cell-init"

// system are the folders that the machine provides.
var system = []string{"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"}

// Init is the first process of a cell: it reads a Spec from standard input,
// builds the cell, runs the commands and writes their Outputs to file
// descriptor 3. When it returns and its process ends, the kernel ends
// every other process of the cell.
func Init() error {
	var spec Spec
	if err := gob.NewDecoder(os.Stdin).Decode(&spec); err != nil {
		return fmt.Errorf("init: decode: %w", err)
	}
	reply := os.NewFile(3, "reply")
	unix.CloseOnExec(3)
	if err := spec.enter(); err != nil {
		return fmt.Errorf("init: mounts: %w", err)
	}
	for _, p := range spec.Processes {
		if err := p.start(); err != nil {
			return fmt.Errorf("init: process %s: %w", p.Comm, err)
		}
	}
	var outputs []Output
	for _, c := range spec.Commands {
		o, err := c.run()
		if err != nil {
			return fmt.Errorf("init: command %s: %w", c.Argv[0], err)
		}
		outputs = append(outputs, o)
	}
	return gob.NewEncoder(reply).Encode(outputs)
}

// enter makes the tree the root of this mount namespace.
func (s Spec) enter() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("private: %w", err)
	}
	if err := unix.Mount(s.Root, s.Root, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("root: %w", err)
	}
	for _, dir := range system {
		if err := s.provide(dir); err != nil {
			return err
		}
	}
	for _, dir := range overlaid {
		if err := s.overlay(dir); err != nil {
			return err
		}
	}
	for _, b := range s.Binds {
		if err := bind(b.Source, s.Root+b.Target); err != nil {
			return err
		}
	}
	if err := s.devices(); err != nil {
		return err
	}
	if err := mountNew(s.Root+"/proc", "proc"); err != nil {
		return err
	}
	old := s.Root + Private + "/old"
	if err := os.MkdirAll(old, 0o700); err != nil {
		return err
	}
	if err := unix.PivotRoot(s.Root, old); err != nil {
		return fmt.Errorf("pivot: %w", err)
	}
	if err := os.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount(Private+"/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("old root: %w", err)
	}
	return os.Remove(Private + "/old")
}

// provide shows a folder of the machine, or the link that it is.
func (s Spec) provide(dir string) error {
	info, err := os.Lstat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(dir)
		if err != nil {
			return err
		}
		return os.Symlink(target, s.Root+dir)
	}
	return bind(dir, s.Root+dir)
}

// overlay hides what the machine has in a folder behind what the node has
// there. A machine without the folder has no place to mount it; the files of
// the node are then missing for both programs alike.
func (s Spec) overlay(dir string) error {
	target := s.Root + dir
	if _, err := os.Stat(target); err != nil {
		return nil
	}
	source := s.Root + Over + dir
	if err := os.MkdirAll(source, 0o755); err != nil {
		return err
	}
	return unix.Mount(source, target, "", unix.MS_BIND, "")
}

func (s Spec) devices() error {
	dir := s.Root + "/dev"
	if err := mountNew(dir, "tmpfs"); err != nil {
		return err
	}
	for _, name := range []string{"null", "zero", "full", "random", "urandom"} {
		if err := os.WriteFile(dir+"/"+name, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount("/dev/"+name, dir+"/"+name, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func mountNew(target, kind string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(kind, target, kind, unix.MS_NOSUID, ""); err != nil {
		return fmt.Errorf("%s: %w", target, err)
	}
	return nil
}

// bind mounts source on target read-only and creates the mount point.
func bind(source, target string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o755)
	} else if err = os.MkdirAll(filepath.Dir(target), 0o755); err == nil {
		err = os.WriteFile(target, nil, 0o755)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", source, err)
	}
	if err := unix.Mount("", target, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("read-only %s: %w", source, err)
	}
	return nil
}

// waiting is a script that waits for ever without starting another process.
const waiting = "#!/bin/sh\nexec 9<>" + Private + "/never\nread line <&9\n"

// start executes the inmate, or a script, under the process's name.
func (p Process) start() error {
	dir := Private + "/run"
	program := filepath.Join(dir, p.Comm)
	if p.Script {
		program = filepath.Join(dir, "script", p.Comm)
	}
	if err := p.install(program); err != nil {
		return err
	}
	// Not os/exec, which would drop what is odd about the environment.
	process, err := os.StartProcess(program, p.Argv, &os.ProcAttr{
		Env: append([]string{}, p.Env...),
		Sys: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: p.UID, Gid: p.GID}},
	})
	if err != nil || !p.Zombie {
		return err
	}
	if err := process.Kill(); err != nil {
		return err
	}
	// WNOWAIT waits for the end of the process and leaves the zombie.
	return unix.Waitid(unix.P_PID, process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
}

func (p Process) install(program string) error {
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return err
	}
	if _, err := os.Lstat(program); err == nil {
		return nil
	}
	if !p.Script {
		return os.Link(Private+"/inmate", program)
	}
	if err := unix.Mkfifo(Private+"/never", 0o666); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	if err := os.Chmod(Private+"/never", 0o666); err != nil {
		return err
	}
	return os.WriteFile(program, []byte(waiting), 0o755)
}

func (c Command) run() (Output, error) {
	if c.Trace {
		return c.trace()
	}
	// A fork of a large heap would count as the child's resident set.
	runtime.GC()
	cmd := exec.Command(c.Argv[0], c.Argv[1:]...)
	cmd.Env = c.Env
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	start := time.Now()
	err := cmd.Run()
	wall := time.Since(start)
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return Output{}, err
	}
	o := Output{Stdout: stdout.Bytes(), Stderr: stderr.Bytes(), Exit: cmd.ProcessState.ExitCode(), Wall: wall}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		o.MaxRSS = usage.Maxrss << 10
	}
	return o, nil
}

// Version is what an inmate answers to --version: kube-bench runs the program
// called kubelet that it finds in PATH.
const Version = "Kubernetes v1.34.3"

// Wait is every other inmate: it waits until it is killed.
func Wait() {
	if len(os.Args) == 2 && strings.HasPrefix(os.Args[1], "--version") {
		fmt.Println(Version)
		return
	}
	for {
		_ = unix.Pause()
	}
}
