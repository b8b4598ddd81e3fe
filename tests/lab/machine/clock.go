package machine

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Linux has one wall clock for all, so a node gets a wrong one process by process:
// in the vDSO, the code with which the kernel lets a process read the time.
const (
	clockInterval = 25 * time.Millisecond  // between two looks at all processes
	clockPatience = 20 * time.Millisecond  // to wait for a thread to stop
	gatePatience  = 250 * time.Millisecond // to keep a thread from executing a program
)

// ShiftClock makes the processes that pids returns, now or while the shift lasts,
// see a wall clock (CLOCK_REALTIME and CLOCK_REALTIME_COARSE, by clock_gettime(2),
// gettimeofday(2) or time(2)) that is wrong by offset, in whole microseconds and
// negative for the past. Every other clock stays right, so do durations. Stop puts
// the clock right again; without it, or if this process dies, those that are shifted
// stay so. There may be one shift of a process at a time, and none of a process that
// this one waits for, such as its child: while it is stopped for a moment, wait(2)
// would report that.
//
// On return all processes of that moment are shifted. A program that is executed
// later never sees the right time if it lies on a file system that a process
// shifted before has as its root (and that is not the caller's own root); any
// other, such as the first program of a container, is found within 25 ms.
//
// What is not reached: programs that ask the kernel without the vDSO (statically
// linked C, 32 bit); time stamps that the kernel makes (files, sockets, its log);
// timers that are set to a wall time (timerfd, cron by clock_nanosleep), which fire
// by the right clock; processes that are traced by another one.
//
// It needs amd64.
func ShiftClock(pids func() ([]int, error), offset time.Duration) (stop func() error, err error) {
	vdso, err := readVDSO()
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	patch, err := shiftVDSO(vdso, offset)
	if err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	fd, err := unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_REPORT_TID|unix.FAN_CLOEXEC|unix.FAN_NONBLOCK, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_LARGEFILE)
	if err != nil {
		return nil, fmt.Errorf("clock: watch for new programs: %w", err)
	}
	gate := os.NewFile(uintptr(fd), "fanotify")
	s := &shift{wrong: true, patch: patch, pids: pids, gate: fd, execs: make(chan execution), known: map[int]uint64{}, caught: map[int]int{}, late: map[int]bool{}}
	go watchGate(gate, s.execs)
	begun, end, ended := make(chan error), make(chan struct{}), make(chan error, 1)
	go func() {
		// The kernel takes requests about a traced process from the thread that
		// traces it. The thread ends with the goroutine, which is not unlocked, and
		// lets go of whatever it still traces.
		runtime.LockOSThread()
		defer gate.Close() // whoever waits there may go on
		err := s.begin()
		begun <- err
		if err == nil {
			ended <- s.run(end)
		}
	}()
	if err := <-begun; err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	return func() error {
		close(end)
		if err := <-ended; err != nil {
			return fmt.Errorf("clock: %w", err)
		}
		return nil
	}, nil
}

// vdsoPatch is what is written over a vDSO to shift it.
type vdsoPatch struct {
	image   []byte  // of a vDSO as the kernel maps it, whole pages
	cave    int     // where in the image there is nothing; the new functions go there
	code    []byte  // the new functions
	entries []entry // of the functions that they replace
}

// entry is the beginning of a function in the vDSO, and the jump that replaces it.
// The rest of the function stays, for threads that are in it.
type entry struct {
	at       int
	was, jmp [5]byte
}

// readVDSO returns the vDSO of this process, which all 64 bit processes have.
func readVDSO() ([]byte, error) {
	at, size, err := findVDSO(os.Getpid())
	if err != nil {
		return nil, err
	}
	image := make([]byte, size)
	return image, memory(os.Getpid(), at, image, false)
}

