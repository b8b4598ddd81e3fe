package cell

import "golang.org/x/sys/unix"

// legacyEffect is effect for the older calls that this architecture still has.
func legacyEffect(tid, number int, args [6]uint64) string {
	switch number {
	case unix.SYS_OPEN:
		return opening(tid, "open", args[0], args[1])
	case unix.SYS_CREAT:
		return "creat"
	case unix.SYS_FORK:
		return "fork"
	case unix.SYS_VFORK:
		return "vfork"
	case unix.SYS_RENAME, unix.SYS_UNLINK, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_MKNOD, unix.SYS_LINK, unix.SYS_SYMLINK,
		unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT:
		return "a call that changes a directory entry"
	}
	return ""
}
