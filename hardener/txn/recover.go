//go:build linux

package txn

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Recover finishes what a process that died has left: its run is undone, but
// for the groups that it had kept, and a rollback is completed. Afterwards
// every file is whole and either as before or as after its change, and no run
// is unfinished. Files that somebody changed since are left as they are and
// named in the outcome. It may be repeated, and may itself be killed.
//
// A run whose journal is damaged is left alone, all of it, and its outcome says
// Damaged: what its journal still says is for a person to trust, by a rollback by
// force. That is no error, because to try again does not help.
//
// The error names the runs that could not be recovered; the others are.
func (s *Store) Recover() ([]Outcome, error) {
	if s.run != nil {
		return nil, fmt.Errorf("recover: %w: run %s is open", ErrUnfinished, s.run.id)
	}
	ids, err := runIDs(s.runs)
	if err != nil {
		return nil, fmt.Errorf("recover: %w", err)
	}
	var outcomes []Outcome
	var errs []error
	for _, id := range slices.Backward(ids) { // later runs rest on earlier ones
		out, err := s.recoverRun(id)
		if err != nil {
			errs = append(errs, fmt.Errorf("recover: run %s: %w", id, err))
		}
		if out != nil {
			outcomes = append(outcomes, *out)
		}
	}
	return outcomes, errors.Join(errs...)
}

// recoverRun gives nil for a run that needs nothing.
func (s *Store) recoverRun(id string) (*Outcome, error) {
	r, err := s.load(id)
	if r != nil {
		defer r.close()
	}
	if errors.Is(err, errDamaged) {
		return &Outcome{ID: id, State: Damaged}, nil
	}
	if err != nil {
		return nil, err
	}
	h := &r.history
	switch {
	case !h.begun, h.info.State == Unfinished && len(h.groups) == 0:
		return nil, s.remove(id) // died before it announced any change
	case h.info.State.finished():
		return nil, nil
	}
	out := &Outcome{ID: id}
	if err := r.undoUnproven(out, nil); err != nil {
		out.State = h.info.State
		return out, err
	}
	switch {
	case h.info.State == RollingBack:
		out.State = RolledBack
	case h.last() != nil:
		out.State = Committed
	default:
		out.State = Undone
	}
	return out, r.end(out.State)
}

// undoUnproven undoes the groups that are not kept. Kept ones are always older.
func (r *Run) undoUnproven(out *Outcome, each GroupFunc) error {
	first := len(r.history.groups) + 1
	for _, g := range r.history.inPlace() {
		if !g.kept {
			first = min(first, g.number)
		}
	}
	return r.undoFrom(first, r.history.force, out, each)
}

// Rollback undoes a committed run; an empty id means the newest one that has
// changes in place, group by group, the newest first; each may be nil. If files are no longer as the run left them, it changes
// nothing and names them in an error that is ErrChanged; force restores them
// nevertheless, as far as they are files still. Directories that the run made
// stay if something is in them.
//
// A run whose journal is damaged is only rolled back by force, as far as its
// journal can be read.
func (s *Store) Rollback(id string, force bool, each GroupFunc) (Outcome, error) {
	out, err := s.rollback(id, force, each)
	if err != nil {
		if out.ID != "" {
			err = fmt.Errorf("run %s: %w", out.ID, err)
		}
		return out, fmt.Errorf("roll back: %w", err)
	}
	return out, nil
}

func (s *Store) rollback(id string, force bool, each GroupFunc) (Outcome, error) {
	out := Outcome{ID: id}
	infos, err := list(s.runs)
	if err != nil {
		return out, err
	}
	i := slices.IndexFunc(infos, func(i RunInfo) bool { return i.ID == id })
	if id == "" {
		i = lastCommitted(infos)
	}
	if i < 0 {
		return out, ErrNoRun
	}
	out.ID, out.State = infos[i].ID, infos[i].State
	for _, other := range infos {
		if other.State == Unfinished || other.State == RollingBack {
			return out, fmt.Errorf("%w: run %s is %s", ErrUnfinished, other.ID, other.State)
		}
	}
	r, err := s.load(out.ID)
	if r != nil {
		defer r.close()
	}
	damaged := errors.Is(err, errDamaged)
	if err != nil && !(damaged && force) {
		return out, err
	}
	if damaged {
		if err := r.salvage(); err != nil {
			return out, err
		}
	} else if out.State != Committed {
		return out, fmt.Errorf("it is %s", out.State)
	}
	return out, r.rollBack(force, &out, each)
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

// rollBack undoes a loaded run.
func (r *Run) rollBack(force bool, out *Outcome, each GroupFunc) error {
	if !force {
		left, err := r.obstacles()
		if err != nil {
			return err
		}
		if err := changedError("nothing was restored", left); err != nil {
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
			if v, why := c.judge(now); v == foreign || v == stuck {
				left = append(left, Left{c.Path, why})
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
	if !r.history.begun {
		return fmt.Errorf("nothing of its journal can be read: compare %s with the node's files, then move %s out of %s", r.backup.path, r.id, r.store.runs.path)
	}
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

// prune removes the oldest finished runs above the limit, but never the newest
// one that can be rolled back.
func (s *Store) prune() error {
	infos, err := list(s.runs)
	if err != nil {
		return err
	}
	stays := ""
	if i := lastCommitted(infos); i >= 0 {
		stays = infos[i].ID
	}
	infos = slices.DeleteFunc(infos, func(i RunInfo) bool { return !i.State.finished() })
	for _, i := range infos[:max(0, len(infos)-s.keep)] {
		if i.ID == stays {
			continue
		}
		if err := s.remove(i.ID); err != nil {
			return err
		}
	}
	return nil
}

// remove takes a run away: first its name, so that a crash leaves no run
// without its backups, then its files.
func (s *Store) remove(id string) error {
	if err := s.disk.replace(s.runs, id, trash+id); err != nil {
		return err
	}
	if err := s.disk.syncFolder(s.runs); err != nil {
		return err
	}
	return s.removeAll(s.runs, trash+id)
}

// sweep removes what a crash during remove has left.
func (s *Store) sweep() error {
	names, err := s.runs.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if strings.HasPrefix(n, trash) {
			if err := s.removeAll(s.runs, n); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Store) removeAll(in folder, name string) error {
	dir, err := in.folder(name)
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return s.disk.unlink(in, name)
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	names, err := dir.names()
	if err != nil {
		return err
	}
	for _, n := range names {
		if err := s.removeAll(dir, n); err != nil {
			return err
		}
	}
	return s.disk.rmdir(in, name)
}
