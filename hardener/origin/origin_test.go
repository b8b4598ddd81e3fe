//go:build linux

package origin

import (
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

var changedAt = time.Date(2026, 3, 1, 12, 3, 4, 0, time.UTC)

const apiserver = "/etc/kubernetes/manifests/kube-apiserver.yaml"

// auditLines are the records of an audit event as auditd writes them.
func auditLines(after time.Duration, serial int, call string, records ...string) string {
	at := changedAt.Add(after)
	id := fmt.Sprintf("msg=audit(%d.%03d:%d):", at.Unix(), at.Nanosecond()/1e6, serial)
	out := fmt.Sprintf("type=SYSCALL %s arch=c000003e %s items=1 ppid=1 pid=%d auid=1000 uid=0 tty=pts0 ses=3 comm=\"vim\" exe=\"/usr/bin/vim.basic\" key=\"k8s\"\x1dARCH=x86_64 AUID=\"alice\"\n", id, call, serial)
	for _, r := range records {
		kind, rest, _ := strings.Cut(r, " ")
		out += "type=" + kind + " " + id + " " + rest + "\n"
	}
	return out
}

func TestParseAuditLog(t *testing.T) {
	const chmod = "syscall=90 success=yes exit=0 a0=1 a1=1a4"
	named := `PATH item=0 name="` + apiserver + `" inode=77 dev=fd:00 nametype=NORMAL`
	before := auditLines(-time.Second, 5, chmod, named)
	for _, tt := range []struct {
		reason string
		log    string
		pid    int // 0: nothing
	}{
		{"a chmod names the file", before, 5},
		{"a node's name stands in front", "node=n1 " + strings.ReplaceAll(before, "\ntype", "\nnode=n1 type"), 5},
		{"the newest event counts, wherever it stands", auditLines(0, 7, chmod, named) + before, 7},
		{"of one time, the serial number tells", auditLines(-time.Second, 6, chmod, named) + before, 6},
		{"a name with a blank is in hex", auditLines(0, 5, chmod, "PATH name="+strings.ToUpper(hex.EncodeToString([]byte(apiserver)))+" inode=1 nametype=NORMAL"), 5},
		{"a relative name is below the working directory", auditLines(0, 5, chmod, `CWD  cwd="/etc/kubernetes"`, `PATH name="manifests/kube-apiserver.yaml" nametype=NORMAL`), 5},
		{"another working directory, another file", auditLines(0, 5, chmod, `CWD  cwd="/srv"`, `PATH name="manifests/kube-apiserver.yaml" nametype=NORMAL`), 0},
		{"the inode tells below an open directory", auditLines(0, 5, chmod, `CWD  cwd="/srv"`, `PATH name="kube-apiserver.yaml" inode=77 nametype=CREATE`), 5},
		{"too old", auditLines(-3*time.Minute, 5, chmod, named), 0},
		{"a failed call changes nothing", auditLines(0, 5, "syscall=90 success=no exit=-13", named), 0},
		{"open for reading", before + auditLines(0, 9, "syscall=257 success=yes a0=ffffff9c a1=1 a2=80000", named), 5},
		{"open for writing", before + auditLines(0, 9, "syscall=257 success=yes a0=ffffff9c a1=1 a2=80241", named), 9},
		{"running or looking at a file is reading it", before + auditLines(0, 9, "syscall=59 success=yes", named) + auditLines(0, 10, "syscall=332 success=yes", named), 5},
		{"rename gives the new name as created", auditLines(0, 5, "syscall=82 success=yes", `PATH name="/etc/kubernetes/manifests/" nametype=PARENT`, `PATH name="/tmp/x" nametype=DELETE`, `PATH name="`+apiserver+`" nametype=CREATE`), 5},
		{"a directory that is a parent is not the changed one", auditLines(0, 5, "syscall=82 success=yes", `PATH name="`+apiserver+`" nametype=PARENT`), 0},
		{"a PATH whose SYSCALL was cut off", before[strings.Index(before, "\n")+1:], 0},
		{"garbage", "type=PATH msg=audit(): name=\ntype=SYSCALL msg=audit(x.y:z): success=yes\n\x00\xff\n" + before, 5},
	} {
		f := file{path: apiserver, real: apiserver, ino: 77}
		r, ok := parseAuditLog([]byte(tt.log), f, changedAt.Add(-slack))
		if ok != (tt.pid != 0) || r.PID != tt.pid {
			t.Errorf("%s: got pid %d, %v, want %d", tt.reason, r.PID, ok, tt.pid)
		}
	}
	r, _ := parseAuditLog([]byte(before), file{path: apiserver}, changedAt.Add(-slack))
	want := Record{At: changedAt.Add(-time.Second).Local(), PID: 5, Comm: "vim", Exe: "/usr/bin/vim.basic", Login: "1000", TTY: "pts0", Session: "3"}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	daemon := strings.NewReplacer("auid=1000", "auid=4294967295", "ses=3", "ses=4294967295", "tty=pts0", "tty=(none)").Replace(before)
	if r, _ := parseAuditLog([]byte(daemon), file{path: apiserver}, changedAt.Add(-slack)); r.Login != "" || r.Session != "" || r.TTY != "" {
		t.Errorf("unset login, session and terminal: got %q, %q, %q", r.Login, r.Session, r.TTY)
	}
}

func FuzzAuditLog(f *testing.F) {
	f.Add([]byte(auditLines(0, 5, "syscall=90 success=yes", `CWD cwd="/etc"`, "PATH name=2F746D70 inode=1 nametype=NORMAL")), "/etc/x")
	f.Add([]byte("type=PATH msg=audit(1.2:3): name=\"\"\nnode=x type=CWD msg=audit(1.2:3): cwd=\x1d\n"), "")
	f.Fuzz(func(t *testing.T, log []byte, name string) {
		record, ok := parseAuditLog(log, file{path: name, real: name, ino: 1}, time.Time{})
		if !ok {
			return
		}
		line := Origin{Record: &record}.String()
		if len(line) > maxWords || strings.ContainsAny(line, "\n\x00\x1b") || !utf8.ValidString(line) {
			t.Errorf("not one line of at most %d bytes: %q", maxWords, line)
		}
	})
}

func TestOf(t *testing.T) {
	ctime := syscall.NsecToTimespec(changedAt.UnixNano())
	link := func(target string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink | 0o700}
	}
	info := func(flags, ino string) *fstest.MapFile {
		return &fstest.MapFile{Data: []byte("pos:\t0\nflags:\t" + flags + "\nmnt_id:\t25\nino:\t" + ino + "\n")}
	}
	tree := fstest.MapFS{
		"etc/passwd":       {Data: []byte("root:x:0:0::/:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n")},
		apiserver[1:]:      {ModTime: changedAt, Sys: &syscall.Stat_t{Ino: 77, Ctim: ctime}},
		"proc/4/fd/0":      link("/dev/null"),
		"proc/4/fd/3":      link(apiserver),
		"proc/4/fdinfo/3":  info("0100000", "77"),
		"proc/42/fd/5":     link(apiserver),
		"proc/42/fdinfo/5": info("0100002", "77"),
		"proc/43/fd/5":     link(apiserver),
		"proc/43/fdinfo/5": info("0100002", "78"), // the same path in a container
	}
	users, err := node.ReadUsers(tree)
	if err != nil {
		t.Fatal(err)
	}
	procs := node.Processes{
		{PID: 2, Comm: "kthreadd"}, {PID: 4, Comm: "cat", Args: []string{"cat"}}, {PID: 42, Comm: "vim", Args: []string{"vim", "s3cret"}},
		{PID: 43, Comm: "other", Args: []string{"other"}}, {PID: 50, Comm: "sh", Args: []string{"sh", "-c", "/usr/bin/python3 && sleep 0"}},
	}
	audit := &fstest.MapFile{Data: []byte(strings.Repeat("garbage\n", maxLog/8) +
		auditLines(0, 42, "syscall=90 success=yes", `PATH name="`+apiserver+`" nametype=NORMAL`))}
	actor := Actor{PID: 42, Comm: "vim", Parents: []string{"bash", "sshd"}, Login: "1000", At: changedAt.Add(time.Millisecond)}
	held := "; held open for writing by vim (42); held open by cat (4); at work: ansible"
	for _, tt := range []struct {
		reason string
		procs  node.Processes
		audit  bool
		actor  Actor
		file   string
		later  time.Duration
		want   string
	}{
		{"nothing else is known", nil, false, Actor{}, apiserver, 0, "owner root; changed 12:03:04Z"},
		{"the audit log names the process", procs, true, Actor{}, apiserver, 0,
			"owner root; changed 12:03:04Z by vim (pid 42, login alice, /usr/bin/vim.basic) says the audit log" + held},
		{"the kernel names the process", procs, false, actor, apiserver, 0,
			"owner root; changed 12:03:04Z by vim (pid 42, child of bash < sshd, login alice) says the kernel" + held},
		{"both name it", nil, true, actor, apiserver, 0,
			"owner root; changed 12:03:04Z by vim (pid 42, child of bash < sshd, login alice, /usr/bin/vim.basic) say the kernel and the audit log"},
		{"a process that ended at once", nil, false, Actor{PID: 9, At: changedAt}, apiserver, 0,
			"owner root; changed 12:03:04Z by a process that has ended (pid 9) says the kernel"},
		{"the file changed after what was witnessed", nil, false, Actor{PID: 9, At: changedAt.Add(-time.Minute)}, apiserver, 0, "owner root; changed 12:03:04Z"},
		{"another day", nil, false, Actor{}, apiserver, 24 * time.Hour, "owner root; changed 2026-03-01T12:03:04Z"},
		{"removed", nil, false, actor, "/etc/gone", 0, "removed 12:03:04Z by vim (pid 42, child of bash < sshd, login alice) says the kernel"},
		{"removed, and nobody saw it", nil, false, Actor{}, "/etc/gone", 0, ""},
	} {
		delete(tree, "var/log/audit/audit.log")
		if tt.audit {
			tree["var/log/audit/audit.log"] = audit
		}
		got := Of(tree, Asked{File: tt.file, Now: changedAt.Add(time.Minute + tt.later), Processes: tt.procs, Users: users, Actor: tt.actor}).String()
		if got != tt.want {
			t.Errorf("%s:\n got %s\nwant %s", tt.reason, got, tt.want)
		}
	}
}

