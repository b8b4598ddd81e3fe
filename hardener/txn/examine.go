//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// dirs opens each directory once.
type dirs struct {
	root *host.FS
	open map[string]folder
}

// parent opens the directory in which p lies.
func (d *dirs) parent(p string) (folder, string, error) {
	up := path.Dir(p)
	if f, ok := d.open[up]; ok {
		return f, path.Base(p), nil
	}
	f, base, err := parent(d.root, p)
	if err != nil {
		return folder{}, "", err
	}
	if d.open == nil {
		d.open = map[string]folder{}
	}
	d.open[up] = f
	return f, base, nil
}

// sync makes the names in all of the directories durable.
func (d *dirs) sync(disk disk) error {
	var errs []error
	for _, f := range d.open {
		errs = append(errs, disk.syncFolder(f))
	}
	return errors.Join(errs...)
}

func (d *dirs) close() {
	for _, f := range d.open {
		f.Close()
	}
}

// target is a change of a group with what it is about to change.
type target struct {
	Change
	dir       folder // not open while the group has yet to make it
	base      string
	seen      sight
	journaled change
}

func (t *target) after() fileState {
	s := t.Change.after()
	s.Dir = s.Dir || t.seen.Dir
	return s
}

// examine looks at all paths of a group. It drops changes of no effect, turns a
// Write of the same content into Meta, and refuses what cannot be done safely.
func (d *dirs) examine(changes []Change) ([]*target, error) {
	type name struct {
		dev, ino uint64
		base     string
	}
	var targets []*target
	made := map[string]bool{}
	taken := map[name]string{}
	for _, c := range changes {
		if err := c.validate(); err != nil {
			return nil, err
		}
		t := &target{Change: c, seen: sight{fileState: fileState{Absent: true}}}
		var err error
		var up sight
		t.dir, t.base, err = d.parent(c.Path)
		switch {
		case errors.Is(err, fs.ErrNotExist) && made[path.Dir(c.Path)]:
		case err != nil:
			return nil, err
		default:
			if up, err = statx(t.dir.fd(), "", unix.AT_EMPTY_PATH); err != nil {
				return nil, failed("stat", t.dir.path, err)
			}
			if t.seen, err = look(t.dir, t.base, c.Kind == Write); err != nil {
				return nil, err
			}
		}
		if len(t.base) == 0 {
			t.base = path.Base(c.Path)
		}
		key := name{up.dev, up.ino, t.base}
		if up.ino == 0 {
			key.base = c.Path
		}
		if other, ok := taken[key]; ok {
			return nil, fmt.Errorf("%s: %w: %s is in the same group", c.Path, ErrRefused, other)
		}
		taken[key] = c.Path
		effect, err := t.check(up)
		if err != nil {
			return nil, err
		}
		if effect {
			targets = append(targets, t)
			made[c.Path] = made[c.Path] || c.Kind == Mkdir
		}
	}
	return targets, nil
}

func (c *Change) validate() error {
	if err := validPath(c.Path); err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	switch c.Kind {
	case Write, Meta, Mkdir:
	default:
		return fmt.Errorf("%s: %w: unknown kind of change %q", c.Path, ErrRefused, c.Kind)
	}
	if !validID(c.UID) || !validID(c.GID) {
		return fmt.Errorf("%s: %w: no owner %d:%d", c.Path, ErrRefused, c.UID, c.GID)
	}
	return nil
}

// check says whether the change has an effect, or why it cannot be made. up is
// the directory.
func (t *target) check(up sight) (effect bool, err error) {
	refuse := func(format string, args ...any) (bool, error) {
		return false, fmt.Errorf("%s: %w: %s", t.Path, ErrRefused, fmt.Sprintf(format, args...))
	}
	s := &t.seen
	if !s.Absent {
		switch {
		case s.kind == unix.S_IFLNK:
			return refuse("is a symbolic link")
		case s.kind != unix.S_IFREG && (s.kind != unix.S_IFDIR || t.Kind == Write):
			return refuse("is not a regular file")
		}
	}
	after := t.after()
	if t.Kind == Meta && !s.Absent {
		after.Digest = s.Digest
	}
	if s.same(after) {
		return false, nil
	}
	if why := t.unexpected(); why != "" {
		return false, fmt.Errorf("%s: %w: %s", t.Path, ErrChanged, why)
	}
	if t.Kind == Write && !s.Absent && s.Digest == after.Digest {
		t.Kind, t.Content, s.Digest = Meta, nil, ""
	}
	if s.unwritable != "" {
		return refuse("is %s", s.unwritable)
	}
	if t.Kind == Meta {
		return true, nil
	}
	if up.unwritable != "" {
		return refuse("its directory is %s", up.unwritable)
	}
	if s.Absent {
		return true, nil
	}
	if s.Links > 1 {
		return refuse("has %d hard links, which replacing it would split", s.Links)
	}
	if s.mount != up.mount {
		return refuse("is a mount point")
	}
	return true, nil
}

