package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRefused lists what must never have an effect, and must never look like a
// proper result either.
func TestRefused(t *testing.T) {
	for _, tc := range []struct{ script, lacks string }{
		{"rm -rf /etc", "rm"},
		{"rm -rf /etc || true", "rm"},
		{"rm -rf /etc 2>/dev/null; echo fine", "rm"},
		{"echo a | rm x | cat", "rm"},
		{"sh -c 'rm x' || true", "rm"},
		{"/bin/sh -c \"/bin/bash -c 'rm x'\" | cat", "rm"},
		{"echo x | xargs rm; true", "rm"},
		{"find /etc -exec rm {} \\;; true", "rm"},
		{"find /etc -exec rm {} +; true", "rm"},
		{"find /etc -delete; true", "find -delete"},
		{"x=$(rm y); echo ok", "rm"},
		{"if rm x; then echo yes; else echo no; fi", "rm"},
		{"exec rm x", "rm"},
		{"command rm x", "rm"},
		{"eval rm x; true", "rm"},
		{"trap 'rm x' EXIT; true", "rm"},
		{"f() { rm x; }; f | cat", "rm"},
		{"kill 1; true", "kill"},
		{"command kill 1; true", "kill"},
		{"builtin kill 1; true", "kill"},
		{"exec kill 1", "kill"},
		{"ulimit -n; true", "ulimit"},
		{"echo x > /etc/new; true", "writing to /etc/new"},
		{"echo x >> /etc/passwd; true", "writing to /etc/passwd"},
		{"echo x >| /etc/passwd; true", "redirect >|"},
		{"exec > /etc/new; true", "writing to /etc/new"},
		{"cat <> /etc/passwd; true", "redirect <>"},
		{"echo x 3>&1; true", "redirect >&"},
		{"echo x &> /etc/new; true", "writing to /etc/new"},
		{"cd /etc && echo x > new; true", "writing to /etc/new"},
		{"echo x > /dev/tcp/127.0.0.1/80; true", "writing to /dev/tcp/127.0.0.1/80"},
		{"echo x > \"$TMPDIR/sh-interp-1\"; true", ""},
		{"cat <(echo x); true", "process substitution"},
		{"echo x > >(cat); true", "process substitution"},
		{"eval 'cat <(echo x)'; true", "process substitution"},
		{"coproc cat; true", "coproc"},
		{"echo x &", "background job"},
		{"eval 'echo x &'; true", "background job"},
		{"trap 'echo x &' EXIT; true", "background job"},
		{"echo {1..999999999}", "brace expansion {1..999999999}"},
		{"sed -i s/a/b/ /etc/passwd; true", "sed -i"},
		{"sed 'w /etc/new' /etc/passwd; true", "sed command w"},
		{"sed 's/a/b/e' /etc/passwd; true", "sed s///e"},
		{"awk 'BEGIN{system(\"rm x\")}'; true", ""},
		{"awk 'BEGIN{print \"x\" > \"/etc/new\"}'; true", ""},
		{"awk 'BEGIN{getline x < \"/etc/passwd\"; print x}'; true", ""},
		{"awk 'BEGIN{\"date\" | getline x; print x}'; true", ""},
		{"curl http://example.com; true", "curl"},
		{"grep -P x /etc/passwd; true", "grep -P"},
		{"ps aux; true", "ps aux"},
	} {
		t.Run(tc.script, func(t *testing.T) {
			dir := t.TempDir()
			check(t, os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
			check(t, os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0::/:\n"), 0o644))
			before := tree(t, dir)
			res := (&Runner{FS: os.DirFS(dir)}).Run(t.Context(), tc.script)
			if after := tree(t, dir); !slices.Equal(before, after) {
				t.Fatalf("the tree changed: %v", after)
			}
			var missing interface{ Unsupported() string }
			if !errors.As(res.Err, &missing) {
				if tc.lacks != "" || res.Err == nil && strings.Contains(res.Output, "root:") {
					t.Fatalf("error %v, output %q, want it to lack %q", res.Err, res.Output, tc.lacks)
				}
				return
			}
			if tc.lacks != "" && missing.Unsupported() != tc.lacks {
				t.Errorf("lacks %q, want %q", missing.Unsupported(), tc.lacks)
			}
		})
	}
}

func tree(t *testing.T, dir string) (all []string) {
	t.Helper()
	check(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		all = append(all, fmt.Sprint(path, info.Mode(), info.Size(), info.ModTime()))
		return err
	}))
	return all
}

