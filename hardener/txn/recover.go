//go:build linux

package txn

import (
	"errors"
	"fmt"
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
// A file whose backup is damaged or missing is left too, with the run's content:
// nothing that comes later can put it back, and the run ends. Any other error, such
// as a disk that is full, read-only or cannot be read, may go away: what can be
// undone is, and the run stays unfinished, to be tried again.
//
// The error names the runs that could not be recovered; the others are.
func (s *Store) Recover() ([]Outcome, error) { return s.recoverAll("") }

// GiveUp is Recover, but ends the run id for good: what of it cannot be put back
// now, for whatever reason, is left as it is and Lost. Groups that were kept stay.
// What is still an error is so because the run's end cannot be recorded.
func (s *Store) GiveUp(id string) ([]Outcome, error) { return s.recoverAll(id) }

func (s *Store) recoverAll(giveUp string) ([]Outcome, error) {
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
		out, err := s.recoverRun(id, id == giveUp)
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
func (s *Store) recoverRun(id string, giveUp bool) (*Outcome, error) {
	r, err := s.load(id)
	if r != nil {
		defer r.close()
		r.giveUp = giveUp
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

// prune removes the oldest finished runs above the limit, but never the newest
// one that can be rolled back, nor one of which nobody knows what is Lost.
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
		if i.ID == stays || len(i.Lost) > 0 && !i.Told {
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
