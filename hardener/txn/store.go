//go:build linux

package txn

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// StateDir is where a node keeps its lock, its runs and their backups.
const StateDir = "/var/lib/kubespray-hardener"

// keepRuns is how many finished runs are kept.
const keepRuns = 20

// Errors that callers tell apart.
var (
	ErrLocked     = errors.New("another run holds the lock")   // see LockedError
	ErrChanged    = errors.New("changed since it was read")    // by somebody else, or the read was of another file
	ErrRefused    = errors.New("refused")                      // not a file that can be changed safely; the text says why
	ErrUnfinished = errors.New("an earlier run is unfinished") // Recover comes first
	ErrNoRun      = errors.New("no such run")
	ErrLost       = errors.New("cannot be put back") // see Left.Lost
)

// RunState is how far a run got.
type RunState string

// The states of a run.
const (
	Unfinished  RunState = "unfinished"   // under way, or died
	Committed   RunState = "committed"    // its changes stay
	Undone      RunState = "undone"       // nothing of it is left
	RollingBack RunState = "rolling-back" // a rollback is under way, or died
	RolledBack  RunState = "rolled-back"  // was committed, later undone
	Damaged     RunState = "damaged"      // its journal cannot be read to the end
)

func (s RunState) finished() bool { return s == Committed || s == Undone || s == RolledBack }

// RunInfo describes a run. Begin takes Command, Phase and Version; the rest is filled
// in.
type RunInfo struct {
	ID       string    `json:"id"` // sorts by time: 20261122T204512Z-5f02ac
	Command  string    `json:"command,omitempty"`
	Phase    string    `json:"phase,omitempty"`   // of a step across nodes, "" for none
	Version  string    `json:"version,omitempty"` // of the program
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished,omitzero"`
	State    RunState  `json:"state"`
	Paths    []string  `json:"paths,omitempty"`  // that its changes not undone are at, in their order
	Undone   []string  `json:"undone,omitempty"` // components that had changes which were undone, sorted

	Components []string `json:"components,omitempty"` // whose changes are in place, in their order

	// Lost are the paths that could not be put back, for a person to look at. Told
	// says that one knows, see Store.Told.
	Lost []Left `json:"lost,omitempty"`
	Told bool   `json:"told,omitempty"`
}

// Store is the state of a node. It is not safe for concurrent use.
type Store struct {
	root *host.FS
	dir  folder // StateDir
	runs folder
	lock openFile
	disk disk
	now  func() time.Time
	keep int
	run  *Run // open
}

// Open opens the state directory of the node whose tree root is, making it if
// need be, and takes the lock that makes this process the only writer. The
// error is ErrLocked's when another process has it. root stays open as long as
// the Store is used; Close does not close it.
func Open(root *host.FS) (*Store, error) { return open(root, disk{step: onStep}) }

func open(root *host.FS, d disk) (*Store, error) {
	s := &Store{root: root, disk: d, now: time.Now, keep: keepRuns}
	opened := false
	defer func() {
		if !opened {
			s.closeFiles()
		}
	}()
	if err := s.openState(); err != nil {
		return nil, fmt.Errorf("open state directory: %w", err)
	}
	opened = true
	return s, nil
}

func (s *Store) openState() (err error) {
	if s.dir, err = s.makePath(StateDir); err != nil {
		return err
	}
	if err := s.private(s.dir); err != nil {
		return err
	}
	if err := s.takeLock(); err != nil {
		return err
	}
	if s.runs, err = s.makeFolder(s.dir, "runs", 0o700); err != nil {
		return err
	}
	return s.sweep()
}

// Close gives the lock back. A run that is neither committed nor undone is left
// for Recover.
func (s *Store) Close() error {
	if s.run != nil {
		s.run.close()
	}
	err := s.releaseLock()
	s.closeFiles()
	return err
}

func (s *Store) closeFiles() {
	for _, f := range []*os.File{s.runs.File, s.lock.File, s.dir.File} {
		if f != nil {
			f.Close()
		}
	}
}

// parent opens the directory in which p lies.
func parent(root *host.FS, p string) (folder, string, error) {
	f, base, err := root.OpenParent(p)
	if err != nil {
		return folder{}, "", err
	}
	return folder{f, path.Dir(p)}, base, nil
}

// makePath opens the directory p, making it and the directories above it that
// are missing. Only p itself is private.
func (s *Store) makePath(p string) (folder, error) {
	up, base, err := parent(s.root, p)
	if errors.Is(err, fs.ErrNotExist) {
		above, err := s.makePath(path.Dir(p))
		if err != nil {
			return folder{}, err
		}
		above.Close()
		up, base, err = parent(s.root, p)
		if err != nil {
			return folder{}, err
		}
	} else if err != nil {
		return folder{}, err
	}
	defer up.Close()
	perm := uint32(0o755)
	if p == StateDir {
		perm = 0o700
	}
	return s.makeFolder(up, base, perm)
}