// TestStaysInside: names, links and directories of the machine that runs the
// test must not be seen.
func TestStaysInside(t *testing.T) {
	tree := fstest.MapFS{
		"etc/passwd":        {Data: []byte("inside\n")},
		"etc/inside.conf":   {Data: []byte("x\n")},
		"opt/lib.sh":        {Data: []byte("v=sourced\n")},
		"usr/bin/there":     {Data: []byte("#!/bin/sh\n"), Mode: 0o755},
		"usr/bin/plain":     {Data: []byte("x"), Mode: 0o644},
		"script":            {Data: []byte("echo from a file $1\n")},
		"dev/shm/sh-interp": {Data: []byte("x")},
	}
	for _, tc := range []struct{ reason, script, want string }{
		{"a file", "cat /etc/passwd", "inside\n"},
		{"a redirect", "cat < /etc/passwd; read x < etc/passwd; echo $x", "inside\ninside\n"},
		{"the shortcut of cat", "echo $(</etc/passwd)", "inside\n"},
		{"a glob", "echo /etc/*.conf /usr/bin/t*", "/etc/inside.conf /usr/bin/there\n"},
		{"the working directory", "pwd; pwd -P; echo $PWD", "/\n/\n/\n"},
		{"cd", "cd etc && pwd && cat passwd && sh -c 'cat passwd; pwd'; cd /nosuch 2>/dev/null || echo no", "/etc\ninside\ninside\n/etc\nno\n"},
		{"source", ". /opt/lib.sh; echo $v; source opt/lib.sh; echo $v", "sourced\nsourced\n"},
		{"source by PATH", "PATH=/opt; . lib.sh; echo $v", "sourced\n"},
		{"a script", "sh script arg; sh /script two", "from a file arg\nfrom a file two\n"},
		{"type and command -v look at the tree", "command -v there; command -v plain; type -p go; command -v go; echo $?", "/usr/bin/there\n127\n"},
		{"home directories", "echo ~ ~nobody ~root", "/root ~nobody ~root\n"},
		{"test", "test -x /usr/bin/there && test ! -x /usr/bin/plain && test -r /etc/passwd && test ! -e /proc/self && echo ok", "ok\n"},
		{"a path that is not there", "/opt/tool; echo $?", "/bin/sh: 1: /opt/tool: not found\n127\n"},
		{"a path that cannot be executed", "/usr/bin/../bin/plain; echo $?", "/bin/sh: 1: /usr/bin/../bin/plain: Permission denied\n126\n"},
		{"a script in one word", "'grep x y'; echo $?", "/bin/sh: 1: grep x y: not found\n127\n"},
		{"trap", "trap 'echo bye' EXIT; echo hi", "hi\nbye\n"},
		{"output to the script itself", "echo a > /dev/stdout; echo b > /dev/stderr; echo c > /dev/null", "a\nb\n"},
		{"an unset variable of kube-bench", "grep x $NOTHING; echo $?", "1\n"},
		{"shell options", "set -e; false; echo no", ""},
		{"one command in two pipes", "echo a | cat | while read x; do echo $x | tr a b | cat; done | cat", "b\n"},
		{"expansion in a merged pipe", "x=a; echo $x b* | cat | grep \"$(echo a)\"", "a b*\n"},
		{"a stage that assigns is not merged", "echo ${y:=1} | cat; echo [$y]", "1\n[]\n"},
		{"a function is not merged", "cat() { echo mine; }; echo x | cat", "mine\n"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			res := (&Runner{FS: tree}).Run(t.Context(), tc.script)
			if diff := cmp.Diff(tc.want, res.Output); diff != "" {
				t.Errorf("%v\n%s", res.Err, diff)
			}
		})
	}
}

