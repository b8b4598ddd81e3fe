//go:build linux

// Package host owns the view of a host's file tree: an io/fs file system whose
// "/" is a directory of this machine (/ itself, /host in a container, a
// temporary tree in a test), and which nothing in that tree can make look
// elsewhere.
//
// Symbolic links resolve as they would after a chroot: absolute links start at
// the root of the tree, and ".." stops there. The kernel does that
// (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6); where openat2 is missing or
// forbidden by seccomp, github.com/cyphar/filepath-securejoin does it in user
// space.
//
// Opening never blocks and never disturbs a device: only regular files and
// directories can be opened, everything else can be looked at with Stat, Lstat
// and ReadLink.
//
// The package only reads. A writer gets the directory it needs from OpenParent
// and works from there (package txn).
package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// MaxFileSize is what ReadFile accepts unless Open was told otherwise, in
// bytes. The files a benchmark looks at are a few KiB; the limit is for a log
// or a core dump at the path of a configuration file.
const MaxFileSize = 32 << 20

// ErrNotRegular is in the chain of the error for opening a FIFO, a socket or a
// device.
var ErrNotRegular = errors.New("not a regular file")

// ErrTooLarge is in the chain of ReadFile's error for a file above the limit.
var ErrTooLarge = errors.New("file too large")

// FS is the file tree of a host. It implements fs.FS, fs.StatFS, fs.ReadDirFS,
// fs.ReadFileFS and fs.ReadLinkFS and is safe for concurrent use. Names are
// io/fs names ("etc/passwd", "." for the root); unlike fs.ValidPath demands,
// they need not be UTF-8, because file names need not be.
//
// Every FileInfo's Sys() is a *syscall.Stat_t.
type FS struct {
	root tree
	proc tree // another directory that stands for "proc", when proc.dir is set
	max  int64
}

var (
	_ fs.StatFS     = (*FS)(nil)
	_ fs.ReadDirFS  = (*FS)(nil)
	_ fs.ReadFileFS = (*FS)(nil)
	_ fs.ReadLinkFS = (*FS)(nil)
)

// Option changes what Open returns.
type Option func(*FS)

// Proc makes the directory dir of this machine stand for "proc" and everything
// below it. Links that lead from elsewhere in the tree into /proc are not
// redirected. An empty dir changes nothing.
func Proc(dir string) Option { return func(f *FS) { f.proc.dir = dir } }

// FileSizeLimit replaces MaxFileSize, in bytes.
func FileSizeLimit(n int64) Option { return func(f *FS) { f.max = n } }

// withoutOpenat2 takes the path for kernels that have no openat2.
func withoutOpenat2() Option {
	return func(f *FS) { f.root.noOpenat2, f.proc.noOpenat2 = true, true }
}

// Open opens the tree whose root is the directory dir. It fails when dir is
// missing, is no directory or cannot be read.
func Open(dir string, opts ...Option) (*FS, error) {
	f := &FS{max: MaxFileSize}
	for _, o := range opts {
		o(f)
	}
	f.root.dir = dir
	if err := f.root.open(); err != nil {
		return nil, fmt.Errorf("open host root %s: %w", dir, err)
	}
	f.root.procfs = isProcfs(filepath.Join(f.root.dir, "proc"))
	if f.proc.dir != "" {
		if err := f.proc.open(); err != nil {
			f.root.handle.Close()
			return nil, fmt.Errorf("open proc directory %s: %w", f.proc.dir, err)
		}
		f.proc.procfs = isProcfs(f.proc.dir)
	}
	return f, nil
}

// Close releases the root. Files already opened stay usable.
func (f *FS) Close() error {
	err := f.root.handle.Close()
	if f.proc.handle != nil {
		err = errors.Join(err, f.proc.handle.Close())
	}
	return err
}

// LiveProcesses reports whether the process table is a kernel's own procfs. In a
// copied tree, proc is missing or made of plain files, and nothing in it runs.
func (f *FS) LiveProcesses() bool {
	if f.proc.handle != nil {
		return f.proc.procfs
	}
	return f.root.procfs
}

// Dir is the absolute path of the root on this machine.
func (f *FS) Dir() string { return f.root.dir }

