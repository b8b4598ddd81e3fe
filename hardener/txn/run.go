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

// Kind says what a Change does.
type Kind string

// The kinds of Change.
const (
	Write Kind = "write" // create a regular file, or replace one with all that is in it
	Meta  Kind = "meta"  // set mode and owner of a file or a directory
	Mkdir Kind = "mkdir" // create a directory
)

// Change is one change to one path.
type Change struct {
	Kind      Kind
	Path      string      // absolute, as seen from the node's root; never a link itself
	Content   []byte      // for Write
	Mode      fs.FileMode // permission, setuid, setgid and sticky bits; others are ignored
	UID, GID  int
	Expect    State    // what the change rests on; anything else there is ErrChanged
	Component string   // for the journal
	Checks    []string // for the journal
}

func (c Change) after() fileState {
	s := fileState{Mode: modeOf(c.Mode), UID: c.UID, GID: c.GID, Dir: c.Kind == Mkdir}
	if c.Kind == Write {
		s.Size, s.Digest = int64(len(c.Content)), Digest(c.Content)
	}
	return s
}

// Run is a set of changes that is kept or undone, group by group.
type Run struct {
	store   *Store
	id      string
	begin   runHeader
	dir     folder // not open until something is to be journaled
	backup  folder
	journal openFile
	size    int64 // of the journal's valid records
	torn    bool  // something follows them
	damaged bool  // and no crash has left it
	history history
	giveUp  bool // on what cannot be put back now
	closed  bool
}

// Begin opens a run. Nothing is written before a group changes something. It
// refuses while an earlier run is unfinished.
func (s *Store) Begin(info RunInfo) (*Run, error) {
	r, err := s.beginRun(info)
	if err != nil {
		return nil, fmt.Errorf("begin run: %w", err)
	}
	return r, nil
}

func (s *Store) beginRun(info RunInfo) (*Run, error) {
	if s.run != nil {
		return nil, fmt.Errorf("%w: run %s is open", ErrUnfinished, s.run.id)
	}
	infos, err := list(s.runs)
	if err != nil {
		return nil, err
	}
	for _, i := range infos {
		if i.State == Damaged {
			return nil, fmt.Errorf("%w: the journal of run %s is damaged: roll it back by force", ErrUnfinished, i.ID)
		}
		if !i.State.finished() {
			return nil, fmt.Errorf("%w: run %s is %s", ErrUnfinished, i.ID, i.State)
		}
	}
	id, err := s.newID()
	if err != nil {
		return nil, err
	}
	s.run = &Run{store: s, id: id, begin: runHeader{Format: journalFormat, ID: id, Command: info.Command, Phase: info.Phase, Version: info.Version}}
	return s.run, nil
}

// ID names the run.
func (r *Run) ID() string { return r.id }

// Paths are the paths that the run has changed so far and not undone, in their
// order.
func (r *Run) Paths() []string { return r.history.describe(r.id).Paths }

// Keep says that the groups applied so far have been proven: if this process
// dies later in the run, Recover leaves them in place. Undo and a rollback
// still undo them.
func (r *Run) Keep() error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("keep: %w", err)
	}
	if r.history.last() == nil {
		return nil
	}
	if err := r.append(record{Type: recordKeep}); err != nil {
		return fmt.Errorf("keep: run %s: %w", r.id, err)
	}
	return nil
}

// UndoGroup undoes the newest group that is not undone; earlier ones stay. A
// file that somebody changed since, or whose backup is damaged or missing, is left
// as it is and named in an error that is ErrChanged or ErrLost.
func (r *Run) UndoGroup() error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("undo group: %w", err)
	}
	g := r.history.last()
	if g == nil {
		return nil
	}
	out := Outcome{ID: r.id}
	if err := errors.Join(r.undoFrom(g.number, false, &out, nil), out.leftError()); err != nil {
		return fmt.Errorf("undo group: run %s: %w", r.id, err)
	}
	return nil
}

// Groups is how many groups are in place. A group of changes without effect is
// none.
func (r *Run) Groups() int { return len(r.history.inPlace()) }

// Unkept reports groups in place that Keep has not covered: Recover would undo
// them.
func (r *Run) Unkept() bool {
	return slices.ContainsFunc(r.history.inPlace(), func(g *group) bool { return !g.kept })
}

// UndoUnkept undoes the groups that Keep has not covered, newest first; the kept
// ones stay. each may be nil. The errors are as UndoGroup's.
func (r *Run) UndoUnkept(each GroupFunc) error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	out := Outcome{ID: r.id}
	if err := errors.Join(r.undoUnproven(&out, each), out.leftError()); err != nil {
		return fmt.Errorf("undo: run %s: %w", r.id, err)
	}
	return nil
}

