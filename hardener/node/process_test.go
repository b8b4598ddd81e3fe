package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// statLine is a /proc/PID/stat as Linux 6 writes it.
func statLine(pid int, comm, state string) string {
	return fmt.Sprintf("%d (%s) %s 7 %d %d 34816 -1 4194560 123 456 0 0 30 12 1 2 20 0 1 0 9999 1000 200 18446744073709551615 1 1 0 0 0 0 0 0 17 1 0 0 0\n",
		pid, comm, state, pid, pid)
}

func TestReadProcesses(t *testing.T) {
	tree := fstest.MapFS{
		"proc/2/stat":     {Data: []byte(statLine(2, "kthreadd", "S"))},
		"proc/2/cmdline":  {},
		"proc/3/stat":     {Data: []byte(strings.Replace(statLine(3, "kworker/0:0", "I"), "4194560", "69238880", 1))},
		"proc/3/cmdline":  {Data: []byte("not read\x00")},
		"proc/10/stat":    {Data: []byte(statLine(10, "kubelet", "S"))},
		"proc/10/cmdline": {Data: []byte("/usr/local/bin/kubelet\x00--v=2\x00--node-ip=\x00\x00")},
		"proc/10/status":  {Data: []byte("Name:\tkubelet\nUid:\t1\t1000\t3\t4\n")},
		"proc/9/stat":     {Data: []byte(statLine(9, "a (b) c) S 1\n2", "R"))},
		"proc/9/cmdline":  {Data: []byte("title without an end")},
		"proc/11/stat":    {Data: []byte(statLine(11, "gone", "Z"))},
		"proc/11/cmdline": {Data: []byte("stale\x00")},
		"proc/12/cmdline": {Data: []byte("vanished before stat was read\x00")},
		"proc/13/stat":    {Data: []byte("13 (cut) S 1")},
		"proc/14/stat":    {Data: []byte("no process at all")},
		"proc/15/stat":    {Data: []byte(statLine(16, "other", "S"))},
		"proc/16":         {Mode: fs.ModeDir, Sys: &syscall.Stat_t{Uid: 998}},
		"proc/16/stat":    {Data: []byte(statLine(16, "etcd", "S"))},
		"proc/16/cmdline": {Data: []byte("etcd\x00")},
		"proc/stat":       {Data: []byte("cpu 1 2\nbtime 1700000000\nprocesses 5\n")},
		"proc/0/stat":     {Data: []byte(statLine(0, "zero", "S"))},
	}
	got, err := ReadProcesses(tree)
	if err != nil {
		t.Fatal(err)
	}
	base := Process{PPID: 7, TTY: 34816, Start: 9999, CPU: 42, State: 'S'}
	with := func(pid int, comm string, change func(*Process)) Process {
		p := base
		p.PID, p.Comm = pid, comm
		change(&p)
		return p
	}
	want := Processes{
		with(2, "kthreadd", func(*Process) {}),
		with(3, "kworker/0:0", func(p *Process) { p.State = 'I' }),
		with(9, "a (b) c) S 1\n2", func(p *Process) { p.State, p.Args = 'R', []string{"title without an end"} }),
		with(10, "kubelet", func(p *Process) {
			p.Args, p.UID = []string{"/usr/local/bin/kubelet", "--v=2", "--node-ip=", ""}, 1000
		}),
		with(11, "gone", func(p *Process) { p.State = 'Z' }),
		with(16, "etcd", func(p *Process) { p.Args, p.UID = []string{"etcd"}, 998 }),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	if boot, err := BootTime(tree); boot != 1700000000 || err != nil {
		t.Errorf("BootTime = %d, %v", boot, err)
	}
}

func TestNoProc(t *testing.T) {
	procs, err := ReadProcesses(fstest.MapFS{"etc/passwd": {}})
	if len(procs) != 0 || err != nil {
		t.Errorf("a tree without proc: %v, %v", procs, err)
	}
	if boot, err := BootTime(fstest.MapFS{}); boot != 0 || err != nil {
		t.Errorf("BootTime of a tree without proc: %d, %v", boot, err)
	}
	if _, err := ReadProcesses(fstest.MapFS{"proc": {Data: []byte("a file")}}); err == nil {
		t.Error("proc is a file: no error")
	}
	for _, stat := range []string{"cpu 1\n", "btime x\n"} {
		if _, err := BootTime(fstest.MapFS{"proc/stat": {Data: []byte(stat)}}); err == nil {
			t.Errorf("proc/stat %q: no error", stat)
		}
	}
}

func TestNamed(t *testing.T) {
	for _, tt := range []struct {
		reason, comm, name string
		want               bool
	}{
		{"equal", "kubelet", "kubelet", true},
		{"a longer name, nothing cut off", "etcd", "etcdctl", false},
		{"a shorter name", "etcdctl", "etcd", false},
		{"cut off by the kernel", "kube-controller", "kube-controller-manager", true},
		{"equal and 15 bytes long", "kube-controller", "kube-controller", true},
		{"15 bytes, another name", "kube-controller", "kube-controllers", true},
		{"15 bytes, name shorter", "kube-controller", "kube-controlle", false},
		{"15 bytes, name differs", "kube-controller", "kube-apiserver-x", false},
		{"14 bytes, name begins with it", "kube-apiserver", "kube-apiserver2", false},
		{"no pattern", "kube.proxy", "kube-proxy", false},
	} {
		procs := Processes{{PID: 1, Comm: "init"}, {PID: 2, Comm: tt.comm}}
		if got := len(procs.Named(tt.name)) == 1; got != tt.want {
			t.Errorf("%s: %s named %s: %v; want %v", tt.reason, tt.comm, tt.name, got, tt.want)
		}
	}
}

func TestCommand(t *testing.T) {
	for _, tt := range []struct {
		reason string
		p      Process
		want   string
	}{
		{"arguments", Process{Args: []string{"etcd", "--a", "b c"}}, "etcd --a b c"},
		{"a kernel thread", Process{Comm: "kworker/0:1"}, "[kworker/0:1]"},
		{"a zombie", Process{Comm: "sh", State: 'Z'}, "[sh] <defunct>"},
		{"control characters", Process{Args: []string{"a\tb\x01\x7f"}}, "a?b??"},
		{"a newline", Process{Args: []string{"sh", "-c", "a\nb"}}, "sh -c a b"},
		{"empty arguments", Process{Args: []string{"a", "", "b", "", ""}}, "a  b"},
		{"not UTF-8", Process{Args: []string{"é\xff\u0085"}}, "é???"},
		{"a command name with control characters", Process{Comm: "a\nb"}, "[a?b]"},
	} {
		if got := tt.p.Command(); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.reason, got, tt.want)
		}
	}
}

