//go:build linux

package txn

import (
	"encoding/json"
	"fmt"
	"os"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// LockedError says who holds the lock of a node. It is ErrLocked to errors.Is.
type LockedError struct {
	PID   int       // as seen by the holder; 0 when the lock file does not say
	Since time.Time // when it took the lock
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return ErrLocked.Error()
	}
	return fmt.Sprintf("%v: process %d, since %s", ErrLocked, e.PID, e.Since.UTC().Format(time.RFC3339))
}

// Is makes every LockedError an ErrLocked.
func (e *LockedError) Is(target error) bool { return target == ErrLocked }

// holder is the content of the lock file. It only informs: the lock is the
// kernel's (flock(2)), which gives it back however a process ends, so a file
// left behind is no obstacle.
type holder struct {
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`

	// What Evict knows the process by, and when it may.
	Start    string `json:"start,omitempty"`    // see processStart
	Exe      string `json:"exe,omitempty"`      // base name of the program
	Deadline int64  `json:"deadline,omitempty"` // see monotonic; 0: never
}

// holder is this process as the lock names it.
func (s *Store) holder(deadline int64) ([]byte, error) {
	h := holder{PID: os.Getpid(), Since: s.now().UTC().Truncate(time.Second), Deadline: deadline}
	h.Start, _ = processStart("self")
	if exe, err := os.Readlink("/proc/self/exe"); err == nil {
		h.Exe = path.Base(strings.TrimSuffix(exe, " (deleted)"))
	}
	b, err := json.Marshal(h)
	return append(b, '\n'), err
}

const lockName = "lock"

func (s *Store) takeLock() error {
	f, err := s.dir.open(lockName, unix.O_RDWR)
	if os.IsNotExist(err) {
		if f, err = s.disk.create(s.dir, lockName); os.IsExist(err) {
			f, err = s.dir.open(lockName, unix.O_RDWR) // made by another process just now
		}
	}
	if err != nil {
		return err
	}
	if err := flock(f); err != nil {
		defer f.Close()
		if err != unix.EWOULDBLOCK {
			return failed("lock", f.path, err)
		}
		h := readHolder(f)
		return &LockedError{PID: h.PID, Since: h.Since}
	}
	s.lock = f
	b, err := s.holder(0)
	if err != nil {
		return err
	}
	if err := s.disk.truncate(f, 0); err != nil {
		return err
	}
	return s.disk.write(f, b)
}

func flock(f openFile) error {
	for {
		if err := unix.Flock(f.fd(), unix.LOCK_EX|unix.LOCK_NB); err != unix.EINTR {
			return err
		}
	}
}

// releaseLock empties the file, which stays: removing it would let two
// processes lock two files of the same name.
func (s *Store) releaseLock() error {
	if s.lock.File == nil {
		return nil
	}
	err := s.disk.truncate(s.lock, 0)
	// Not by closing alone: a child that is just being started has the file open
	// too, until it runs its program.
	if uerr := unix.Flock(s.lock.fd(), unix.LOCK_UN); err == nil {
		err = uerr
	}
	if cerr := s.lock.Close(); err == nil {
		err = cerr
	}
	s.lock.File = nil
	return err
}
