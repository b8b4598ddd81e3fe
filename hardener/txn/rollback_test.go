//go:build linux

package txn

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// rollbackNode is a node with a committed run over four paths.
func rollbackNode(t *testing.T) (root string, s *Store, before, after map[string]string) {
	root = tempDir(t)
	plant(t, root,
		entry{name: "etc/replaced", mode: 0o644, content: "old"},
		entry{name: "etc/mode", mode: 0o644, content: "old"},
		entry{name: "var/lib/", mode: 0o755},
	)
	before = snapshot(t, root)
	s = openStore(t, root)
	apply(t, s,
		write(t, root, "/etc/replaced", "new", 0o600),
		meta(t, root, "/etc/mode", 0o600),
		mkdir(t, root, "/etc/made", 0o755),
		write(t, root, "/etc/made/file", "new", 0o600),
	)
	return root, s, before, snapshot(t, root)
}

func TestRollbackOfChangedFiles(t *testing.T) {
	for _, c := range []struct {
		reason string
		change []entry  // by an operator
		remove string   // by an operator
		why    []string // it refuses; none: it does not
		left   []string // even by force
		keeps  []string // paths that differ from before the run after a forced rollback
	}{
		{reason: "content", change: []entry{{name: "etc/replaced", mode: 0o600, content: "operator"}},
			why: []string{"/etc/replaced (its content was changed since)"}},
		{reason: "mode of a replaced file", change: []entry{{name: "etc/replaced", mode: 0o640, content: "new"}},
			why: []string{"/etc/replaced (mode or owner was changed since, to 0640"}},
		{reason: "mode", change: []entry{{name: "etc/mode", mode: 0o640, content: "old"}},
			why: []string{"/etc/mode (mode or owner was changed since"}},
		{reason: "content of a file whose mode was set: its own business", change: []entry{{name: "etc/mode", mode: 0o600, content: "renewed"}},
			keeps: []string{"/etc/mode"}},
		{reason: "a new file", change: []entry{{name: "etc/made/file", mode: 0o600, content: "operator"}},
			why: []string{"/etc/made/file (its content was changed since)"}},
		{reason: "two at once", change: []entry{{name: "etc/mode", mode: 0o640}, {name: "etc/replaced", mode: 0o640}},
			why: []string{"/etc/mode", "/etc/replaced"}, keeps: []string{"/etc/mode"}},
		{reason: "a replaced file is gone", remove: "etc/replaced", why: []string{"/etc/replaced (is gone)"}},
		{reason: "a file whose mode was set is gone", remove: "etc/mode", why: []string{"/etc/mode (is gone)"},
			left: []string{"/etc/mode"}, keeps: []string{"/etc/mode"}},
		{reason: "a new file is gone: nothing to undo", remove: "etc/made/file"},
		{reason: "all that was made is gone: nothing to undo", remove: "etc/made"},
		{reason: "something is in a directory that was made", change: []entry{{name: "etc/made/other", mode: 0o600}},
			left: []string{"/etc/made"}, keeps: []string{"/etc/made", "/etc/made/other"}},
	} {
		t.Run(c.reason, func(t *testing.T) {
			root, s, before, _ := rollbackNode(t)
			if c.remove != "" {
				if err := os.RemoveAll(filepath.Join(root, c.remove)); err != nil {
					t.Fatal(err)
				}
			}
			plant(t, root, c.change...)
			changed := snapshot(t, root)
			out, err := s.Rollback("", false, nil)
			if len(c.why) == 0 && err != nil {
				t.Fatal(err)
			}
			if len(c.why) > 0 {
				if !errors.Is(err, ErrChanged) {
					t.Fatalf("%v", err)
				}
				for _, why := range c.why {
					if !strings.Contains(err.Error(), why) {
						t.Errorf("%q does not say %q", err, why)
					}
				}
				if diff := cmp.Diff(changed, snapshot(t, root)); diff != "" {
					t.Errorf("it refused, but changed: %s", diff)
				}
				if out, err = s.Rollback("", true, nil); err != nil {
					t.Fatalf("by force: %v", err)
				}
			}
			var left []string
			for _, l := range out.Left {
				left = append(left, l.Path)
			}
			if diff := cmp.Diff(c.left, left); diff != "" || out.State != RolledBack {
				t.Errorf("left: -want +got\n%s, state %s", diff, out.State)
			}
			after := snapshot(t, root)
			for _, p := range c.keeps {
				delete(before, p)
				delete(after, p)
			}
			if diff := cmp.Diff(before, after); diff != "" {
				t.Errorf("-want +got\n%s", diff)
			}
			noLeftovers(t, root, c.reason)
		})
	}
}