// TestStatus covers scripts that end in other ways than by themselves.
func TestStatus(t *testing.T) {
	tree := fstest.MapFS{"f": {Data: []byte("one\n")}, "big": {Data: make([]byte, 1<<20)}}
	for _, tc := range []struct {
		reason, script, want string
		err                  error
	}{
		{reason: "the last pipe decides", script: "false; true"},
		{reason: "the last command of the pipe decides", script: "false | true"},
		{reason: "a failed audit", script: "grep x /f", err: &ExitError{1}},
		{reason: "exit", script: "echo a; exit 7", want: "a\n", err: &ExitError{7}},
		{reason: "blank", script: " \n\t"},
		{reason: "lines before one that cannot be parsed have run", script: "echo a\necho b; if then\necho c", want: "a\n/bin/sh: 2:9: `if` must be followed by a statement list\n", err: &ExitError{2}},
		{reason: "unterminated quote", script: "echo 'a", want: "/bin/sh: 1:6: reached EOF without closing quote `'`\n", err: &ExitError{2}},
		{reason: "unterminated quote in sh -c", script: "sh -c \"echo 'a\"; echo $?", want: "sh: 1:6: reached EOF without closing quote `'`\n2\n"},
		{reason: "too much output", script: "cat /big", want: strings.Repeat("\x00", 1000), err: &LimitError{"it printed more than 1000 bytes"}},
		{reason: "too much in a substitution", script: "x=$(cat /big | cat); echo ${#x}", err: &LimitError{"it printed more than 1000 bytes"}},
		{reason: "too much between commands", script: "cat /big | wc -c", err: &LimitError{"it printed more than 1000 bytes"}},
		{reason: "shells in shells", script: "export T='sh -c \"$T\"'; sh -c \"$T\"", err: &LimitError{"too many nested shells"}},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			res := (&Runner{FS: tree, MaxOutput: 1000}).Run(t.Context(), tc.script)
			if diff := cmp.Diff(tc.err, res.Err); diff != "" {
				t.Error(diff)
			}
			if tc.want != res.Output && !(tc.err != nil && tc.want == "") {
				t.Errorf("output %q, want %q", res.Output, tc.want)
			}
		})
	}
}

// endless is a file that never ends, and counts how much of it was read.
type endless struct{ read int }

func (e *endless) Open(string) (fs.File, error) { return e, nil }
func (e *endless) Stat() (fs.FileInfo, error)   { return nil, fs.ErrInvalid }
func (e *endless) Close() error                 { return nil }
func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}

func TestLimits(t *testing.T) {
	for _, script := range []string{"cat /f", "cat /f | cat", "x=$(cat /f)", "grep x /f", "sed p /f", "tail -n1 /f", "sort /f",
		"head -n1 /f", "awk '{print}' /f", "jq . /f", "sh /f", "cat < /f", "uniq /f", "tr x y < /f", "cut -c1 /f", "base64 /f", "xargs echo < /f"} {
		t.Run(script, func(t *testing.T) {
			tree := &endless{}
			res := (&Runner{FS: tree, MaxOutput: 1 << 16, Timeout: 20 * time.Second}).Run(t.Context(), script)
			var limit *LimitError
			if !errors.As(res.Err, &limit) {
				t.Errorf("error %v", res.Err)
			}
			if tree.read > 1<<21 {
				t.Errorf("%d bytes read", tree.read)
			}
		})
	}
	t.Run("an endless loop", func(t *testing.T) {
		for _, script := range []string{"while :; do :; done", "awk 'BEGIN{while(1);}'", "jq -n 'def f: f; f'", "sed ':a;ba' /f"} {
			r := &Runner{FS: fstest.MapFS{"f": {Data: []byte("x\n")}}, Timeout: 20 * time.Millisecond}
			var limit *LimitError
			if res := r.Run(t.Context(), script); !errors.As(res.Err, &limit) {
				t.Errorf("%s: error %v", script, res.Err)
			}
		}
	})
	t.Run("a cancelled context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if res := (&Runner{FS: fstest.MapFS{}}).Run(ctx, "echo x"); !errors.Is(res.Err, context.Canceled) {
			t.Error(res.Err)
		}
	})
}

func TestCommands(t *testing.T) {
	r := &Runner{FS: fstest.MapFS{}, Env: []string{"KUBECONFIG=/etc/admin.conf"}, Commands: map[string]Command{
		"kubectl": func(_ context.Context, c Call) error {
			in, err := io.ReadAll(c.Stdin)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.Stdout, "%s|%s|%s\n", strings.Join(c.Args[1:], " "), c.Env("KUBECONFIG"), in)
			fmt.Fprintln(c.Stderr, "warning")
			if len(c.Args) > 1 && c.Args[1] == "fail" {
				return ExitStatus(3)
			}
			if len(c.Args) > 1 && c.Args[1] == "edit" {
				return &UnknownCommandError{"kubectl edit"}
			}
			return nil
		},
	}}
	for _, tc := range []struct {
		script, want string
		err          error
	}{
		{script: "kubectl get pods", want: "get pods|/etc/admin.conf|\nwarning\n"},
		{script: "echo in | kubectl x | tr a-z A-Z", want: "warning\nX|/ETC/ADMIN.CONF|IN\n\n"},
		{script: "kubectl fail 2>/dev/null", want: "fail|/etc/admin.conf|\n", err: &ExitError{3}},
		{script: "echo \"can: $(/usr/local/bin/kubectl x 2>/dev/null)\"", want: "can: x|/etc/admin.conf|\n"},
		{script: "kubectl edit >/dev/null 2>&1 || true", err: &UnknownCommandError{"kubectl edit"}},
	} {
		res := r.Run(t.Context(), tc.script)
		if diff := cmp.Diff(tc.want, res.Output); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(tc.err, res.Err); diff != "" {
			t.Error(diff)
		}
	}
}

