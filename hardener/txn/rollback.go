//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"golang.org/x/sys/unix"
)

// CanRollback says which run Rollback would undo with the same arguments, and why
// it would not begin to: the errors are the same. It changes nothing.
func (s *Store) CanRollback(id string, force bool) (RunInfo, error) {
	info, r, err := s.toRollBack(id, force)
	if err == nil {
		r.close()
	} else {
		err = rollbackError(info.ID, err)
	}
	return info, err
}

// Rollback undoes a committed run, group by group, the newest first; each may be
// nil. An empty id means the newest run that has changes in place. If files are
// no longer as the run left them, it changes nothing and names them in an error
// that is ErrChanged; force restores them nevertheless, as far as they are files
// still. Directories that the run made stay if something is in them. In the same
// way a backup that is damaged or missing is ErrLost, and by force its file is left
// as it is and the rest is put back.
//
// A run whose journal is damaged is only rolled back by force, as far as its
// journal can be read.
func (s *Store) Rollback(id string, force bool, each GroupFunc) (Outcome, error) {
	info, r, err := s.toRollBack(id, force)
	out := Outcome{ID: info.ID, State: info.State}
	if err == nil {
		defer r.close()
		err = r.rollBack(force, &out, each)
	}
	if err != nil {
		err = rollbackError(out.ID, err)
	}
	return out, err
}

func rollbackError(id string, err error) error {
	if id != "" {
		err = fmt.Errorf("run %s: %w", id, err)
	}
	return fmt.Errorf("roll back: %w", err)
}

// toRollBack finds the run that a rollback undoes and opens it, if nothing is in
// the way.
func (s *Store) toRollBack(id string, force bool) (info RunInfo, r *Run, err error) {
	info.ID = id
	infos, err := list(s.runs)
	if err != nil {
		return info, nil, err
	}
	i := slices.IndexFunc(infos, func(i RunInfo) bool { return i.ID == id })
	if id == "" {
		i = lastCommitted(infos)
	}
	if i < 0 {
		return info, nil, ErrNoRun
	}
	info = infos[i]
	for _, other := range infos {
		if other.State == Unfinished || other.State == RollingBack {
			return info, nil, fmt.Errorf("%w: run %s is %s", ErrUnfinished, other.ID, other.State)
		}
	}
	r, err = s.load(info.ID)
	if r == nil {
		return info, nil, err
	}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	r.damaged = errors.Is(err, errDamaged)
	switch {
	case r.damaged && force:
		if !r.history.begun {
			return info, r, fmt.Errorf("nothing of its journal can be read: compare %s with the node's files, then move %s out of %s", r.backup.path, r.id, r.store.runs.path)
		}
		return info, r, nil
	case err != nil:
		return info, r, err
	case info.State != Committed && len(info.Lost) > 0:
		return info, r, fmt.Errorf("it is %s: %w", info.State, leftError("not put back", info.Lost))
	case info.State != Committed:
		return info, r, fmt.Errorf("it is %s", info.State)
	case force:
		return info, r, nil
	}
	left, err := r.obstacles()
	if err == nil {
		err = leftError("nothing was restored", left)
	}
	return info, r, err
}

// lastCommitted is the index of the run that a rollback undoes by default, or
// -1.
func lastCommitted(infos []RunInfo) int {
	for i, info := range slices.Backward(infos) {
		if info.State == Committed && len(info.Paths) > 0 {
			return i
		}
	}
	return -1
}

// rollBack undoes a run that toRollBack gave.
func (r *Run) rollBack(force bool, out *Outcome, each GroupFunc) error {
	if r.damaged {
		if err := r.salvage(); err != nil {
			return err
		}
	}
	final := RolledBack
	switch r.history.info.State {
	case Committed:
		if err := r.append(record{Type: recordRollback, Force: force}); err != nil {
			return err
		}
	case Unfinished: // damaged
		final = Undone
	case RollingBack: // damaged
	default: // damaged after its end
		out.State = r.history.info.State
		return r.cut()
	}
	out.State = r.history.info.State
	if err := r.undoFrom(1, force, out, each); err != nil {
		return err
	}
	if err := r.end(final); err != nil {
		return err
	}
	out.State = final
	return nil
}

// obstacles lists what is not as the run left it. It follows the run backwards,
// because a later group may have changed a path again.
func (r *Run) obstacles() ([]Left, error) {
	d := dirs{root: r.store.root}
	defer d.close()
	content := map[string]bool{}
	for _, g := range r.history.inPlace() {
		for _, c := range g.changes {
			content[c.Path] = content[c.Path] || c.Kind == Write
		}
	}
	var left []Left
	found := map[string]sight{}
	for _, g := range slices.Backward(r.history.inPlace()) {
		for _, c := range g.backwards() {
			now, known := found[c.Path]
			if !known {
				in, base, err := d.parent(c.Path)
				switch {
				case errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR):
					now = sight{fileState: fileState{Absent: true}}
				case err != nil:
					return nil, err
				default:
					if now, err = look(in, base, content[c.Path]); err != nil {
						return nil, err
					}
				}
			}
			switch v, why := c.judge(now); {
			case v == foreign || v == stuck:
				left = append(left, Left{Path: c.Path, Reason: why})
			case v == ours && c.Backup != "":
				err := r.checkBackup(c)
				if errors.Is(err, errNoBackup) {
					left = append(left, lost(c, err.Error()))
				} else if err != nil {
					return nil, err
				}
			}
			digest := now.Digest
			now.fileState = c.Before
			if c.Kind == Meta {
				now.Digest = digest
			}
			found[c.Path] = now
		}
	}
	return left, nil
}

// salvage puts a copy of a damaged journal beside it, because the rollback cuts
// it after its last good record.
func (r *Run) salvage() error {
	d := r.store.disk
	if err := d.discard(r.dir, "journal.damaged"); err != nil {
		return err
	}
	f, err := d.create(r.dir, "journal.damaged")
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := r.journal.Seek(0, io.SeekStart); err != nil {
		return failed("seek", r.journal.path, err)
	}
	if _, err := d.copy(f, r.journal); err != nil {
		return err
	}
	if err := d.sync(f); err != nil {
		return err
	}
	return d.syncFolder(r.dir)
}