// TestRollbackOfOnePathTwice: groups of a run may change a path again.
func TestRollbackOfOnePathTwice(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "0"}, entry{name: "var/lib/", mode: 0o755})
	before := snapshot(t, root)
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		content string
		mode    os.FileMode
	}{{"1", 0o644}, {"1", 0o600}, {"2", 0o600}} {
		if err := r.Apply(t.Context(), []Change{write(t, root, "/etc/a", c.content, c.mode)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Commit(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Rollback(r.ID(), false, nil); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
}

// TestRollbackRunByRun: the newest first; an older one is refused while a newer
// one lies over it.
func TestRollbackRunByRun(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "0"})
	s := openStore(t, root)
	first := apply(t, s, write(t, root, "/etc/a", "1", 0o644))
	apply(t, s, write(t, root, "/etc/a", "2", 0o644))
	if _, err := s.Rollback(first.ID(), false, nil); !errors.Is(err, ErrChanged) {
		t.Errorf("the older one first: %v", err)
	}
	for _, want := range []string{"1", "0"} {
		if _, err := s.Rollback("", false, nil); err != nil {
			t.Fatal(err)
		}
		if got := found(t, root, "/etc/a").Digest; got != Digest([]byte(want)) {
			t.Errorf("not %s", want)
		}
	}
	if _, err := s.Rollback("20200101T000000Z-000000", false, nil); !errors.Is(err, ErrNoRun) {
		t.Errorf("%v", err)
	}
}

// TestDamagedBackupIsNotRestored: a wrong content is worse than none.
func TestDamagedBackupIsNotRestored(t *testing.T) {
	root, s, _, after := rollbackNode(t)
	infos, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	plant(t, root, entry{name: filepath.Join(StateDir, "runs", infos[0].ID, "backup/0001"), mode: 0o600, content: "rot"})
	if _, err := s.Rollback("", false, nil); !errors.Is(err, ErrLost) || !strings.Contains(err.Error(), "nothing was restored: /etc/replaced (its backup ") {
		t.Errorf("%v", err)
	}
	if diff := cmp.Diff(after, snapshot(t, root)); diff != "" {
		t.Errorf("it refused, but changed: %s", diff)
	}
	out, err := s.Rollback("", true, nil)
	if lost := out.Lost(); err != nil || out.State != RolledBack || len(lost) != 3 || lost[0].Path != "/etc/replaced" {
		t.Errorf("by force: %+v, %v", out, err)
	}
	if got := snapshot(t, root)["/etc/replaced"]; got != after["/etc/replaced"] {
		t.Errorf("%s", got)
	}
	noLeftovers(t, root, "after a damaged backup")
}

func TestDamagedJournal(t *testing.T) {
	root, s, before, after := rollbackNode(t)
	infos, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	journal := filepath.Join(root, StateDir, "runs", infos[0].ID, "journal")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	end := bytes.LastIndexByte(bytes.TrimSuffix(b, []byte("\n")), '\n') + 1
	damaged := append(append(bytes.Clone(b[:end]), "rot\n"...), b[end:]...)
	if err := os.WriteFile(journal, damaged, 0o600); err != nil {
		t.Fatal(err)
	}
	infos, err = s.Runs()
	if err != nil || infos[0].State != Damaged {
		t.Errorf("%+v, %v", infos, err)
	}
	if _, err := s.Begin(RunInfo{}); !errors.Is(err, ErrUnfinished) {
		t.Errorf("Begin: %v", err)
	}
	if out, err := s.Recover(); err != nil || len(out) != 1 || out[0].State != Damaged || out[0].ID != infos[0].ID {
		t.Errorf("Recover: %+v, %v", out, err)
	}
	if _, err := s.Rollback(infos[0].ID, false, nil); !errors.Is(err, errDamaged) {
		t.Errorf("Rollback: %v", err)
	}
	if diff := cmp.Diff(after, snapshot(t, root)); diff != "" {
		t.Errorf("guessed: %s", diff)
	}
	out, err := s.Rollback(infos[0].ID, true, nil)
	if err != nil || out.State != Undone {
		t.Fatalf("by force: %+v, %v", out, err)
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	kept, err := os.ReadFile(journal + ".damaged")
	if err != nil || !bytes.Equal(kept, damaged) {
		t.Errorf("the damaged journal is not kept: %v", err)
	}
	if _, err := s.Begin(RunInfo{}); err != nil {
		t.Error(err)
	}
}

// TestDamagedJournalAmongOthers: what is left of the others is recovered, however
// often.
func TestDamagedJournalAmongOthers(t *testing.T) {
	root, s, _, _ := rollbackNode(t)
	if _, err := s.Rollback("", false, nil); err != nil {
		t.Fatal(err)
	}
	damaged := apply(t, s, write(t, root, "/etc/other", "new", 0o600))
	changed := snapshot(t, root)
	died, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := died.Apply(t.Context(), []Change{write(t, root, "/etc/replaced", "new", 0o600)}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	journal := filepath.Join(root, StateDir, "runs", damaged.ID(), "journal")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	b[frameHead+5] ^= 1
	if err := os.WriteFile(journal, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, root)
	out, err := s.Recover()
	if err != nil || len(out) != 2 || out[0].ID != died.ID() || out[0].State != Undone || out[1].ID != damaged.ID() || out[1].State != Damaged {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff(changed, snapshot(t, root)); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	// Its beginning cannot be read, so that nothing can be put back, and it says so.
	_, err = s.Rollback(damaged.ID(), true, nil)
	if err == nil || !strings.Contains(err.Error(), "nothing of its journal can be read") {
		t.Errorf("%v", err)
	}
}

// TestLostJournal: a run whose journal says nothing at all is not taken for one
// that has done nothing, nor thrown away with its backups.
func TestLostJournal(t *testing.T) {
	for how, lose := range map[string]func(string) error{
		"zeros": func(journal string) error { return os.WriteFile(journal, make([]byte, 4096), 0o600) },
		"empty": func(journal string) error { return os.Truncate(journal, 0) },
		"gone":  os.Remove,
	} {
		t.Run(how, func(t *testing.T) {
			root, s, _, _ := rollbackNode(t)
			infos, err := s.Runs()
			if err != nil {
				t.Fatal(err)
			}
			id := infos[0].ID
			dir := filepath.Join(root, StateDir, "runs", id)
			if err := lose(filepath.Join(dir, "journal")); err != nil {
				t.Fatal(err)
			}
			if out, err := s.Recover(); err != nil || len(out) != 1 || out[0].State != Damaged {
				t.Errorf("Recover: %+v, %v", out, err)
			}
			if infos, err := s.Runs(); err != nil || len(infos) != 1 || infos[0].State != Damaged || infos[0].ID != id {
				t.Errorf("Runs: %+v, %v", infos, err)
			}
			if _, err := s.Begin(RunInfo{}); !errors.Is(err, ErrUnfinished) {
				t.Errorf("Begin: %v", err)
			}
			if _, err := s.Rollback(id, true, nil); err == nil || !strings.Contains(err.Error(), StateDir+"/runs/"+id+"/backup") {
				t.Errorf("by force: %v", err)
			}
			if b, err := os.ReadFile(filepath.Join(dir, "backup/0001")); err != nil || string(b) != "old" {
				t.Errorf("the backup: %q, %v", b, err)
			}
			if err := os.Rename(dir, filepath.Join(root, "moved")); err != nil { // as it says
				t.Fatal(err)
			}
			if _, err := s.Begin(RunInfo{}); err != nil {
				t.Error(err)
			}
		})
	}
}
