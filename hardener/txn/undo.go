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
	// InUse says that it is a directory which the run made and in which somebody
	// else, such as an API server that logs, has put something since: it is no
	// fault that it stays.
	InUse bool `json:"in_use,omitempty"`
	// Lost says that a person has to look at it: it could not be put back, because
	// its backup is damaged or missing or the run was given up, or the run made it
	// and a file that is Lost may need it.
	Lost      bool   `json:"lost,omitempty"`
	Component string `json:"component,omitempty"` // whose file it is; of what is Lost
}

// Lost are the paths left that a person has to look at.
func (o *Outcome) Lost() []Left {
	return slices.DeleteFunc(slices.Clone(o.Left), func(l Left) bool { return !l.Lost })
}

// leftError is nil, or an error that names what was left and is ErrChanged,
// ErrLost, or both.
func (o *Outcome) leftError() error {
	return leftError("left as found", o.Left)
}

func leftError(what string, left []Left) error {
	var changed, lost []string
	for _, l := range left {
		text := l.Path + " (" + l.Reason + ")"
		switch {
		case l.Lost:
			lost = append(lost, text)
		case !l.InUse:
			changed = append(changed, text)
		}
	}
	var errs []error
	if len(changed) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrChanged, what, strings.Join(changed, ", ")))
	}
	if len(lost) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s: %s", ErrLost, what, strings.Join(lost, ", ")))
	}
	return errors.Join(errs...)
}

// GroupFunc is called for each group that is about to be undone, and calls undo
// once: what a component needs before and after its files are put back is the
// caller's business, and so are its errors. A group that is not undone ends the
// work.
type GroupFunc func(component string, undo func() error)

// undoFrom undoes the groups in place from number n on, newest first, and
// records it. What it did goes to out. each may be nil.
//
// With each, the first error ends it: a component is to be healthy before the next
// one loses its files. Without it, older groups are undone all the same, because
// groups are of components that do not rest on each other's files; but not one
// that has a path in common with a group that could not be undone.
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
	stop := each != nil
	if !stop {
		each = func(_ string, undo func() error) { _ = undo() }
	}
	var failed []*group
	var errs []error
	for _, g := range slices.Backward(r.history.inPlace()) {
		if g.number < n {
			break
		}
		if slices.ContainsFunc(failed, g.overlaps) {
			failed = append(failed, g)
			continue
		}
		err := fmt.Errorf("group %d was not undone", g.number)
		each(g.component(), func() error {
			var left []Left
			if left, err = r.undoGroup(g, force, out); err == nil {
				err = r.append(record{Type: recordUndone, Group: g.number, Left: left})
			}
			return err
		})
		if err != nil {
			errs, failed = append(errs, err), append(failed, g)
			if stop {
				break
			}
		}
	}
	return errors.Join(errs...)
}

// overlaps tells whether two groups change the same path, or one makes what the
// other changes something in.
func (g *group) overlaps(o *group) bool {
	for _, a := range g.changes {
		for _, b := range o.changes {
			if a.Path == b.Path || strings.HasPrefix(a.Path, b.Path+"/") || strings.HasPrefix(b.Path, a.Path+"/") {
				return true
			}
		}
	}
	return false
}

// component is whose files a group changes.
func (g *group) component() string {
	if len(g.changes) == 0 {
		return ""
	}
	return g.changes[0].Component
}

// undoGroup restores what a group changed. It may be repeated after a crash at
// any point, and goes on after an error. A run that is given up has errors of its
// files only as what is left.
//
// While a file of the group has the run's content still, what the group made
// stays: a manifest that names a file that is gone keeps its pod from starting.
func (r *Run) undoGroup(g *group, force bool, out *Outcome) (left []Left, err error) {
	u := undoing{Run: r, dirs: dirs{root: r.store.root}, force: force, over: r.history.leftOver(g.number)}
	defer u.dirs.close()
	var errs []error
	var metas []string
	for _, c := range g.backwards() {
		if c.Before.Absent && len(errs) > 0 {
			continue // tried again with what failed
		}
		restored, l, err := u.undoChange(c)
		if err != nil && r.giveUp {
			l, err = lost(c, "could not be put back: "+err.Error()), nil
		}
		if l.Lost && c.Kind == Write && u.needs == "" {
			u.needs = c.Path
		}
		switch {
		case err != nil:
			errs = append(errs, err)
			continue
		case l.Path != "":
			left = append(left, l)
			continue
		case restored:
			out.restored(c.Path)
		}
		if c.Kind == Meta {
			metas = append(metas, c.Path)
		}
	}
	out.leave(left)
	// All syncs after all changes: the first one pays for the rest. Also of what
	// was as before already, because an earlier undo may have died before its
	// syncs.
	var syncs []error
	for _, p := range metas {
		in, base, err := u.dirs.parent(p)
		if err == nil {
			err = r.store.disk.syncAt(in, base)
		}
		syncs = append(syncs, err)
	}
	err = errors.Join(append(syncs, u.dirs.sync(r.store.disk))...)
	if r.giveUp {
		err = nil // every file is whole; what a power cut could still take, nobody can keep
	}
	return left, errors.Join(append(errs, err)...)
}

