//go:build linux

package txn

import (
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// ledger follows the operations on the disk and knows what a power cut could
// still take away: the content and metadata of files, and the names in
// directories, that were not synced since they changed. It asserts that nothing
// is done that rests on such a thing.
type ledger struct {
	t       *testing.T
	dirty   map[string]string // path to the operation that made it so
	renames int
	records int
	last    string
}

func newLedger(t *testing.T) *ledger { return &ledger{t: t, dirty: map[string]string{}} }

// mine says whether a path is in the state directory. The lock's content only
// informs.
func mine(p string) bool { return strings.HasPrefix(p, StateDir) }

func (l *ledger) step(op, p string) {
	l.last = op + " " + p
	from, to, renamed := strings.Cut(p, " -> ")
	switch {
	case p == StateDir+"/lock":
		return
	case op == "fsync":
		delete(l.dirty, p)
		return
	case !mine(p):
		l.none("the state directory", mine)
	case op == "write" && path.Base(p) == "journal":
		l.records++
		l.none("the node", func(q string) bool { return !mine(q) })
	}
	switch {
	case renamed:
		if made, ok := l.dirty[from]; ok && !strings.Contains(to, trash) {
			l.t.Errorf("%s: %s was not synced after %s", l.last, from, made)
		}
		l.renames++
		l.dirty[path.Dir(to)] = l.last
	case op == "create":
		l.dirty[p] = l.last
		l.dirty[path.Dir(p)] = l.last
	case op == "mkdir", op == "unlink", op == "rmdir":
		delete(l.dirty, p)
		if !strings.Contains(p, "/"+trash) {
			l.dirty[path.Dir(p)] = l.last
		}
	default: // write, truncate, chmod, chown, setxattr, removexattr
		l.dirty[p] = l.last
	}
}

// none asserts that nothing that in selects is dirty.
func (l *ledger) none(what string, in func(string) bool) {
	for _, p := range slices.Sorted(maps.Keys(l.dirty)) {
		if in(p) {
			l.t.Errorf("%s: in %s, %s is not synced since %s", l.last, what, p, l.dirty[p])
		}
	}
}

// TestOrderOfOperations asserts that nothing can be lost that something later
// rests on: a file is renamed into place only when its content is durable, the
// node is touched only when journal and backups are, and the journal goes on
// only when the node's files are.
func TestOrderOfOperations(t *testing.T) {
	n := newCrashNode(t)
	n.templates["died"] = n.died(t)
	for _, c := range []struct {
		job, tree        string
		renames, records int
	}{
		{"run", "old", 7, 5},  // 4 files, a directory, a removed run, the report; begin, 3 groups, end
		{"keep", "old", 7, 6}, // and keep
		{"rollback", "new", 2, 5},
		{"recover", "died", 2, 4},
	} {
		t.Run(c.job, func(t *testing.T) {
			root := n.tree(t, c.tree)
			l := newLedger(t)
			s, err := open(openRoot(t, root), disk{step: l.step})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			s.keep = 2
			if err := crashJobs()[c.job].do(s); err != nil {
				t.Fatal(err)
			}
			l.last = "the end"
			l.none("the node and the state directory", func(string) bool { return true })
			if l.renames != c.renames || l.records != c.records {
				t.Errorf("saw %d renames and %d records, want %d and %d", l.renames, l.records, c.renames, c.records)
			}
		})
	}
}

// TestPowerCutKeepsAnyPart lets a power cut keep any subset of a group's
// effects, as a disk may that reorders what was not synced: the order test shows
// that only the last group can be so. Recover must restore the node from each.
func TestPowerCutKeepsAnyPart(t *testing.T) {
	n := newCrashNode(t)
	groups := crashGroups()
	last := groups[len(groups)-1]
	for at := 1; ; at++ { // stop where the last group is in the journal and nothing of it is done
		root := n.tree(t, "old")
		if stop := stopAt(t, root, at, crashJobs()["run"]); stop == nil {
			t.Fatal("the last group's directory is never made")
		} else if stop.op == "mkdir" && strings.HasPrefix(stop.path, "/etc/kubernetes/.audit") {
			n.templates["died"] = root
			break
		}
	}
	tried := 0
	for set := range 1 << len(last) {
		has := func(i int) bool { return set>>i&1 == 1 }
		if has(1) && !has(0) {
			continue // a file without its directory
		}
		for _, temps := range []bool{false, true} {
			root := n.tree(t, "died")
			for i, c := range last {
				if has(i) {
					n.transplant(t, root, c)
				} else if temps && c.Kind == Write && (i != 1 || has(0)) {
					n.leaveTemp(t, root, c)
				}
			}
			n.verify(t, root, fmt.Sprintf("subset %05b, temporary files %v", set, temps), 0)
			tried++
		}
	}
	t.Logf("power cut: %d subsets tried", tried)
}

// transplant takes the result of a change over from the finished tree.
func (n *crashNode) transplant(t *testing.T, root string, c Change) {
	t.Helper()
	to := filepath.Join(root, strings.Replace(c.Path, "/pki/", "/ssl/", 1))
	var err error
	switch c.Kind {
	case Mkdir:
		err = os.Mkdir(to, 0o700)
	case Write:
		err = os.WriteFile(to, c.Content, 0o600)
	}
	if err == nil && c.UID == 0 {
		err = os.Chown(to, c.UID, c.GID)
	}
	if err == nil {
		err = os.Chmod(to, c.Mode)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// leaveTemp leaves the temporary file of a change without its content.
func (n *crashNode) leaveTemp(t *testing.T, root string, c Change) {
	t.Helper()
	infos, err := List(openRoot(t, root))
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(root, StateDir, "runs", infos[len(infos)-1].ID, "journal"))
	if err != nil {
		t.Fatal(err)
	}
	h, _, err := readJournal(b)
	if err != nil {
		t.Fatal(err)
	}
	for _, j := range h.last().changes {
		if j.Path == c.Path {
			p := filepath.Join(root, strings.Replace(path.Dir(c.Path), "/pki", "/ssl", 1), j.Temp)
			if err := os.WriteFile(p, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestNeverWider asserts that no step of a change of mode and owner allows
// anybody what neither the state before nor the one after does.
func TestNeverWider(t *testing.T) {
	needRoot(t)
	for _, c := range []struct {
		from, to     uint32
		gid          int
		steps        []string
		reasonForMid string
	}{
		{0o644, 0o600, 0, []string{"chmod"}, "no new owner: one step is atomic"},
		{0o600, 0o644, 0, []string{"chmod"}, "no new owner: one step is atomic"},
		{0o640, 0o640, 7, []string{"chown"}, "the group's right passes from one group to the other"},
		{0o660, 0o604, 7, []string{"chmod", "chown", "chmod"}, "the new group must not write, others must not read with the old group"},
		{0o600, 0o640, 7, []string{"chown", "chmod"}, "the old group must not read"},
		{0o640, 0o600, 7, []string{"chmod", "chown"}, "the new group must not read"},
		{0o4755, 0o4755, 7, []string{"chmod", "chown", "chmod"}, "chown drops setuid; it comes back for the right group only"},
	} {
		t.Run(fmt.Sprintf("%04o to %04o gid %d", c.from, c.to, c.gid), func(t *testing.T) {
			root := tempDir(t)
			plant(t, root, entry{name: "f", mode: fileMode(c.from)})
			type wide struct {
				mode uint32
				gid  int
			}
			var steps []string
			var states []wide
			see := func() {
				st, err := statx(-1, filepath.Join(root, "f"), 0)
				if err != nil {
					t.Fatal(err)
				}
				states = append(states, wide{uint32(st.Mode), st.GID})
			}
			s, err := open(openRoot(t, root), disk{step: func(op, p string) {
				if p == "/f" && op != "fsync" {
					steps = append(steps, op)
					see()
				}
			}})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			r, err := s.Begin(RunInfo{})
			if err != nil {
				t.Fatal(err)
			}
			ch := meta(t, root, "/f", fileMode(c.to))
			ch.GID = c.gid
			if err := r.Apply(t.Context(), []Change{ch}); err != nil {
				t.Fatal(err)
			}
			see()
			if diff := cmp.Diff(c.steps, steps); diff != "" {
				t.Errorf("steps (%s): -want +got\n%s", c.reasonForMid, diff)
			}
			for _, s := range states {
				limit := c.from
				if s.gid == c.gid && c.gid != 0 {
					limit = c.to
				} else if c.gid == 0 {
					limit = c.from | c.to
				}
				if s.mode&^limit != 0 {
					t.Errorf("mode %04o with group %d is wider than %04o", s.mode, s.gid, limit)
				}
			}
			if err := r.Undo(); err != nil {
				t.Fatal(err)
			}
			if got := found(t, root, "/f"); got.Mode != fileMode(c.from) || got.GID != 0 {
				t.Errorf("after undo: %v group %d", got.Mode, got.GID)
			}
		})
	}
}