// unexpected says in what the path differs from what the caller read.
func (t *target) unexpected() string {
	e, s := t.Expect, t.seen
	switch {
	case t.Kind == Mkdir && !s.Absent:
		return "it exists"
	case t.Kind == Meta && s.Absent, !e.Absent && s.Absent:
		return "it is gone"
	case e.Absent && !s.Absent:
		return "it exists"
	case e.Absent:
		return ""
	case e.UID != s.UID || e.GID != s.GID:
		return fmt.Sprintf("expected owner %d:%d, found %d:%d", e.UID, e.GID, s.UID, s.GID)
	case modeOf(e.Mode) != s.Mode:
		return fmt.Sprintf("expected mode %v, found %v", modeOf(e.Mode), s.Mode)
	case t.Kind == Write && e.Digest != s.Digest:
		return "its content is another"
	}
	return ""
}

// space is what a file system must have free, and has.
type space struct {
	path          string
	bytes, files  uint64
	free, inodes  uint64
	block         uint64
	sized, counts bool // whether free and inodes mean anything
}

func (s *space) need(size int64) {
	s.bytes += (uint64(size)/s.block + 1) * s.block
	s.files++
}

// preflight finds out what would fail before anything is written: too little
// room for backups and temporary files, read-only mounts, missing rights.
func preflight(state folder, targets []*target) error {
	disks := map[uint64]*space{}
	own, err := spaceOf(disks, state)
	if err != nil {
		return err
	}
	own.need(16 << 10) // the run's directories and the journal
	own.need(int64(len(targets)) * 2 << 10)
	newDirs := map[string]*space{}
	for _, t := range targets {
		at := newDirs[path.Dir(t.Path)]
		if t.dir.File != nil {
			if err := t.permitted(); err != nil {
				return err
			}
			if at, err = spaceOf(disks, t.dir); err != nil {
				return err
			}
		}
		if t.Kind == Meta {
			continue
		}
		newDirs[t.Path] = at
		at.need(int64(len(t.Content)))
		if !t.seen.Absent {
			own.need(t.seen.Size)
			at.need(t.seen.Size) // for an undo
		}
	}
	for _, s := range disks {
		if s.sized && s.bytes > s.free {
			return fmt.Errorf("%s: %d KiB needed, %d KiB free: %w", s.path, s.bytes>>10, s.free>>10, unix.ENOSPC)
		}
		if s.counts && s.files > s.inodes {
			return fmt.Errorf("%s: %d inodes needed, %d free: %w", s.path, s.files, s.inodes, unix.ENOSPC)
		}
	}
	return nil
}

// spaceOf finds the space of a directory's file system. What is reserved for
// root counts only for root. File systems without a limit say 0 of 0
// (statfs(2), tmpfs(5), btrfs for inodes).
func spaceOf(disks map[uint64]*space, dir folder) (*space, error) {
	st, err := statx(dir.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return nil, failed("stat", dir.path, err)
	}
	if s, ok := disks[st.dev]; ok {
		return s, nil
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(dir.fd(), &fs); err != nil {
		return nil, failed("statfs", dir.path, err)
	}
	block := uint64(max(fs.Frsize, 512)) // the unit of f_blocks
	free := fs.Bavail
	if os.Geteuid() == 0 {
		free = fs.Bfree
	}
	s := &space{
		path: dir.path, block: block, free: free * block, inodes: fs.Ffree,
		sized: fs.Blocks > 0, counts: fs.Files > 0,
	}
	disks[st.dev] = s
	return s, nil
}

// permitted says whether the system would let this process make the change.
func (t *target) permitted() error {
	if t.Kind == Meta {
		f, err := t.dir.open(t.base, unix.O_PATH)
		if err != nil {
			return err
		}
		defer f.Close()
		if uid := os.Geteuid(); uid != 0 && uid != t.seen.UID {
			return failed("change mode or owner of", t.Path, unix.EPERM)
		}
		return failed("change mode or owner of", t.Path, writableMount(f.fd()))
	}
	err := writableMount(t.dir.fd())
	if err == nil {
		err = unix.Faccessat(t.dir.fd(), ".", unix.W_OK|unix.X_OK, unix.AT_EACCESS)
	}
	return failed("write in", t.dir.path, err)
}

func writableMount(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return unix.EROFS
	}
	return nil
}
