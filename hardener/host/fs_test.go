//go:build linux

package host

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/tests/ordinaryuser"
)

// both runs a test with openat2 and without it.
func both(t *testing.T, test func(t *testing.T, opts ...Option)) {
	t.Run("openat2", func(t *testing.T) {
		if fd, err := unix.Open("/", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
			defer unix.Close(fd)
			if !hasOpenat2(fd) {
				t.Skip("needs openat2 (Linux 5.6)")
			}
		}
		test(t)
	})
	t.Run("without openat2", func(t *testing.T) { test(t, withoutOpenat2()) })
}

func open(t *testing.T, dir string, opts ...Option) *FS {
	t.Helper()
	f, err := Open(dir, opts...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// plant makes files below dir: a value that starts with "->" is a link, one
// that is "/" a directory.
func plant(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, p)
		} else if content == "/" {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestLive compares the direct way of a root "/" with the rooted one.
func TestLive(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"file": "x", "link": "->" + dir + "/file"})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, "/", opts...)
		if !f.root.live {
			t.Fatal("the root / is not taken as live")
		}
		name := strings.TrimPrefix(dir, "/")
		if b, err := f.ReadFile(name + "/link"); string(b) != "x" || err != nil {
			t.Errorf("ReadFile = %q, %v", b, err)
		}
		i, err := f.Lstat(name + "/link")
		if err != nil || i.Mode().Type() != fs.ModeSymlink {
			t.Errorf("Lstat = %v, %v", i, err)
		}
		want, err := os.Stat(dir + "/file")
		if err != nil {
			t.Fatal(err)
		}
		got, err := f.Stat(name + "/link")
		if err != nil || got.Sys().(*syscall.Stat_t).Ino != want.Sys().(*syscall.Stat_t).Ino || got.Name() != "link" {
			t.Errorf("Stat = %v, %v; want %v", got, err, want)
		}
		for _, file := range []string{"cmdline", "environ", "stat", "status"} {
			p := fmt.Sprintf("proc/%d/%s", os.Getpid(), file)
			if b, err := f.ReadFile(p); len(b) == 0 || err != nil {
				t.Errorf("ReadFile(%s): %d bytes, %v", p, len(b), err)
			}
		}
		if _, err := f.ReadFile("proc/kcore"); os.Geteuid() == 0 && !errors.Is(err, ErrTooLarge) && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("ReadFile(proc/kcore): %v; want %v", err, ErrTooLarge)
		}
	})
}

// TestSpecialFiles would hang if anything were opened the plain way.
func TestSpecialFiles(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"link": "->/fifo"})
	if err := syscall.Mkfifo(filepath.Join(root, "fifo"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(root, "socket"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	names := map[string]fs.FileMode{"fifo": fs.ModeNamedPipe, "socket": fs.ModeSocket, "link": fs.ModeNamedPipe}
	if syscall.Mknod(filepath.Join(root, "device"), syscall.S_IFCHR|0o644, 1<<8|3) == nil {
		names["device"] = fs.ModeDevice | fs.ModeCharDevice
	}
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		for name, typ := range names {
			if i, err := f.Stat(name); err != nil || i.Mode().Type() != typ {
				t.Errorf("Stat(%s) = %v, %v; want type %v", name, i, err, typ)
			}
			if _, err := f.ReadFile(name); !errors.Is(err, ErrNotRegular) {
				t.Errorf("ReadFile(%s): %v; want %v", name, err, ErrNotRegular)
			}
			if _, err := f.Open(name); !errors.Is(err, ErrNotRegular) {
				t.Errorf("Open(%s): %v; want %v", name, err, ErrNotRegular)
			}
			if _, err := f.ReadDir(name); !errors.Is(err, ErrNotRegular) {
				t.Errorf("ReadDir(%s): %v; want %v", name, err, ErrNotRegular)
			}
		}
	})
}

