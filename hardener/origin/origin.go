//go:build linux

// Package origin owns what can be known about who changed a file of the node:
// from the file itself, the process table, the audit log, and from the kernel,
// which tells a Witness. It also owns which programs at work are installers,
// whose job it is to change such files.
//
// It only reads and never says more than was read. What a change means, when to
// look and whom to tell is left to the caller. Nothing of a command line gets
// into its words but the name of a program and of its sub command: the rest can
// hold secrets.
package origin

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

const (
	maxWords = 300       // bytes of Origin.String
	maxFDs   = 8192      // open files that are looked at
	maxLog   = 256 << 10 // bytes of the audit log's end that are read

	// slack is how much older than the file's ctime the change may be that the
	// audit log tells: a rename or a close comes after the writing.
	slack = 2 * time.Minute
	// lost is how much older a witnessed change may be before it is not the
	// last. The ctime is the clock of the last tick.
	lost = 2 * time.Second
)

// Actor is a process that changed a directory entry. It may have ended before
// more than its PID could be read.
type Actor struct {
	PID     int
	Comm    string   // as the kernel keeps it
	Parents []string // comm of the parent, its parent, ...; at most 4
	Login   string   // uid of the login it descends from, its name in an Origin; empty for none
	At      time.Time
}

// Record is what the audit log says about a change.
type Record struct {
	At        time.Time
	PID       int
	Comm, Exe string
	Login     string // user, empty for none
	TTY       string // empty for none
	Session   string // empty for none
}

// Holder is a process that has a file open.
type Holder struct {
	Comm    string
	PID     int
	Writing bool
}

// Asked is a question for the origin of a change.
type Asked struct {
	File      string    // absolute path on the host
	Now       time.Time // of the question
	Processes node.Processes
	Users     node.Users
	Actor     Actor // of the Witness; a PID of 0 for none
}

// Origin is what is known about the last change of a file. Every part may be
// missing.
type Origin struct {
	Now      time.Time // when it was asked
	Gone     bool      // there is no such file
	Owner    string    // name, else number
	Modified time.Time // mtime
	Changed  time.Time // ctime

	Actor      *Actor  // what the kernel told, unless the file changed since
	Record     *Record // what the audit log says
	Holders    []Holder
	Installers []Installer
}

// Of collects what can be known about the last change of a file.
func Of(fsys fs.FS, asked Asked) Origin {
	o := Origin{Now: asked.Now, Installers: Installers(fsys, asked.Processes)}
	name := node.Name(asked.File)
	info, err := fs.Stat(fsys, name)
	if err != nil {
		info, err = fs.Lstat(fsys, name) // a link to nothing is a file too
	}
	o.Gone = errors.Is(err, fs.ErrNotExist)
	since := asked.Now.Add(-slack)
	var ino uint64
	if err == nil {
		o.Modified = info.ModTime()
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			o.Changed, ino = time.Unix(stat.Ctim.Unix()), stat.Ino
			o.Owner = user(asked.Users, strconv.Itoa(int(stat.Uid)))
			since = o.Changed.Add(-slack)
		}
	}
	if a := asked.Actor; a.PID > 0 && !a.At.Before(o.Changed.Add(-lost)) {
		a.Login = user(asked.Users, a.Login)
		o.Actor = &a
	}
	here := file{path: path.Clean("/" + asked.File), ino: ino}
	here.real = here.path
	// host.FS resolves the links of the directory part, as the kernel does in
	// the links of proc.
	if r, ok := fsys.(interface{ RealPath(string) (string, error) }); ok {
		if resolved, err := r.RealPath(here.path); err == nil {
			here.real = resolved
		}
	}
	if record, ok := parseAuditLog(auditLog(fsys), here, since); ok {
		record.Login = user(asked.Users, record.Login)
		o.Record = &record
	}
	o.Holders = holders(fsys, asked.Processes, here)
	return o
}

// file is the file that is asked for, under the names it may be met by.
type file struct {
	path, real string
	ino        uint64 // 0 when not known
}

func (f file) named(name string) bool { return name == f.path || name == f.real }

// auditLog is the end of the audit log, nothing when it cannot be read.
func auditLog(fsys fs.FS) []byte {
	f, err := fsys.Open("var/log/audit/audit.log")
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	at, ok := f.(io.ReaderAt)
	if err != nil || !ok {
		return nil
	}
	from := max(0, info.Size()-maxLog)
	b, err := io.ReadAll(io.NewSectionReader(at, from, maxLog))
	if err != nil {
		return nil
	}
	if from > 0 { // most likely in the middle of a line
		if _, b, ok = bytes.Cut(b, []byte("\n")); !ok {
			return nil
		}
	}
	return b
}