// Undo undoes every group of the run, newest first, and ends it. A file that
// somebody changed since, or whose backup is damaged or missing, is left as it is
// and named in an error that is ErrChanged or ErrLost. After any other error the
// run is unfinished and Recover can try again.
func (r *Run) Undo() error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("undo: %w", err)
	}
	out := Outcome{ID: r.id}
	err := r.undoFrom(1, false, &out, nil)
	if err == nil {
		err = r.end(Undone)
	}
	r.close()
	if err := errors.Join(err, out.leftError()); err != nil {
		return fmt.Errorf("undo: run %s: %w", r.id, err)
	}
	return nil
}

// Commit ends the run; its groups that are not undone stay. A run that has
// changed nothing leaves nothing behind. Old runs are removed. After an error
// the run is still open and can be undone, unless the error is only about old
// runs: then the run's state, as listed by Runs, is Committed.
func (r *Run) Commit() error {
	if err := r.usable(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	state := Committed
	if r.history.last() == nil {
		state = Undone
	}
	if err := r.end(state); err != nil {
		return fmt.Errorf("commit: run %s: %w", r.id, err)
	}
	r.close()
	if err := r.store.prune(); err != nil {
		return fmt.Errorf("commit: run %s is committed: remove old runs: %w", r.id, err)
	}
	return nil
}

func (r *Run) usable() error {
	if r.closed {
		return fmt.Errorf("run %s is finished", r.id)
	}
	return nil
}

// end records the end of a run that has a journal.
func (r *Run) end(state RunState) error {
	if r.journal.File == nil {
		return nil
	}
	return r.append(record{Type: recordEnd, State: state})
}

func (r *Run) close() {
	if r.closed {
		return
	}
	r.closed = true
	for _, f := range []io.Closer{r.journal.File, r.backup.File, r.dir.File} {
		f.Close() // a nil *os.File only says so
	}
	if r.store.run == r {
		r.store.run = nil
	}
}

// make creates the run's directory and its journal. If that fails, nothing of
// it stays.
func (r *Run) make() (err error) {
	if r.journal.File != nil {
		return nil
	}
	d, runs := r.store.disk, r.store.runs
	defer func() {
		if err != nil {
			err = errors.Join(err, r.unmake())
		}
	}()
	if err := d.mkdir(runs, r.id, 0o700); err != nil {
		return err
	}
	if r.dir, err = runs.folder(r.id); err != nil {
		return err
	}
	if r.backup, err = r.store.makeFolder(r.dir, "backup", 0o700); err != nil {
		return err
	}
	if r.journal, err = d.create(r.dir, "journal"); err != nil {
		return err
	}
	if err := r.append(record{Type: recordBegin, Run: &r.begin}); err != nil {
		return err
	}
	if err := d.syncFolder(r.dir); err != nil {
		return err
	}
	return d.syncFolder(runs)
}

// unmake removes the directory of a run that has announced nothing yet.
func (r *Run) unmake() error {
	for _, f := range []io.Closer{r.journal.File, r.backup.File, r.dir.File} {
		f.Close()
	}
	r.journal, r.backup, r.dir = openFile{}, folder{}, folder{}
	r.size, r.torn, r.history = 0, false, history{}
	err := r.store.remove(r.id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// load opens a stored run. The error is errDamaged's when its journal is; the
// run is usable as far as the journal goes even then.
func (s *Store) load(id string) (*Run, error) {
	r := &Run{store: s, id: id}
	var err error
	if r.dir, err = s.runs.folder(id); err != nil {
		return nil, err
	}
	if r.backup, err = r.dir.folder("backup"); err != nil && !errors.Is(err, fs.ErrNotExist) {
		r.close()
		return nil, err
	}
	r.journal, err = r.dir.open("journal", unix.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return r, lostJournal(s.runs, id)
	}
	var b []byte
	if err == nil {
		b, err = io.ReadAll(r.journal.File)
	}
	if err != nil {
		r.close()
		return nil, err
	}
	h, valid, err := readJournal(b)
	r.history, r.size, r.torn = h, int64(valid), valid < len(b)
	if err == nil && !h.begun {
		return r, lostJournal(s.runs, id)
	}
	return r, err
}

// append writes a record and makes it durable before it returns. When it fails,
// the journal is as before, or what was written is cut off before the next
// record is.
func (r *Run) append(rec record) error {
	d := r.store.disk
	rec.Seq, rec.Time = r.history.records, r.store.now().UTC()
	line, err := frame(rec)
	if err != nil {
		return err
	}
	if err := r.cut(); err != nil {
		return err
	}
	r.torn = true
	err = d.write(r.journal, line)
	if err == nil {
		err = d.sync(r.journal)
	}
	if err != nil {
		return errors.Join(err, r.cut())
	}
	r.size += int64(len(line))
	r.torn = false
	return r.history.add(rec)
}

// cut takes off what follows the journal's valid records.
func (r *Run) cut() error {
	if r.torn {
		if err := r.store.disk.truncate(r.journal, r.size); err != nil {
			return err
		}
		r.torn = false
	}
	_, err := r.journal.Seek(r.size, io.SeekStart)
	return failed("seek", r.journal.path, err)
}