func TestPermissions(t *testing.T) {
	if ordinaryuser.Again(t) {
		return
	}
	root := t.TempDir()
	plant(t, root, map[string]string{"dir/file": "x", "file": "x"})
	for name, mode := range map[string]fs.FileMode{"dir": 0, "file": 0} {
		if err := os.Chmod(filepath.Join(root, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(root, "dir"), 0o755) })
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		for _, name := range []string{"file", "dir/file"} {
			if _, err := f.ReadFile(name); !errors.Is(err, fs.ErrPermission) {
				t.Errorf("ReadFile(%s): %v; want %v", name, err, fs.ErrPermission)
			}
		}
		if _, err := f.Stat("file"); err != nil {
			t.Errorf("a file that may not be read can be looked at: %v", err)
		}
		if _, err := Open(filepath.Join(root, "dir"), opts...); !errors.Is(err, fs.ErrPermission) {
			t.Errorf("Open of a root that may not be read: %v; want %v", err, fs.ErrPermission)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	plant(t, dir, map[string]string{"file": "x"})
	for _, tt := range []struct {
		reason, dir, want string
		opts              []Option
	}{
		{"missing", dir + "/no", "open host root " + dir + "/no: no such file or directory", nil},
		{"a file", dir + "/file", "open host root " + dir + "/file: not a directory", nil},
		{"no proc", dir, "open proc directory " + dir + "/no: no such file or directory", []Option{Proc(dir + "/no")}},
	} {
		f, err := Open(tt.dir, tt.opts...)
		if err == nil {
			f.Close()
			t.Errorf("%s: no error", tt.reason)
		} else if err.Error() != tt.want {
			t.Errorf("%s: error %q; want %q", tt.reason, err, tt.want)
		}
	}
}

func TestProcOverride(t *testing.T) {
	root, proc := t.TempDir(), t.TempDir()
	plant(t, root, map[string]string{"proc/1/comm": "wrong", "proc/only": "wrong", "etc/mtab": "->/proc/1/comm", "process": "x"})
	plant(t, proc, map[string]string{"1/comm": "init", "self": "->1", "up": "->../../etc/mtab"})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, append(opts, Proc(proc))...)
		for name, want := range map[string]string{
			"proc/1/comm":    "init",
			"proc/self/comm": "init",
			"process":        "x",
		} {
			if b, err := f.ReadFile(name); string(b) != want || err != nil {
				t.Errorf("ReadFile(%s) = %q, %v; want %q", name, b, err, want)
			}
		}
		for _, name := range []string{"proc/only", "proc/up"} {
			if _, err := f.Stat(name); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("Stat(%s): %v; want %v", name, err, fs.ErrNotExist)
			}
		}
		entries, err := f.ReadDir("proc")
		if err != nil || len(entries) != 3 || entries[0].Name() != "1" {
			t.Errorf("ReadDir(proc) = %v, %v", entries, err)
		}
	})
}

func TestFileSizeLimit(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"ten": strings.Repeat("x", 10), "eleven": strings.Repeat("x", 11), "empty": ""})
	f := open(t, root, FileSizeLimit(10))
	for _, name := range []string{"ten", "empty"} {
		if _, err := f.ReadFile(name); err != nil {
			t.Error(err)
		}
	}
	_, err := f.ReadFile("eleven")
	if want := "read eleven: file too large: 11 bytes, at most 10 are read"; err == nil || err.Error() != want || !errors.Is(err, ErrTooLarge) {
		t.Errorf("error %v; want %s", err, want)
	}
	// A file that says nothing of its size, as those of /proc do.
	open(t, root)
	fd, err := unix.Open(filepath.Join(root, "eleven"), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := readAll(fd, 0, 10); !errors.Is(err, ErrTooLarge) {
		t.Errorf("readAll: %v; want %v", err, ErrTooLarge)
	}
}

// TestReadAllGrows reads more than the first buffer holds.
func TestReadAllGrows(t *testing.T) {
	want := bytes.Repeat([]byte("0123456789"), 5000)
	name := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(name, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{0, 1, 49999, 50000, 60000} {
		fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := readAll(fd, size, 1<<20); !bytes.Equal(got, want) || err != nil {
			t.Errorf("size %d: %d bytes, %v", size, len(got), err)
		}
		unix.Close(fd)
	}
}

// TestContract runs the standard library's own test of file systems.
func TestContract(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{
		"etc/passwd": "root", "etc/kubernetes/ssl/ca.crt": "ca", "etc/kubernetes/pki": "->/etc/kubernetes/ssl",
		"empty": "", "var/lib/etcd": "/",
	})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		if err := fstest.TestFS(f, "etc/passwd", "etc/kubernetes/ssl/ca.crt", "etc/kubernetes/pki", "empty", "var/lib/etcd"); err != nil {
			t.Error(err)
		}
	})
}

