//go:build linux

package host

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// fileInfo is an fs.FileInfo over a stat buffer.
type fileInfo struct {
	name string
	stat syscall.Stat_t
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.stat.Size }
func (i *fileInfo) Mode() fs.FileMode  { return fileMode(i.stat.Mode) }
func (i *fileInfo) ModTime() time.Time { return time.Unix(i.stat.Mtim.Unix()) }
func (i *fileInfo) IsDir() bool        { return i.Mode().IsDir() }
func (i *fileInfo) Sys() any           { return &i.stat }

// fileMode is the io/fs form of st_mode (inode(7)).
func fileMode(mode uint32) fs.FileMode {
	m := fs.FileMode(mode & 0o777)
	switch mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		m |= fs.ModeDir
	case syscall.S_IFLNK:
		m |= fs.ModeSymlink
	case syscall.S_IFIFO:
		m |= fs.ModeNamedPipe
	case syscall.S_IFSOCK:
		m |= fs.ModeSocket
	case syscall.S_IFBLK:
		m |= fs.ModeDevice
	case syscall.S_IFCHR:
		m |= fs.ModeDevice | fs.ModeCharDevice
	}
	if mode&syscall.S_ISUID != 0 {
		m |= fs.ModeSetuid
	}
	if mode&syscall.S_ISGID != 0 {
		m |= fs.ModeSetgid
	}
	if mode&syscall.S_ISVTX != 0 {
		m |= fs.ModeSticky
	}
	return m
}

// file is an open regular file.
type file struct {
	name string
	fd   int
	stat syscall.Stat_t
}

func (f *file) Stat() (fs.FileInfo, error) {
	i := &fileInfo{name: path.Base(f.name)}
	if err := syscall.Fstat(f.fd, &i.stat); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: f.name, Err: closed(f.fd, err)}
	}
	return i, nil
}

func (f *file) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := unix.Read(f.fd, p)
		switch {
		case err == unix.EINTR:
		case err != nil:
			return 0, &fs.PathError{Op: "read", Path: f.name, Err: closed(f.fd, err)}
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// ReadAt is io.ReaderAt's, for formats that are read from their end.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		m, err := unix.Pread(f.fd, p[n:], off+int64(n))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return n, &fs.PathError{Op: "read", Path: f.name, Err: closed(f.fd, err)}
		case m == 0:
			return n, io.EOF
		}
		n += max(m, 0)
	}
	return n, nil
}

func (f *file) Close() error { return closeOnce(&f.fd, f.name) }

// closed tells a use after Close, for which fd is -1, from a bad descriptor.
func closed(fd int, err error) error {
	if fd < 0 {
		return fs.ErrClosed
	}
	return err
}

func closeOnce(fd *int, name string) error {
	if *fd < 0 {
		return &fs.PathError{Op: "close", Path: name, Err: fs.ErrClosed}
	}
	err := unix.Close(*fd)
	*fd = -1
	return err
}

// dir is an open directory.
type dir struct {
	fs      *FS
	name    string
	fd      int
	stat    syscall.Stat_t
	listed  bool
	entries []fs.DirEntry // not yet returned by ReadDir
}

func (d *dir) Stat() (fs.FileInfo, error) {
	return &fileInfo{name: path.Base(d.name), stat: d.stat}, nil
}

func (d *dir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: syscall.EISDIR}
}

func (d *dir) Close() error { return closeOnce(&d.fd, d.name) }

// ReadDir is fs.ReadDirFile's, in the order of the file system, which is what
// find(1) prints.
func (d *dir) ReadDir(n int) ([]fs.DirEntry, error) {
	if !d.listed {
		entries, err := d.fs.entries(d.fd, d.name)
		if err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: closed(d.fd, err)}
		}
		d.entries, d.listed = entries, true
	}
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	var some []fs.DirEntry
	some, d.entries = d.entries[:n:n], d.entries[n:]
	return some, nil
}

// dirEntry is what a directory says about a file. More is read only when Info
// asks for it.
type dirEntry struct {
	fs   *FS
	dir  string
	name string
	typ  fs.FileMode
}

func (e *dirEntry) Name() string      { return e.name }
func (e *dirEntry) IsDir() bool       { return e.typ.IsDir() }
func (e *dirEntry) Type() fs.FileMode { return e.typ }
func (e *dirEntry) Info() (fs.FileInfo, error) {
	return e.fs.Lstat(path.Join(e.dir, e.name))
}
func (e *dirEntry) String() string { return fs.FormatDirEntry(e) }

// entries reads all of an open directory, in the order of the file system.
func (f *FS) entries(fd int, name string) ([]fs.DirEntry, error) {
	var all []fs.DirEntry
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(fd, buf)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if n == 0 {
			break
		}
		for rest := buf[:n]; len(rest) > 0; {
			e, size, err := parseDirent(rest)
			if err != nil {
				return nil, err
			}
			rest = rest[size:]
			if e.name == "." || e.name == ".." {
				continue
			}
			e.fs, e.dir = f, name
			if e.typ == typeUnknown && !e.lookUp() {
				continue // gone since
			}
			all = append(all, e)
		}
	}
	return all, nil
}

// typeUnknown marks the entries of file systems that keep no type with a name.
const typeUnknown = ^fs.FileMode(0)

func (e *dirEntry) lookUp() bool {
	i, err := e.Info()
	if err != nil {
		return false
	}
	e.typ = i.Mode().Type()
	return true
}

// parseDirent reads one struct linux_dirent64 (getdents64(2)): 8 bytes inode,
// 8 bytes offset, 2 bytes length of the record, 1 byte type, then the name.
func parseDirent(b []byte) (*dirEntry, int, error) {
	const head = 19
	if len(b) < head {
		return nil, 0, errors.New("directory entry cut short")
	}
	size := int(binary.NativeEndian.Uint16(b[16:]))
	if size < head || size > len(b) {
		return nil, 0, errors.New("directory entry of impossible length")
	}
	name, _, _ := bytes.Cut(b[head:size], []byte{0})
	e := &dirEntry{name: string(name), typ: typeUnknown}
	if t := uint32(b[18]); t != unix.DT_UNKNOWN {
		e.typ = fileMode(t << 12).Type() // DT_x is S_IFx >> 12
	}
	return e, size, nil
}
