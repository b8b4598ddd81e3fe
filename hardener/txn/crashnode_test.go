//go:build linux

package txn

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// crashTree is the node at the start, with a pki directory that is a link, as
// Kubespray has it.
func crashTree(t testing.TB, root string) {
	plant(t, root,
		entry{name: "etc/kubernetes/manifests/kube-apiserver.yaml", mode: 0o644, content: "kind: Pod # old\n"},
		entry{name: "etc/kubernetes/kubelet.conf", mode: 0o644, content: "secret: old\n"},
		entry{name: "etc/kubernetes/kubelet-config.yaml", mode: 0o640, content: strings.Repeat("old: value\n", chunk/8)},
		entry{name: "etc/kubernetes/ssl/ca.crt", mode: 0o644, content: "certificate\n"},
		entry{name: "etc/kubernetes/pki", link: "/etc/kubernetes/ssl"},
		entry{name: "etc/cni/net.d/", mode: 0o777},
		entry{name: "etc/motd", mode: 0o644, content: "0"},
	)
	s, err := Open(openRoot(t, root))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 2 { // runs that the commit has to remove
		r, err := s.Begin(RunInfo{Command: "earlier"})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(t.Context(), []Change{write(t, root, "/etc/motd", fmt.Sprint(i+1), 0o644)}); err != nil {
			t.Fatal(err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// expect is found for the children, which have no testing.TB.
func expect(content string, mode fs.FileMode) State {
	return State{Mode: mode, UID: os.Geteuid(), GID: os.Getegid(), Digest: Digest([]byte(content))}
}

// crashGroups are the changes of the run. root also changes an owner, which
// takes three steps.
func crashGroups() [][]Change {
	uid, gid := os.Geteuid(), os.Getegid()
	other := gid
	if uid == 0 {
		other = 4242
	}
	w := func(p, content string, mode fs.FileMode, before State) Change {
		return Change{Kind: Write, Path: p, Content: []byte(content), Mode: mode, UID: uid, GID: gid, Expect: before}
	}
	absent := State{Absent: true}
	return [][]Change{{
		{Kind: Meta, Path: "/etc/kubernetes/kubelet.conf", Mode: 0o460, UID: uid, GID: other, Expect: expect("", 0o644)},
		{Kind: Meta, Path: "/etc/cni/net.d", Mode: 0o755, UID: uid, GID: gid, Expect: expect("", 0o777)},
	}, {
		w("/etc/kubernetes/kubelet-config.yaml", strings.Repeat("new: value\n", chunk/8), 0o600, expect(strings.Repeat("old: value\n", chunk/8), 0o640)),
	}, {
		{Kind: Mkdir, Path: "/etc/kubernetes/audit", Mode: 0o750, UID: uid, GID: other, Expect: absent},
		w("/etc/kubernetes/audit/policy.yaml", "kind: Policy\n", 0o600, absent),
		w("/etc/kubernetes/pki/new.crt", "certificate\n", 0o644, absent),
		w("/etc/kubernetes/manifests/kube-apiserver.yaml", "kind: Pod # new\n", 0o600, expect("kind: Pod # old\n", 0o644)),
		{Kind: Meta, Path: "/etc/kubernetes/pki/ca.crt", Mode: 0o600, UID: uid, GID: gid, Expect: expect("", 0o644)},
	}}
}

// crashRun does the run; keep is after how many groups it calls Keep.
func crashRun(s *Store, keep int) error {
	r, err := s.Begin(RunInfo{Command: "crash"})
	if err != nil {
		return err
	}
	for i, g := range crashGroups() {
		if err := r.Apply(context.Background(), g); err != nil {
			return err
		}
		if i+1 == keep {
			if err := r.Keep(); err != nil {
				return err
			}
		}
	}
	if err := r.Commit(); err != nil {
		return err
	}
	return s.SaveReport(r.ID(), []byte("{}"))
}

// crashUndo does the run, keeps two groups, and undoes all three.
func crashUndo(s *Store) error {
	r, err := s.Begin(RunInfo{Command: "crash"})
	if err != nil {
		return err
	}
	for i, g := range crashGroups() {
		if err := r.Apply(context.Background(), g); err != nil {
			return err
		}
		if i+1 == 2 {
			if err := r.Keep(); err != nil {
				return err
			}
		}
	}
	return r.Undo()
}

// crashNode makes trees in a given state and knows which states are right.
type crashNode struct {
	templates map[string]string   // name to tree
	snapshots []map[string]string // after 0, 1, 2, 3 groups
}

func newCrashNode(t *testing.T) *crashNode {
	n := &crashNode{templates: map[string]string{}}
	old := tempDir(t)
	crashTree(t, old)
	n.templates["old"] = old
	for i := range len(crashGroups()) + 1 {
		root := tempDir(t)
		crashCopy(t, old, root)
		s := openStore(t, root)
		s.keep = 2
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range crashGroups()[:i] {
			if err := r.Apply(t.Context(), g); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
		s.Close()
		n.snapshots = append(n.snapshots, snapshot(t, root))
		n.templates["new"] = root
	}
	return n
}

// died is a tree whose run was stopped with everything done but its commit.
func (n *crashNode) died(t *testing.T) string {
	died := ""
	for at := 1; ; at++ {
		root := n.tree(t, "old")
		if stopAt(t, root, at, crashJobs()["run"]) == nil {
			return died
		}
		infos, err := List(openRoot(t, root))
		if err != nil {
			t.Fatal(err)
		}
		if infos[len(infos)-1].State == Unfinished {
			died = root
		}
	}
}

// tree is a fresh copy of a template.
func (n *crashNode) tree(t testing.TB, template string) string {
	root := tempDir(t)
	crashCopy(t, n.templates[template], root)
	return root
}

// crashCopy copies a tree with modes and owners.
func crashCopy(t testing.TB, from, to string) {
	t.Helper()
	type done struct {
		path string
		mode fs.FileMode
	}
	var dirs []done
	err := filepath.WalkDir(from, func(p string, d fs.DirEntry, err error) error {
		if err != nil || p == from {
			return err
		}
		q := filepath.Join(to, strings.TrimPrefix(p, from))
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		mode := info.Mode() & (fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky)
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return os.Symlink(target, q)
		case d.IsDir():
			dirs = append(dirs, done{q, mode})
			err = os.Mkdir(q, 0o700)
		default:
			var b []byte
			if b, err = os.ReadFile(p); err == nil {
				err = os.WriteFile(q, b, 0o600)
			}
		}
		if err == nil && os.Geteuid() == 0 {
			err = os.Lchown(q, int(st.Uid), int(st.Gid))
		}
		if err == nil && !d.IsDir() {
			err = os.Chmod(q, mode)
		}
		return err
	})
	for _, d := range dirs {
		err = errors.Join(err, os.Chmod(d.path, d.mode))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// verify recovers a tree and checks that it is in one of the allowed states,
// given as numbers of groups in place; the run's record must say the same.
func (n *crashNode) verify(t testing.TB, root, where string, allowed ...int) {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s, err := Open(h)
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	outcomes, err := s.Recover()
	if err != nil {
		t.Fatalf("%s: recover: %v", where, err)
	}
	for _, o := range outcomes {
		if len(o.Left) > 0 {
			t.Fatalf("%s: left: %v", where, o.Left)
		}
	}
	infos, err := s.Runs()
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	if err := s.Close(); err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	last := infos[len(infos)-1]
	groups := 0
	if last.State == Committed && last.Command != "earlier" {
		paths := 0
		for i, g := range crashGroups() {
			if paths += len(g); paths == len(last.Paths) {
				groups = i + 1
			}
		}
	}
	if !last.State.finished() {
		t.Fatalf("%s: the run is %s", where, last.State)
	}
	if diff := cmp.Diff(n.snapshots[groups], snapshot(t, root)); diff != "" {
		t.Fatalf("%s: the run is %s with %d groups, but the tree is not: -want +got\n%s", where, last.State, groups, diff)
	}
	ok := false
	for _, a := range allowed {
		ok = ok || a == groups
	}
	if !ok {
		t.Fatalf("%s: %d groups are in place, allowed %v", where, groups, allowed)
	}
	for _, info := range infos {
		backupsOf(t, root, where, info.ID)
	}
	noLeftovers(t, root, where)
	noOperations(t, h, where)
}

// backupsOf checks that a run that is listed has all its backups.
func backupsOf(t testing.TB, root, where, id string) {
	t.Helper()
	dir := filepath.Join(root, StateDir, "runs", id)
	b, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	h, _, _ := readJournal(b)
	for _, g := range h.groups {
		for _, c := range g.changes {
			if c.Backup == "" {
				continue
			}
			if b, err := os.ReadFile(filepath.Join(dir, "backup", c.Backup)); err != nil || Digest(b) != c.Before.Digest {
				t.Fatalf("%s: backup of %s: %v", where, c.Path, err)
			}
		}
	}
}

// noLeftovers looks for temporary files and half-removed runs, also in the
// state directory.
func noLeftovers(t testing.TB, root, where string) {
	t.Helper()
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if name := d.Name(); err == nil && (strings.Contains(name, ".hardener-") && !strings.HasPrefix(name, ".report.json") || strings.HasPrefix(name, trash)) {
			return fmt.Errorf("%s is left", p)
		}
		return err
	})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
}

// noOperations checks that a second Recover has nothing to do on the disk.
func noOperations(t testing.TB, h *host.FS, where string) {
	t.Helper()
	var ops []string
	s, err := open(h, disk{step: func(op, path string) { ops = append(ops, op+" "+path) }})
	if err != nil {
		t.Fatalf("%s: %v", where, err)
	}
	ops = nil
	outcomes, err := s.Recover()
	if err != nil || len(outcomes) > 0 || len(ops) > 0 {
		t.Fatalf("%s: a second recover: %v, %v, operations %q", where, outcomes, err, ops)
	}
	s.Close()
}