// findVDSO returns the address and size of a process's vDSO.
func findVDSO(pid int) (at uint64, size int, err error) {
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(maps)) {
		if !strings.HasSuffix(line, "[vdso]\n") {
			continue
		}
		var end uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &at, &end); err != nil {
			return 0, 0, fmt.Errorf("/proc/%d/maps: %q: %w", pid, line, err)
		}
		return at, int(end - at), nil
	}
	return 0, 0, fmt.Errorf("process %d: %w", pid, errNoVDSO)
}

var errNoVDSO = errors.New("has no vDSO")

// memory reads or writes memory of a process, also where the process may not write.
func memory(pid int, at uint64, data []byte, write bool) error {
	flags := os.O_RDONLY
	if write {
		flags = os.O_RDWR
	}
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", pid), flags, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if write {
		_, err = f.WriteAt(data, int64(at))
	} else {
		_, err = f.ReadAt(data, int64(at))
	}
	return err
}

// shiftVDSO works out how to shift a vDSO: new functions that ask the kernel and
// add the offset, in the room behind the last byte that is used, and jumps to them.
func shiftVDSO(image []byte, offset time.Duration) (vdsoPatch, error) {
	if runtime.GOARCH != "amd64" {
		return vdsoPatch{}, fmt.Errorf("shifting it needs amd64, this is %s", runtime.GOARCH)
	}
	file, err := elf.NewFile(bytes.NewReader(image))
	if err != nil {
		return vdsoPatch{}, fmt.Errorf("vDSO: %w", err)
	}
	symbols, err := file.DynamicSymbols()
	if err != nil {
		return vdsoPatch{}, fmt.Errorf("vDSO: %w", err)
	}
	code, functions := clockFunctions(offset.Truncate(time.Microsecond))
	p := vdsoPatch{image: image, cave: (len(bytes.TrimRight(image, "\x00")) + 32) &^ 15, code: code}
	if p.cave+len(code) > len(image) {
		return vdsoPatch{}, fmt.Errorf("vDSO: %d bytes of code do not fit behind its %d of %d", len(code), p.cave, len(image))
	}
	for _, s := range symbols {
		to, replaced := functions[s.Name]
		if !replaced {
			continue
		}
		e := entry{at: int(s.Value), jmp: [5]byte{0xe9}}
		if s.Size < uint64(len(e.was)) || e.at+len(e.was) > len(image) {
			return vdsoPatch{}, fmt.Errorf("vDSO: %s at %#x has %d bytes", s.Name, s.Value, s.Size)
		}
		copy(e.was[:], image[e.at:])
		binary.LittleEndian.PutUint32(e.jmp[1:], uint32(p.cave+to-(e.at+len(e.jmp))))
		p.entries = append(p.entries, e)
	}
	if len(p.entries) != len(functions) {
		return vdsoPatch{}, fmt.Errorf("vDSO: has %d of the %d functions that tell the time", len(p.entries), len(functions))
	}
	return p, nil
}