// holders are the processes that have the file open, writers first. The links
// of proc/PID/fd are compared by path; the same path in a container is another
// file, so the inode must be the same where fdinfo tells it (Linux 5.14). The
// newest processes are looked at first, for the case that there are too many.
func holders(fsys fs.FS, procs node.Processes, f file) []Holder {
	var found []Holder
	left := maxFDs
	for _, p := range slices.Backward(procs) {
		if left <= 0 {
			break
		}
		if len(p.Args) == 0 {
			continue // a kernel thread or a zombie
		}
		dir := "proc/" + strconv.Itoa(p.PID)
		fds, err := fs.ReadDir(fsys, dir+"/fd")
		if err != nil {
			continue
		}
		holds, writing := false, false
		for _, fd := range fds {
			if left--; left < 0 {
				break
			}
			target, err := fs.ReadLink(fsys, dir+"/fd/"+fd.Name())
			if err != nil || !f.named(target) {
				continue
			}
			info, _ := fs.ReadFile(fsys, dir+"/fdinfo/"+fd.Name())
			flags, ino := fdinfo(string(info))
			if f.ino != 0 && ino != 0 && ino != f.ino {
				continue
			}
			holds = true
			writing = writing || flags&syscall.O_ACCMODE != syscall.O_RDONLY
		}
		if holds {
			found = append(found, Holder{Comm: p.Comm, PID: p.PID, Writing: writing})
		}
	}
	slices.SortStableFunc(found, func(a, b Holder) int { return cmp.Compare(rank(a), rank(b)) })
	return found
}

func rank(h Holder) int {
	if h.Writing {
		return 0
	}
	return 1
}

// fdinfo reads the flags, which are octal, and the inode (proc_pid_fdinfo(5)).
func fdinfo(s string) (flags, ino uint64) {
	for line := range strings.Lines(s) {
		key, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); key {
		case "flags":
			flags, _ = strconv.ParseUint(value, 8, 64)
		case "ino":
			ino, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	return flags, ino
}

// user is the name of a user id, the id, or nothing for none.
func user(users node.Users, uid string) string {
	if n, err := strconv.Atoi(uid); err == nil {
		if name, ok := users.User(n); ok {
			return name
		}
	}
	return uid
}

// String is one line of at most 300 bytes with what is known, for an Event:
//
//	owner root; changed 12:03:04Z by vim (pid 4242, login alice, /usr/bin/vim.basic) says the audit log; held open by vim (4242); at work: ansible
//
// It is empty when nothing is known.
func (o Origin) String() string {
	var parts []string
	if o.Owner != "" {
		parts = append(parts, "owner "+short(o.Owner, 24))
	}
	parts = append(parts, o.changed())
	parts = append(parts, held("held open for writing by", o.Holders, true), held("held open by", o.Holders, false))
	var names []string
	for _, i := range o.Installers {
		if !slices.Contains(names, i.Name) {
			names = append(names, i.Name)
		}
	}
	if names != nil {
		parts = append(parts, "at work: "+strings.Join(names, ", "))
	}
	var line string
	for _, part := range parts {
		if part == "" || len(line)+len("; ")+len(part) > maxWords {
			continue
		}
		if line != "" {
			line += "; "
		}
		line += part
	}
	return line
}

// changed says when the file changed and who did it. Where both the kernel and
// the audit log know, a Witness saw each change of the entry, so another process
// in the log did something else.
func (o Origin) changed() string {
	verb, at := "changed ", o.Changed
	if o.Gone {
		verb = "removed "
	}
	a, r := o.Actor, o.Record
	if a != nil && r != nil && a.PID != r.PID {
		r = nil
	}
	var who string
	switch {
	case a == nil && r == nil:
		if at.IsZero() {
			return ""
		}
	case a == nil:
		at = cmp.Or(at, r.At)
		who = by(r.Comm, r.PID, nil, r.Login, r.Exe) + " says the audit log"
	case r == nil:
		at = cmp.Or(at, a.At)
		who = by(a.Comm, a.PID, a.Parents, a.Login, "") + " says the kernel"
	default:
		at = cmp.Or(at, a.At)
		who = by(cmp.Or(r.Comm, a.Comm), a.PID, a.Parents, cmp.Or(r.Login, a.Login), r.Exe) + " say the kernel and the audit log"
	}
	layout := "15:04:05Z"
	if o.Now.Sub(at) > 12*time.Hour {
		layout = "2006-01-02T15:04:05Z"
	}
	return verb + at.UTC().Format(layout) + who
}

func by(comm string, pid int, parents []string, login, exe string) string {
	who := short(comm, 16)
	if who == "" {
		who = "a process that has ended"
	}
	facts := []string{"pid " + strconv.Itoa(pid)}
	if len(parents) > 0 {
		facts = append(facts, "child of "+short(strings.Join(parents, " < "), 48))
	}
	if login != "" {
		facts = append(facts, "login "+short(login, 24))
	}
	if exe != "" {
		facts = append(facts, short(exe, 48))
	}
	return fmt.Sprintf(" by %s (%s)", who, strings.Join(facts, ", "))
}

func held(words string, holders []Holder, writing bool) string {
	var names []string
	for _, h := range holders {
		if h.Writing == writing && len(names) < 3 {
			names = append(names, fmt.Sprintf("%s (%d)", short(h.Comm, 16), h.PID))
		}
	}
	if names == nil {
		return ""
	}
	return words + " " + strings.Join(names, ", ")
}

// short makes one line of s that is no longer than limit: names of processes,
// users and files can hold anything.
func short(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r == '\uFFFD' || !node.Printable(r) {
			return '?'
		}
		return r
	}, s)
	if len(s) <= limit {
		return s
	}
	return strings.ToValidUTF8(s[:limit-len("...")], "") + "..."
}
