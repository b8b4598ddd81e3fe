package sample

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// writeRecorded is Write by somebody who may not give files away.
func writeRecorded(t *testing.T) (dir string, owners *Owners) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "node")
	refuse := func(string, int, int) error { return &os.PathError{Op: "lchown", Err: syscall.EPERM} }
	if err := write(dir, refuse); err != nil {
		t.Fatal(err)
	}
	owners, err := OpenOwners(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir, owners
}

// state is what a benchmark looks at.
type state struct {
	Mode     fs.FileMode
	UID, GID int
}

func lstat(t *testing.T, fsys fs.FS, p string) state {
	t.Helper()
	info, err := fs.Lstat(fsys, strings.TrimPrefix(p, "/"))
	if err != nil {
		t.Fatal(err)
	}
	return stateOf(info)
}

func stateOf(info fs.FileInfo) state {
	sys := info.Sys().(*syscall.Stat_t)
	return state{Mode: info.Mode() &^ fs.ModeSymlink, UID: int(sys.Uid), GID: int(sys.Gid)}
}

// TestWrite holds the tree against tree.txt, with owners on disk and on record.
func TestWrite(t *testing.T) {
	entries, err := parseTree(table)
	if err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, fsys fs.FS) {
		for _, e := range entries {
			got := lstat(t, fsys, e.path)
			want := state{Mode: e.mode, UID: e.uid, GID: e.gid}
			switch e.kind {
			case kindDir:
				want.Mode |= fs.ModeDir
			case kindLink:
				got.Mode = 0
				if target, err := fs.ReadLink(fsys, e.path[1:]); err != nil || target != e.target {
					t.Errorf("%s leads to %q (%v), want %q", e.path, target, err, e.target)
				}
			case kindHard:
				want = lstat(t, fsys, e.target)
			}
			if got != want {
				t.Errorf("%s is %+v, want %+v", e.path, got, want)
			}
		}
	}
	t.Run("owners on record", func(t *testing.T) {
		dir, owners := writeRecorded(t)
		if !owners.Recorded() {
			t.Fatal("no owner is recorded")
		}
		check(t, owners.View(os.DirFS(dir)))
	})
	t.Run("owners on disk", func(t *testing.T) {
		if os.Getuid() != 0 {
			t.Skip("needs root")
		}
		dir := filepath.Join(t.TempDir(), "node")
		if err := Write(dir); err != nil {
			t.Fatal(err)
		}
		owners, err := OpenOwners(dir)
		if err != nil {
			t.Fatal(err)
		}
		if owners.Recorded() {
			t.Error("owners are recorded although they are on disk")
		}
		check(t, owners.View(os.DirFS(dir)))
	})
}