// clockFunctions is machine code for amd64 that stands in for the vDSO's functions,
// and where each begins. Registers are used as the C calling convention has it.
func clockFunctions(offset time.Duration) (code []byte, functions map[string]int) {
	code = binary.LittleEndian.AppendUint64(code, uint64(offset.Nanoseconds()))
	code = binary.LittleEndian.AppendUint64(code, uint64(offset.Microseconds()))
	const nanoseconds, microseconds = 0, 8 // where the offset is
	text := func(b ...byte) { code = append(code, b...) }
	relative := func(to int) { code = binary.LittleEndian.AppendUint32(code, uint32(to-(len(code)+4))) }

	jump := func(opcode byte) (here func()) { // ahead, to where here is called
		text(opcode, 0)
		from := len(code)
		return func() { code[from-1] = byte(len(code) - from) }
	}
	const jz, jne = 0x74, 0x75

	getTime := len(code)
	text(0xb8, 228, 0, 0, 0) // mov $SYS_clock_gettime, %eax
	text(0x0f, 0x05)         // syscall
	text(0x85, 0xc0)         // test %eax, %eax
	failed := jump(jne)
	text(0x85, 0xff) // test %edi, %edi: CLOCK_REALTIME
	realtime := jump(jz)
	text(0x83, 0xff, 5) // cmp $CLOCK_REALTIME_COARSE, %edi
	other := jump(jne)
	realtime()
	text(0x48, 0x69, 0x06, 0x00, 0xca, 0x9a, 0x3b) // imul $1000000000, (%rsi), %rax
	text(0x48, 0x03, 0x46, 8)                      // add 8(%rsi), %rax
	text(0x48, 0x03, 0x05)                         // add nanoseconds(%rip), %rax
	relative(nanoseconds)
	text(0x48, 0x99)                            // cqo
	text(0xb9, 0x00, 0xca, 0x9a, 0x3b)          // mov $1000000000, %ecx
	text(0x48, 0xf7, 0xf9)                      // idiv %rcx
	text(0x48, 0x89, 0x06, 0x48, 0x89, 0x56, 8) // mov %rax, (%rsi); mov %rdx, 8(%rsi)
	text(0x31, 0xc0)                            // xor %eax, %eax
	failed()
	other()
	text(0xc3) // ret

	getTimeOfDay := len(code)
	text(0xb8, 96, 0, 0, 0) // mov $SYS_gettimeofday, %eax
	text(0x0f, 0x05)        // syscall
	text(0x85, 0xc0)        // test %eax, %eax
	failed = jump(jne)
	text(0x48, 0x85, 0xff) // test %rdi, %rdi
	unasked := jump(jz)
	text(0x48, 0x69, 0x07, 0x40, 0x42, 0x0f, 0x00) // imul $1000000, (%rdi), %rax
	text(0x48, 0x03, 0x47, 8)                      // add 8(%rdi), %rax
	text(0x48, 0x03, 0x05)                         // add microseconds(%rip), %rax
	relative(microseconds)
	text(0x48, 0x99)                            // cqo
	text(0xb9, 0x40, 0x42, 0x0f, 0x00)          // mov $1000000, %ecx
	text(0x48, 0xf7, 0xf9)                      // idiv %rcx
	text(0x48, 0x89, 0x07, 0x48, 0x89, 0x57, 8) // mov %rax, (%rdi); mov %rdx, 8(%rdi)
	text(0x31, 0xc0)                            // xor %eax, %eax
	failed()
	unasked()
	text(0xc3) // ret

	seconds := len(code)
	text(0x57, 0x48, 0x83, 0xec, 16) // push %rdi; sub $16, %rsp
	text(0xbf, 5, 0, 0, 0)           // mov $CLOCK_REALTIME_COARSE, %edi
	text(0x48, 0x89, 0xe6, 0xe8)     // mov %rsp, %rsi; call getTime
	relative(getTime)
	text(0x48, 0x8b, 0x04, 0x24)     // mov (%rsp), %rax
	text(0x48, 0x83, 0xc4, 16, 0x5f) // add $16, %rsp; pop %rdi
	text(0x48, 0x85, 0xff)           // test %rdi, %rdi
	unasked = jump(jz)
	text(0x48, 0x89, 0x07) // mov %rax, (%rdi)
	unasked()
	text(0xc3) // ret
	return code, map[string]int{"__vdso_clock_gettime": getTime, "__vdso_gettimeofday": getTimeOfDay, "__vdso_time": seconds}
}

// shift is a shift of the clock that lasts. Only its own thread uses it.
type shift struct {
	wrong  bool // whether the clock is to be wrong, or right again
	patch  vdsoPatch
	pids   func() ([]int, error)
	execs  chan execution // threads at the gate
	gate   int            // fanotify: programs wait there to be executed
	known  map[int]uint64 // where the vDSO of a shifted process is
	caught map[int]int    // threads that are executing a program, and their processes; traced
	late   map[int]bool   // threads that are to be let go once they stop or end; traced
	own    uint64         // the device of the machine's root, whose programs are not to wait at the gate
}