// TestLikePS compares a process table with what ps(1) of this machine says of
// the same process.
func TestLikePS(t *testing.T) {
	ps, err := exec.LookPath("ps")
	if err != nil {
		t.Skip("needs ps")
	}
	if v, err := exec.Command(ps, "--version").Output(); err != nil || !bytes.Contains(v, []byte("procps-ng 4.")) {
		t.Skip("needs ps of procps-ng 4")
	}
	f, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, args := range [][]string{
		{"-c", "read x", "sh", "a\nb", "tab\t.", "é \xff", "", "end", "", ""},
		{"-c", "read x"},
		{"-c", "read x", "sh", "trailing\n"},
		{"-c", "read x", "sh", " blanks ", "(", ")"},
	} {
		cmd := exec.Command("/bin/sh", args...)
		stdin, err := cmd.StdinPipe() // keeps it waiting
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stdin.Close(); cmd.Wait() })
		procs, err := ReadProcesses(f)
		if err != nil {
			t.Fatal(err)
		}
		pid := cmd.Process.Pid
		var got string
		for _, p := range procs {
			if p.PID == pid {
				got = fmt.Sprintf("%d %d %s %s", p.PPID, p.UID, p.Comm, p.Command())
			}
		}
		show := exec.Command(ps, "-p", strconv.Itoa(pid), "-o", "ppid=,uid=,comm=,cmd=")
		show.Env = []string{"LC_ALL=C.UTF-8"}
		out, err := show.Output()
		if err != nil {
			t.Fatalf("%s: %v", show, err)
		}
		// The first three columns are padded.
		w := strings.SplitN(strings.TrimLeft(string(out), " "), " ", 2)
		fields := strings.Fields(string(out))
		_, command, _ := strings.Cut(w[1], fields[2])
		want := strings.Join(fields[:3], " ") + " " + strings.TrimLeft(strings.TrimSuffix(command, "\n"), " ")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q (-ps +got):\n%s", args, diff)
		}
	}
}

