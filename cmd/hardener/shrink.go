package main

import (
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// How long after a look memory is given back to the node: what is free, and the
// program's own pages, which the next look has to get back.
const (
	freeAfter   = 2 * time.Second
	forgetAfter = time.Minute
)

// shrinker gives memory back once nothing has happened for a while.
type shrinker struct{ free, forget *time.Timer }

func newShrinker() *shrinker {
	return &shrinker{time.AfterFunc(freeAfter, debug.FreeOSMemory), time.AfterFunc(forgetAfter, forget)}
}

// soon has memory given back when this is not called again meanwhile.
func (s *shrinker) soon() {
	s.free.Reset(freeAfter)
	s.forget.Reset(forgetAfter)
}

func (s *shrinker) stop() {
	s.free.Stop()
	s.forget.Stop()
}

// forget lets go of the program's own pages, most of which were only needed to start:
// what is needed again is still in the page cache.
func forget() {
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return
	}
	for line := range strings.Lines(string(maps)) {
		// "55d0c000-55d0e000 r-xp 00000000 fe:01 1234 /path" (proc_pid_maps(5)). Pages
		// that can be written may differ from the file and would be lost.
		f := strings.Fields(line)
		if len(f) < 6 || f[5] != program || strings.Contains(f[1], "w") {
			continue
		}
		from, to, _ := strings.Cut(f[0], "-")
		start, err1 := strconv.ParseUint(from, 16, 64)
		end, err2 := strconv.ParseUint(to, 16, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		advise(uintptr(start), uintptr(end-start))
	}
}

// advise drops pages of a mapping of a file that cannot be written to (madvise(2),
// MADV_DONTNEED).
func advise(start, length uintptr) {
	unix.Syscall(unix.SYS_MADVISE, start, length, unix.MADV_DONTNEED)
}
