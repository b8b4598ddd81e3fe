//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// disk makes every change of this package to a file system; nothing else in it
// does. step, which only tests set, is told the name of each operation and the
// path just before it is done: a test that stops the process there has seen
// every moment at which a machine can die.
type disk struct {
	step func(op, path string)
}

func (d disk) before(op, path string) {
	if d.step != nil {
		d.step(op, path)
	}
}

// folder is an open directory. Everything is done relative to it, so that a
// path whose directory part is exchanged meanwhile leads nowhere else.
type folder struct {
	*os.File
	path string // as seen from the node's root
}

func (f folder) at(name string) string {
	if f.path == "/" {
		return "/" + name
	}
	return f.path + "/" + name
}

func (f folder) fd() int { return int(f.Fd()) }

// openFile is an open file; its own Name is not used in messages.
type openFile struct {
	*os.File
	path string
}

func (f openFile) fd() int { return int(f.Fd()) }

func failed(op, path string, err error) error {
	if err == nil {
		return nil
	}
	var inner *fs.PathError // an os.File wraps the same path once more
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return &fs.PathError{Op: op, Path: path, Err: err}
}

// open opens name for reading without following a link at name and without
// blocking on a FIFO.
func (f folder) open(name string, flags int) (openFile, error) {
	fd, err := unix.Openat(f.fd(), name, flags|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return openFile{}, failed("open", f.at(name), err)
	}
	return openFile{os.NewFile(uintptr(fd), f.at(name)), f.at(name)}, nil
}

// folder opens the directory name, never through a link.
func (f folder) folder(name string) (folder, error) {
	o, err := f.open(name, unix.O_RDONLY|unix.O_DIRECTORY)
	return folder(o), err
}

func (d disk) mkdir(in folder, name string, mode uint32) error {
	d.before("mkdir", in.at(name))
	return failed("mkdir", in.at(name), unix.Mkdirat(in.fd(), name, mode))
}

// create makes a new file, readable by its owner only.
func (d disk) create(in folder, name string) (openFile, error) {
	d.before("create", in.at(name))
	return in.open(name, unix.O_RDWR|unix.O_CREAT|unix.O_EXCL)
}

// chunk is how much is written at once, in bytes.
const chunk = 8 << 10

func (d disk) write(f openFile, b []byte) error {
	for len(b) > 0 {
		d.before("write", f.path)
		n, err := f.File.Write(b[:min(chunk, len(b))])
		if err != nil {
			return failed("write", f.path, err)
		}
		b = b[n:]
	}
	return nil
}

func (d disk) truncate(f openFile, size int64) error {
	d.before("truncate", f.path)
	return failed("truncate", f.path, f.File.Truncate(size))
}

// sync makes the content and the metadata of a file durable.
func (d disk) sync(f openFile) error {
	d.before("fsync", f.path)
	return failed("fsync", f.path, f.File.Sync())
}

// syncFolder makes the names in a directory durable.
func (d disk) syncFolder(f folder) error {
	d.before("fsync", f.path)
	return failed("fsync", f.path, f.File.Sync())
}

// chown takes a file opened in any way, also with O_PATH.
func (d disk) chown(f openFile, uid, gid int) error {
	d.before("chown", f.path)
	return failed("chown", f.path, unix.Fchownat(f.fd(), "", uid, gid, unix.AT_EMPTY_PATH))
}

// chmod takes a file opened in any way. fchmod(2) refuses O_PATH with EBADF;
// the link in /proc leads to the very file that is open.
func (d disk) chmod(f openFile, m mode) error {
	d.before("chmod", f.path)
	err := unix.Fchmod(f.fd(), uint32(m))
	if err == unix.EBADF {
		err = unix.Chmod(procLink(f), uint32(m))
	}
	return failed("chmod", f.path, err)
}

func procLink(f openFile) string { return fmt.Sprintf("/proc/self/fd/%d", f.fd()) }

func (d disk) setxattr(f openFile, name string, value []byte) error {
	d.before("setxattr", f.path)
	err := unix.Fsetxattr(f.fd(), name, value, 0)
	if err == unix.EBADF {
		err = unix.Setxattr(procLink(f), name, value, 0)
	}
	return failed("setxattr "+name, f.path, err)
}

func (d disk) removexattr(f openFile, name string) error {
	d.before("removexattr", f.path)
	return failed("removexattr "+name, f.path, unix.Fremovexattr(f.fd(), name))
}

// symlink makes a symbolic link.
func (d disk) symlink(in folder, target, name string) error {
	d.before("symlink", in.at(name))
	return failed("symlink", in.at(name), unix.Symlinkat(target, in.fd(), name))
}

// replace renames from to to, taking the place of what is there.
func (d disk) replace(in folder, from, to string) error {
	d.before("rename", in.at(from)+" -> "+in.at(to))
	return failed("rename", in.at(to), unix.Renameat(in.fd(), from, in.fd(), to))
}

// place renames from to to, which must not exist. Where the file system cannot
// rename that way (EINVAL, rename(2)), a file gets its second name by a hard
// link, which does not replace anything either; a directory cannot have two
// names, but rename(2) replaces only an empty one.
func (d disk) place(in folder, from, to string, isDir bool) error {
	d.before("rename", in.at(from)+" -> "+in.at(to))
	err := unix.Renameat2(in.fd(), from, in.fd(), to, unix.RENAME_NOREPLACE)
	if err != unix.EINVAL && err != unix.ENOSYS {
		return failed("rename", in.at(to), err)
	}
	if isDir {
		return failed("rename", in.at(to), unix.Renameat(in.fd(), from, in.fd(), to))
	}
	if err := unix.Linkat(in.fd(), from, in.fd(), to, 0); err != nil {
		return failed("link", in.at(to), err)
	}
	return d.unlink(in, from)
}

func (d disk) unlink(in folder, name string) error {
	d.before("unlink", in.at(name))
	return failed("unlink", in.at(name), unix.Unlinkat(in.fd(), name, 0))
}

// rmdir removes an empty directory.
func (d disk) rmdir(in folder, name string) error {
	d.before("rmdir", in.at(name))
	return failed("rmdir", in.at(name), unix.Unlinkat(in.fd(), name, unix.AT_REMOVEDIR))
}

// discard removes the file or the empty directory name, if it is there.
func (d disk) discard(in folder, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(in.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == unix.ENOENT:
		return nil
	case err != nil:
		return failed("stat", in.at(name), err)
	case st.Mode&unix.S_IFMT == unix.S_IFDIR:
		return d.rmdir(in, name)
	}
	return d.unlink(in, name)
}

// save writes a file of the store's own, replacing what is there.
func (d disk) save(in folder, name string, content []byte) error {
	temp := tempPrefix(name) + random()
	f, err := d.create(in, temp)
	if err != nil {
		return err
	}
	defer f.Close()
	err = d.write(f, content)
	if err == nil {
		err = d.sync(f)
	}
	if err == nil {
		err = d.replace(in, temp, name)
	}
	if err != nil {
		return errors.Join(err, d.discard(in, temp))
	}
	return d.syncFolder(in)
}