func TestTraces(t *testing.T) {
	tree := fstest.MapFS{
		"etc/kubernetes/pki":        {Data: []byte("ssl"), Mode: fs.ModeSymlink | 0o777},
		"etc/kubernetes/ssl/ca.crt": {Data: []byte("x"), Mode: 0o644},
		"etc/kubernetes/ssl/ca.key": {Data: []byte("x"), Mode: 0o600},
	}
	r := &Runner{FS: tree}
	res := r.Run(t.Context(), "find /etc/kubernetes/pki/ -name '*.key' | xargs stat -c permissions=%a; test -e /nosuch; stat -c %n /etc/kubernetes/ssl/ca.crt; stat -c %a /etc/kubernetes/pki")
	if res.Err != nil {
		t.Fatal(res.Err)
	}
	if diff := cmp.Diff("permissions=600\n/etc/kubernetes/ssl/ca.crt\n777\n", res.Output); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/etc/kubernetes/pki/ca.key", "/etc/kubernetes/pki"}, res.Stats); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/etc/kubernetes/pki", "/etc/kubernetes/pki/ca.key", "/etc/kubernetes/ssl/ca.crt", "/nosuch"}, res.Reads); diff != "" {
		t.Error(diff)
	}
	if res := r.Run(t.Context(), "stat -c %U:%G /etc/kubernetes/ssl/ca.crt"); res.Output != "UNKNOWN:UNKNOWN\n" {
		t.Errorf("users of a host without passwd: %q", res.Output)
	}
}

// TestFilesAreReadAgain: what depends on files must not come from the cache.
func TestFilesAreReadAgain(t *testing.T) {
	tree := fstest.MapFS{"f": {Data: []byte("x"), Mode: 0o644}}
	r := &Runner{FS: tree}
	for _, want := range []fs.FileMode{0o644, 0o600} {
		tree["f"].Mode = want
		if res := r.Run(t.Context(), "stat -c %a /f"); res.Output != fmt.Sprintf("%o\n", want) {
			t.Errorf("%q, want %o", res.Output, want)
		}
	}
	delete(tree, "f")
	if res := r.Run(t.Context(), "if test -e /f; then echo yes; fi"); res.Output != "" {
		t.Errorf("%q", res.Output)
	}
}

// TestNoExec: the package has no way of its own to start a program or to reach
// the network. What mvdan.cc/sh and goawk could do is replaced or refused, see
// TestRefused.
func TestNoExec(t *testing.T) {
	out, err := exec.Command("go", "list", "-f", `{{join .Imports "\n"}}`, ".").Output()
	if err != nil {
		t.Skipf("needs the go command: %v", err)
	}
	imports := strings.Fields(string(out))
	for _, banned := range []string{"os/exec", "net", "net/http", "plugin", "unsafe"} {
		if slices.Contains(imports, banned) {
			t.Errorf("the package imports %s", banned)
		}
	}
	if !slices.Contains(imports, "mvdan.cc/sh/v3/interp") {
		t.Errorf("imports not listed: %v", imports)
	}
	files, err := filepath.Glob("*.go")
	check(t, err)
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		check(t, err)
		for _, call := range []string{"os.Open", "os.Create", "os.Write", "os.Mkdir", "os.Remove", "os.Rename", "os.Chmod", "os.Chown",
			"os.StartProcess", "os.Read", "os.Stat", "os.Lstat", "os.Symlink", "os.Link", "syscall.Exec", "syscall.Fork"} {
			if strings.Contains(string(text), call) {
				t.Errorf("%s has %s", file, call)
			}
		}
	}
}
