//go:build linux

package txn

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestFailedGroupIsUndone: somebody writes while a group is being applied.
func TestFailedGroupIsUndone(t *testing.T) {
	for _, c := range []struct {
		reason string
		meddle func(t *testing.T, root string, cancel func())
		want   error
		text   []string
		b      string // what is in b at the end
	}{
		{"a file changes before its turn", func(t *testing.T, root string, _ func()) {
			plant(t, root, entry{name: "etc/b", mode: 0o600, content: "operator"})
		}, ErrChanged, []string{"restored: /etc/a", "/etc/b (its content was changed since)"}, "operator"},
		{"a file comes before its turn", func(t *testing.T, root string, _ func()) {
			plant(t, root, entry{name: "etc/c", mode: 0o600, content: "operator"})
		}, ErrChanged, []string{"/etc/c", "it exists", "restored: /etc/a, /etc/b"}, "b"},
		{"the caller gives up", func(_ *testing.T, _ string, cancel func()) { cancel() }, context.Canceled, []string{"restored: /etc/a"}, "b"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			root := tempDir(t)
			plant(t, root, entry{name: "etc/first", mode: 0o644}, entry{name: "etc/a", mode: 0o644, content: "a"}, entry{name: "etc/b", mode: 0o644, content: "b"})
			s := openStore(t, root)
			r, err := s.Begin(RunInfo{})
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Apply(t.Context(), []Change{meta(t, root, "/etc/first", 0o600)}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			once := false
			s.disk.step = func(op, p string) {
				if op == "rename" && strings.HasSuffix(p, "-> /etc/a") && !once {
					once = true
					c.meddle(t, root, cancel)
				}
			}
			err = r.Apply(ctx, []Change{
				write(t, root, "/etc/a", "new", 0o600),
				write(t, root, "/etc/b", "new", 0o600),
				write(t, root, "/etc/c", "new", 0o600),
			})
			if !errors.Is(err, c.want) {
				t.Errorf("%v", err)
			}
			for _, text := range c.text {
				if !strings.Contains(err.Error(), text) {
					t.Errorf("%q does not say %q", err, text)
				}
			}
			if err := r.Commit(); err != nil {
				t.Fatal(err)
			}
			a, _ := os.ReadFile(filepath.Join(root, "etc/a"))
			b, _ := os.ReadFile(filepath.Join(root, "etc/b"))
			if string(a) != "a" || string(b) != c.b || found(t, root, "/etc/first").Mode != 0o600 {
				t.Errorf("a %q, b %q, first %v", a, b, found(t, root, "/etc/first").Mode)
			}
			noLeftovers(t, root, c.reason)
			infos, err := s.Runs()
			if err != nil || len(infos) != 1 || !cmp.Equal(infos[0].Paths, []string{"/etc/first"}) || infos[0].State != Committed {
				t.Errorf("%+v, %v", infos, err)
			}
		})
	}
}

func TestUndoGroupLeavesEarlierGroups(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644}, entry{name: "etc/b", mode: 0o644}, entry{name: "etc/c", mode: 0o644})
	s := openStore(t, root)
	modes := func() (m [3]fs.FileMode) {
		for i, p := range []string{"/etc/a", "/etc/b", "/etc/c"} {
			m[i] = found(t, root, p).Mode
		}
		return m
	}
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/etc/a", "/etc/b", "/etc/c"} {
		if err := r.Apply(t.Context(), []Change{meta(t, root, p, 0o600)}); err != nil {
			t.Fatal(err)
		}
		if err := r.Keep(); err != nil {
			t.Fatal(err)
		}
	}
	for i, want := range [][3]fs.FileMode{{0o600, 0o600, 0o644}, {0o600, 0o644, 0o644}} {
		if err := r.UndoGroup(); err != nil {
			t.Fatal(err)
		}
		if got := modes(); got != want {
			t.Errorf("after undo %d: %v", i+1, got)
		}
	}
	if diff := cmp.Diff([]string{"/etc/a"}, r.Paths()); diff != "" {
		t.Error(diff)
	}
	if err := r.Undo(); err != nil {
		t.Fatal(err)
	}
	if got := modes(); got != [3]fs.FileMode{0o644, 0o644, 0o644} {
		t.Errorf("after Undo: %v", got)
	}
	if err := r.Commit(); err == nil {
		t.Error("a run that is undone was committed")
	}
	infos, err := s.Runs()
	if err != nil || len(infos) != 1 || infos[0].State != Undone {
		t.Errorf("%+v, %v", infos, err)
	}
}

