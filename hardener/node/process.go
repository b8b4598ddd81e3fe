// Package node owns what the file tree of a host says about the host: its
// process table, its user names, and Detect, which tells how Kubernetes is
// installed on it.
//
// Everything is read from an fs.FS whose root is the host's root, so a
// temporary tree is a node. Names in the fs.FS are io/fs names ("etc/passwd");
// paths in everything this package returns are absolute host paths
// ("/etc/passwd").
package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"
)

// Process is one entry of the process table.
type Process struct {
	PID, PPID int
	UID       int      // effective, as ps prints it
	Comm      string   // at most 15 bytes, as the kernel keeps it
	Args      []string // empty for kernel threads and zombies
	State     byte     // R, S, D, Z, ...
	TTY       int      // device number, 0 for none
	Start     uint64   // clock ticks (1/100 s) after boot
	CPU       uint64   // user and system time, clock ticks
}

// Processes is a process table in ascending order of PID.
type Processes []Process

// ReadProcesses reads the process table from proc. A process that ends
// meanwhile is left out, as is one whose files make no sense; a tree without
// proc has an empty table. An error means that proc itself could not be listed.
func ReadProcesses(fsys fs.FS) (Processes, error) {
	entries, err := fs.ReadDir(fsys, "proc")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	procs := make(Processes, 0, len(entries))
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid <= 0 {
			continue
		}
		if p, ok := readProcess(fsys, "proc/"+e.Name(), pid); ok {
			procs = append(procs, p)
		}
	}
	slices.SortFunc(procs, func(a, b Process) int { return a.PID - b.PID })
	return procs, nil
}

func readProcess(fsys fs.FS, dir string, pid int) (Process, bool) {
	stat, err := fs.ReadFile(fsys, dir+"/stat")
	if err != nil {
		return Process{}, false
	}
	p, kernel, err := parseStat(stat)
	if err != nil || p.PID != pid {
		return Process{}, false
	}
	if p.State != 'Z' && !kernel {
		// Without it the process is shown like a kernel thread, as ps does when the
		// file cannot be read.
		cmdline, _ := fs.ReadFile(fsys, dir+"/cmdline")
		p.Args = parseCmdline(cmdline)
	}
	p.UID, err = effectiveUID(fsys, dir)
	return p, err == nil
}

// parseStat reads /proc/PID/stat (proc_pid_stat(5)). The command name stands in
// parentheses and may itself hold blanks, parentheses and newlines, so it ends
// at the last ")". kernel says that it is a kernel thread, which has no
// arguments to read; most processes of a node are.
func parseStat(b []byte) (p Process, kernel bool, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return p, false, errors.New("no command name in parentheses")
	}
	pid, err := strconv.Atoi(string(bytes.TrimSpace(b[:open])))
	if err != nil {
		return p, false, err
	}
	p.PID, p.Comm = pid, string(b[open+1:end])
	// Of what follows the name: state 0, ppid 1, tty_nr 4, flags 6, utime 11,
	// stime 12, starttime 19.
	rest := b[end+1:]
	var number [20]uint64
	for i := range number {
		rest = bytes.TrimLeft(rest, " \n")
		field := rest
		if n := bytes.IndexAny(rest, " \n"); n >= 0 {
			field = rest[:n]
		}
		if len(field) == 0 {
			return p, false, fmt.Errorf("field %d of 20 is missing", i+1)
		}
		rest = rest[len(field):]
		switch i {
		case 0:
			p.State = field[0]
		case 1, 4, 6, 11, 12, 19:
			// tty_nr is printed as a signed number.
			n, err := strconv.ParseInt(string(field), 10, 64)
			if err != nil {
				return p, false, err
			}
			number[i] = uint64(n)
		}
	}
	p.PPID, p.TTY = int(number[1]), int(number[4])
	p.CPU, p.Start = number[11]+number[12], number[19]
	const kernelThread = 0x00200000 // PF_KTHREAD, linux/sched.h
	return p, number[6]&kernelThread != 0, nil
}

// parseCmdline splits the arguments at their NUL bytes. A process that has
// written a title over its arguments may have no NUL at the end.
func parseCmdline(b []byte) []string {
	b = bytes.TrimSuffix(b, []byte{0})
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\x00")
}

// effectiveUID is the owner of /proc/PID. The kernel gives that directory, and
// only it, the effective user even for a process that may not be dumped
// (fs/proc/base.c, task_dump_owner); a stat is a tenth of reading status. Where
// the tree keeps no owners, status is read.
func effectiveUID(fsys fs.FS, dir string) (int, error) {
	info, err := fs.Stat(fsys, dir)
	if err != nil {
		return 0, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(stat.Uid), nil
	}
	status, err := fs.ReadFile(fsys, dir+"/status")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		// Uid: real, effective, saved, file system
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "Uid:" {
			return strconv.Atoi(f[2])
		}
	}
	return 0, nil
}

