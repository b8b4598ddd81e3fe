//go:build linux

package txn

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// State is what a caller has found at a path, and on which its change rests.
type State struct {
	Absent   bool        // nothing is there; the rest is not looked at
	Mode     fs.FileMode // permission, setuid, setgid and sticky bits; the rest is not looked at
	UID, GID int
	Digest   string // Digest of the content; looked at for Write only
}

// Digest is the SHA-256 of a file's content as lower-case hexadecimal digits.
func Digest(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// mode is st_mode without the type: permission bits, 04000 setuid, 02000
// setgid, 01000 sticky (inode(7)). In the journal it is octal.
type mode uint32

func modeOf(m fs.FileMode) mode {
	u := mode(m.Perm())
	if m&fs.ModeSetuid != 0 {
		u |= unix.S_ISUID
	}
	if m&fs.ModeSetgid != 0 {
		u |= unix.S_ISGID
	}
	if m&fs.ModeSticky != 0 {
		u |= unix.S_ISVTX
	}
	return u
}

func (m mode) String() string { return fmt.Sprintf("%04o", uint32(m)) }

func (m mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

func (m *mode) UnmarshalText(b []byte) error {
	u, err := strconv.ParseUint(string(b), 8, 12)
	*m = mode(u)
	return err
}

// fileState is what the journal knows of a path. Content is only in there as a
// digest.
type fileState struct {
	Absent bool              `json:"absent,omitempty"`
	Dir    bool              `json:"dir,omitempty"`
	Mode   mode              `json:"mode"`
	UID    int               `json:"uid"`
	GID    int               `json:"gid"`
	Links  uint32            `json:"links,omitempty"`
	Size   int64             `json:"size,omitempty"`
	Digest string            `json:"digest,omitempty"` // SHA-256; none where content does not matter
	Xattrs map[string][]byte `json:"xattrs,omitempty"`
}

// sameMeta compares type, mode and owner.
func (s fileState) sameMeta(o fileState) bool {
	return s.Absent == o.Absent && s.Dir == o.Dir && s.Mode == o.Mode && s.UID == o.UID && s.GID == o.GID
}

func (s fileState) same(o fileState) bool {
	if s.Absent || o.Absent {
		return s.Absent == o.Absent
	}
	return s.sameMeta(o) && s.Digest == o.Digest
}

func (s fileState) sameOwner(o fileState) bool { return s.UID == o.UID && s.GID == o.GID }

// inode tells whether a file is still the one that was looked at, unchanged.
type inode struct {
	dev, ino uint64
	size     int64
	ctime    unix.StatxTimestamp
}

// sight is a fileState with what matters only while it is looked at.
type sight struct {
	fileState
	inode
	kind       uint16 // st_mode & S_IFMT
	mount      uint64 // 0 when the kernel does not say
	unwritable string // the attribute that forbids changes: "immutable", "append-only"
}

// look describes name in a directory, never following a link there. The
// content is read only if digest is set and it is a regular file.
func look(in folder, name string, digest bool) (sight, error) {
	s, err := statx(in.fd(), name, unix.AT_SYMLINK_NOFOLLOW)
	if err == unix.ENOENT {
		return sight{fileState: fileState{Absent: true}}, nil
	}
	if err != nil {
		return s, failed("stat", in.at(name), err)
	}
	if s.kind != unix.S_IFREG && s.kind != unix.S_IFDIR {
		return s, nil
	}
	f, err := in.open(name, unix.O_PATH)
	if err != nil {
		return s, err
	}
	defer f.Close()
	if s.Xattrs, err = xattrs(f); err != nil {
		return s, err
	}
	if !digest || s.kind != unix.S_IFREG {
		return s, nil
	}
	r, err := in.open(name, unix.O_RDONLY)
	if err != nil {
		return s, err
	}
	defer r.Close()
	h := sha256.New()
	if _, err := io.Copy(h, r.File); err != nil {
		return s, failed("read", r.path, err)
	}
	s.Digest = hex.EncodeToString(h.Sum(nil))
	now, err := statx(r.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return s, failed("stat", r.path, err)
	}
	if now.inode != s.inode {
		return s, fmt.Errorf("%s: %w", r.path, ErrChanged)
	}
	return s, nil
}

// statx is one system call for everything about a file but its content and its
// extended attributes; unlike FS_IOC_GETFLAGS it needs no right to read.
func statx(fd int, name string, flags int) (sight, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, name, flags, unix.STATX_BASIC_STATS|unix.STATX_MNT_ID, &st); err != nil {
		return sight{}, err
	}
	s := sight{
		fileState: fileState{
			Mode: mode(st.Mode & 0o7777), UID: int(st.Uid), GID: int(st.Gid), Links: st.Nlink, Size: int64(st.Size),
			Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR,
		},
		inode: inode{unix.Mkdev(st.Dev_major, st.Dev_minor), st.Ino, int64(st.Size), st.Ctime},
		kind:  st.Mode & unix.S_IFMT,
	}
	if st.Mask&unix.STATX_MNT_ID != 0 {
		s.mount = st.Mnt_id
	}
	switch {
	case st.Attributes&unix.STATX_ATTR_IMMUTABLE != 0:
		s.unwritable = "immutable"
	case st.Attributes&unix.STATX_ATTR_APPEND != 0:
		s.unwritable = "append-only"
	}
	return s, nil
}

// Extended attributes with a meaning of their own here.
const (
	aclXattr        = "system.posix_acl_access"
	capabilityXattr = "security.capability"
)

// carried says which extended attributes belong to the file rather than to its
// content: security.ima and security.evm are sums over the content, which the
// kernel keeps itself, and trusted.* is the file system's.
func carried(name string) bool {
	switch name {
	case "security.ima", "security.evm":
		return false
	case aclXattr, "system.posix_acl_default":
		return true
	}
	return strings.HasPrefix(name, "security.") || strings.HasPrefix(name, "user.")
}

// xattrs reads the attributes that must survive. One that may not be read is
// left out; a file system that has none gives none.
func xattrs(f openFile) (map[string][]byte, error) {
	link := procLink(f)
	list, err := sized(func(b []byte) (int, error) { return unix.Listxattr(link, b) })
	if err == unix.ENOTSUP {
		return nil, nil
	}
	if err != nil {
		return nil, failed("list xattrs", f.path, err)
	}
	var all map[string][]byte
	for name := range strings.SplitSeq(strings.TrimRight(string(list), "\x00"), "\x00") {
		if !carried(name) {
			continue
		}
		value, err := sized(func(b []byte) (int, error) { return unix.Getxattr(link, name, b) })
		switch err {
		case nil:
			if all == nil {
				all = map[string][]byte{}
			}
			all[name] = value
		case unix.EACCES, unix.EPERM, unix.ENODATA, unix.ENOTSUP:
		default:
			return nil, failed("getxattr "+name, f.path, err)
		}
	}
	return all, nil
}

// sized calls get with a buffer that is large enough. The kernel's limit is
// 64 KiB (xattr(7)).
func sized(get func([]byte) (int, error)) ([]byte, error) {
	n, err := get(nil)
	if err != nil || n == 0 {
		return nil, err
	}
	buf := make([]byte, 64<<10)
	n, err = get(buf)
	if err != nil {
		return nil, err
	}
	return append([]byte(nil), buf[:n]...), nil
}
