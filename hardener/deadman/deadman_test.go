//go:build linux

package deadman

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// What needs a systemd is tested on one, in tests/deadman.

// tree is a node without systemd.
func tree(t *testing.T) (*host.FS, *txn.Store) {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	root, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, open(t, root)
}

func open(t *testing.T, root *host.FS) *txn.Store {
	t.Helper()
	store, err := txn.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	return store
}

func placed(t *testing.T, store *txn.Store) []string {
	t.Helper()
	list, err := store.Placed()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// Without systemd nothing is armed, nothing is left, and the caller can tell.
func TestArmWithoutSystemd(t *testing.T) {
	root, store := tree(t)
	_, err := Arm(t.Context(), Options{Root: root, Store: store, Within: time.Hour})
	if !errors.Is(err, systemd.ErrNone) || !strings.HasPrefix(err.Error(), "arm the dead-man switch: ") || strings.Contains(err.Error(), "\n") {
		t.Errorf("%v", err)
	}
	if got := placed(t, store); len(got) > 0 {
		t.Errorf("left: %v", got)
	}
	if err := Disarm(t.Context(), root, store); err != nil {
		t.Errorf("disarm what is not armed: %v", err)
	}
}

// What a process has changed is put back also where no systemd answers; what has
// to be restarted is named, also by a second recovery when the first one died
// before it could; and the switch is left to the node, which can.
func TestRecoverWithoutSystemd(t *testing.T) {
	root, store := tree(t)
	run, err := store.Begin(txn.RunInfo{Command: "test"})
	if err != nil {
		t.Fatal(err)
	}
	if err := place(Options{Root: root, Store: store, Run: run.ID(), Within: time.Hour}, txn.TimerUnitA); err != nil {
		t.Fatal(err)
	}
	if got := len(placed(t, store)); got != len(txn.Companions())-1 {
		t.Errorf("%d files are placed", got)
	}
	file := filepath.Join(root.Dir(), "etc/etcd.env")
	err = run.Apply(t.Context(), []txn.Change{
		{Kind: txn.Write, Path: "/etc/etcd.env", Content: []byte("new"), Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid(), Expect: txn.State{Absent: true}, Component: "etcd"},
		{Kind: txn.Write, Path: "/etc/other", Content: []byte("new"), Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid(), Expect: txn.State{Absent: true}, Component: "kubelet"},
	})
	if err != nil {
		t.Fatal(err)
	}
	store.Close()
	store = open(t, root)
	if _, err := store.Recover(); err != nil { // and died here
		t.Fatal(err)
	}
	r, err := Recover(t.Context(), root, store, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"there is no systemd here: restart etcd.service, kubelet.service"}, r.Notes); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the new file is still there: %v", err)
	}
	if got := len(placed(t, store)); got != len(txn.Companions())-1 {
		t.Errorf("%d files of the switch are left", got)
	}
}

// A run whose journal is damaged is not tried again and again: the switch goes,
// what other runs have left is undone, and of it nothing.
func TestRecoverDamagedRun(t *testing.T) {
	root, store := tree(t)
	var runs []string
	for _, name := range []string{"damaged", "died"} {
		run, err := store.Begin(txn.RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		runs = append(runs, run.ID())
		err = run.Apply(t.Context(), []txn.Change{
			{Kind: txn.Write, Path: "/etc/" + name, Content: []byte("new"), Mode: 0o600, UID: os.Geteuid(), GID: os.Getegid(), Expect: txn.State{Absent: true}, Component: "etcd"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if name == "damaged" {
			if err := run.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	store.Close()
	journal := filepath.Join(root.Dir(), txn.StateDir, "runs", runs[0], "journal")
	b, err := os.ReadFile(journal)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(journal, []byte(strings.Replace(string(b), `"group"`, `"gruop"`, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	store = open(t, root)
	r, err := Recover(t.Context(), root, store, true)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(runs[:1], r.Damaged()); diff != "" {
		t.Error(diff)
	}
	for name, want := range map[string]bool{"damaged": true, "died": false} {
		if _, err := os.Stat(filepath.Join(root.Dir(), "etc", name)); (err == nil) != want {
			t.Errorf("/etc/%s: %v", name, err)
		}
	}
}

// A node on which nobody left anything is not touched.
func TestRecoverNothing(t *testing.T) {
	root, store := tree(t)
	if r, err := Recover(t.Context(), root, store, true); err != nil || len(r.Notes)+len(r.Outcomes)+len(r.Restarted) > 0 {
		t.Errorf("%+v %v", r, err)
	}
}

// A note that cannot be read keeps no file from coming back.
func TestRecoverDamagedNote(t *testing.T) {
	root, store := tree(t)
	if err := store.Place(txn.Armed, strings.NewReader("{torn")); err != nil {
		t.Fatal(err)
	}
	r, err := Recover(t.Context(), root, store, true)
	if err != nil || len(r.Notes) != 1 || !strings.Contains(r.Notes[0], txn.Armed) {
		t.Errorf("%+v %v", r, err)
	}
}

func TestTimerUnit(t *testing.T) {
	text := timerUnit(90*time.Second + 500*time.Millisecond)
	for _, want := range []string{"\nUnit=kubespray-hardener-recover.service\n", "\nOnActiveSec=30000ms\n", "\nOnUnitInactiveSec=30s\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