// Named are the processes that `ps -C name` selects (procps-ng since 3.3.17):
// the command name is equal, or it is 15 bytes long, which is as much as the
// kernel keeps, and name begins with it.
func (p Processes) Named(name string) Processes {
	const kept = 15
	var found Processes
	for _, proc := range p {
		c := proc.Comm
		if c == name || len(c) == kept && len(name) >= kept && c == name[:kept] {
			found = append(found, proc)
		}
	}
	return found
}

// Command is the CMD column of `ps -f` when its output is no terminal: the
// arguments joined by blanks, or the command name in brackets. Empty arguments
// at the end vanish, a newline becomes a blank, and what would move a cursor or
// is not UTF-8 becomes "?" (procps-ng 4, library/readproc.c read_unvectored and
// library/escape.c).
func (p Process) Command() string { return p.command(printable) }

// CommandASCII is Command in a locale that knows no more than ASCII, such as C:
// what would move a cursor becomes ".", every byte above ASCII "?".
func (p Process) CommandASCII() string { return p.command(printableASCII) }

func (p Process) command(printable func(string) string) string {
	switch {
	case p.State == 'Z':
		return "[" + printable(p.Comm) + "] <defunct>"
	case len(p.Args) == 0:
		return "[" + printable(p.Comm) + "]"
	}
	args := p.Args
	for len(args) > 0 && args[len(args)-1] == "" {
		args = args[:len(args)-1]
	}
	return printable(strings.ReplaceAll(strings.Join(args, " "), "\n", " "))
}

// printable is procps-ng's escape_str in a UTF-8 locale. It first takes the
// text apart by leading bytes alone (esc_ctl), and where these are wrong treats
// all of the rest as ASCII; then what the C library cannot print becomes "?".
func printable(s string) string {
	i := 0
	for i < len(s) && ' ' <= s[i] && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	b := []byte(s)
	for i < len(b) {
		size := leadingSize(b[i])
		if size == 0 || i+size > len(b) {
			copy(b[i:], printableASCII(s[i:]))
			break
		}
		if b[i] < ' ' || b[i] == 0x7f {
			b[i] = '?'
		}
		i += size
	}
	out := make([]byte, 0, len(b))
	for len(b) > 0 {
		r, size := utf8.DecodeRune(b)
		switch {
		case r == utf8.RuneError && size == 1:
			// A code point above Unicode's is one character for the C library.
			if b[0] == 0xf4 && len(b) >= 4 && continues(b[1:4]) {
				size = 4
			}
			out = append(out, '?')
		case Printable(r):
			out = append(out, b[:size]...)
		default:
			out = append(out, '?')
		}
		b = b[size:]
	}
	return string(out)
}

// leadingSize is the length of the character that a byte begins, 0 for one that
// cannot (UTF_tab in procps-ng library/escape.c).
func leadingSize(c byte) int {
	switch {
	case c < 0x80:
		return 1
	case 0xc2 <= c && c <= 0xdf:
		return 2
	case 0xe0 <= c && c <= 0xef:
		return 3
	case 0xf0 <= c && c <= 0xf4:
		return 4
	}
	return 0
}

func continues(b []byte) bool {
	for _, c := range b {
		if c&0xc0 != 0x80 {
			return false
		}
	}
	return true
}

// Printable tells whether the C library would print a character in a UTF-8
// locale (iswprint(3)).
func Printable(r rune) bool {
	return unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Zs, unicode.Cf, unicode.Co)
}

// printableASCII is procps-ng's esc_all.
func printableASCII(s string) string {
	b := []byte(s)
	for i, c := range b {
		switch {
		case c < ' ' || c == 0x7f:
			b[i] = '.'
		case c > 0x7f:
			b[i] = '?'
		}
	}
	return string(b)
}

// BootTime is when the host was booted, in seconds since 1970 (btime of
// proc/stat). With Process.Start it gives the time a process started. It is 0
// when the tree has no proc/stat.
func BootTime(fsys fs.FS) (int64, error) {
	b, err := fs.ReadFile(fsys, "proc/stat")
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read boot time: %w", err)
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "btime "); ok {
			t, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("read boot time: proc/stat: %w", err)
			}
			return t, nil
		}
	}
	return 0, errors.New("read boot time: proc/stat: no line btime")
}

// Name is the io/fs name of an absolute path of the host: "etc/passwd" for
// "/etc/passwd", "." for "/".
func Name(hostPath string) string {
	if hostPath = strings.TrimPrefix(path.Clean("/"+hostPath), "/"); hostPath == "" {
		return "."
	}
	return hostPath
}
