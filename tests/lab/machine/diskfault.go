package machine

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ballast is the file that Fill makes, at the top of the disk and so outside of
// the node's tree.
const ballast = ".ballast"

// Fill takes all room on the file system at a mount point but for leave bytes,
// rounded down to whole blocks. With nothing left every write that needs a block
// fails with ENOSPC, root's too. Writes over blocks that a file has, and empty
// files while their folder has room, succeed, as on any full disk. Undo gives the
// room back. Nothing is written for it, so the image file stays sparse.
func Fill(mountpoint string, leave int64) (undo func() error, err error) {
	name := filepath.Join(mountpoint, ballast)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("disk: fill: %w", err)
	}
	undo = func() error {
		if err := os.Remove(name); err != nil {
			return fmt.Errorf("disk: fill: undo: %w", err)
		}
		return nil
	}
	err = errors.Join(fill(f, leave), f.Close())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("disk: fill %s: %w", mountpoint, err), undo())
	}
	return undo, nil
}

// fill allocates in ever smaller pieces, because ext4 keeps some of the blocks it
// calls free to itself. What is to be left is then given back.
func fill(f *os.File, leave int64) error {
	fd := int(f.Fd())
	if err := unix.Syncfs(fd); err != nil { // gives blocks to data that has none yet
		return err
	}
	var info unix.Statfs_t
	if err := unix.Fstatfs(fd, &info); err != nil {
		return err
	}
	block := info.Bsize
	var size int64
	for piece := int64(info.Bfree) * block; piece >= block; {
		err := unix.Fallocate(fd, 0, size, piece)
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil {
			return err
		}
		size = stat.Size // a piece that did not fit may have been allocated in part
		switch {
		case errors.Is(err, unix.ENOSPC):
			piece = piece / 2 / block * block
		case err != nil:
			return err
		}
	}
	if leave < block {
		return nil
	}
	return f.Truncate(max(0, size-leave/block*block))
}

// ReadOnly does to the ext4 file system at a mount point what the kernel does by
// itself after an I/O error under errors=remount-ro, Debian's default for a root
// file system: it aborts the journal, and from then on every write, also to files
// that are open for writing, fails with EROFS, while reads go on. (A plain remount
// is refused as long as a file is open for writing.) The kernel undoes it only
// when the disk is mounted anew, which replays the journal: switch the node off
// and on.
func ReadOnly(mountpoint string) error {
	// Not mount(2), which wants a mount of the caller's own namespace.
	fd, err := unix.Fspick(unix.AT_FDCWD, mountpoint, unix.FSPICK_CLOEXEC)
	if err != nil {
		return fmt.Errorf("disk: make %s read-only: %w", mountpoint, err)
	}
	defer unix.Close(fd)
	for _, set := range []func() error{
		func() error { return unix.FsconfigSetString(fd, "errors", "remount-ro") },
		func() error { return unix.FsconfigSetFlag(fd, "abort") },
		func() error { return unix.FsconfigReconfigure(fd) },
	} {
		if err := set(); err != nil {
			return fmt.Errorf("disk: make %s read-only: %w", mountpoint, err)
		}
	}
	return nil
}

// Throttle is how fast a disk is, for each cgroup of its own. Zero is no limit.
//
// What is counted are requests to the disk: an fdatasync waits 1/WriteIOPS
// seconds for each request that its data takes, which is one for a few kilobytes
// in one place. Requests beyond the limit queue up. BPS delays in the same way, by
// the bytes of the request. Reads that the page cache answers cost nothing.
type Throttle struct {
	ReadIOPS, WriteIOPS uint64 // requests per second
	ReadBPS, WriteBPS   uint64 // bytes per second
}

func (t Throttle) files() map[string]uint64 {
	return map[string]uint64{
		"blkio.throttle.read_iops_device":  t.ReadIOPS,
		"blkio.throttle.write_iops_device": t.WriteIOPS,
		"blkio.throttle.read_bps_device":   t.ReadBPS,
		"blkio.throttle.write_bps_device":  t.WriteBPS,
	}
}

// slowInterval is how often Slow looks for cgroups that are new.
const slowInterval = 100 * time.Millisecond

// Slow slows down the disk whose file system is at a mount point for everything
// that runs in the cgroup v1 blkio folders named and below. Throttles of cgroup v1
// do not hold for the cgroups below, so each one gets them, also one that a
// container makes while the disk is slow.
//
// Only what a process itself sends to the disk is slowed: reads that miss the page
// cache, and the data of its own fsync, fdatasync and O_SYNC writes. Not slowed
// are writes without sync and what ext4's journal thread writes, thus the fsync of
// a folder or of a file whose data is on disk already; nor processes that are in
// other cgroups, such as what nsenter(1) puts into a node.
func Slow(mountpoint string, limit Throttle, cgroups ...string) (undo func() error, err error) {
	var stat unix.Stat_t
	if err := unix.Stat(mountpoint, &stat); err != nil {
		return nil, fmt.Errorf("disk: slow down %s: %w", mountpoint, err)
	}
	device := fmt.Sprintf("%d:%d", unix.Major(stat.Dev), unix.Minor(stat.Dev))
	for _, dir := range cgroups {
		if _, err := os.Stat(filepath.Join(dir, "blkio.throttle.write_iops_device")); err != nil {
			return nil, fmt.Errorf("disk: slow down %s: %w", mountpoint, err)
		}
	}
	done := map[uint64]bool{}
	if err := throttle(device, limit, cgroups, done); err != nil {
		return nil, errors.Join(err, throttle(device, Throttle{}, cgroups, nil))
	}
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		var err error
		for tick := time.NewTicker(slowInterval); ; {
			select {
			case <-tick.C:
				err = throttle(device, limit, cgroups, done)
			case <-stop:
				tick.Stop()
				stopped <- err
				return
			}
		}
	}()
	return func() error {
		close(stop)
		return errors.Join(<-stopped, throttle(device, Throttle{}, cgroups, nil))
	}, nil
}

// throttle sets the limits of a device in cgroups and those below that are not
// done yet, and notes them as done, by inode: a service that starts again has a
// new cgroup under the old name. One that goes away meanwhile needs none.
func throttle(device string, limit Throttle, cgroups []string, done map[uint64]bool) error {
	for _, top := range cgroups {
		err := filepath.WalkDir(top, func(dir string, e fs.DirEntry, err error) error {
			if err != nil || !e.IsDir() {
				return gone(err)
			}
			var stat unix.Stat_t
			if err := unix.Stat(dir, &stat); err != nil {
				return gone(err)
			}
			if done[stat.Ino] {
				return nil
			}
			for file, n := range limit.files() {
				if err := writeFile(filepath.Join(dir, file), device+" "+strconv.FormatUint(n, 10)); err != nil {
					return gone(err)
				}
			}
			if done != nil {
				done[stat.Ino] = true
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("disk: throttle %s: %w", device, err)
		}
	}
	return nil
}

// writeFile writes to a file that must be there.
func writeFile(name, text string) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// gone drops the errors with which a cgroup answers that is being removed.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