// at says in which tree name lies and what it is called there.
func (f *FS) at(op, name string) (*tree, string, error) {
	if !validName(name) {
		return nil, "", &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	if f.proc.handle != nil {
		if name == "proc" {
			return &f.proc, ".", nil
		}
		if rest, ok := strings.CutPrefix(name, "proc/"); ok {
			return &f.proc, rest, nil
		}
	}
	return &f.root, name, nil
}

// validName is fs.ValidPath without the demand for UTF-8.
func validName(name string) bool {
	if name == "." {
		return true
	}
	for rest := name; ; {
		elem, tail, more := strings.Cut(rest, "/")
		if elem == "" || elem == "." || elem == ".." {
			return false
		}
		if !more {
			return strings.IndexByte(name, 0) < 0
		}
		rest = tail
	}
}

// Stat describes the file that name leads to, links followed.
func (f *FS) Stat(name string) (fs.FileInfo, error) {
	return f.info("stat", name, true)
}

// Lstat describes name itself: links in its directory part are followed, name
// is not.
func (f *FS) Lstat(name string) (fs.FileInfo, error) {
	return f.info("lstat", name, false)
}

func (f *FS) info(op, name string, follow bool) (fs.FileInfo, error) {
	t, rel, err := f.at(op, name)
	if err != nil {
		return nil, err
	}
	i := &fileInfo{name: filepath.Base(name)}
	if err := t.stat(rel, follow, &i.stat); err != nil {
		return nil, &fs.PathError{Op: op, Path: name, Err: err}
	}
	return i, nil
}

// ReadLink is the target of the link name, as it is written there.
func (f *FS) ReadLink(name string) (string, error) {
	t, rel, err := f.at("readlink", name)
	if err != nil {
		return "", err
	}
	target, err := t.readLink(rel)
	if err != nil {
		return "", &fs.PathError{Op: "readlink", Path: name, Err: err}
	}
	return target, nil
}

// Open opens a regular file or a directory for reading. Anything else is
// refused with ErrNotRegular before it is touched.
func (f *FS) Open(name string) (fs.File, error) {
	fd, stat, err := f.openFD("open", name)
	if err != nil {
		return nil, err
	}
	if stat.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return &dir{fs: f, name: name, fd: fd, stat: stat}, nil
	}
	return &file{name: name, fd: fd, stat: stat}, nil
}

// openFD opens a regular file or a directory. The type is looked at twice:
// before, because opening a device can already do something (a watchdog
// starts), and after, in case the file was replaced in between. O_NONBLOCK
// keeps a FIFO put there in between from blocking.
func (f *FS) openFD(op, name string) (int, syscall.Stat_t, error) {
	var stat syscall.Stat_t
	fail := func(err error) (int, syscall.Stat_t, error) {
		return -1, stat, &fs.PathError{Op: op, Path: name, Err: err}
	}
	t, rel, err := f.at(op, name)
	if err != nil {
		return -1, stat, err
	}
	known := f.insideProc(t, name)
	if !known {
		if err := t.stat(rel, true, &stat); err != nil {
			return fail(err)
		}
		if !readable(stat.Mode) {
			return fail(ErrNotRegular)
		}
	}
	fd, err := t.openat(rel, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return fail(err)
	}
	if known && op == "read" {
		return fd, stat, nil // a directory refuses to be read by itself, and sizes are 0
	}
	if err := syscall.Fstat(fd, &stat); err != nil {
		unix.Close(fd)
		return fail(err)
	}
	if !readable(stat.Mode) {
		unix.Close(fd)
		return fail(ErrNotRegular)
	}
	return fd, stat, nil
}

// insideProc says whether name is below a real /proc, where there is no device
// or FIFO: the links that could lead to one are not followed (NO_MAGICLINKS).
// Knowing that spares the process table a system call per file.
func (f *FS) insideProc(t *tree, name string) bool {
	return t.procfs && !t.noOpenat2 && strings.HasPrefix(name, "proc/")
}

func readable(mode uint32) bool {
	switch mode & syscall.S_IFMT {
	case syscall.S_IFREG, syscall.S_IFDIR:
		return true
	}
	return false
}

