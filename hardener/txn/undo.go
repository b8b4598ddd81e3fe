//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Outcome is what Recover or Rollback did to a run.
type Outcome struct {
	ID       string   `json:"id"`
	State    RunState `json:"state"`              // after it; Damaged: nothing was done
	Restored []string `json:"restored,omitempty"` // paths that are again as before the run
	Left     []Left   `json:"left,omitempty"`
}

// Left is a path that was not restored.
type Left struct {
	Path   string `json:"path"`
	Reason string `json:"reason"`
}

// leftError is nil, or an error that is ErrChanged and names what was left.
func (o *Outcome) leftError() error { return changedError("left as found", o.Left) }

func changedError(what string, left []Left) error {
	if len(left) == 0 {
		return nil
	}
	var all []string
	for _, l := range left {
		all = append(all, l.Path+" ("+l.Reason+")")
	}
	return fmt.Errorf("%w: %s: %s", ErrChanged, what, strings.Join(all, ", "))
}

// GroupFunc is called for each group that is about to be undone, and calls undo
// once: what a component needs before and after its files are put back is the
// caller's business, and so are its errors. A group that is not undone ends the
// work.
type GroupFunc func(component string, undo func() error)

// undoFrom undoes the groups in place from number n on, newest first, and
// records it. What it did goes to out. each may be nil.
func (r *Run) undoFrom(n int, force bool, out *Outcome, each GroupFunc) error {
	announce := false
	for _, g := range r.history.inPlace() {
		announce = announce || g.number >= n && g.kept
	}
	if announce {
		// A crash would otherwise leave a kept group half undone. Groups that are
		// not kept are undone after a crash anyway.
		if err := r.append(record{Type: recordUndo, Group: n}); err != nil {
			return err
		}
	}
	if each == nil {
		each = func(_ string, undo func() error) { _ = undo() }
	}
	for g := r.history.last(); g != nil && g.number >= n; g = r.history.last() {
		err := fmt.Errorf("group %d was not undone", g.number)
		each(g.component(), func() error {
			before := len(out.Left)
			if err = r.undoGroup(g, force, out); err == nil {
				err = r.append(record{Type: recordUndone, Group: g.number, Left: out.Left[before:]})
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// component is whose files a group changes.
func (g *group) component() string {
	if len(g.changes) == 0 {
		return ""
	}
	return g.changes[0].Component
}

// undoGroup restores what a group changed. It may be repeated after a crash at
// any point, and goes on after an error.
func (r *Run) undoGroup(g *group, force bool, out *Outcome) error {
	d := dirs{root: r.store.root}
	defer d.close()
	var errs []error
	var metas []string
	for _, c := range g.backwards() {
		restored, why, err := r.undoChange(&d, c, force)
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case why != "":
			out.Left = append(out.Left, Left{c.Path, why})
			continue
		case restored:
			out.Restored = append(out.Restored, c.Path)
		}
		if c.Kind == Meta {
			metas = append(metas, c.Path)
		}
	}
	// All syncs after all changes: the first one pays for the rest. Also of what
	// was as before already, because an earlier undo may have died before its
	// syncs.
	for _, p := range metas {
		in, base, err := d.parent(p)
		if err == nil {
			err = r.store.disk.syncAt(in, base)
		}
		errs = append(errs, err)
	}
	return errors.Join(append(errs, d.sync(r.store.disk))...)
}

// backwards is the order in which a group is undone. What was there is restored
// in the group's own order, a manifest still after the files that it names; then
// what was made goes, the last first.
func (g *group) backwards() []change {
	var order []change
	for _, c := range g.changes {
		if !c.Before.Absent {
			order = append(order, c)
		}
	}
	for _, c := range slices.Backward(g.changes) {
		if c.Before.Absent {
			order = append(order, c)
		}
	}
	return order
}

// verdict is what an undo finds at a path.
type verdict int

const (
	asBefore verdict = iota // nothing to undo
	ours                    // as the change left it, or half way there
	foreign                 // changed by somebody else
	stuck                   // as foreign, and not to be forced either
)

// judge compares what is at a path with what a change was to make of it.
func (c *change) judge(now sight) (verdict, string) {
	state := now.fileState
	switch {
	case c.Before.Absent && state.Absent:
		return asBefore, ""
	case !state.Absent && now.kind != unix.S_IFREG && now.kind != unix.S_IFDIR:
		return stuck, "is no longer a file"
	case !state.Absent && state.Dir != c.After.Dir:
		return stuck, "is of another type now"
	}
	switch {
	case c.Kind == Meta && state.Absent:
		return stuck, "is gone"
	case c.Kind == Meta && state.sameMeta(c.Before), c.Kind == Write && state.same(c.Before):
		return asBefore, ""
	case now.unwritable != "":
		return stuck, "is " + now.unwritable
	case c.Kind == Meta && halfway(state, c.Before, c.After),
		c.Kind == Mkdir && state.sameMeta(c.After),
		c.Kind == Write && state.same(c.After):
		return ours, ""
	case state.Absent:
		return foreign, "is gone"
	case c.Kind == Write && state.Digest != c.After.Digest:
		return foreign, "its content was changed since"
	}
	return foreign, fmt.Sprintf("mode or owner was changed since, to %v %d:%d", state.Mode, state.UID, state.GID)
}

// undoChange restores one path. why is not empty when the path was left as it
// is.
func (r *Run) undoChange(d *dirs, c change, force bool) (restored bool, why string, err error) {
	in, base, err := d.parent(c.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		if c.Before.Absent {
			return false, "", nil
		}
		return false, "its directory is gone", nil
	}
	if err != nil {
		return false, "", err
	}
	disk := r.store.disk
	if c.Temp != "" {
		if err := disk.discard(in, c.Temp); err != nil {
			return false, "", err
		}
	}
	now, err := look(in, base, c.Kind == Write)
	if err != nil {
		return false, "", err
	}
	verdict, why := c.judge(now)
	if verdict == stuck || verdict == foreign && !force {
		return false, why, nil
	}
	if verdict == asBefore {
		return false, "", nil
	}
	switch {
	case c.Kind == Meta:
		err = r.restoreMeta(in, base, c)
	case c.Kind == Mkdir:
		err = disk.rmdir(in, base)
		if errors.Is(err, unix.ENOTEMPTY) {
			return false, "is not empty", nil
		}
	case c.Before.Absent:
		err = disk.unlink(in, base)
	default:
		err = r.restoreFile(in, base, c)
	}
	return err == nil, "", err
}

func (r *Run) restoreMeta(in folder, base string, c change) error {
	f, err := in.open(base, unix.O_PATH)
	if err != nil {
		return err
	}
	defer f.Close()
	now, err := statx(f.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return failed("stat", f.path, err)
	}
	from := now.fileState
	from.Xattrs = c.Before.Xattrs // chown has dropped a capability, or will
	return r.store.disk.setMeta(f, from, c.Before)
}

// restoreFile puts a backup in place. The name of the change's temporary file
// serves again; an undo that died leaves it for the next one.
func (r *Run) restoreFile(in folder, base string, c change) error {
	disk := r.store.disk
	from, err := r.backup.open(c.Backup, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer from.Close()
	err = disk.stage(in, c.Temp, c.Before, c.Before, func(to openFile) error {
		sum, err := disk.copy(to, from)
		if err == nil && sum != c.Before.Digest {
			err = fmt.Errorf("%s: %w: not the content that was saved", from.path, errDamaged)
		}
		return err
	})
	if err == nil {
		err = disk.replace(in, c.Temp, base)
	}
	if err != nil {
		return errors.Join(err, disk.discard(in, c.Temp))
	}
	return nil
}

func isExist(err error) bool      { return errors.Is(err, fs.ErrExist) }
func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
