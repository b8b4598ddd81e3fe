//go:build linux

package txn

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/tests/ordinaryuser"
)

// mount mounts for the time of a test.
func mount(t testing.TB, source, target, fstype string, flags uintptr, data string) {
	t.Helper()
	needRoot(t)
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, target, fstype, flags, data); err != nil {
		t.Skipf("needs root that may mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}

// fill takes all space of a file system until give is called.
func fill(t testing.TB, dir string) (give func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for size := 1 << 20; size > 0; {
		if _, err := f.Write(make([]byte, size)); errors.Is(err, unix.ENOSPC) {
			size /= 2
		} else if err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDiskFull(t *testing.T) {
	for _, c := range []struct{ reason, at, text string }{
		{"where the file is", "/etc", "KiB needed"},
		{"where the state is", StateDir, "KiB needed"},
	} {
		t.Run(c.reason, func(t *testing.T) {
			root := tempDir(t)
			mount(t, "tmpfs", filepath.Join(root, c.at), "tmpfs", 0, "size=256k,mode=700")
			plant(t, root, entry{name: "etc/a", mode: 0o644, content: strings.Repeat("old", 1000)})
			s := openStore(t, root)
			before := snapshot(t, root)
			give := fill(t, filepath.Join(root, c.at))
			r, err := s.Begin(RunInfo{})
			if err != nil {
				t.Fatal(err)
			}
			err = r.Apply(t.Context(), []Change{write(t, root, "/etc/a", strings.Repeat("new", 1000), 0o600)})
			if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), c.text) || !strings.Contains(err.Error(), "nothing was changed") {
				t.Errorf("%v", err)
			}
			give()
			if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff([]string{"lock", "runs"}, stateFiles(t, root)); diff != "" {
				t.Errorf("something is left: %s", diff)
			}
		})
	}
}

// TestDiskFullAtEveryStep fills the disk before each operation of the run, when
// the preflight has long passed. The run must fail with the node as it was, or,
// where a full disk keeps it from undoing, be recovered once there is room.
func TestDiskFullAtEveryStep(t *testing.T) {
	n := newCrashNode(t)
	tried, failures, recoveries := 0, 0, 0
	for at := 1; ; at++ {
		root := tempDir(t)
		mount(t, "tmpfs", root, "tmpfs", 0, "size=4m,mode=700")
		crashCopy(t, n.templates["old"], root)
		h, err := host.Open(root)
		if err != nil {
			t.Fatal(err)
		}
		count, where := 0, ""
		var give func()
		s, err := open(h, disk{step: func(op, p string) {
			if count++; count == at {
				where = op + " " + p
				give = fill(t, root)
			}
		}})
		if err == nil {
			s.keep = 2
			if err = crashRun(s, 0); err != nil {
				failures++
				if !errors.Is(err, unix.ENOSPC) {
					t.Errorf("full at %d, %s: %v", at, where, err)
				}
			}
			infos, lerr := s.Runs()
			if lerr != nil {
				t.Fatal(lerr)
			}
			if last := infos[len(infos)-1]; !last.State.finished() {
				recoveries++
			}
			s.Close()
		} else if !errors.Is(err, unix.ENOSPC) {
			t.Errorf("full at %d, %s: %v", at, where, err)
		}
		if where == "" {
			h.Close()
			break
		}
		give()
		h.Close()
		tried++
		n.verify(t, root, fmt.Sprintf("full at %d, %s", at, where), 0, len(crashGroups()))
	}
	t.Logf("disk full: %d steps tried, %d runs failed, %d needed Recover", tried, failures, recoveries)
	if failures < 10 {
		t.Error("the disk was not full where it should be")
	}
}

func TestReadOnly(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/kubernetes/a", mode: 0o644, content: "a"}, entry{name: "etc/b", mode: 0o644, content: "b"})
	dir := filepath.Join(root, "etc/kubernetes")
	mount(t, dir, dir, "", unix.MS_BIND, "")
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, root)
	before := snapshot(t, root)
	for _, c := range []Change{
		write(t, root, "/etc/kubernetes/a", "new", 0o600),
		write(t, root, "/etc/kubernetes/new", "new", 0o600),
		meta(t, root, "/etc/kubernetes/a", 0o600),
		meta(t, root, "/etc/kubernetes", 0o700),
		mkdir(t, root, "/etc/kubernetes/d", 0o700),
	} {
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		err = r.Apply(t.Context(), []Change{meta(t, root, "/etc/b", 0o600), c})
		if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), "nothing was changed") {
			t.Errorf("%s %s: %v", c.Kind, c.Path, err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
}

func TestMountPointIsNotReplaced(t *testing.T) {
	root := tempDir(t)
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"})
	file := filepath.Join(root, "etc/a")
	mount(t, root, filepath.Join(root, "unused"), "", unix.MS_BIND, "") // skips where mounting is impossible
	if err := unix.Mount(file, file, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Unmount(file, unix.MNT_DETACH) })
	s := openStore(t, root)
	r, err := s.Begin(RunInfo{})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Apply(t.Context(), []Change{write(t, root, "/etc/a", "new", 0o600)}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "mount point") {
		t.Errorf("%v", err)
	}
	if err := r.Apply(t.Context(), []Change{meta(t, root, "/etc/a", 0o600)}); err != nil {
		t.Errorf("mode of a mount point: %v", err)
	}
}

// setFlag is chattr for the time of a test.
func setFlag(t testing.TB, p string, flag int) {
	t.Helper()
	f, err := os.Open(p)
	if err != nil {
		t.Fatal(err)
	}
	old, err := unix.IoctlGetInt(int(f.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old|flag)
	}
	if err != nil {
		f.Close()
		t.Skipf("needs root and a file system with attributes: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.FS_IOC_SETFLAGS, old); err != nil {
			t.Error(err)
		}
		f.Close()
	})
}

