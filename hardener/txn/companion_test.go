//go:build linux

package txn

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// program is content for a companion; larger than one write.
func program(version string) []byte { return bytes.Repeat([]byte(version), 20<<10) }

func placeAll(s *Store, version string) error {
	for _, p := range Companions() {
		content := program(version)
		if p == BootLink {
			content = []byte(BootUnit)
		}
		if err := s.Place(p, bytes.NewReader(content)); err != nil {
			return err
		}
	}
	return nil
}

func removeAll(s *Store) error {
	for _, p := range Companions() {
		if err := s.Remove(p); err != nil {
			return err
		}
	}
	return nil
}

func placed(t *testing.T, s *Store) []string {
	t.Helper()
	list, err := s.Placed()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestPlace(t *testing.T) {
	root := tempDir(t)
	s := openStore(t, root)
	if got := placed(t, s); len(got) != 0 {
		t.Errorf("on a fresh node: %v", got)
	}
	for _, version := range []string{"one", "two"} {
		if err := placeAll(s, version); err != nil {
			t.Fatal(err)
		}
		for p, mode := range companions {
			name := filepath.Join(root, p)
			if p == BootLink {
				if to, err := os.Readlink(name); err != nil || to != BootUnit {
					t.Errorf("%s: %q %v", p, to, err)
				}
				continue
			}
			b, err := os.ReadFile(name)
			if err != nil || !bytes.Equal(b, program(version)) {
				t.Errorf("%s: %d bytes, %v", p, len(b), err)
			}
			if i, err := os.Lstat(name); err != nil || i.Mode() != mode {
				t.Errorf("%s: %v %v", p, i.Mode(), err)
			}
		}
	}
	inode := func() uint64 {
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(root, Program), &st); err != nil {
			t.Fatal(err)
		}
		return st.Ino
	}
	was := inode()
	if err := placeAll(s, "two"); err != nil || inode() != was {
		t.Errorf("the same content was written again: %v", err)
	}
	if diff := cmp.Diff(Companions(), placed(t, s)); diff != "" {
		t.Error(diff)
	}
	for range 2 {
		if err := removeAll(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := placed(t, s); len(got) != 0 {
		t.Errorf("removed, but there: %v", got)
	}
	if left := unitFiles(t, root); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// unitFiles are the names below UnitDir that are no directories.
func unitFiles(t *testing.T, root string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(root, UnitDir), func(p string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			names = append(names, p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// Only the program's own paths can be placed or removed, and what is there must
// not be of another kind: a link to /dev/null masks a unit, on purpose.
func TestPlaceRefuses(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: RecoverUnit[1:], link: "/dev/null"}, entry{name: BootLink[1:], mode: 0o644, content: "x"}, entry{name: "etc/motd", mode: 0o644, content: "x"})
	s := openStore(t, root)
	before := snapshot(t, root)
	for _, p := range []string{RecoverUnit, BootLink, "/etc/motd", UnitDir + "/kubelet.service", StateDir + "/lock", StateDir + "/runs/x", Program + "/../x"} {
		if err := s.Place(p, strings.NewReader("x\n")); !errors.Is(err, ErrRefused) {
			t.Errorf("place %s: %v", p, err)
		}
		if companions[p] == 0 {
			if err := s.Remove(p); !errors.Is(err, ErrRefused) {
				t.Errorf("remove %s: %v", p, err)
			}
		}
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{write(t, root, TimerUnitA, "x", 0o644)}); !errors.Is(err, ErrRefused) {
		t.Errorf("a run changes a unit of the program's own: %v", err)
	}
}

func TestPlaceNoexec(t *testing.T) {
	root := tempDir(t)
	mount(t, "tmpfs", filepath.Join(root, StateDir), "tmpfs", unix.MS_NOEXEC, "mode=700")
	s := openStore(t, root)
	if err := s.Place(Program, strings.NewReader("x")); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "noexec") {
		t.Errorf("%v", err)
	}
}

// A process that dies while it places or removes leaves every file whole or away,
// and what it leaves is found and can be removed, or placed again.
func TestPlaceCrash(t *testing.T) {
	for _, c := range []struct {
		name string
		from string // what is there before, "" nothing
		do   func(*Store) error
	}{
		{"place", "", func(s *Store) error { return placeAll(s, "new") }},
		{"replace", "old", func(s *Store) error { return placeAll(s, "new") }},
		{"remove", "old", removeAll},
	} {
		template := tempDir(t)
		plant(t, template, entry{name: "etc/systemd/system/", mode: 0o755})
		if s := openStore(t, template); c.from != "" {
			if err := placeAll(s, c.from); err != nil {
				t.Fatal(err)
			}
			s.Close()
		} else {
			s.Close()
		}
		steps := 0
		for at := 1; ; at++ {
			root := tempDir(t)
			crashCopy(t, template, root)
			stop := stopAt(t, root, at, job{c.name, c.do})
			where := fmt.Sprintf("%s stopped at %d, %v", c.name, at, stop)
			for p := range companions {
				b, err := os.ReadFile(filepath.Join(root, p))
				if err == nil && p != BootLink && !bytes.Equal(b, program("old")) && !bytes.Equal(b, program("new")) {
					t.Errorf("%s: %s is torn: %d bytes", where, p, len(b))
				}
			}
			s := openStore(t, root)
			if at%2 == 0 {
				if err := placeAll(s, "new"); err != nil {
					t.Errorf("%s: placed again: %v", where, err)
				}
			}
			for _, p := range placed(t, s) {
				if err := s.Remove(p); err != nil {
					t.Errorf("%s: %v", where, err)
				}
			}
			s.Close()
			if left := append(unitFiles(t, root), stateFiles(t, root)...); !cmp.Equal(left, []string{"lock", "runs"}) {
				t.Errorf("%s: left %v", where, left)
			}
			os.RemoveAll(root)
			if stop == nil {
				break
			}
			steps++
		}
		if steps < 15 {
			t.Errorf("%s: only %d steps", c.name, steps)
		}
	}
}
