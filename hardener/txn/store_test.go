//go:build linux

package txn

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestLock(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: StateDir + "/lock", mode: 0o600, content: `{"pid":1,"since":"2020-01-01T00:00:00Z"}` + "\n and more"})
	h := openRoot(t, root)
	first, err := Open(h)
	if err != nil {
		t.Fatalf("a stale lock file is an obstacle: %v", err)
	}
	_, err = Open(h)
	locked, ok := errors.AsType[*LockedError](err)
	if !errors.Is(err, ErrLocked) || !ok || locked.PID != os.Getpid() || locked.Since.IsZero() ||
		!strings.Contains(err.Error(), fmt.Sprintf("process %d, since 20", os.Getpid())) {
		t.Errorf("%v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second, err := Open(h)
	if err != nil {
		t.Fatalf("after Close: %v", err)
	}
	second.Close()
}

func TestStateDirMustBeOurs(t *testing.T) {
	t.Run("a link", func(t *testing.T) {
		root := tempDir(t)
		plant(t, root, entry{name: "tmp/elsewhere/", mode: 0o755}, entry{name: StateDir, link: "/tmp/elsewhere"})
		if s, err := Open(openRoot(t, root)); err == nil {
			s.Close()
			t.Error("was followed")
		}
	})
	t.Run("somebody else's", func(t *testing.T) {
		needRoot(t)
		root := tempDir(t)
		plant(t, root, entry{name: StateDir + "/", mode: 0o755})
		if err := os.Chown(filepath.Join(root, StateDir), 4242, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(openRoot(t, root)); !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
	})
}

// TestRunIDs: they sort by time even when the clock stands still or goes back.
func TestRunIDs(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644})
	s := openStore(t, root)
	clock := time.Date(2026, 11, 22, 20, 45, 12, 0, time.UTC)
	s.now = func() time.Time { return clock }
	var ids []string
	for i, step := range []time.Duration{0, 0, -time.Hour, 48 * time.Hour} {
		clock = clock.Add(step)
		ids = append(ids, apply(t, s, write(t, root, "/etc/a", fmt.Sprint(i), 0o644)).ID())
	}
	if !slices.IsSorted(ids) || len(slices.Compact(slices.Clone(ids))) != len(ids) {
		t.Errorf("%q", ids)
	}
	if !strings.HasPrefix(ids[0], "20261122T204512Z-") || !strings.HasPrefix(ids[3], "20261124T194512Z-") {
		t.Errorf("%q", ids)
	}
}

func TestOldRunsAreRemoved(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "first"}, entry{name: "etc/b", mode: 0o644})
	s := openStore(t, root)
	s.keep = 2
	undone := func(i int) {
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(t.Context(), []Change{write(t, root, "/etc/b", fmt.Sprint(i), 0o644)}); err != nil {
			t.Fatal(err)
		}
		if err := r.UndoGroup(); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	apply(t, s, write(t, root, "/etc/a", "second", 0o644))
	last := apply(t, s, write(t, root, "/etc/a", "third", 0o644))
	for i := range 4 {
		undone(i)
	}
	infos, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != 3 || infos[0].ID != last.ID() {
		t.Errorf("want the last run that can be rolled back and the two newest: %+v", infos)
	}
	if out, err := s.Rollback("", false, nil); err != nil || out.ID != last.ID() {
		t.Errorf("%+v, %v", out, err)
	}
	if got := found(t, root, "/etc/a").Digest; got != Digest([]byte("second")) {
		t.Error("not rolled back")
	}
}