func TestImmutable(t *testing.T) {
	needRoot(t)
	root := t.TempDir()
	plant(t, root,
		entry{name: "etc/a", mode: 0o644, content: "a"},
		entry{name: "etc/log", mode: 0o644, content: "a"},
		entry{name: "etc/d/", mode: 0o755},
		entry{name: "etc/later", mode: 0o644, content: "a"})
	setFlag(t, filepath.Join(root, "etc/a"), unix.STATX_ATTR_IMMUTABLE)
	setFlag(t, filepath.Join(root, "etc/log"), unix.STATX_ATTR_APPEND)
	setFlag(t, filepath.Join(root, "etc/d"), unix.STATX_ATTR_IMMUTABLE)
	s := openStore(t, root)
	before := snapshot(t, root)
	for _, c := range []struct {
		change Change
		text   string
	}{
		{write(t, root, "/etc/a", "new", 0o644), "/etc/a: refused: is immutable"},
		{meta(t, root, "/etc/a", 0o600), "/etc/a: refused: is immutable"},
		{write(t, root, "/etc/log", "new", 0o644), "is append-only"},
		{write(t, root, "/etc/d/f", "new", 0o644), "its directory is immutable"},
		{mkdir(t, root, "/etc/d/f", 0o700), "its directory is immutable"},
	} {
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(t.Context(), []Change{c.change}); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s %s: %v", c.change.Kind, c.change.Path, err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
	apply(t, s, write(t, root, "/etc/later", "new", 0o644))
	setFlag(t, filepath.Join(root, "etc/later"), unix.STATX_ATTR_IMMUTABLE)
	if _, err := s.Rollback("", false, nil); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "is immutable") {
		t.Errorf("a file that was made immutable since: %v", err)
	}
}

// acl is an ACL in the form of its extended attribute: version 2, then tag,
// permissions and id of each entry (acl(5), linux/posix_acl_xattr.h). It lets
// user 4242 read.
func acl() []byte {
	b := binary.LittleEndian.AppendUint32(nil, 2)
	for _, e := range []struct {
		tag, perm uint16
		id        uint32
	}{{1, 6, ^uint32(0)}, {2, 4, 4242}, {4, 4, ^uint32(0)}, {16, 4, ^uint32(0)}, {32, 0, ^uint32(0)}} {
		b = binary.LittleEndian.AppendUint16(b, e.tag)
		b = binary.LittleEndian.AppendUint16(b, e.perm)
		b = binary.LittleEndian.AppendUint32(b, e.id)
	}
	return b
}