// begin shifts all processes there are.
func (s *shift) begin() error {
	var own unix.Stat_t
	if err := unix.Stat("/", &own); err != nil {
		return err
	}
	s.own = own.Dev
	if err := s.reachAll(); err != nil {
		return errors.Join(err, s.end())
	}
	return nil
}

// run keeps shifting what is new until it is told to end.
func (s *shift) run(end <-chan struct{}) error {
	var failed error
	for last := time.Now(); ; {
		select {
		case <-end:
			return errors.Join(failed, s.end())
		default:
		}
		s.serve(clockInterval)
		if time.Since(last) >= clockInterval {
			// A process that is busy is tried again next time.
			if _, _, err := s.look(); err != nil {
				failed = err
			}
			last = time.Now()
		}
	}
}

// serve does what there is to do for the threads that are on their way to another
// program, and waits for more for a while.
func (s *shift) serve(wait time.Duration) {
	if len(s.caught)+len(s.late) > 0 {
		wait = 200 * time.Microsecond
	}
	select {
	case e := <-s.execs:
		if s.wrong {
			s.catch(e.tid)
		}
		close(e.caught)
	case <-time.After(wait):
	}
	s.settle()
}

// end puts the clock right again.
func (s *shift) end() error {
	s.wrong = false
	if err := unix.FanotifyMark(s.gate, unix.FAN_MARK_FLUSH|unix.FAN_MARK_FILESYSTEM, 0, unix.AT_FDCWD, ""); err != nil {
		return fmt.Errorf("let programs start again: %w", err)
	}
	return s.reachAll()
}

// reachAll looks until nothing is left to do: a process may start another while
// it is on its way.
func (s *shift) reachAll() error {
	for deadline := time.Now().Add(5 * time.Second); ; {
		changed, busy, err := s.look()
		late := time.Now().After(deadline)
		switch {
		case err != nil:
			return err
		case busy == nil && len(s.caught) == 0 && len(s.late) == 0 && (!changed || late):
			return nil
		case late:
			return busy
		}
		s.serve(time.Millisecond)
	}
}

// look goes through all processes and shifts, or puts right again, those that are
// not yet, and tells whether there were any. Busy is the error of one that could
// not be stopped just now.
func (s *shift) look() (changed bool, busy, err error) {
	pids, err := s.pids()
	if err != nil {
		return false, nil, err
	}
	alive := make(map[int]bool, len(pids))
	caught := map[int]bool{}
	for _, pid := range s.caught {
		caught[pid] = true
	}
	for _, pid := range pids {
		alive[pid] = true
		if caught[pid] {
			continue
		}
		done, err := s.reach(pid)
		changed = changed || done
		if err != nil {
			busy = err
		}
	}
	for pid := range s.known {
		if !alive[pid] {
			delete(s.known, pid)
		}
	}
	return changed, busy, nil
}

// reach shifts one process, or puts it right again, unless that is so already.
func (s *shift) reach(pid int) (changed bool, err error) {
	if at, ok := s.known[pid]; ok {
		if code, err := s.first(pid, at); err == nil && (code == s.patch.entries[0].jmp) == s.wrong {
			return false, nil
		}
	}
	at, size, err := findVDSO(pid) // it may have executed another program
	if err != nil || size != len(s.patch.image) {
		return false, nil // has ended, or is a thread of the kernel or a 32 bit process
	}
	now, err := s.shifted(pid, at)
	if err != nil {
		return false, nil // has ended, or is of another kind
	}
	if now != s.wrong {
		err := s.change(pid, at)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.EPERM) {
			return false, nil // has ended, or is traced by another
		}
		if err != nil {
			return false, fmt.Errorf("process %d: %w", pid, err)
		}
	}
	s.known[pid] = at
	if s.wrong {
		s.guard(pid)
	}
	return now != s.wrong, nil
}

