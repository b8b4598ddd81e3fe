//go:build linux

package txn

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// carryOut makes the changes of a group that is in the journal. Everything that
// takes room is written and synced beside its place first; then files are
// renamed into place, and modes and owners set, one after the other.
func (r *Run) carryOut(ctx context.Context, d *dirs, targets []*target) error {
	for _, t := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.prepare(d, t); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.put(t); err != nil {
			return err
		}
	}
	for _, t := range targets {
		if t.Kind == Meta {
			if err := r.store.disk.syncAt(t.dir, t.base); err != nil {
				return err
			}
		}
	}
	return d.sync(r.store.disk)
}

// prepare makes a directory, or the temporary file for a Write.
func (r *Run) prepare(d *dirs, t *target) (err error) {
	if t.dir.File == nil {
		if t.dir, t.base, err = d.parent(t.Path); err != nil {
			return err
		}
	}
	disk := r.store.disk
	switch t.Kind {
	case Mkdir:
		return disk.makeDir(t.dir, t.base, t.journaled)
	case Write:
		return disk.stage(t.dir, t.journaled.Temp, t.journaled.After, t.seen.fileState, func(f openFile) error {
			return disk.write(f, t.Content)
		})
	}
	return nil
}

// put makes a prepared Write, or a Meta, take effect.
func (r *Run) put(t *target) error {
	disk := r.store.disk
	if t.Kind == Meta {
		f, err := t.dir.open(t.base, unix.O_PATH)
		if err != nil {
			return err
		}
		defer f.Close()
		now, err := statx(f.fd(), "", unix.AT_EMPTY_PATH)
		if err != nil {
			return failed("stat", t.Path, err)
		}
		after := t.journaled.After
		switch {
		case now.ino != t.seen.ino || now.dev != t.seen.dev:
		case now.sameMeta(after): // another name of a file that the group has changed
			return nil
		case now.sameMeta(t.seen.fileState):
			return disk.setMeta(f, t.seen.fileState, after)
		}
		return fmt.Errorf("%s: %w", t.Path, ErrChanged)
	}
	if t.Kind != Write {
		return nil
	}
	if t.seen.Absent {
		err := disk.place(t.dir, t.journaled.Temp, t.base, false)
		if isExist(err) {
			return fmt.Errorf("%s: %w: it exists", t.Path, ErrChanged)
		}
		return err
	}
	now, err := statx(t.dir.fd(), t.base, unix.AT_SYMLINK_NOFOLLOW)
	if err != nil && err != unix.ENOENT {
		return failed("stat", t.Path, err)
	}
	if now.inode != t.seen.inode {
		return fmt.Errorf("%s: %w", t.Path, ErrChanged)
	}
	return disk.replace(t.dir, t.journaled.Temp, t.base)
}

// makeDir makes a directory that appears with its mode and owner.
func (d disk) makeDir(in folder, base string, c change) error {
	if err := d.mkdir(in, c.Temp, 0o700); err != nil {
		return err
	}
	f, err := in.folder(c.Temp)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := d.own(openFile(f), c.After); err != nil {
		return err
	}
	if err := d.chmod(openFile(f), c.After.Mode); err != nil {
		return err
	}
	if err := d.syncFolder(f); err != nil {
		return err
	}
	err = d.place(in, c.Temp, base, true)
	if isExist(err) {
		return fmt.Errorf("%s: %w: it exists", c.Path, ErrChanged)
	}
	return err
}

// stage writes the temporary file that will take the place of a file in state
// old, or of none. It is the owner's only until all but its name is final.
func (d disk) stage(in folder, temp string, want, old fileState, fill func(openFile) error) error {
	f, err := d.create(in, temp)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := fill(f); err != nil {
		return err
	}
	if err := d.own(f, want); err != nil {
		return err
	}
	if !old.Absent {
		// After chown, which drops capabilities; before chmod, because an ACL sets
		// the mode's group bits (acl(5)).
		if err := d.setXattrs(f, old.Xattrs); err != nil {
			return err
		}
	}
	if err := d.chmod(f, want.Mode); err != nil {
		return err
	}
	return d.sync(f)
}

// own sets the owner if it is another.
func (d disk) own(f openFile, want fileState) error {
	now, err := statx(f.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return failed("stat", f.path, err)
	}
	if now.sameOwner(want) {
		return nil
	}
	return d.chown(f, want.UID, want.GID)
}

// setXattrs gives a new file the attributes of an old one. One that cannot be
// set is an error: without its SELinux label a component may be unable to read
// its file. An ACL that the directory gave to the new file is removed.
func (d disk) setXattrs(f openFile, want map[string][]byte) error {
	have, err := xattrs(f)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := have[name]; ok && bytes.Equal(value, want[name]) {
			continue
		}
		if err := d.setxattr(f, name, want[name]); err != nil {
			return err
		}
	}
	if _, ok := have[aclXattr]; ok && want[aclXattr] == nil {
		return d.removexattr(f, aclXattr)
	}
	return nil
}

// setMeta changes mode and owner so that at no moment more is allowed than
// before or after: to what both allow, then the owner, then the rest. It passes
// only through the states that halfway knows.
func (d disk) setMeta(f openFile, from, to fileState) error {
	current := from.Mode
	if !from.sameOwner(to) {
		if m := between(from, to); m != current {
			if err := d.chmod(f, m); err != nil {
				return err
			}
			current = m
		}
		if err := d.chown(f, to.UID, to.GID); err != nil {
			return err
		}
		if c, ok := from.Xattrs[capabilityXattr]; ok {
			if err := d.setxattr(f, capabilityXattr, c); err != nil {
				return err
			}
		}
	}
	if current == to.Mode {
		return nil
	}
	return d.chmod(f, to.Mode)
}

// between is the mode while the owner changes. Without setuid and setgid, which
// would be the wrong owner's for a moment, and which chown(2) drops from files;
// sticky, which takes rights away, if either is.
func between(a, b fileState) mode {
	return a.Mode&b.Mode&0o777 | (a.Mode|b.Mode)&unix.S_ISVTX
}

// halfway says whether now is a state that setMeta passes through from one to
// the other, in either direction, the ends included.
func halfway(now, a, b fileState) bool {
	if now.Absent || now.Dir != a.Dir {
		return false
	}
	if now.sameMeta(a) || now.sameMeta(b) {
		return true
	}
	return !a.sameOwner(b) && now.Mode == between(a, b) && (now.sameOwner(a) || now.sameOwner(b))
}

// syncAt makes mode and owner of a file or directory durable. root can always
// open it; an ordinary user who cannot relies on the sync of the directory.
func (d disk) syncAt(in folder, base string) error {
	f, err := in.open(base, unix.O_RDONLY)
	if isPermission(err) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	return d.sync(f)
}

// copy gives the SHA-256 of what it copied.
func (d disk) copy(to, from openFile) (digest string, err error) {
	h := sha256.New()
	buf := make([]byte, chunk)
	for {
		n, err := from.File.Read(buf)
		if err != nil && err != io.EOF {
			return "", failed("read", from.path, err)
		}
		if n == 0 {
			return hex.EncodeToString(h.Sum(nil)), nil
		}
		h.Write(buf[:n])
		if err := d.write(to, buf[:n]); err != nil {
			return "", err
		}
	}
}