func TestStringIsShort(t *testing.T) {
	long := strings.Repeat("\x1b[1m\n\xffü", 100)
	o := Origin{Now: changedAt, Owner: long, Changed: changedAt,
		Actor:  &Actor{PID: 1, Comm: long, Parents: []string{long, long}, Login: long},
		Record: &Record{PID: 1, Exe: "/" + long}, Installers: []Installer{{Name: Ansible}}}
	for range 9 {
		o.Holders = append(o.Holders, Holder{Comm: long, PID: 1 << 22, Writing: true})
	}
	line := o.String()
	if len(line) > maxWords || strings.ContainsAny(line, "\n\x1b") || !utf8.ValidString(line) || !strings.Contains(line, " say the kernel and the audit log") {
		t.Errorf("%d bytes: %q", len(line), line)
	}
}

// TestOfHere asks a real proc: this process has the file open for writing, by
// another name than it is asked for.
func TestOfHere(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "held"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	fsys, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	procs, err := node.ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	o := Of(fsys, Asked{File: filepath.Join(dir, "link", "held"), Now: time.Now(), Processes: procs})
	t.Logf("%d processes, %v: %s", len(procs), time.Since(start), o)
	if len(o.Holders) != 1 || o.Holders[0].PID != os.Getpid() || !o.Holders[0].Writing {
		t.Errorf("got holders %v, want this process, %d, writing", o.Holders, os.Getpid())
	}
	if age := time.Since(o.Changed); age < -lost || age > time.Minute {
		t.Errorf("changed %v ago", age)
	}
}
