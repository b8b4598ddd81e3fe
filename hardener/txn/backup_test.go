//go:build linux

package txn

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// spoilers are what can become of a backup so that no later try finds it whole.
var spoilers = map[string]func(name string) error{
	"rotten": func(name string) error {
		b, err := os.ReadFile(name)
		if err == nil {
			b[0] ^= 1
			err = os.WriteFile(name, b, 0o600)
		}
		return err
	},
	"short":   func(name string) error { return os.Truncate(name, 0) },
	"huge":    func(name string) error { return os.Truncate(name, 1<<40) },
	"missing": os.Remove,
	"a link": func(name string) error {
		return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name))
	},
	"a directory": func(name string) error { return errors.Join(os.Remove(name), os.Mkdir(name, 0o700)) },
}

// backupOf is the backup of a path in the newest run of a tree.
func backupOf(t *testing.T, root, p string) string {
	t.Helper()
	infos, err := List(openRoot(t, root))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(root, StateDir, "runs", infos[len(infos)-1].ID)
	b, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := readJournal(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range h.groups {
		for _, c := range g.changes {
			if c.Path == p {
				return filepath.Join(dir, "backup", c.Backup)
			}
		}
	}
	t.Fatalf("no backup of %s", p)
	return ""
}

// TestCrashLostBackup: the recovery of a run that died, one of whose backups is
// rotten or missing, is stopped before each of its operations. In the end the run
// is over, the path is named, and everything else is as before, but for what the
// manifest that was left may name.
func TestCrashLostBackup(t *testing.T) {
	n := newCrashNode(t)
	n.templates["died"] = n.died(t)
	recover := crashJobs()["recover"]
	tried := 0
	for p, stays := range map[string][]string{
		"/etc/kubernetes/kubelet-config.yaml": {"/etc/kubernetes/kubelet-config.yaml"},
		"/etc/kubernetes/manifests/kube-apiserver.yaml": {
			"/etc/kubernetes/manifests/kube-apiserver.yaml", "/etc/kubernetes/audit", "/etc/kubernetes/audit/policy.yaml", "/etc/kubernetes/ssl/new.crt",
		},
	} {
		want := map[string]string{}
		for name, text := range n.snapshots[0] {
			want[name] = text
		}
		for _, name := range stays {
			want[name] = n.snapshots[len(n.snapshots)-1][name]
		}
		for how, spoil := range spoilers {
			for at := 1; ; at++ {
				root := n.tree(t, "died")
				if err := spoil(backupOf(t, root, p)); err != nil {
					t.Fatal(err)
				}
				stop := stopAt(t, root, at, recover)
				h := openRoot(t, root)
				s, err := Open(h)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := s.Recover(); err != nil {
					t.Fatalf("%s %s, stopped at %d: %v", p, how, at, err)
				}
				infos, err := s.Runs()
				if err != nil {
					t.Fatal(err)
				}
				s.Close()
				last := infos[len(infos)-1]
				var lost []string
				for _, l := range last.Lost {
					lost = append(lost, l.Path)
				}
				if last.State != Undone || len(lost) != len(stays) || lost[0] != p || !strings.HasPrefix(last.Lost[0].Reason, "its backup "+StateDir) {
					t.Fatalf("%s %s, stopped at %d: %+v", p, how, at, last)
				}
				if diff := cmp.Diff(want, snapshot(t, root)); diff != "" {
					t.Fatalf("%s %s, stopped at %d, %v: -want +got\n%s", p, how, at, stop, diff)
				}
				noLeftovers(t, root, how)
				noOperations(t, h, how)
				os.RemoveAll(root)
				if stop == nil {
					break
				}
				tried++
			}
		}
	}
	t.Logf("%d steps tried", tried)
	if tried < 100 {
		t.Error("too few steps")
	}
}

// diedOver is a node on which a run of several groups has died.
func diedOver(t *testing.T, groups ...[]string) (root string, s *Store) {
	t.Helper()
	root = tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "0"}, entry{name: "etc/b/b", mode: 0o644, content: "0"})
	s = openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	for i, g := range groups {
		var changes []Change
		for _, p := range g {
			changes = append(changes, write(t, root, p, strings.Repeat("x", i+2), 0o644))
		}
		if err := r.Apply(t.Context(), changes); err != nil {
			t.Fatal(err)
		}
	}
	r.close()
	return root, s
}