// change stops a process for as long as it takes to write to its vDSO.
func (s *shift) change(pid int, vdso uint64) error {
	release, err := s.freeze(pid, vdso)
	defer release()
	if err != nil {
		return err
	}
	if at, _, err := findVDSO(pid); err != nil || at != vdso {
		return errors.New("has just executed another program")
	}
	return s.write(pid, vdso)
}

// first reads the beginning of the first function that is replaced.
func (s *shift) first(pid int, vdso uint64) (code [5]byte, err error) {
	err = memory(pid, vdso+uint64(s.patch.entries[0].at), code[:], false)
	return code, err
}

// shifted tells whether the vDSO of a process is shifted, by this offset. It
// fails on one that is neither as it was nor has been shifted.
func (s *shift) shifted(pid int, at uint64) (bool, error) {
	code, err := s.first(pid, at)
	if err != nil {
		return false, err
	}
	switch code {
	case s.patch.entries[0].was:
		return false, nil
	case s.patch.entries[0].jmp:
		offset := make([]byte, 8)
		err := memory(pid, at+uint64(s.patch.cave), offset, false)
		return bytes.Equal(offset, s.patch.code[:8]), err
	}
	return false, fmt.Errorf("process %d: a vDSO of another kind", pid)
}

// write shifts the vDSO of a process that stands still, or puts it right again.
// The new functions stay, for threads that are in them.
func (s *shift) write(pid int, at uint64) error {
	if s.wrong {
		if err := memory(pid, at+uint64(s.patch.cave), s.patch.code, true); err != nil {
			return err
		}
	}
	for _, e := range s.patch.entries {
		code := e.was
		if s.wrong {
			code = e.jmp
		}
		if err := memory(pid, at+uint64(e.at), code[:], true); err != nil {
			return err
		}
	}
	return nil
}

// freeze stops all threads of a process, none of them inside of the bytes that
// are about to be written over. It uses ptrace(2) because a parent does not
// notice: on SIGSTOP some (su, nsenter) stop themselves. The caller calls release,
// also after an error.
func (s *shift) freeze(pid int, vdso uint64) (release func(), err error) {
	stopped := map[int]int{} // threads, and the signal that each was about to get
	release = func() {
		for tid, signal := range stopped {
			s.detach(tid, signal)
		}
	}
	for {
		tids, err := threads(pid)
		if err != nil {
			return release, err
		}
		before := len(stopped)
		for _, tid := range tids {
			if _, ok := stopped[tid]; ok {
				continue
			}
			if s.late[tid] {
				return release, fmt.Errorf("thread %d does not stop", tid)
			}
			if err := seize(tid); errors.Is(err, unix.ESRCH) {
				continue // has ended
			} else if err != nil {
				return release, err
			}
			stops, signal, err := waitStop(tid)
			if err != nil {
				continue // has ended
			}
			if !stops { // it waits in the kernel, maybe for us
				s.late[tid] = true
				return release, fmt.Errorf("thread %d does not stop", tid)
			}
			stopped[tid] = signal
			if at, err := counter(pid, tid); err != nil {
				return release, err
			} else if s.patch.within(at - vdso) {
				return release, errors.New("is just reading the clock")
			}
		}
		if len(stopped) == before { // nobody new, and who stands still starts nobody
			return release, nil
		}
	}
}

// seize begins to trace a thread and asks it to stop. One that is executing a
// program stops when that is loaded; the request alone gets lost when the process
// has several threads.
func seize(tid int) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(tid), 0, unix.PTRACE_O_TRACEEXEC, 0, 0); errno != 0 {
		return errno
	}
	return unix.PtraceInterrupt(tid)
}