func TestModes(t *testing.T) {
	root := t.TempDir()
	for _, mode := range []fs.FileMode{0o600, 0o644, 0o640 | fs.ModeSetgid, 0o755 | fs.ModeSetuid, 0o1 | fs.ModeSticky} {
		p := filepath.Join(root, "f")
		if err := os.WriteFile(p, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
		f := open(t, root)
		want, _ := os.Lstat(p)
		got, err := f.Lstat("f")
		if err != nil || got.Mode() != want.Mode() || !got.ModTime().Equal(want.ModTime()) {
			t.Errorf("Lstat = %v, %v; want mode %v", got, err, want.Mode())
		}
	}
}

func TestReadDir(t *testing.T) {
	root := t.TempDir()
	files := map[string]string{"link": "->/nowhere", "dir": "/"}
	for i := range 700 { // more than one getdents buffer
		files[fmt.Sprintf("dir/%04d-%s", i, strings.Repeat("n", 100))] = ""
	}
	plant(t, root, files)
	f := open(t, root)
	entries, err := f.ReadDir("dir")
	if err != nil || len(entries) != 700 || entries[699].Name()[:4] != "0699" {
		t.Fatalf("ReadDir(dir): %d entries, %v", len(entries), err)
	}
	top, err := f.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range top {
		got = append(got, e.Name()+" "+e.Type().String())
	}
	if diff := cmp.Diff([]string{"dir d---------", "link L---------"}, got); diff != "" {
		t.Error(diff)
	}
	if _, err := f.ReadDir("link"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ReadDir(link): %v", err)
	}
}

func TestUseAfterClose(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"file": "x", "dir": "/"})
	f := open(t, root)
	h, err := f.Open("file")
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	if _, err := h.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("Read after Close: %v", err)
	}
	if err := h.Close(); !errors.Is(err, fs.ErrClosed) {
		t.Errorf("second Close: %v", err)
	}
}

func BenchmarkFS(b *testing.B) {
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "etc/kubernetes/ssl"), 0o755); err != nil {
		b.Fatal(err)
	}
	for i := range 20 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("etc/kubernetes/ssl/f%d.crt", i)), make([]byte, 2000), 0o644); err != nil {
			b.Fatal(err)
		}
	}
	for _, root := range []struct {
		name, dir, prefix string
		opts              []Option
	}{
		{"live", "/", dir[1:] + "/", nil},
		{"rooted", dir, "", nil},
		{"rooted without openat2", dir, "", []Option{withoutOpenat2()}},
	} {
		f, err := Open(root.dir, root.opts...)
		if err != nil {
			b.Fatal(err)
		}
		for name, op := range map[string]func() error{
			"Stat":     func() error { _, err := f.Stat(root.prefix + "etc/kubernetes/ssl/f1.crt"); return err },
			"ReadFile": func() error { _, err := f.ReadFile(root.prefix + "etc/kubernetes/ssl/f1.crt"); return err },
			"ReadDir":  func() error { _, err := f.ReadDir(root.prefix + "etc/kubernetes/ssl"); return err },
		} {
			b.Run(root.name+"/"+name, func(b *testing.B) {
				for b.Loop() {
					if err := op(); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		f.Close()
	}
}

func TestLiveProcesses(t *testing.T) {
	copied := t.TempDir()
	if err := os.Mkdir(filepath.Join(copied, "proc"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		reason string
		dir    string
		opts   []Option
		want   bool
	}{
		{"the machine itself", "/", nil, true},
		{"a tree with a folder named proc", copied, nil, false},
		{"a tree without proc", t.TempDir(), nil, false},
		{"a tree with a real proc from elsewhere", copied, []Option{Proc("/proc")}, true},
		{"the machine with copied processes", "/", []Option{Proc(filepath.Join(copied, "proc"))}, false},
	} {
		f, err := Open(tt.dir, tt.opts...)
		if err != nil {
			t.Fatal(err)
		}
		if got := f.LiveProcesses(); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.reason, got, tt.want)
		}
		f.Close()
	}
}

func TestSpace(t *testing.T) {
	both(t, func(t *testing.T, opts ...Option) {
		dir := t.TempDir()
		plant(t, dir, map[string]string{"var/log/f": "x", "link": "->/var/log"})
		f := open(t, dir, opts...)
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/", "/var/log", "link"} { // others write to the disk too, so the whole of it is the bound
			if free, size, err := f.Space(path); err != nil || free == 0 || free > size || size != s.Blocks*uint64(s.Bsize) {
				t.Errorf("%s: %d of %d, %v", path, free, size, err)
			}
		}
		if _, _, err := f.Space("/none"); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a missing directory: %v", err)
		}
	})
}