// TestTreeIsWhole keeps a file from being embedded and not written, or listed
// and not there.
func TestTreeIsWhole(t *testing.T) {
	entries, err := parseTree(table)
	if err != nil {
		t.Fatal(err)
	}
	var listed, embedded []string
	for _, e := range entries {
		if e.kind == kindFile {
			listed = append(listed, e.path)
		}
	}
	err = fs.WalkDir(content, "node", func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			embedded = append(embedded, strings.TrimPrefix(p, "node"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	sorted := cmp.Transformer("set", func(s []string) map[string]bool {
		m := map[string]bool{}
		for _, x := range s {
			m[x] = true
		}
		return m
	})
	if diff := cmp.Diff(listed, embedded, sorted); diff != "" {
		t.Errorf("tree.txt and node/ differ (-listed +embedded):\n%s", diff)
	}
}

func TestParseTreeRefuses(t *testing.T) {
	for _, c := range []struct{ reason, line, err string }{
		{"a kind that nobody knows", "pipe 0644 root:root /x", `unknown kind "pipe"`},
		{"a user that the node lacks", "file 0644 nobody2:root /x", `unknown user "nobody2"`},
		{"a group that the node lacks", "file 0644 root:wheel /x", `unknown group "wheel"`},
		{"a mode that is none", "file rw-r root:root /x", "mode"},
		{"a relative path", "dir 0755 root:root x", "not absolute"},
		{"a path with dots", "dir 0755 root:root /x/../y", "not absolute and clean"},
		{"a link without target", "link /x", "PATH -> TARGET"},
		{"a path twice", "dir 0755 root:root /x\ndir 0755 root:root /x", "listed twice"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			if _, err := parseTree(c.line); err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("error %v, want one with %q", err, c.err)
			}
		})
	}
}

func TestWriteRefusesAFullDirectory(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "kept")
	if err := os.WriteFile(kept, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(dir); !errors.Is(err, ErrNotEmpty) {
		t.Errorf("error %v, want %v", err, ErrNotEmpty)
	}
	if found, _ := os.ReadDir(dir); len(found) != 1 {
		t.Errorf("the directory has %d entries now", len(found))
	}
}

func TestView(t *testing.T) {
	dir, owners := writeRecorded(t)
	if err := os.WriteFile(filepath.Join(dir, "etc/new"), nil, 0o640); err != nil {
		t.Fatal(err)
	}
	fsys := owners.View(os.DirFS(dir))
	kube := state{Mode: fs.ModeDir | 0o755, UID: 998, GID: 0}

	if info, err := fs.Stat(fsys, "etc/kubernetes"); err != nil || stateOf(info) != kube {
		t.Errorf("etc/kubernetes: %+v, %v; want %+v", info, err, kube)
	}
	if got, want := lstat(t, fsys, "etc/new"), (state{Mode: 0o640}); got != want {
		t.Errorf("a file without a record is %+v, want root's: %+v", got, want)
	}
	f, err := fsys.Open("etc/cni")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := f.(fs.ReadDirFile).ReadDir(-1)
	if err != nil || len(entries) != 1 {
		t.Fatalf("etc/cni has %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || stateOf(info) != kube {
		t.Errorf("etc/cni/net.d when listed: %+v, %v; want %+v", info, err, kube)
	}
	open, err := fsys.Open("etc/cni/net.d/calico.conflist.template")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	if info, err := open.Stat(); err != nil || stateOf(info) != (state{Mode: 0o664, UID: 998}) {
		t.Errorf("an open file: %+v, %v", info, err)
	}
}

// TestChown asks for the file by the way of the link, as an audit does.
func TestChown(t *testing.T) {
	dir, owners := writeRecorded(t)
	if err := owners.Chown("/etc/cni/net.d", 0, 0); err != nil {
		t.Fatal(err)
	}
	if err := owners.Chown("relative", 0, 0); err == nil {
		t.Error("a relative path was taken")
	}
	again, err := OpenOwners(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := state{Mode: fs.ModeDir | 0o755}
	if got := lstat(t, again.View(os.DirFS(dir)), "etc/cni/net.d"); got != want {
		t.Errorf("after chown: %+v, want %+v", got, want)
	}
	if got := lstat(t, again.View(os.DirFS(dir)), "etc/cni/net.d/calico.conflist.template"); got.UID != 998 {
		t.Errorf("the owner of a file in the directory changed too: %+v", got)
	}

	if err := owners.Chown("/etc/ssl/etcd/ssl/node-node1.pem", 997, 996); err != nil {
		t.Fatal(err)
	}
	if got := lstat(t, owners.View(os.DirFS(dir)), "etc/calico/certs/cert.crt"); got.UID != 997 || got.GID != 996 {
		t.Errorf("the other name of a changed file: %+v", got)
	}
}

func TestResolve(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{
		"abs": "/real", "rel": "real", "up": "../../real", "real/in": "/abs/file", "loop": "loop", "chain": "abs",
	} {
		if err := os.MkdirAll(filepath.Join(dir, "real"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		reason, name string
		follow       bool
		want         string
	}{
		{"no link", "real/file", true, "real/file"},
		{"an absolute link starts at the root of the tree", "abs/file", true, "real/file"},
		{"a relative link", "rel/file", true, "real/file"},
		{"nothing is above the root", "up/file", true, "real/file"},
		{"a link to a link", "chain/file", false, "real/file"},
		{"the last element is followed", "chain", true, "real"},
		{"or not", "chain", false, "chain"},
		{"a link below a link", "rel/in", true, "real/file"},
		{"a loop ends", "loop/x", true, "loop/x"},
		{"the root", ".", true, "."},
		{"a missing file", "no/such", true, "no/such"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			if got := resolve(os.DirFS(dir), c.name, c.follow); got != c.want {
				t.Errorf("resolve %q is %q, want %q", c.name, got, c.want)
			}
		})
	}
}

// TestArticleFigures holds the table against the figures of the list it copies.
func TestArticleFigures(t *testing.T) {
	var rows, fails, self, explained int
	seen := map[string]bool{}
	for _, r := range Article() {
		rows++
		if r.Printed && r.Outcome == "FAIL" {
			fails++
		}
		if r.SelfFixed {
			self++
		}
		if r.Explained {
			explained++
		}
		if seen[r.Check] {
			t.Errorf("check %s twice", r.Check)
		}
		seen[r.Check] = true
		if (r.Verdict != r.Outcome || r.Check != r.ID) && r.Note == "" {
			t.Errorf("row %s differs from the article without a note", r.ID)
		}
	}
	if got, want := []int{rows, fails, self, explained}, []int{116, 20, 7, 4}; !cmp.Equal(got, want) {
		t.Errorf("rows, printed FAIL, self-fixed, explained: %v, want %v", got, want)
	}
}
