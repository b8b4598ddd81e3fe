//go:build linux

package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	pathrs "github.com/cyphar/filepath-securejoin/pathrs-lite"
	"golang.org/x/sys/unix"
)

// tree resolves names below one directory. Names are valid io/fs names.
type tree struct {
	dir       string
	handle    *os.File
	live      bool // dir is "/", where the kernel's own resolution is the rooted one
	procfs    bool // proc is a real procfs, not files that look like one
	noOpenat2 bool
}

// open opens the root. O_RDONLY rather than O_PATH finds out whether the
// directory may be read at all.
func (t *tree) open() error {
	abs, err := filepath.Abs(t.dir)
	if err != nil {
		return err
	}
	fd, err := unix.Open(abs, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	t.dir, t.live = abs, abs == "/"
	t.handle = os.NewFile(uintptr(fd), abs)
	t.noOpenat2 = t.noOpenat2 || !hasOpenat2(fd)
	return nil
}

// hasOpenat2 asks the kernel. ENOSYS is an old one, EPERM a seccomp filter of
// an old container runtime.
func hasOpenat2(fd int) bool {
	fd, err := unix.Openat2(fd, ".", &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT})
	if err == nil {
		unix.Close(fd)
	}
	return err == nil
}

func isProcfs(dir string) bool {
	var s unix.Statfs_t
	return unix.Statfs(dir, &s) == nil && s.Type == unix.PROC_SUPER_MAGIC
}

// attempts bounds how often a resolution is repeated that the kernel gave up
// because something was renamed meanwhile.
const attempts = 64

// openat opens name inside the tree. The links of /proc that are no real links
// (/proc/1/root, /proc/1/fd/3) lead out of any tree and are never followed.
func (t *tree) openat(name string, flags int) (int, error) {
	if t.noOpenat2 {
		return t.openatSlow(name, flags)
	}
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	root := int(t.handle.Fd())
	for i := 0; ; i++ {
		fd, err := unix.Openat2(root, name, &how)
		if err == nil || i == attempts || (err != unix.EAGAIN && err != unix.EINTR) {
			return fd, err
		}
	}
}

// openatSlow does without openat2, which Linux 4.18 (RHEL 8) and 5.4 (Ubuntu
// 20.04) lack. Most paths have no links and need no library.
func (t *tree) openatSlow(name string, flags int) (int, error) {
	if t.live {
		return unix.Open("/"+name, flags|unix.O_CLOEXEC, 0)
	}
	if fd, err := t.openPlain(name, flags); err != errLink {
		return fd, err
	}
	up, base := filepath.Split(name)
	if flags&unix.O_NOFOLLOW != 0 && name != "." {
		parent, err := t.openatSlow(filepath.Clean(up), unix.O_PATH|unix.O_DIRECTORY)
		if err != nil {
			return -1, err
		}
		defer unix.Close(parent)
		return unix.Openat(parent, base, flags|unix.O_CLOEXEC, 0)
	}
	handle, err := pathrs.OpenatInRoot(t.handle, name)
	if err != nil {
		return -1, errnoOf(err)
	}
	defer handle.Close()
	if flags&unix.O_PATH == 0 {
		f, err := pathrs.Reopen(handle, flags|unix.O_CLOEXEC)
		if err != nil {
			return -1, errnoOf(err)
		}
		defer f.Close()
		handle = f
	} else if flags&unix.O_DIRECTORY != 0 {
		if i, err := handle.Stat(); err != nil || !i.IsDir() {
			return -1, unix.ENOTDIR
		}
	}
	return unix.FcntlInt(handle.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// errLink is openPlain's answer to a path that it does not resolve.
var errLink = errors.New("a link, or something that is no directory, in the path")

// openPlain opens name if no part of it is a link, component by component.
func (t *tree) openPlain(name string, flags int) (int, error) {
	at, rest := int(t.handle.Fd()), name
	for {
		part, tail, more := strings.Cut(rest, "/")
		how := flags | unix.O_NOFOLLOW | unix.O_CLOEXEC
		if more {
			how = unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
		}
		fd, err := unix.Openat(at, part, how, 0)
		if rest != name {
			unix.Close(at)
		}
		switch {
		case err == unix.ENOTDIR || err == unix.ELOOP:
			return -1, errLink // O_DIRECTORY says ENOTDIR for a link
		case err != nil:
			return -1, err
		case more:
			at, rest = fd, tail
			continue
		}
		if flags&unix.O_PATH != 0 && flags&unix.O_NOFOLLOW == 0 {
			var stat syscall.Stat_t
			if err := syscall.Fstat(fd, &stat); err != nil || stat.Mode&syscall.S_IFMT == syscall.S_IFLNK {
				unix.Close(fd)
				return -1, errLink
			}
		}
		return fd, nil
	}
}

// errnoOf strips the library's descriptions off a plain system error, so that
// the same file gives the same message on every kernel.
func errnoOf(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return fmt.Errorf("resolve in root: %w", err)
}

func (t *tree) stat(name string, follow bool, stat *syscall.Stat_t) error {
	if t.live {
		call := syscall.Lstat
		if follow {
			call = syscall.Stat
		}
		return retry(func() error { return call("/"+name, stat) })
	}
	flags := unix.O_PATH
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	fd, err := t.openat(name, flags)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return syscall.Fstat(fd, stat)
}

func (t *tree) readLink(name string) (string, error) {
	fd, err := t.openat(name, unix.O_PATH|unix.O_NOFOLLOW)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return "", err
	}
	if stat.Mode&syscall.S_IFMT != syscall.S_IFLNK {
		return "", unix.EINVAL // readlinkat would say ENOENT for an open file
	}
	for size := 256; ; size *= 4 {
		buf := make([]byte, size)
		n, err := unix.Readlinkat(fd, "", buf)
		if err != nil {
			return "", err
		}
		if n < size {
			return string(buf[:n]), nil
		}
	}
}

func retry(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
}
