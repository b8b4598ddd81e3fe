//go:build linux

package txn

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"

	"golang.org/x/sys/unix"
)

// errNoBackup is for a backup that is not there, or is not what was saved: no
// later try can find it otherwise. That it cannot be read is something else. A
// disk, a path to it or a mount may come back, so that it is tried again.
var errNoBackup = errors.New("no backup")

// noBackup is an errNoBackup. Its text is what Left says.
type noBackup struct{ path, state string }

func (e noBackup) Error() string        { return fmt.Sprintf("its backup %s is %s", e.path, e.state) }
func (e noBackup) Is(target error) bool { return target == errNoBackup }

// backups is where a run's backups are, as seen from the node's root.
func backups(id string) string { return path.Join(StateDir, "runs", id, "backup") }

// openBackup opens the backup of a change. Its content is for the reader to
// compare; a size that is another is found before anything takes room.
func (r *Run) openBackup(c change) (openFile, error) {
	name := path.Join(backups(r.id), c.Backup)
	if r.backup.File == nil { // as load found it
		return openFile{}, noBackup{name, "missing"}
	}
	f, err := r.backup.open(c.Backup, unix.O_RDONLY)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return openFile{}, noBackup{name, "missing"}
	case errors.Is(err, unix.ELOOP), errors.Is(err, unix.ENXIO): // a link, a socket
		return openFile{}, noBackup{name, "damaged"}
	case err != nil:
		return openFile{}, err
	}
	s, err := statx(f.fd(), "", unix.AT_EMPTY_PATH)
	switch {
	case err != nil:
		err = failed("stat", f.path, err)
	case s.kind != unix.S_IFREG || s.Size != c.Before.Size:
		err = noBackup{name, "damaged"}
	}
	if err != nil {
		f.Close()
		return openFile{}, err
	}
	return f, nil
}

// checkBackup is an errNoBackup when the backup of a change cannot be put back.
func (r *Run) checkBackup(c change) error {
	f, err := r.openBackup(c)
	if err != nil {
		return err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f.File); err != nil {
		return failed("read", f.path, err)
	}
	if hex.EncodeToString(h.Sum(nil)) != c.Before.Digest {
		return noBackup{f.path, "damaged"}
	}
	return nil
}

// leftOver are the paths that groups newer than number could not put back, as
// those groups made them. The oldest counts, over which the others lie.
func (h *history) leftOver(number int) map[string]fileState {
	over := map[string]fileState{}
	for _, g := range h.groups[number:] {
		for _, c := range g.changes {
			if _, known := over[c.Path]; known || !g.undone || c.Kind != Write {
				continue
			}
			for _, l := range g.left {
				if l.Lost && l.Path == c.Path {
					over[c.Path] = c.After
				}
			}
		}
	}
	return over
}

// lost are the paths that a person has to look at, after all that was undone.
func (h *history) lost() []Left {
	var out Outcome
	for i := range h.groups {
		g := h.groups[len(h.groups)-1-i]
		if !g.undone {
			continue
		}
		left := map[string]bool{}
		for _, l := range g.left {
			left[l.Path] = true
		}
		for _, c := range g.changes {
			if c.Kind == Write && !left[c.Path] {
				out.restored(c.Path)
			}
		}
		out.leave(g.left)
	}
	return out.Lost()
}