func TestReport(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644})
	s := openStore(t, root)
	r := apply(t, s, meta(t, root, "/etc/a", 0o600))
	for _, text := range []string{"{}", `{"second":true}`} {
		if err := s.SaveReport(r.ID(), []byte(text)); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(root, StateDir, "runs", r.ID(), "report.json"))
		if err != nil || string(b) != text {
			t.Errorf("%q, %v", b, err)
		}
	}
	for _, id := range []string{"", "../../etc", testRun} {
		if err := s.SaveReport(id, nil); !errors.Is(err, ErrNoRun) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

// TestList: it only reads, and sees what the holder of the lock does.
func TestList(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644})
	h := openRoot(t, root)
	before := snapshot(t, root)
	if infos, err := List(h); err != nil || len(infos) > 0 {
		t.Errorf("%v, %v", infos, err)
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Errorf("List wrote: %s", diff)
	}
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{Command: "fix"})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{meta(t, root, "/etc/a", 0o600)}); err != nil {
		t.Fatal(err)
	}
	infos, err := List(h)
	if err != nil || len(infos) != 1 || infos[0].State != Unfinished || !cmp.Equal(infos[0].Paths, []string{"/etc/a"}) {
		t.Errorf("%+v, %v", infos, err)
	}
}

func TestUnfinishedRunBlocks(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644})
	h := openRoot(t, root)
	s, err := Open(h)
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{meta(t, root, "/etc/a", 0o600)}); err != nil {
		t.Fatal(err)
	}
	for name, f := range map[string]func() error{
		"a second run in a run": func() error { _, err := s.Begin(RunInfo{}); return err },
		"recovery in a run":     func() error { _, err := s.Recover(); return err },
	} {
		if err := f(); !errors.Is(err, ErrUnfinished) {
			t.Errorf("%s: %v", name, err)
		}
	}
	s.Close()
	if s, err = Open(h); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Begin(RunInfo{}); !errors.Is(err, ErrUnfinished) || !strings.Contains(err.Error(), r.ID()) {
		t.Errorf("a run after one that died: %v", err)
	}
	if _, err := s.Rollback(r.ID(), true, nil); !errors.Is(err, ErrUnfinished) {
		t.Errorf("a rollback of one that died: %v", err)
	}
	out, err := s.Recover()
	if err != nil || len(out) != 1 || out[0].State != Undone || !cmp.Equal(out[0].Restored, []string{"/etc/a"}) {
		t.Errorf("%+v, %v", out, err)
	}
	if _, err := s.Begin(RunInfo{}); err != nil {
		t.Error(err)
	}
}

// TestTornRecordIsCutOff: nothing of it stays behind what is appended next.
func TestTornRecordIsCutOff(t *testing.T) {
	root := tempDir(t)
	journal := filepath.Join(root, StateDir, "runs", testRun, "journal")
	whole := journalOf(t, begin(), record{Type: recordGroup, Group: 1, Changes: []change{created("/etc/a")}})
	plant(t, root,
		entry{name: "etc/a", mode: 0o600},
		entry{name: strings.TrimPrefix(journal, root), mode: 0o600, content: string(whole) + strings.Repeat("torn", 4096)},
	)
	if err := os.Chmod(filepath.Join(root, StateDir), 0o700); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, root)
	if out, err := s.Recover(); err != nil || len(out) != 1 || out[0].State != Undone {
		t.Fatalf("%+v, %v", out, err)
	}
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if h, valid, err := readJournal(b); err != nil || valid != len(b) || h.records != 4 {
		t.Errorf("%d of %d bytes are valid, %d records, %v", valid, len(b), h.records, err)
	}
}

// TestRunThatAnnouncedNothing leaves nothing behind, with or without its first
// record.
func TestRunThatAnnouncedNothing(t *testing.T) {
	for _, journal := range []string{"", "torn", string(journalOf(t, begin()))} {
		root := tempDir(t)
		plant(t, root, entry{name: StateDir + "/runs/" + testRun + "/journal", mode: 0o600, content: journal})
		if err := os.Chmod(filepath.Join(root, StateDir), 0o700); err != nil {
			t.Fatal(err)
		}
		s := openStore(t, root)
		if out, err := s.Recover(); err != nil || len(out) > 0 {
			t.Errorf("%q: %+v, %v", journal, out, err)
		}
		if diff := cmp.Diff([]string{"lock", "runs"}, stateFiles(t, root)); diff != "" {
			t.Errorf("%q: %s", journal, diff)
		}
	}
}