// TestLiveProcesses reads the table of this machine, as whoever runs the test.
func TestLiveProcesses(t *testing.T) {
	f, err := host.Open("/")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	procs, err := ReadProcesses(f)
	if err != nil {
		t.Fatal(err)
	}
	var self *Process
	for i, p := range procs {
		if i > 0 && procs[i-1].PID >= p.PID {
			t.Errorf("process %d comes after %d", p.PID, procs[i-1].PID)
		}
		if p.PID == os.Getpid() {
			self = &procs[i]
		}
	}
	if self == nil {
		t.Fatal("this process is not in the table")
	}
	if self.UID != os.Geteuid() || self.PPID != os.Getppid() {
		t.Errorf("this process: uid %d, ppid %d; want %d, %d", self.UID, self.PPID, os.Geteuid(), os.Getppid())
	}
	if diff := cmp.Diff(os.Args, self.Args); diff != "" {
		t.Errorf("arguments (-want +got):\n%s", diff)
	}
	if boot, err := BootTime(f); boot <= 0 || err != nil {
		t.Errorf("BootTime = %d, %v", boot, err)
	}
}

func TestReadUsers(t *testing.T) {
	u, err := ReadUsers(fstest.MapFS{
		"etc/passwd": {Data: []byte("root:x:0:0:root:/root:/bin/bash\n# comment:x:1:1\n+::::::\nkube:x:998:997::/:/usr/sbin/nologin\n" +
			"broken\n:x:5:5::\nneg:x:-1:5::\nkube:x:77:77::\ntoor:x:0:0::\nlast:x:3:3::")},
		"etc/group": {Data: []byte("root:x:0:\nkube-cert:x:997:a,b\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	name := func(n string, ok bool) string { return fmt.Sprintf("%s %t", n, ok) }
	id := func(n int, ok bool) string { return fmt.Sprintf("%d %t", n, ok) }
	got := []string{
		name(u.User(0)), name(u.User(998)), name(u.User(3)), name(u.User(5)), name(u.Group(997)), name(u.Group(3)),
		id(u.UID("kube")), id(u.UID("toor")), id(u.UID("nobody")), id(u.GID("kube-cert")), id(u.GID("kube")), id(u.UID("neg")),
	}
	want := []string{
		"root true", "kube true", "last true", " false", "kube-cert true", " false",
		"998 true", "0 true", "0 false", "997 true", "0 false", "0 false",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, err := ReadUsers(fstest.MapFS{}); err != nil {
		t.Errorf("a tree without users: %v", err)
	}
	if _, err := ReadUsers(fstest.MapFS{"etc/passwd/x": {}}); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("etc/passwd is a directory: %v", err)
	}
}

// BenchmarkReadProcesses reads a real procfs, and reports the cost of 300
// processes.
func BenchmarkReadProcesses(b *testing.B) {
	f, err := host.Open("/")
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	n := 0
	for b.Loop() {
		procs, err := ReadProcesses(f)
		if err != nil {
			b.Fatal(err)
		}
		n = len(procs)
	}
	b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n)*300/1000, "ms/300procs")
}
