//go:build linux

package txn

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// UnitDir is where the program's unit files are put: /etc is there when systemd
// looks for units, while /var may be a file system that is mounted later.
const UnitDir = "/etc/systemd/system"

// The program's own files on a node beside its runs: what undoes a run whose
// process has died (package deadman says what is in them). No other path can be
// placed or removed.
const (
	Program     = StateDir + "/hardener"                          // the program itself, which the units start
	Armed       = StateDir + "/armed"                             // for which run
	RecoverUnit = UnitDir + "/kubespray-hardener-recover.service" // started by a timer
	TimerUnitA  = UnitDir + "/kubespray-hardener-recover-a.timer" // one of the two, or both
	TimerUnitB  = UnitDir + "/kubespray-hardener-recover-b.timer"
	BootUnit    = UnitDir + "/kubespray-hardener-boot.service" // started at boot, before components
	BootLink    = UnitDir + "/multi-user.target.wants/kubespray-hardener-boot.service"
)

// companions are their modes; that of a link is fs.ModeSymlink.
var companions = map[string]fs.FileMode{
	Program: 0o700, Armed: 0o600, RecoverUnit: 0o644, TimerUnitA: 0o644, TimerUnitB: 0o644, BootUnit: 0o644, BootLink: fs.ModeSymlink,
}

// Companions are the program's own files, in the order in which they are to be
// removed: what starts something goes before what is started.
func Companions() []string {
	return []string{BootLink, TimerUnitA, TimerUnitB, BootUnit, RecoverUnit, Armed, Program}
}

func notOurs(p string) error {
	return fmt.Errorf("%s: %w: not a file of the program's own", p, ErrRefused)
}

// Place makes one of the program's own files have some content, unless it has it
// already. For BootLink the content is where the link leads. It is durable when
// Place returns, and whole at any moment. Something else at its path, such as
// the link that masks a unit, is ErrRefused.
func (s *Store) Place(p string, content io.ReadSeeker) error {
	if err := s.place(p, content); err != nil {
		return fmt.Errorf("place %s: %w", p, err)
	}
	return nil
}

func (s *Store) place(p string, content io.ReadSeeker) error {
	perm, ok := companions[p]
	if !ok {
		return notOurs(p)
	}
	up, err := s.makePath(path.Dir(p))
	if err != nil {
		return err
	}
	defer up.Close()
	if p == Program {
		if err := executable(up); err != nil {
			return err
		}
	}
	base, temp := path.Base(p), companionTemp(p)
	if err := s.disk.discard(up, temp); err != nil { // of a process that died
		return err
	}
	if perm&fs.ModeSymlink != 0 {
		target, err := io.ReadAll(content)
		if err != nil {
			return err
		}
		return s.placeLink(up, base, temp, string(target))
	}
	now, err := look(up, base, true)
	if err != nil {
		return err
	}
	if !now.Absent {
		if now.kind != unix.S_IFREG {
			return fmt.Errorf("%w: something else is there", ErrRefused)
		}
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return err
		}
		if now.Digest == hex.EncodeToString(sum.Sum(nil)) && now.Mode == modeOf(perm) && now.UID == os.Geteuid() {
			return s.disk.syncFolder(up) // an earlier Place may have died before this
		}
		if _, err := content.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	err = s.stageCompanion(up, temp, modeOf(perm), content)
	if err == nil {
		err = s.disk.replace(up, temp, base)
	}
	if err != nil {
		return errors.Join(err, s.disk.discard(up, temp))
	}
	return s.disk.syncFolder(up)
}

func (s *Store) stageCompanion(in folder, temp string, m mode, content io.Reader) error {
	f, err := s.disk.create(in, temp)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 32*chunk)
	for {
		n, err := content.Read(buf)
		if werr := s.disk.write(f, buf[:n]); werr != nil {
			return werr
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	if err := s.disk.chmod(f, m); err != nil {
		return err
	}
	return s.disk.sync(f)
}

func (s *Store) placeLink(in folder, base, temp, target string) error {
	buf := make([]byte, 4096)
	n, err := unix.Readlinkat(in.fd(), base, buf)
	switch {
	case err == nil && string(buf[:n]) == target:
		return s.disk.syncFolder(in)
	case err == nil, err == unix.ENOENT:
	case err == unix.EINVAL:
		return fmt.Errorf("%w: something else is there", ErrRefused)
	default:
		return failed("readlink", in.at(base), err)
	}
	err = s.disk.symlink(in, target, temp)
	if err == nil {
		err = s.disk.replace(in, temp, base)
	}
	if err != nil {
		return errors.Join(err, s.disk.discard(in, temp))
	}
	return s.disk.syncFolder(in)
}

// companionTemp is always the same name, so that the next Place or Remove finds
// what a process that died has left. The lock keeps others away.
func companionTemp(p string) string { return tempPrefix(path.Base(p)) + "place" }

// Remove takes one of the program's own files away, and what a Place that died
// has left of it. One that is not there is no error.
func (s *Store) Remove(p string) error {
	if err := s.removeCompanion(p); err != nil {
		return fmt.Errorf("remove %s: %w", p, err)
	}
	return nil
}

func (s *Store) removeCompanion(p string) error {
	if _, ok := companions[p]; !ok {
		return notOurs(p)
	}
	up, base, err := parent(s.root, p)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer up.Close()
	for _, name := range []string{base, companionTemp(p)} {
		if err := s.disk.discard(up, name); err != nil {
			return err
		}
	}
	return s.disk.syncFolder(up)
}

// Placed lists the program's own files that are there, in the order of
// Companions. One that a Place left half done counts.
func (s *Store) Placed() ([]string, error) {
	var found []string
	for _, p := range Companions() {
		up, base, err := parent(s.root, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look for %s: %w", p, err)
		}
		there := slices.ContainsFunc([]string{base, companionTemp(p)}, func(name string) bool {
			var st unix.Stat_t
			return unix.Fstatat(up.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil
		})
		up.Close()
		if there {
			found = append(found, p)
		}
	}
	return found, nil
}

// executable refuses a directory whose programs cannot be started.
func executable(dir folder) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(dir.fd(), &st); err != nil {
		return failed("statfs", dir.path, err)
	}
	if st.Flags&unix.ST_NOEXEC != 0 {
		return fmt.Errorf("%w: it is mounted noexec", ErrRefused)
	}
	return nil
}

// Overdue writes into the lock until when the process that holds it has time; 0
// means for ever. Evict may end it afterwards.
func (s *Store) Overdue(in time.Duration) error {
	var at int64
	if in > 0 {
		at = monotonic() + int64(in)
	}
	if err := s.sign(at); err != nil {
		return fmt.Errorf("sign the lock: %w", err)
	}
	return nil
}

// sign writes the content of the lock file. A reader in between finds the new
// content with the end of a longer old one after it, and takes the first value.
func (s *Store) sign(deadline int64) error {
	b, err := s.holder(deadline)
	if err != nil {
		return err
	}
	if _, err := s.lock.Seek(0, io.SeekStart); err != nil {
		return failed("seek", s.lock.path, err)
	}
	if err := s.disk.write(s.lock, b); err != nil {
		return err
	}
	return s.disk.truncate(s.lock, int64(len(b)))
}

// ReadArmed is the content of Armed, nil when it is not there.
func (s *Store) ReadArmed() ([]byte, error) {
	f, err := s.dir.open(path.Base(Armed), unix.O_RDONLY)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f.File, 64<<10))
	return bytes.TrimSpace(b), failed("read", f.path, err)
}
