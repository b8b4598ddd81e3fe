//go:build linux

package origin

import (
	"encoding/hex"
	"path"
	"strconv"
	"strings"
	"time"
)

// event is what the records of one audit event say. They carry the same
// "audit(TIME:SERIAL)" and may be mixed with those of other events.
type event struct {
	at      time.Time
	serial  uint64
	syscall map[string]string
	cwd     string
	paths   []map[string]string
}

// parseAuditLog finds the newest event since a time in which a system call
// changed the file. The format is that of auditd(8) and of the kernel
// (kernel/auditsc.c; audit.git's specs/fields/field-dictionary.csv names the
// fields):
//
//	type=SYSCALL msg=audit(1364481363.243:24287): arch=c000003e syscall=2 success=yes ... auid=1000 ... comm="vim" exe="/usr/bin/vim"
//	type=CWD msg=audit(1364481363.243:24287): cwd="/root"
//	type=PATH msg=audit(1364481363.243:24287): item=0 name="/etc/x" inode=409248 ... nametype=NORMAL
//
// What is not such a record is passed over.
func parseAuditLog(log []byte, f file, since time.Time) (Record, bool) {
	events := map[string]*event{}
	for line := range strings.Lines(string(log)) {
		kind, id, body, ok := auditRecord(line)
		if !ok {
			continue
		}
		e := events[id]
		if e == nil {
			e = &event{}
			if e.at, e.serial, ok = auditID(id); !ok || e.at.Before(since) {
				continue
			}
			events[id] = e
		}
		switch fields := auditFields(body); kind {
		case "SYSCALL":
			e.syscall = fields
		case "CWD":
			e.cwd = text(fields["cwd"])
		case "PATH":
			e.paths = append(e.paths, fields)
		}
	}
	var newest *event
	for _, e := range events {
		later := newest == nil || e.at.After(newest.at) || e.at.Equal(newest.at) && e.serial > newest.serial
		if later && e.changes(f) {
			newest = e
		}
	}
	if newest == nil {
		return Record{}, false
	}
	s := newest.syscall
	r := Record{At: newest.at, Comm: text(s["comm"]), Exe: text(s["exe"]), Login: set(s["auid"]), Session: set(s["ses"])}
	r.PID, _ = strconv.Atoi(s["pid"])
	if tty := text(s["tty"]); tty != "(none)" {
		r.TTY = tty
	}
	return r, true
}

// auditRecord takes a line apart. In front there may be the node it came from;
// with log_format=ENRICHED names follow after the separator 0x1d, which are not
// used: the users of the host are known here.
func auditRecord(line string) (kind, id, body string, ok bool) {
	line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), "\x1d")
	if strings.HasPrefix(line, "node=") {
		_, line, _ = strings.Cut(line, " ")
	}
	if line, ok = strings.CutPrefix(line, "type="); !ok {
		return "", "", "", false
	}
	if kind, line, ok = strings.Cut(line, " msg=audit("); !ok || kind != "SYSCALL" && kind != "CWD" && kind != "PATH" {
		return "", "", "", false
	}
	id, body, ok = strings.Cut(line, "):")
	return kind, id, body, ok
}

// auditID reads "1364481363.243:24287".
func auditID(id string) (time.Time, uint64, bool) {
	clock, number, _ := strings.Cut(id, ":")
	seconds, millis, _ := strings.Cut(clock, ".")
	s, err1 := strconv.ParseUint(seconds, 10, 40)
	ms, err2 := strconv.ParseUint(millis, 10, 16)
	serial, err3 := strconv.ParseUint(number, 10, 64)
	return time.UnixMilli(int64(s)*1000 + int64(ms)), serial, err1 == nil && err2 == nil && err3 == nil
}

// auditFields splits at blanks, which are in no value: the kernel writes such a
// string in hex (audit_string_contains_control).
func auditFields(body string) map[string]string {
	fields := map[string]string{}
	for _, f := range strings.Fields(body) {
		if key, value, ok := strings.Cut(f, "="); ok {
			fields[key] = value
		}
	}
	return fields
}

// text is a string of the kernel: in quotes, in hex, or a word like "(null)".
func text(value string) string {
	if s, ok := strings.CutPrefix(value, `"`); ok {
		return strings.TrimSuffix(s, `"`)
	}
	if b, err := hex.DecodeString(value); err == nil {
		return string(b)
	}
	return value
}

// set is a number that is not -1, with which the kernel says "unset".
func set(value string) string {
	if n, err := strconv.ParseUint(value, 10, 32); err != nil || n == 1<<32-1 {
		return ""
	}
	return value
}

// changes tells whether a system call succeeded that names the file and does
// more than read.
func (e *event) changes(f file) bool {
	if e.syscall == nil || e.syscall["success"] != "yes" {
		return false
	}
	for _, p := range e.paths {
		kind := p["nametype"]
		if p["name"] == "(null)" || kind == "PARENT" || kind == "NORMAL" && e.reads() {
			continue
		}
		name := text(p["name"])
		// A name below an open directory is not relative to the working directory;
		// there the inode tells.
		ino, _ := strconv.ParseUint(p["inode"], 10, 64)
		if f.ino != 0 && ino == f.ino && path.Base(name) == path.Base(f.path) {
			return true
		}
		if !path.IsAbs(name) {
			name = path.Join("/", e.cwd, name)
		}
		if f.named(path.Clean(name)) {
			return true
		}
	}
	return false
}

// readers are system calls of an architecture (AUDIT_ARCH_* in linux/audit.h)
// that name a file and do not change it. open and openat do neither when they
// open for reading.
var readers = map[string]struct {
	open, openat string
	reading      []string
}{
	"c000003e": {"2", "257", []string{ // x86-64, entry/syscalls/syscall_64.tbl
		"4", "6", "21", "59", "80", "89", // stat lstat access execve chdir readlink
		"137", "191", "192", "194", "195", "254", // statfs getxattr lgetxattr listxattr llistxattr inotify_add_watch
		"262", "267", "269", "303", "322", "332", "439", // newfstatat readlinkat faccessat name_to_handle_at execveat statx faccessat2
	}},
	"c00000b7": {"", "56", []string{ // arm64, uapi/asm-generic/unistd.h
		"8", "9", "11", "12", "27", "43", "48", "49", // getxattr lgetxattr listxattr llistxattr inotify_add_watch statfs faccessat chdir
		"78", "79", "221", "264", "281", "291", "439", // readlinkat newfstatat execve name_to_handle_at execveat statx faccessat2
	}},
}

func (e *event) reads() bool {
	arch, known := readers[e.syscall["arch"]]
	if !known {
		return false
	}
	number := e.syscall["syscall"]
	flags := ""
	switch number {
	case arch.open:
		flags = e.syscall["a1"]
	case arch.openat:
		flags = e.syscall["a2"]
	default:
		for _, n := range arch.reading {
			if n == number {
				return true
			}
		}
		return false
	}
	const writing = 0o3 | 0o1000 // O_ACCMODE, O_TRUNC
	n, err := strconv.ParseUint(flags, 16, 64)
	return err == nil && n&writing == 0
}