// TestUndoOrder: the files that a manifest names are back before the manifest
// is, and new ones go only after it.
func TestUndoOrder(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/config.yaml", mode: 0o600, content: "old"}, entry{name: "etc/manifest.yaml", mode: 0o600, content: "old"})
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{
		mkdir(t, root, "/etc/new", 0o700),
		write(t, root, "/etc/new/policy.yaml", "new", 0o600),
		write(t, root, "/etc/config.yaml", "new", 0o600),
		write(t, root, "/etc/manifest.yaml", "new", 0o600),
	}); err != nil {
		t.Fatal(err)
	}
	var order []string
	s.disk.step = func(op, p string) {
		if _, to, ok := strings.Cut(p, " -> "); ok {
			p = to
		}
		if !mine(p) && (op == "rename" || op == "unlink" || op == "rmdir") {
			order = append(order, op+" "+p)
		}
	}
	if err := r.Undo(); err != nil {
		t.Fatal(err)
	}
	want := []string{"rename /etc/config.yaml", "rename /etc/manifest.yaml", "unlink /etc/new/policy.yaml", "rmdir /etc/new"}
	if diff := cmp.Diff(want, order); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}

// TestChangeDuringBackup: a backup that is not of what was examined is none.
func TestChangeDuringBackup(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"})
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	s.disk.step = func(op, p string) {
		if op == "create" && strings.HasSuffix(p, "/backup/0001") {
			plant(t, root, entry{name: "etc/a", mode: 0o644, content: "operator"})
		}
	}
	err = r.Apply(t.Context(), []Change{write(t, root, "/etc/a", "new", 0o600)})
	if !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("%v", err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if found(t, root, "/etc/a").Digest != Digest([]byte("operator")) {
		t.Error("the operator's content is lost")
	}
	if diff := cmp.Diff([]string{"lock", "runs"}, stateFiles(t, root)); diff != "" {
		t.Errorf("something is left: %s", diff)
	}
}

// TestUndoUnkept: what was kept stays, the rest goes newest first, and the
// caller sees each component before and after.
func TestUndoUnkept(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"}, entry{name: "etc/b", mode: 0o644, content: "b"}, entry{name: "etc/c", mode: 0o644, content: "c"})
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b", "c"} {
		change := write(t, root, "/etc/"+name, "new", 0o644)
		change.Component = name
		if err := r.Apply(t.Context(), []Change{change}); err != nil {
			t.Fatal(err)
		}
		if name == "a" {
			if err := r.Keep(); err != nil {
				t.Fatal(err)
			}
		}
	}
	content := func(name string) string {
		b, err := os.ReadFile(filepath.Join(root, "etc", name))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	var seen []string
	err = r.UndoUnkept(func(component string, undo func() error) {
		before := content(component)
		if err := undo(); err != nil {
			t.Error(err)
		}
		seen = append(seen, component+": "+before+" to "+content(component))
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"c: new to c", "b: new to b"}, seen); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	infos, err := s.Runs()
	if err != nil || len(infos) != 1 || !cmp.Equal(infos[0].Paths, []string{"/etc/a"}) || infos[0].State != Committed {
		t.Errorf("%+v, %v", infos, err)
	}
	if _, err := s.Rollback("", false, func(string, func() error) {}); err == nil || !strings.Contains(err.Error(), "was not undone") {
		t.Errorf("a caller that does not undo: %v", err)
	}
}

// TestDirectoryInUseStays: what a component has put into a directory that the
// group made stays, and that is no fault of the undoing.
func TestDirectoryInUseStays(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"})
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{mkdir(t, root, "/etc/logs", 0o700), mkdir(t, root, "/etc/empty", 0o700), write(t, root, "/etc/a", "new", 0o644)}); err != nil {
		t.Fatal(err)
	}
	plant(t, root, entry{name: "etc/logs/audit.log", mode: 0o600, content: "logged"})
	if err := r.UndoGroup(); err != nil {
		t.Error(err)
	}
	if r.Unkept() {
		t.Error("the group is still to be undone")
	}
	if b, err := os.ReadFile(filepath.Join(root, "etc/logs/audit.log")); err != nil || string(b) != "logged" {
		t.Errorf("%q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(root, "etc/empty")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the empty directory: %v", err)
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
}