// within tells whether a thread at that place of the vDSO has run a part of what
// is about to be replaced.
func (p vdsoPatch) within(at uint64) bool {
	for _, e := range p.entries {
		if at > uint64(e.at) && at < uint64(e.at+len(e.was)) {
			return true
		}
	}
	return false
}

// waitStop gives a thread that this one traces a while to stop.
func waitStop(tid int) (stopped bool, signal int, err error) {
	for deadline := time.Now().Add(clockPatience); ; time.Sleep(50 * time.Microsecond) {
		if stopped, signal, err = hasStopped(tid); stopped || err != nil || time.Now().After(deadline) {
			return stopped, signal, err
		}
	}
}

// hasStopped tells whether a thread that this one traces has stopped, and the
// signal that it was about to get, 0 for none. It fails if the thread has ended.
func hasStopped(tid int) (stopped bool, signal int, err error) {
	var status unix.WaitStatus
	got, err := unix.Wait4(tid, &status, unix.WNOHANG|unix.WALL|unix.WNOTHREAD, nil)
	switch {
	case errors.Is(err, unix.EINTR), err == nil && got == 0:
		return false, 0, nil
	case err != nil:
		return false, 0, err
	case !status.Stopped():
		return false, 0, unix.ECHILD
	case status>>16 == 0: // no event of ptrace: the thread got a signal
		return true, int(status.StopSignal()), nil
	}
	return true, 0, nil
}

// detach lets a stopped thread go on, with the signal it is due. One that has been
// killed meanwhile is not gone before its tracer has waited for it.
func (s *shift) detach(tid, signal int) {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_DETACH, uintptr(tid), 0, uintptr(signal), 0, 0); errno != 0 {
		s.late[tid] = true
	}
}

// counter is the program counter of a thread that stands still.
func counter(pid, tid int) (uint64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/syscall", pid, tid))
	if err != nil {
		return 0, err
	}
	line := strings.TrimSpace(string(text)) // the last word is the program counter, proc(5)
	return strconv.ParseUint(line[strings.LastIndexByte(line, ' ')+1:], 0, 64)
}

// threads are the threads of a process.
func threads(pid int) ([]int, error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return nil, err
	}
	tids := make([]int, 0, len(entries))
	for _, e := range entries {
		tid, err := strconv.Atoi(e.Name())
		if err != nil {
			return nil, err
		}
		tids = append(tids, tid)
	}
	return tids, nil
}

// guard makes programs in the file system that is a process's root wait at the
// gate before they are executed.
func (s *shift) guard(pid int) {
	root := fmt.Sprintf("/proc/%d/root", pid)
	var stat unix.Stat_t
	if unix.Stat(root, &stat) != nil || stat.Dev == s.own {
		return
	}
	// Without it programs are found a little later.
	_ = unix.FanotifyMark(s.gate, unix.FAN_MARK_ADD|unix.FAN_MARK_FILESYSTEM, unix.FAN_OPEN_EXEC_PERM, unix.AT_FDCWD, root)
}

// execution is a thread that waits at the gate to execute a program.
type execution struct {
	tid    int
	caught chan struct{} // closed when it may go on
}

// watchGate answers for the threads that wait at the gate. Each is caught first, so
// that it stops before the program's first instruction. A thread is not kept longer
// than gatePatience: the kernel holds a lock while it executes a program, and who
// catches may be waiting for that lock.
func watchGate(gate *os.File, execs chan<- execution) {
	buffer := make([]byte, 4096)
	for {
		n, err := gate.Read(buffer)
		if err != nil {
			return // closed
		}
		for events := buffer[:n]; len(events) >= unix.FAN_EVENT_METADATA_LEN; {
			event := (*unix.FanotifyEventMetadata)(unsafe.Pointer(&events[0]))
			if event.Mask&unix.FAN_OPEN_EXEC_PERM != 0 {
				e := execution{int(event.Pid), make(chan struct{})} // a thread, by FAN_REPORT_TID
				patience := time.After(gatePatience)
				select {
				case execs <- e:
					select {
					case <-e.caught:
					case <-patience:
					}
				case <-patience:
				}
				answer := unix.FanotifyResponse{Fd: event.Fd, Response: unix.FAN_ALLOW}
				// Fails only when the gate is closed, which lets everybody in.
				_, _ = gate.Write(unsafe.Slice((*byte)(unsafe.Pointer(&answer)), unsafe.Sizeof(answer)))
				unix.Close(int(event.Fd))
			}
			events = events[event.Event_len:]
		}
	}
}