// ReadFile reads a regular file of at most the size limit.
func (f *FS) ReadFile(name string) ([]byte, error) {
	fd, stat, err := f.openFD("read", name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if stat.Mode&syscall.S_IFMT == syscall.S_IFDIR {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	data, err := readAll(fd, stat.Size, f.max)
	if err != nil {
		return nil, &fs.PathError{Op: "read", Path: name, Err: err}
	}
	return data, nil
}

// readAll reads fd to its end. size is a guess: it is 0 for everything in
// /proc.
func readAll(fd int, size, limit int64) ([]byte, error) {
	if size > limit {
		return nil, fmt.Errorf("%w: %d bytes, at most %d are read", ErrTooLarge, size, limit)
	}
	buf := make([]byte, 0, max(size+1, 1024))
	for {
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return nil, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)]
		}
	}
}

// ReadDir lists a directory in the order of its names.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	fd, stat, err := f.openFD("readdir", name)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if stat.Mode&syscall.S_IFMT != syscall.S_IFDIR {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: syscall.ENOTDIR}
	}
	entries, err := f.entries(fd, name)
	if err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: name, Err: err}
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return entries, nil
}

// Space is the room for unprivileged programs, in bytes, on the file system that
// holds a directory of the tree (an absolute path or an io/fs name), beyond which
// root may have a reserve, and the size of that file system.
func (f *FS) Space(path string) (free, size uint64, err error) {
	name := strings.Trim(path, "/")
	if name == "" {
		name = "."
	}
	fd, _, err := f.openFD("statfs", name)
	if err != nil {
		return 0, 0, err
	}
	defer unix.Close(fd)
	var s unix.Statfs_t
	if err := unix.Fstatfs(fd, &s); err != nil {
		return 0, 0, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize), nil
}

// RealPath is the absolute path, as seen from the root of the tree, that path
// (an absolute path or an io/fs name) has when the links of its directory part
// are resolved: "/etc/kubernetes/pki/ca.crt" gives
// "/etc/kubernetes/ssl/ca.crt". The last component is left as it is, whether
// it exists or not.
func (f *FS) RealPath(path string) (string, error) {
	dir, base, err := f.parent("realpath", path, unix.O_PATH)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	real, err := f.pathOf(dir)
	if err != nil {
		return "", &fs.PathError{Op: "realpath", Path: path, Err: err}
	}
	return filepath.Join(real, base), nil
}

// OpenParent opens the directory in which path (an absolute path or an io/fs
// name) lies, its links resolved in the root, and names the last component.
// The directory is open for reading, so that it can be synced, and is the same
// directory whatever happens to the path afterwards: a caller that only uses
// *at system calls with it and base, and never follows a link at base, cannot
// be led elsewhere. The caller closes dir.
func (f *FS) OpenParent(path string) (dir *os.File, base string, err error) {
	return f.parent("open parent of", path, unix.O_RDONLY)
}

func (f *FS) parent(op, path string, flags int) (*os.File, string, error) {
	name := strings.TrimPrefix(path, "/")
	if name == "." || !validName(name) {
		return nil, "", &fs.PathError{Op: op, Path: path, Err: fs.ErrInvalid}
	}
	up, base := filepath.Split(name)
	up = filepath.Clean(up)
	fd, err := f.root.openat(up, flags|unix.O_DIRECTORY)
	if err != nil {
		return nil, "", &fs.PathError{Op: op, Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Join(f.root.dir, up)), base, nil
}

// pathOf is where an open directory of the tree lies, seen from the root.
func (f *FS) pathOf(dir *os.File) (string, error) {
	links := make([]string, 2)
	for i, h := range []*os.File{f.root.handle, dir} {
		l, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", h.Fd()))
		if err != nil {
			return "", err
		}
		links[i] = l
	}
	rel, err := filepath.Rel(links[0], links[1])
	if err != nil || rel == ".." || strings.HasPrefix(rel, "../") {
		return "", fmt.Errorf("%s is outside of %s", links[1], links[0])
	}
	return filepath.Join("/", rel), nil
}