// makeFolder opens the directory name, making it if need be.
func (s *Store) makeFolder(in folder, name string, perm uint32) (folder, error) {
	f, err := in.folder(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := s.disk.mkdir(in, name, perm); err != nil && !errors.Is(err, fs.ErrExist) {
		return folder{}, err
	}
	if err := s.disk.syncFolder(in); err != nil {
		return folder{}, err
	}
	return in.folder(name)
}

// private makes sure that nobody else can put anything into the state
// directory: a rollback as root trusts what is in it.
func (s *Store) private(dir folder) error {
	st, err := statx(dir.fd(), "", unix.AT_EMPTY_PATH)
	if err != nil {
		return failed("stat", dir.path, err)
	}
	if st.UID != os.Geteuid() {
		return fmt.Errorf("%s: %w: belongs to user %d", dir.path, ErrRefused, st.UID)
	}
	if st.Mode&0o077 == 0 {
		return nil
	}
	return s.disk.chmod(openFile(dir), st.Mode&^0o077)
}

// trash begins the names of run directories that are being removed.
const trash = ".removed-"

var runIDPattern = regexp.MustCompile(`^[0-9]{8}T[0-9]{6}Z-[0-9a-f]{6}$`)

func validRunID(id string) bool { return runIDPattern.MatchString(id) }

const runIDTime = "20060102T150405Z"

// newID makes a run ID that sorts after all others, even when the clock was set
// back or two runs begin in the same second.
func (s *Store) newID() (string, error) {
	t := s.now().UTC().Truncate(time.Second)
	ids, err := runIDs(s.runs)
	if err != nil {
		return "", err
	}
	if len(ids) > 0 {
		stamp, _, _ := strings.Cut(ids[len(ids)-1], "-")
		if last, err := time.Parse(runIDTime, stamp); err == nil && !t.After(last) {
			t = last.Add(time.Second)
		}
	}
	return t.Format(runIDTime) + "-" + random(), nil
}

// random gives six hexadecimal digits.
func random() string {
	b := make([]byte, 3)
	rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}

// names lists a directory, sorted.
func (f folder) names() ([]string, error) {
	again, err := f.folder(".") // a position of its own
	if err != nil {
		return nil, err
	}
	defer again.Close()
	names, err := again.Readdirnames(-1)
	if err != nil {
		return nil, failed("list", f.path, err)
	}
	slices.Sort(names)
	return names, nil
}

// runIDs lists the runs, oldest first.
func runIDs(runs folder) ([]string, error) {
	names, err := runs.names()
	return slices.DeleteFunc(names, func(n string) bool { return !validRunID(n) }), err
}

// Runs lists the runs of the node, oldest first.
func (s *Store) Runs() ([]RunInfo, error) {
	infos, err := list(s.runs)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return infos, nil
}

// List is Runs for those who only read: it takes no lock and makes nothing. A
// run that is under way shows as Unfinished. A node without a state directory
// has no runs.
func List(root *host.FS) ([]RunInfo, error) {
	up, base, err := parent(root, StateDir+"/runs")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	defer up.Close()
	runs, err := up.folder(base)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	defer runs.Close()
	infos, err := list(runs)
	if err != nil {
		return nil, fmt.Errorf("list runs: %w", err)
	}
	return infos, nil
}

func list(runs folder) ([]RunInfo, error) {
	ids, err := runIDs(runs)
	if err != nil {
		return nil, err
	}
	var infos []RunInfo
	for _, id := range ids {
		b, err := readRunFile(runs, id, "journal")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		h, _, damage := readJournal(b)
		if damage == nil && !h.begun {
			if damage = lostJournal(runs, id); damage == nil {
				continue // died before it announced anything
			}
			if !errors.Is(damage, errDamaged) {
				return nil, damage
			}
		}
		info := h.describe(id)
		if damage != nil {
			info.State = Damaged
		}
		if len(info.Lost) > 0 {
			_, err := readRunFile(runs, id, toldName)
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
			info.Told = err == nil
		}
		infos = append(infos, info)
	}
	return infos, nil
}

// lostJournal tells a run whose journal has lost even its beginning, which is
// errDamaged, from one that died before it announced anything: the beginning is
// durable before the first backup is made.
func lostJournal(runs folder, id string) error {
	dir, err := runs.folder(id)
	if err != nil {
		return err
	}
	defer dir.Close()
	backup, err := dir.folder("backup")
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer backup.Close()
	names, err := backup.names()
	if err == nil && len(names) > 0 {
		err = fmt.Errorf("%w: it has no beginning, but there are backups", errDamaged)
	}
	return err
}

// describe is the run's RunInfo as of now.
func (h *history) describe(id string) RunInfo {
	info := h.info
	info.ID = id
	for _, g := range h.inPlace() {
		for _, c := range g.changes {
			info.Paths = append(info.Paths, c.Path)
			if c.Component != "" && !slices.Contains(info.Components, c.Component) {
				info.Components = append(info.Components, c.Component)
			}
		}
	}
	for _, g := range h.groups {
		for _, c := range g.changes {
			if g.undone && c.Component != "" && !slices.Contains(info.Undone, c.Component) {
				info.Undone = append(info.Undone, c.Component)
			}
		}
	}
	slices.Sort(info.Undone)
	info.Lost = h.lost()
	return info
}

func readRunFile(runs folder, id, name string) ([]byte, error) {
	dir, err := runs.folder(id)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.open(name, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f.File)
	return b, failed("read", f.path, err)
}

// toldName is a file beside the journal, which has ended.
const toldName = "told"

// Told takes down that a person knows what of a run is Lost. Until then the run
// is not removed as an old one.
func (s *Store) Told(id string) error {
	dir, err := s.runs.folder(id)
	if err == nil {
		defer dir.Close()
		err = s.disk.save(dir, toldName, nil)
	}
	if err != nil {
		return fmt.Errorf("run %s: take down that what was not put back is known: %w", id, err)
	}
	return nil
}

// SaveReport stores the report of a run beside its journal, replacing an
// earlier one. A run that changed nothing has left nothing behind, not even a
// place for its report: ErrNoRun.
func (s *Store) SaveReport(id string, report []byte) error {
	if err := s.saveReport(id, report); err != nil {
		return fmt.Errorf("save report: run %s: %w", id, err)
	}
	return nil
}

func (s *Store) saveReport(id string, report []byte) error {
	if !validRunID(id) {
		return ErrNoRun
	}
	dir, err := s.runs.folder(id)
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoRun
	}
	if err != nil {
		return err
	}
	defer dir.Close()
	return s.disk.save(dir, "report.json", report)
}
