//go:build linux

package txn

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// apply makes one run of one group and commits it.
func apply(t testing.TB, s *Store, changes ...Change) *Run {
	t.Helper()
	r, err := s.Begin(RunInfo{Command: "test", Version: "v0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), changes); err != nil {
		t.Fatal(err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	return r
}

func stateFiles(t testing.TB, root string) []string {
	t.Helper()
	var all []string
	dir := filepath.Join(root, StateDir)
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && p != dir {
			all = append(all, strings.TrimPrefix(p, dir+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestApplyAndRollback(t *testing.T) {
	root := tempDir(t)
	plant(t, root,
		entry{name: "etc/kubernetes/ssl/ca.key", mode: 0o644, content: "secret key"},
		entry{name: "etc/kubernetes/pki", link: "/etc/kubernetes/ssl"},
		entry{name: "etc/cni/net.d/", mode: 0o777},
		entry{name: "etc/env", mode: 0o644, content: "PASSWORD=old"},
	)
	before := snapshot(t, root)
	s := openStore(t, root)
	key := meta(t, root, "/etc/kubernetes/ssl/ca.key", 0o600)
	key.Path = "/etc/kubernetes/pki/ca.key" // through the link
	r := apply(t, s,
		key,
		meta(t, root, "/etc/cni/net.d", 0o755),
		write(t, root, "/etc/env", "PASSWORD=new", 0o600),
		mkdir(t, root, "/etc/audit", 0o700),
		write(t, root, "/etc/audit/policy.yaml", "kind: Policy", 0o640),
	)
	for p, want := range map[string]State{
		"/etc/kubernetes/ssl/ca.key": {Mode: 0o600, Digest: Digest([]byte("secret key"))},
		"/etc/cni/net.d":             {Mode: 0o755},
		"/etc/env":                   {Mode: 0o600, Digest: Digest([]byte("PASSWORD=new"))},
		"/etc/audit":                 {Mode: 0o700},
		"/etc/audit/policy.yaml":     {Mode: 0o640, Digest: Digest([]byte("kind: Policy"))},
	} {
		want.UID, want.GID = os.Geteuid(), os.Getegid()
		if diff := cmp.Diff(want, found(t, root, p)); diff != "" {
			t.Errorf("%s: -want +got\n%s", p, diff)
		}
	}
	id := r.ID()
	if diff := cmp.Diff([]string{"lock", "runs", "runs/" + id, "runs/" + id + "/backup", "runs/" + id + "/backup/0003", "runs/" + id + "/journal"}, stateFiles(t, root)); diff != "" {
		t.Errorf("state directory: -want +got\n%s", diff)
	}
	infos, err := s.Runs()
	if err != nil || len(infos) != 1 {
		t.Fatalf("%v, %v", infos, err)
	}
	got := infos[0]
	if got.ID != id || got.State != Committed || got.Command != "test" || got.Version != "v0" || got.Started.IsZero() || got.Finished.IsZero() || len(got.Paths) != 5 {
		t.Errorf("%+v", got)
	}

	out, err := s.Rollback("", false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.ID != id || out.State != RolledBack || len(out.Restored) != 5 || len(out.Left) != 0 {
		t.Errorf("%+v", out)
	}
	after := snapshot(t, root)
	delete(after, "/var")
	delete(after, "/var/lib")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("after the rollback: -want +got\n%s", diff)
	}
	if _, err := s.Rollback("", false, nil); !errors.Is(err, ErrNoRun) {
		t.Errorf("a second rollback: %v", err)
	}
	if _, err := s.Rollback(id, false, nil); err == nil || !strings.Contains(err.Error(), "rolled-back") {
		t.Errorf("a second rollback by name: %v", err)
	}
}

// TestStateIsPrivate: nobody else may enter, and no content is in a journal.
func TestStateIsPrivate(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/env", mode: 0o644, content: "PASSWORD=hunter2"},
		entry{name: strings.TrimPrefix(StateDir, "/") + "/", mode: 0o755})
	s := openStore(t, root)
	r := apply(t, s, write(t, root, "/etc/env", "PASSWORD=correct-horse", 0o644))
	if err := s.SaveReport(r.ID(), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(stateFiles(t, root), "") {
		info, err := os.Stat(filepath.Join(root, StateDir, name))
		if err != nil {
			t.Fatal(err)
		}
		want := fs.FileMode(0o600)
		if info.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %v", name, info.Mode())
		}
	}
	b, err := os.ReadFile(filepath.Join(root, StateDir, "runs", r.ID(), "journal"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(b, []byte("hunter2")) || bytes.Contains(b, []byte("correct-horse")) {
		t.Errorf("content in the journal: %s", b)
	}
}

func TestNoEffectWritesNothing(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o600, content: "a"}, entry{name: "etc/d/", mode: 0o700}, entry{name: "etc/e/", mode: 0o700})
	s := openStore(t, root)
	before := snapshot(t, root)
	var ops []string
	s.disk.step = func(op, p string) { ops = append(ops, op+" "+p) }
	r := apply(t, s,
		write(t, root, "/etc/a", "a", 0o600),
		meta(t, root, "/etc/d", 0o700),
		Change{Kind: Mkdir, Path: "/etc/e", Mode: 0o700, UID: os.Geteuid(), GID: os.Getegid(), Expect: State{Absent: true}},
	)
	if len(ops) > 0 {
		t.Errorf("operations %q", ops)
	}
	s.disk.step = nil
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"lock", "runs"}, stateFiles(t, root)); diff != "" {
		t.Errorf("a run without changes left something: %s", diff)
	}
	if err := s.SaveReport(r.ID(), nil); !errors.Is(err, ErrNoRun) {
		t.Errorf("SaveReport: %v", err)
	}
	if _, err := s.Rollback("", false, nil); !errors.Is(err, ErrNoRun) {
		t.Errorf("Rollback: %v", err)
	}
}

// TestSameContentKeepsTheInode: a Write that only changes the mode must not
// replace the file, or a container that mounts it keeps the old one.
func TestSameContentKeepsTheInode(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"})
	inode := func() uint64 {
		info, err := os.Stat(filepath.Join(root, "etc/a"))
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino
	}
	before := inode()
	s := openStore(t, root)
	apply(t, s, write(t, root, "/etc/a", "a", 0o600))
	if inode() != before || found(t, root, "/etc/a").Mode != 0o600 {
		t.Errorf("inode %d then %d, mode %v", before, inode(), found(t, root, "/etc/a").Mode)
	}
}

func TestRefusals(t *testing.T) {
	root := tempDir(t)
	plant(t, root,
		entry{name: "etc/a", mode: 0o644, content: "a"},
		entry{name: "etc/linked", mode: 0o644, content: "linked"},
		entry{name: "etc/link", link: "a"},
		entry{name: "etc/d/", mode: 0o755},
		entry{name: "etc/alias", link: "/etc"},
	)
	if err := os.Link(filepath.Join(root, "etc/linked"), filepath.Join(root, "etc/linked2")); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(filepath.Join(root, "etc/fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	// Read before somebody changed it.
	stale := func(c Change, f func(*State)) Change { f(&c.Expect); return c }
	w := func(p string) Change { return write(t, root, p, "new", 0o600) }
	m := func(p string) Change { return meta(t, root, p, 0o600) }
	s := openStore(t, root)
	before := snapshot(t, root)
	for _, c := range []struct {
		reason  string
		changes []Change
		want    error
		text    string
	}{
		{"a link is never followed by a write", []Change{w("/etc/link")}, ErrRefused, "symbolic link"},
		{"a link is never followed by a chmod", []Change{m("/etc/link")}, ErrRefused, "symbolic link"},
		{"replacing splits hard links", []Change{w("/etc/linked")}, ErrRefused, "2 hard links"},
		{"a directory is no file", []Change{w("/etc/d")}, ErrRefused, "not a regular file"},
		{"nor is a FIFO, which must not block", []Change{w("/etc/fifo")}, ErrRefused, "not a regular file"},
		{"a FIFO's mode is nobody's business", []Change{m("/etc/fifo")}, ErrRefused, "not a regular file"},
		{"relative path", []Change{{Kind: Write, Path: "etc/a"}}, ErrRefused, "not the absolute path"},
		{"own state", []Change{{Kind: Write, Path: StateDir + "/lock"}}, ErrRefused, "own state"},
		{"unknown kind", []Change{{Kind: "remove", Path: "/etc/a"}}, ErrRefused, "unknown kind"},
		{"no owner", []Change{{Kind: Meta, Path: "/etc/a", UID: -1}}, ErrRefused, "no owner"},
		{"one path twice", []Change{w("/etc/a"), m("/etc/a")}, ErrRefused, "same group"},
		{"one path twice by another way", []Change{w("/etc/a"), m("/etc/alias/a")}, ErrRefused, "same group"},
		{"content changed", []Change{stale(w("/etc/a"), func(s *State) { s.Digest = Digest(nil) })}, ErrChanged, "content"},
		{"nobody read it", []Change{stale(w("/etc/a"), func(s *State) { s.Digest = "" })}, ErrChanged, "content"},
		{"mode changed", []Change{stale(m("/etc/a"), func(s *State) { s.Mode = 0o640 })}, ErrChanged, "expected mode 0640, found 0644"},
		{"owner changed", []Change{stale(m("/etc/a"), func(s *State) { s.UID = 7 })}, ErrChanged, "expected owner 7"},
		{"it has come", []Change{stale(w("/etc/a"), func(s *State) { *s = State{Absent: true} })}, ErrChanged, "it exists"},
		{"it has gone", []Change{stale(w("/etc/none"), func(s *State) { s.Absent = false })}, ErrChanged, "it is gone"},
		{"mode of nothing", []Change{m("/etc/none")}, ErrChanged, "it is gone"},
		{"a directory has come", []Change{mkdir(t, root, "/etc/a", 0o700)}, ErrChanged, "it exists"},
		{"no directory", []Change{w("/etc/none/x")}, fs.ErrNotExist, "/etc/none/x"},
		{"the directory comes too late", []Change{w("/etc/e/x"), mkdir(t, root, "/etc/e", 0o700)}, fs.ErrNotExist, "/etc/e/x"},
		{"nothing is done if one is refused", []Change{m("/etc/a"), w("/etc/link")}, ErrRefused, "/etc/link"},
	} {
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Apply(t.Context(), c.changes)
		if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s: %v", c.reason, err)
		}
		if err := r.Commit(); err != nil {
			t.Errorf("%s: %v", c.reason, err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Errorf("a refused change has changed the node: %s", diff)
	}
	if diff := cmp.Diff([]string{"lock", "runs"}, stateFiles(t, root)); diff != "" {
		t.Errorf("a refused change left something: %s", diff)
	}
}

// TestHardLinksShareAMode: two names of one file in a group, as Calico's copy
// of an etcd key may be.
func TestHardLinksShareAMode(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/key", mode: 0o644, content: "key"})
	if err := os.Link(filepath.Join(root, "etc/key"), filepath.Join(root, "etc/key2")); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, root)
	apply(t, s, meta(t, root, "/etc/key", 0o600), meta(t, root, "/etc/key2", 0o600))
	if m := found(t, root, "/etc/key2").Mode; m != 0o600 {
		t.Errorf("%v", m)
	}
	if _, err := s.Rollback("", false, nil); err != nil {
		t.Fatal(err)
	}
	if m := found(t, root, "/etc/key").Mode; m != 0o644 {
		t.Errorf("after the rollback: %v", m)
	}
}

func TestLongNames(t *testing.T) {
	root := tempDir(t)
	long := "/etc/" + strings.Repeat("n", 255)
	plant(t, root, entry{name: long, mode: 0o644, content: "old"})
	s := openStore(t, root)
	apply(t, s, write(t, root, long, "new", 0o644))
	if found(t, root, long).Digest != Digest([]byte("new")) {
		t.Error("not written")
	}
}

// BenchmarkApply is a run of 50 changes of mode, then its rollback, on a real
// disk with all its syncs.
func BenchmarkApply(b *testing.B) {
	root := b.TempDir()
	var entries []entry
	for i := range 50 {
		entries = append(entries, entry{name: fmt.Sprintf("etc/d%d/f%d", i%5, i), mode: 0o644})
	}
	plant(b, root, entries...)
	s := openStore(b, root)
	for b.Loop() {
		var changes []Change
		for _, e := range entries {
			changes = append(changes, meta(b, root, "/"+e.name, 0o600))
		}
		apply(b, s, changes...)
		if _, err := s.Rollback("", false, nil); err != nil {
			b.Fatal(err)
		}
	}
}
