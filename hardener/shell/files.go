package shell

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// absolute is the host path that a script means by name. Unlike path.Join it
// keeps a trailing slash, which asks for a directory. ".." is taken out of the
// text, so after a link it leads elsewhere than the kernel would.
func absolute(dir, name string) string {
	if name == "" {
		return "" // no shell and no command takes it for the directory
	}
	if !strings.HasPrefix(name, "/") {
		name = dir + "/" + name
	}
	clean := path.Clean(name)
	if clean != "/" && (strings.HasSuffix(name, "/") || strings.HasSuffix(name, "/.")) {
		clean += "/"
	}
	return clean
}

// fsName is the io/fs name of an absolute host path.
func fsName(abs string) string {
	name := strings.Trim(abs, "/")
	if name == "" {
		return "."
	}
	return name
}

// stat is stat(2) or lstat(2). A trailing slash follows a link and wants a
// directory.
func (s *state) stat(abs string, follow bool) (fs.FileInfo, error) {
	if abs == "" {
		return nil, &fs.PathError{Op: "stat", Path: abs, Err: fs.ErrNotExist}
	}
	s.read(trimSlash(abs))
	name := fsName(abs)
	slash := len(abs) > 1 && strings.HasSuffix(abs, "/")
	if !follow && !slash {
		return fs.Lstat(s.runner.FS, name)
	}
	info, err := fs.Stat(s.runner.FS, name)
	if err == nil && slash && !info.IsDir() {
		return nil, &fs.PathError{Op: "stat", Path: abs, Err: syscall.ENOTDIR}
	}
	return info, err
}

// open opens a file for reading.
func (s *state) open(abs string) (fs.File, error) {
	switch abs {
	case "":
		return nil, &fs.PathError{Op: "open", Path: abs, Err: fs.ErrNotExist}
	case "/dev/null":
		return nullFile{}, nil
	}
	s.read(trimSlash(abs))
	if len(abs) > 1 && strings.HasSuffix(abs, "/") {
		if _, err := s.stat(abs, true); err != nil {
			return nil, err
		}
	}
	return s.runner.FS.Open(fsName(abs))
}

func (s *state) readDir(abs string) ([]fs.DirEntry, error) {
	if abs == "" {
		return nil, &fs.PathError{Op: "open", Path: abs, Err: fs.ErrNotExist}
	}
	s.read(trimSlash(abs))
	return fs.ReadDir(s.runner.FS, fsName(abs))
}

// readFile reads a whole file, within the script's limit.
func (s *state) readFile(abs string) ([]byte, error) {
	f, err := s.open(abs)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, int64(s.maxOutput)+1))
	if err == nil && len(data) > s.maxOutput {
		s.stopped(fmt.Sprintf("%s has more than %d bytes", abs, s.maxOutput))
		return nil, errLimit
	}
	return data, err
}

func trimSlash(abs string) string {
	if len(abs) > 1 {
		return strings.TrimSuffix(abs, "/")
	}
	return abs
}

// nullFile is /dev/null: a tree need not have one.
type nullFile struct{}

func (nullFile) Read([]byte) (int, error)    { return 0, io.EOF }
func (nullFile) Write(p []byte) (int, error) { return len(p), nil }
func (nullFile) Close() error                { return nil }
func (nullFile) Stat() (fs.FileInfo, error)  { return nil, fs.ErrInvalid }

// owner is the user and group id of a file.
func owner(info fs.FileInfo) (uid, gid int) {
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		return int(st.Uid), int(st.Gid)
	}
	return 0, 0
}

// permissions are a file's mode bits as chmod writes them.
func permissions(mode fs.FileMode) uint32 {
	bits := uint32(mode.Perm())
	if mode&fs.ModeSetuid != 0 {
		bits |= 0o4000
	}
	if mode&fs.ModeSetgid != 0 {
		bits |= 0o2000
	}
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}

// reason is the text of an error as the C library's strerror has it.
func reason(err error) string {
	var errno syscall.Errno
	errors.As(err, &errno)
	switch {
	case errno == syscall.ENOTDIR:
		return "Not a directory"
	case errno == syscall.EISDIR:
		return "Is a directory"
	case errno == syscall.ELOOP:
		return "Too many levels of symbolic links"
	case errno == syscall.ENAMETOOLONG:
		return "File name too long"
	case errno == syscall.EIO:
		return "Input/output error"
	case errno == syscall.EPERM:
		return "Operation not permitted"
	case errno == syscall.ESRCH:
		return "No such process"
	case errno == syscall.EINVAL:
		return "Invalid argument"
	case errors.Is(err, fs.ErrNotExist):
		return "No such file or directory"
	case errors.Is(err, fs.ErrPermission):
		return "Permission denied"
	case errors.Is(err, fs.ErrInvalid):
		return "Invalid argument"
	}
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err
	}
	text := err.Error()
	if text == "" {
		return "Unknown error"
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// isDirError tells that a file could not be read because it is a directory.
func isDirError(f fs.File, err error) bool {
	if errors.Is(err, syscall.EISDIR) {
		return true
	}
	if f == nil || err == nil {
		return false
	}
	info, statErr := f.Stat()
	return statErr == nil && info != nil && info.IsDir()
}

// errIsDir is what reading a directory gives.
const errIsDir = syscall.EISDIR