// capability is cap_net_bind_service+ep (linux/capability.h, revision 2).
func capability() []byte {
	b := make([]byte, 20)
	binary.LittleEndian.PutUint32(b, 0x02000001)
	binary.LittleEndian.PutUint32(b[4:], 1<<10)
	return b
}

func TestExtendedAttributesSurvive(t *testing.T) {
	root := t.TempDir()
	plant(t, root, entry{name: "etc/a", mode: 0o640, content: "old"}, entry{name: "etc/owned", mode: 0o755})
	get := func(p, name string) []byte {
		b, err := sized(func(b []byte) (int, error) { return unix.Getxattr(filepath.Join(root, p), name, b) })
		if err != nil && err != unix.ENODATA {
			t.Fatal(err)
		}
		return b
	}
	want := map[string][]byte{"user.note": []byte("by the operator"), aclXattr: acl()}
	if os.Geteuid() == 0 {
		want[capabilityXattr] = capability()
		if err := unix.Setxattr(filepath.Join(root, "etc/owned"), capabilityXattr, capability(), 0); err != nil {
			t.Skipf("needs extended attributes: %v", err)
		}
	}
	for name, value := range want {
		if err := unix.Setxattr(filepath.Join(root, "etc/a"), name, value, 0); err != nil {
			t.Skipf("needs extended attributes: %v", err)
		}
	}
	// A directory that gives everybody an ACL must not give it to what replaces a
	// file that had another.
	if err := unix.Setxattr(filepath.Join(root, "etc"), "system.posix_acl_default", acl(), 0); err != nil {
		t.Skipf("needs ACLs: %v", err)
	}
	plant(t, root, entry{name: "etc/plain", mode: 0o600, content: "old"})
	if err := unix.Removexattr(filepath.Join(root, "etc/plain"), aclXattr); err != nil {
		t.Fatal(err)
	}

	s := openStore(t, root)
	changes := []Change{
		write(t, root, "/etc/a", "new", 0o640),
		write(t, root, "/etc/plain", "new", 0o600),
	}
	if os.Geteuid() == 0 {
		owned := meta(t, root, "/etc/owned", 0o755)
		owned.GID = 4242
		changes = append(changes, owned)
	}
	check := func(when string) {
		for name, value := range want {
			if got := get("etc/a", name); !bytes.Equal(got, value) {
				t.Errorf("%s: %s is %x, want %x", when, name, got, value)
			}
		}
		if got := get("etc/plain", aclXattr); got != nil {
			t.Errorf("%s: an ACL has come: %x", when, got)
		}
		if os.Geteuid() == 0 && !bytes.Equal(get("etc/owned", capabilityXattr), capability()) {
			t.Errorf("%s: a capability is lost", when)
		}
	}
	apply(t, s, changes...)
	check("after the run")
	if found(t, root, "/etc/a").Digest != Digest([]byte("new")) {
		t.Error("nothing was written")
	}
	if _, err := s.Rollback("", false, nil); err != nil {
		t.Fatal(err)
	}
	check("after the rollback")
}

// TestOrdinaryUser: without rights there is one clear error and no change.
func TestOrdinaryUser(t *testing.T) {
	if ordinaryuser.Again(t) {
		return
	}
	root := t.TempDir()
	plant(t, root, entry{name: "etc/a", mode: 0o644, content: "a"}, entry{name: "etc/b", mode: 0o644}, entry{name: "etc/closed/a", mode: 0o644, content: "a"})
	if err := os.Chmod(filepath.Join(root, "etc/closed"), 0o500); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(root, "etc/closed"), 0o700) })
	s := openStore(t, root)
	before := snapshot(t, root)
	chown := meta(t, root, "/etc/a", 0o600)
	chown.UID = 0
	for _, c := range []Change{write(t, root, "/etc/closed/a", "new", 0o600), write(t, root, "/etc/closed/new", "new", 0o600), mkdir(t, root, "/etc/closed/d", 0o700), chown} {
		r, err := s.Begin(RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(t.Context(), []Change{meta(t, root, "/etc/b", 0o640), c}); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s %s: %v", c.Kind, c.Path, err)
		}
		if err := r.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, snapshot(t, root)); diff != "" {
		t.Error(diff)
	}
}
