package cell

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// trace runs the command under ptrace, all its threads included, and looks at
// every system call before it happens.
func (c Command) trace() (Output, error) {
	// All ptrace requests must come from the thread that started the tracee.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	null, err := os.Open("/dev/null")
	if err != nil {
		return Output{}, err
	}
	defer null.Close()
	var o Output
	stdout, outDone, err := collect(&o.Stdout)
	if err != nil {
		return Output{}, err
	}
	stderr, errDone, err := collect(&o.Stderr)
	if err != nil {
		return Output{}, err
	}
	process, err := os.StartProcess(c.Argv[0], c.Argv, &os.ProcAttr{
		Env:   append([]string{}, c.Env...),
		Files: []*os.File{null, stdout, stderr},
		Sys:   &syscall.SysProcAttr{Ptrace: true},
	})
	stdout.Close()
	stderr.Close()
	if err != nil {
		return Output{}, err
	}
	t := tracer{main: process.Pid, seen: map[int]bool{process.Pid: true}}
	status, err := t.follow()
	if err != nil {
		return Output{}, errors.Join(err, process.Kill())
	}
	<-outDone
	<-errDone
	o.Exit, o.Effects, o.Syscalls = status.ExitStatus(), t.effects, t.calls
	return o, nil
}

// collect gives a pipe whose content lands in to until it is closed everywhere.
func collect(to *[]byte) (*os.File, <-chan struct{}, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer read.Close()
		var b bytes.Buffer
		_, _ = io.Copy(&b, read)
		*to = b.Bytes()
	}()
	return write, done, nil
}

type tracer struct {
	main    int
	seen    map[int]bool // threads whose first stop has been handled
	effects []string
	calls   int
}

// follow resumes whatever stops until the main process ends.
func (t *tracer) follow() (unix.WaitStatus, error) {
	var status unix.WaitStatus
	if _, err := unix.Wait4(t.main, &status, unix.WALL, nil); err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	options := unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEFORK |
		unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACEEXEC | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(t.main, options); err != nil {
		return 0, fmt.Errorf("trace: options: %w", err)
	}
	if err := unix.PtraceSyscall(t.main, 0); err != nil {
		return 0, fmt.Errorf("trace: %w", err)
	}
	for {
		tid, err := unix.Wait4(-1, &status, unix.WALL, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("trace: wait: %w", err)
		}
		if !status.Stopped() {
			if tid == t.main {
				return status, nil
			}
			continue
		}
		deliver := 0
		switch signal := status.StopSignal(); {
		case signal == unix.SIGTRAP|0x80:
			if err := t.syscall(tid); err != nil {
				return 0, err
			}
		case signal == unix.SIGTRAP && status.TrapCause() > 0:
			// The call was looked at when it was entered.
		case signal == unix.SIGSTOP && !t.seen[tid]:
			t.seen[tid] = true
		default:
			deliver = int(signal)
		}
		// A thread may be gone by now: another one ended the process.
		if err := unix.PtraceSyscall(tid, deliver); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, fmt.Errorf("trace: resume: %w", err)
		}
	}
}

// syscallInfo is struct ptrace_syscall_info at the entry of a call (ptrace(2)).
type syscallInfo struct {
	op     uint8
	_      [3]uint8
	_      uint32 // arch
	_, _   uint64 // instruction and stack pointer
	number uint64
	args   [6]uint64
	_      uint64
}

const (
	ptraceGetSyscallInfo = 0x420e
	syscallEntry         = 1
)

func (t *tracer) syscall(tid int) error {
	var info syscallInfo
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, ptraceGetSyscallInfo, uintptr(tid), unsafe.Sizeof(info), uintptr(unsafe.Pointer(&info)), 0, 0)
	if errno == unix.ESRCH {
		return nil
	}
	if errno != 0 {
		return fmt.Errorf("trace: system call: %w", errno)
	}
	if info.op != syscallEntry {
		return nil
	}
	t.calls++
	if effect := t.effect(tid, int(info.number), info.args); effect != "" {
		t.effects = append(t.effects, effect)
	}
	return nil
}

// effect says what a system call would do to the node, or "".
func (t *tracer) effect(tid, number int, args [6]uint64) string {
	switch number {
	case unix.SYS_CLONE:
		if args[0]&unix.CLONE_THREAD == 0 {
			return "clone of a process"
		}
	case unix.SYS_CLONE3:
		if flags, ok := peek(tid, args[0]); !ok || flags&unix.CLONE_THREAD == 0 {
			return "clone3 of a process"
		}
	case unix.SYS_OPENAT:
		return opening(tid, "openat", args[1], args[2])
	case unix.SYS_OPENAT2:
		flags, ok := peek(tid, args[2])
		if !ok {
			return "openat2 with unreadable arguments"
		}
		return opening(tid, "openat2", args[1], flags)
	default:
		if name, ok := changing[number]; ok {
			return name
		}
		return legacyEffect(tid, number, args)
	}
	return ""
}

// changing are the calls that start a program or change a file system.
var changing = map[int]string{
	unix.SYS_EXECVE: "execve", unix.SYS_EXECVEAT: "execveat",
	unix.SYS_RENAMEAT: "renameat", unix.SYS_RENAMEAT2: "renameat2", unix.SYS_UNLINKAT: "unlinkat",
	unix.SYS_MKDIRAT: "mkdirat", unix.SYS_MKNODAT: "mknodat", unix.SYS_LINKAT: "linkat", unix.SYS_SYMLINKAT: "symlinkat",
	unix.SYS_FCHMOD: "fchmod", unix.SYS_FCHMODAT: "fchmodat", unix.SYS_FCHMODAT2: "fchmodat2",
	unix.SYS_FCHOWN: "fchown", unix.SYS_FCHOWNAT: "fchownat",
	unix.SYS_TRUNCATE: "truncate", unix.SYS_FTRUNCATE: "ftruncate", unix.SYS_FALLOCATE: "fallocate", unix.SYS_UTIMENSAT: "utimensat",
	unix.SYS_SETXATTR: "setxattr", unix.SYS_LSETXATTR: "lsetxattr", unix.SYS_FSETXATTR: "fsetxattr",
	unix.SYS_REMOVEXATTR: "removexattr", unix.SYS_LREMOVEXATTR: "lremovexattr", unix.SYS_FREMOVEXATTR: "fremovexattr",
	unix.SYS_MOUNT: "mount", unix.SYS_UMOUNT2: "umount2", unix.SYS_PIVOT_ROOT: "pivot_root", unix.SYS_CHROOT: "chroot",
	unix.SYS_KILL: "kill", unix.SYS_PTRACE: "ptrace", unix.SYS_IO_URING_SETUP: "io_uring_setup",
}

// opening reports an open that could write or create.
func opening(tid int, call string, path, flags uint64) string {
	if flags&unix.O_ACCMODE == unix.O_RDONLY && flags&(unix.O_CREAT|unix.O_TRUNC) == 0 {
		return ""
	}
	return fmt.Sprintf("%s %q for writing", call, peekString(tid, path))
}

func peek(tid int, address uint64) (uint64, bool) {
	var word [8]byte
	n, err := unix.PtracePeekData(tid, uintptr(address), word[:])
	if err != nil || n != len(word) {
		return 0, false
	}
	return *(*uint64)(unsafe.Pointer(&word)), true
}

func peekString(tid int, address uint64) string {
	var path [256]byte
	n, err := unix.PtracePeekData(tid, uintptr(address), path[:])
	if err != nil && n == 0 {
		return "?"
	}
	text, _, _ := bytes.Cut(path[:n], []byte{0})
	return string(text)
}
