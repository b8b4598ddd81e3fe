package machine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// CreateDisk makes a node's disk: a sparse file with an empty ext4 file system of
// that many bytes. It keeps ext4's journal, because power will be cut.
func CreateDisk(ctx context.Context, path string, bytes int64) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("disk: %w", err)
	}
	err = f.Truncate(bytes)
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("disk %s: %w", path, err)
	}
	// No reserved blocks: a full disk is to be full for root too.
	out, err := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=1,lazy_journal_init=1", path).CombinedOutput()
	if err != nil {
		return fmt.Errorf("disk %s: mkfs.ext4: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// CopyDisk copies a disk that nobody writes to, holes as holes, and puts the
// copy in place at once. Where the file system can, the two share their blocks.
func CopyDisk(dst, src string) error {
	if err := copyDisk(dst+".part", src); err != nil {
		return errors.Join(fmt.Errorf("disk: copy %s: %w", src, err), os.RemoveAll(dst+".part"))
	}
	if err := os.Rename(dst+".part", dst); err != nil {
		return fmt.Errorf("disk: copy %s: %w", src, err)
	}
	return nil
}

func copyDisk(dst, src string) error {
	in, err := os.Open(src)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(dst, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if unix.IoctlFileClone(int(out.Fd()), int(in.Fd())) == nil {
		return nil
	}
	if err := out.Truncate(info.Size()); err != nil {
		return err
	}
	for at := int64(0); ; {
		data, err := unix.Seek(int(in.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // holes up to the end
		}
		if err != nil {
			return err
		}
		hole, err := unix.Seek(int(in.Fd()), data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if _, err := in.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := out.Seek(data, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.CopyN(out, in, hole-data); err != nil { // copy_file_range(2)
			return err
		}
		at = hole
	}
}

// The ioctls of ext4 and of every file system, for which package unix has no names.
const (
	ext4Shutdown      = 0x8004587d // EXT4_IOC_SHUTDOWN, fs/ext4/ext4.h
	noLogFlush        = 2          // EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal is written
	freezeFS     uint = 0xc0045877 // FIFREEZE, linux/fs.h
	thawFS       uint = 0xc0045878 // FITHAW
)

// PowerCut makes the file system at a mount point stop at once: what it has not
// written to its disk is lost, and every later access fails. The disk is good
// again when it is mounted anew, as after a power failure.
func PowerCut(mountpoint string) error {
	flags := uint32(noLogFlush)
	return diskIoctl(mountpoint, "cut power", ext4Shutdown, uintptr(unsafe.Pointer(&flags)))
}

// freeze writes everything to the disk and holds back writers until the returned
// function is called.
func freeze(mountpoint string) (thaw func() error, err error) {
	if err := diskIoctl(mountpoint, "freeze", freezeFS, 0); err != nil {
		return nil, err
	}
	return func() error { return diskIoctl(mountpoint, "thaw", thawFS, 0) }, nil
}

func diskIoctl(mountpoint, what string, request uint, argument uintptr) error {
	f, err := os.Open(mountpoint)
	if err != nil {
		return fmt.Errorf("disk: %s: %w", what, err)
	}
	defer f.Close()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), argument); errno != 0 {
		return fmt.Errorf("disk: %s %s: %w", what, mountpoint, errno)
	}
	return nil
}