// TestLostBackupUnderAnOlderOne: the older group's backup of the same path is what
// it was before the run.
func TestLostBackupUnderAnOlderOne(t *testing.T) {
	root, s := diedOver(t, []string{"/etc/a"}, []string{"/etc/a"})
	if err := os.Remove(backupOf(t, root, "/etc/a")[:len(backupOf(t, root, "/etc/a"))-1] + "2"); err != nil {
		t.Fatal(err)
	}
	out, err := s.Recover()
	if err != nil || len(out) != 1 || out[0].State != Undone || len(out[0].Left) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
	infos, err := s.Runs()
	if err != nil || len(infos[0].Lost) > 0 || found(t, root, "/etc/a").Digest != Digest([]byte("0")) {
		t.Errorf("%+v, %v", infos, err)
	}
}

// TestErrorThatGoesAway: it is tried again, older groups are undone all the same
// unless they have a path in common, and by GiveUp the run ends.
func TestErrorThatGoesAway(t *testing.T) {
	for _, give := range []bool{false, true} {
		root, s := diedOver(t, []string{"/etc/b/b"}, []string{"/etc/a"}, []string{"/etc/b/b", "/etc/b/made"})
		// A link that leads to itself.
		dir, away := filepath.Join(root, "etc/b"), filepath.Join(root, "away")
		if err := errors.Join(os.Rename(dir, away), os.Symlink("b", dir)); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			out, err := s.Recover()
			if !errors.Is(err, unix.ELOOP) || len(out) != 1 || out[0].State != Unfinished || len(out[0].Left) > 0 {
				t.Fatalf("%+v, %v", out, err)
			}
		}
		if found(t, root, "/etc/a").Digest != Digest([]byte("0")) {
			t.Error("the older group is not undone")
		}
		if give {
			out, err := s.GiveUp(s.newest(t))
			if err != nil || len(out) != 1 || out[0].State != Undone || len(out[0].Lost()) != 2 || !strings.Contains(out[0].Lost()[0].Reason, "could not be put back: ") {
				t.Errorf("%+v, %v", out, err)
			}
			continue
		}
		if err := errors.Join(os.Remove(dir), os.Rename(away, dir)); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Recover(); err != nil || len(out) != 1 || out[0].State != Undone || len(out[0].Left) > 0 {
			t.Errorf("%+v, %v", out, err)
		}
		if found(t, root, "/etc/b/b").Digest != Digest([]byte("0")) || !found(t, root, "/etc/b/made").Absent {
			t.Error("it is not undone")
		}
	}
}

func (s *Store) newest(t *testing.T) string {
	t.Helper()
	infos, err := s.Runs()
	if err != nil {
		t.Fatal(err)
	}
	return infos[len(infos)-1].ID
}

// TestTold: a run of which nobody knows what is lost is not removed as an old one.
func TestTold(t *testing.T) {
	root, s := diedOver(t, []string{"/etc/a"})
	if err := os.Remove(backupOf(t, root, "/etc/a")); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recover(); err != nil {
		t.Fatal(err)
	}
	id := s.newest(t)
	s.keep = 1
	for _, told := range []bool{false, true} {
		if told {
			if err := s.Told(id); err != nil {
				t.Fatal(err)
			}
		}
		infos, err := s.Runs()
		if err != nil || infos[0].ID != id || infos[0].Told != told || len(infos[0].Lost) != 1 {
			t.Errorf("%+v, %v", infos, err)
		}
		apply(t, s, write(t, root, "/etc/b/b", map[bool]string{false: "1", true: "2"}[told], 0o644))
	}
	if infos, err := s.Runs(); err != nil || infos[0].ID == id {
		t.Errorf("%+v, %v", infos, err)
	}
}