// catch begins to trace a thread that is about to execute a program.
func (s *shift) catch(tid int) {
	if tid == 0 || s.caught[tid] != 0 { // a script's interpreter and the dynamic linker come to the gate as well
		return
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return
	}
	_, after, _ := strings.Cut(string(status), "\nTgid:\t")
	process, _, _ := strings.Cut(after, "\n")
	pid, err := strconv.Atoi(process)
	if err != nil || !s.late[tid] && seize(tid) != nil {
		return // look will find it
	}
	delete(s.late, tid)
	s.caught[tid] = pid
}

// settle shifts those of the caught that have executed their program, and lets go
// of threads that stopped or ended late.
func (s *shift) settle() {
	for tid := range s.late {
		stopped, signal, err := hasStopped(tid)
		if stopped || err != nil {
			delete(s.late, tid)
		}
		if stopped {
			s.detach(tid, signal)
		}
	}
	for tid, pid := range s.caught {
		stopped, signal, err := hasStopped(tid)
		if err != nil && tid != pid {
			// Executing a program ends all other threads, and the one that is left
			// takes over the number of the first.
			delete(s.caught, tid)
			tid = pid
			s.caught[tid] = pid
			stopped, signal, err = hasStopped(tid)
		}
		if err == nil && !stopped {
			continue
		}
		delete(s.caught, tid)
		if err != nil {
			continue // has ended
		}
		if at, size, err := findVDSO(pid); err == nil && size == len(s.patch.image) {
			if now, err := s.shifted(pid, at); err == nil && now != s.wrong && s.write(pid, at) == nil {
				s.known[pid] = at
			}
		}
		s.detach(tid, signal)
	}
}

// Processes returns a function that lists the processes of a PID namespace and of
// those inside it, among them those of containers and those that nsenter(1) has
// put there, in the numbers of the machine. Init is one of its processes.
func Processes(init int) func() ([]int, error) {
	inside := map[string]bool{}
	return func() ([]int, error) {
		node, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", init))
		if err != nil {
			return nil, fmt.Errorf("process %d: %w", init, err)
		}
		names, err := filepath.Glob("/proc/[0-9]*")
		if err != nil {
			return nil, err
		}
		var pids []int
		for _, name := range names {
			ns, err := os.Readlink(name + "/ns/pid")
			if err != nil {
				continue // has ended
			}
			in, known := inside[ns]
			if !known {
				if in, err = isInside(name+"/ns/pid", node); err != nil {
					continue
				}
				inside[ns] = in
			}
			if !in {
				continue
			}
			pid, err := strconv.Atoi(filepath.Base(name))
			if err != nil {
				return nil, err
			}
			pids = append(pids, pid)
		}
		return pids, nil
	}
}

// isInside tells whether a PID namespace is the one with that name, as in
// "pid:[4026531836]", or descends from it.
func isInside(name, ancestor string) (bool, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	for err == nil {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			unix.Close(fd)
			return false, err
		}
		if fmt.Sprintf("pid:[%d]", stat.Ino) == ancestor {
			unix.Close(fd)
			return true, nil
		}
		var parent int
		parent, err = unix.IoctlRetInt(fd, unix.NS_GET_PARENT)
		unix.Close(fd)
		fd = parent
	}
	if errors.Is(err, unix.EPERM) { // beyond the caller's own
		return false, nil
	}
	return false, err
}