// restored takes down that a path is as before. What a newer group could not put
// back, the backup of an older one may have.
func (o *Outcome) restored(p string) {
	o.Restored = append(o.Restored, p)
	o.Left = slices.DeleteFunc(o.Left, func(l Left) bool { return l.Lost && l.Path == p })
}

// leave takes down what was left, each path that is Lost once.
func (o *Outcome) leave(left []Left) {
	for _, l := range left {
		o.Left = slices.DeleteFunc(o.Left, func(old Left) bool { return old.Lost && old.Path == l.Path })
		o.Left = append(o.Left, l)
	}
}

func lost(c change, why string) Left {
	return Left{Path: c.Path, Reason: why, Lost: true, Component: c.Component}
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

// undoing is the undoing of one group.
type undoing struct {
	*Run
	dirs  dirs
	force bool
	over  map[string]fileState // what newer groups had to leave, as they made it
	needs string               // a file that stays as the run wrote it; "" none
}

// undoChange restores one path. left has a path when it was left as it is.
func (u *undoing) undoChange(c change) (restored bool, left Left, err error) {
	in, base, err := u.dirs.parent(c.Path)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		if c.Before.Absent {
			return false, left, nil
		}
		return false, Left{Path: c.Path, Reason: "its directory is gone"}, nil
	}
	if err != nil {
		return false, left, err
	}
	disk := u.store.disk
	if c.Temp != "" {
		if err := disk.discard(in, c.Temp); err != nil {
			return false, left, err
		}
	}
	now, err := look(in, base, c.Kind == Write)
	if err != nil {
		return false, left, err
	}
	verdict, why := c.judge(now)
	if over, ok := u.over[c.Path]; ok {
		switch {
		case c.Kind == Meta: // its content is not back, so that it stays as it is
			return false, left, nil
		case verdict == foreign && now.same(over):
			verdict = ours
		}
	}
	if verdict == stuck || verdict == foreign && !u.force {
		return false, Left{Path: c.Path, Reason: why}, nil
	}
	if verdict == asBefore {
		return false, left, nil
	}
	if c.Before.Absent && u.needs != "" {
		return false, lost(c, "the run made it, and "+u.needs+" may need it"), nil
	}
	switch {
	case c.Kind == Meta:
		err = u.restoreMeta(in, base, c)
	case c.Kind == Mkdir:
		err = disk.rmdir(in, base)
		if errors.Is(err, unix.ENOTEMPTY) {
			return false, Left{Path: c.Path, Reason: "is not empty", InUse: true}, nil
		}
	case c.Before.Absent:
		err = disk.unlink(in, base)
	default:
		err = u.restoreFile(in, base, c)
		if errors.Is(err, errNoBackup) {
			return false, lost(c, err.Error()), nil
		}
	}
	return err == nil, left, err
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
	from, err := r.openBackup(c)
	if err != nil {
		return err
	}
	defer from.Close()
	err = disk.stage(in, c.Temp, c.Before, c.Before, func(to openFile) error {
		sum, err := disk.copy(to, from)
		if err == nil && sum != c.Before.Digest {
			err = noBackup{from.path, "damaged"}
		}
		return err
	})
	if err == nil {
		err = disk.replace(in, c.Temp, base)
	}
	if err != nil {
		if gone := disk.discard(in, c.Temp); gone != nil {
			return errors.Join(err, gone)
		}
		return err
	}
	return nil
}

func isExist(err error) bool      { return errors.Is(err, fs.ErrExist) }
func isPermission(err error) bool { return errors.Is(err, fs.ErrPermission) }
