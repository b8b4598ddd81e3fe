//go:build linux

package txn

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// TestMain is also the entry of the children that tests kill.
func TestMain(m *testing.M) {
	if job := os.Getenv(crashJobEnv); job != "" {
		crashChild(job)
	}
	if hold := os.Getenv(holdEnv); hold != "" {
		holdChild(hold)
	}
	os.Exit(m.Run())
}

// entry is one path of a test's tree: a directory when its name ends in "/", a
// link when link is set.
type entry struct {
	name    string
	mode    fs.FileMode
	content string
	link    string
}

// plant makes a tree.
func plant(t testing.TB, root string, entries ...entry) {
	t.Helper()
	for _, e := range entries {
		p := filepath.Join(root, e.name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		switch {
		case e.link != "":
			err = os.Symlink(e.link, p)
		case strings.HasSuffix(e.name, "/"):
			err = os.MkdirAll(p, 0o755)
		default:
			err = os.WriteFile(p, []byte(e.content), 0o600)
		}
		if err == nil && e.link == "" {
			err = os.Chmod(p, e.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// snapshot describes every path below root but the state directory: type, mode,
// owner, content. Two nodes with equal snapshots are equal.
func snapshot(t testing.TB, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel := "/" + strings.TrimPrefix(strings.TrimPrefix(p, root), "/")
		if rel == StateDir {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		text := fmt.Sprintf("%v %d:%d", info.Mode(), st.Uid, st.Gid)
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			text += " " + Digest(b)
		case info.Mode()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			text += " -> " + target
		}
		all[rel] = text
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// tempDir is t.TempDir in memory where there is room: syncing a thousand times
// costs nothing there.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "txn-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func openRoot(t testing.TB, root string) *host.FS {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// openStore opens the store of a tree; it is closed with the test.
func openStore(t testing.TB, root string) *Store {
	t.Helper()
	s, err := Open(openRoot(t, root))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// found is the State of a path, as a planner would have read it.
func found(t testing.TB, root, p string) State {
	t.Helper()
	full := filepath.Join(root, p)
	var st unix.Stat_t
	err := unix.Lstat(full, &st)
	if err == unix.ENOENT {
		return State{Absent: true}
	}
	if err != nil {
		t.Fatal(err)
	}
	s := State{Mode: fileMode(st.Mode), UID: int(st.Uid), GID: int(st.Gid)}
	if st.Mode&unix.S_IFMT == unix.S_IFREG {
		b, err := os.ReadFile(full)
		if err != nil {
			t.Fatal(err)
		}
		s.Digest = Digest(b)
	}
	return s
}

func fileMode(m uint32) fs.FileMode {
	f := fs.FileMode(m & 0o777)
	for bit, flag := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if m&bit != 0 {
			f |= flag
		}
	}
	return f
}

// write, meta and mkdir plan a change on what is there now.
func write(t testing.TB, root, p, content string, mode fs.FileMode) Change {
	return Change{Kind: Write, Path: p, Content: []byte(content), Mode: mode, UID: os.Geteuid(), GID: os.Getegid(), Expect: found(t, root, p)}
}

func meta(t testing.TB, root, p string, mode fs.FileMode) Change {
	return Change{Kind: Meta, Path: p, Mode: mode, UID: os.Geteuid(), GID: os.Getegid(), Expect: found(t, root, p)}
}

func mkdir(t testing.TB, root, p string, mode fs.FileMode) Change {
	return Change{Kind: Mkdir, Path: p, Mode: mode, UID: os.Geteuid(), GID: os.Getegid(), Expect: found(t, root, p)}
}

func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}
