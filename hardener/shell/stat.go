package shell

import (
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"syscall"
)

// stat is GNU stat with -c, --format and --printf. It reports a link itself
// unless -L is given (measured: kube-bench fails a linked certificate for its
// 777).
func stat(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "c:L", long: map[string]string{"format": "c:", "printf": "printf:", "dereference": "L"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	format, end, follow, given := "", "\n", false, false
	for _, o := range opts {
		switch o.name {
		case "c":
			format, end, given = o.value, "\n", true
		case "printf":
			format, _ = unescape(o.value)
			end, given = "", true
		case "L":
			follow = true
		}
	}
	if len(files) == 0 {
		c.usage("missing operand")
		return 1
	}
	if !given {
		c.lacksOption("without a format")
		return 1
	}
	status := 0
	for _, file := range files {
		abs := c.path(file)
		info, err := c.state.stat(abs, follow)
		if err != nil {
			c.errorf("cannot statx %s: %s", c.quote(file), reason(err))
			status = 1
			continue
		}
		c.printStat(format, file, abs, info)
		c.stdout.WriteString(end)
	}
	return status
}

// printStat prints one file in the given format and records it when mode or
// owner are asked for.
func (c *invocation) printStat(format, file, abs string, info fs.FileInfo) {
	meta := false
	for i := 0; i < len(format); i++ {
		if format[i] != '%' {
			c.stdout.WriteByte(format[i])
			continue
		}
		start := i
		for i++; i < len(format) && strings.IndexByte("'-+ #0123456789.", format[i]) >= 0; i++ {
		}
		if i >= len(format) {
			c.stdout.WriteString(format[start:])
			break
		}
		value, known := c.statValue(format[i], file, abs, info)
		meta = meta || strings.IndexByte("aAfuUgG", format[i]) >= 0
		if !known {
			c.lacksOption("-c %" + format[i:i+1])
			return
		}
		if flags := format[start+1 : i]; flags != "" {
			value = pad(value, flags)
		}
		c.stdout.WriteString(value)
	}
	if meta {
		c.statted(trimSlash(abs))
	}
}

func (c *invocation) statValue(directive byte, file, abs string, info fs.FileInfo) (string, bool) {
	uid, gid := owner(info)
	switch directive {
	case '%':
		return "%", true
	case 'a':
		return strconv.FormatUint(uint64(permissions(info.Mode())), 8), true
	case 'A':
		return modeString(info.Mode()), true
	case 'f':
		return strconv.FormatUint(uint64(permissions(info.Mode())|typeBits(info.Mode())), 16), true
	case 'u':
		return strconv.Itoa(uid), true
	case 'g':
		return strconv.Itoa(gid), true
	case 'U':
		if name, ok := c.runner.Users.User(uid); ok {
			return name, true
		}
		return "UNKNOWN", true
	case 'G':
		if name, ok := c.runner.Users.Group(gid); ok {
			return name, true
		}
		return "UNKNOWN", true
	case 'n':
		return file, true
	case 'N':
		if info.Mode()&fs.ModeSymlink != 0 {
			target, _ := fs.ReadLink(c.runner.FS, fsName(abs))
			return c.quote(file) + " -> " + c.quote(target), true
		}
		return c.quote(file), true
	case 's':
		return strconv.FormatInt(info.Size(), 10), true
	case 'F':
		return typeName(info), true
	case 'Y':
		return strconv.FormatInt(info.ModTime().Unix(), 10), true
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "", false
	}
	switch directive {
	case 'h':
		return strconv.FormatUint(uint64(st.Nlink), 10), true
	case 'i':
		return strconv.FormatUint(st.Ino, 10), true
	case 'd':
		return strconv.FormatUint(uint64(st.Dev), 10), true
	case 'b':
		return strconv.FormatInt(st.Blocks, 10), true
	case 'B':
		return "512", true
	}
	return "", false
}

// typeBits are the S_IFMT bits of a mode.
func typeBits(mode fs.FileMode) uint32 {
	switch {
	case mode.IsDir():
		return syscall.S_IFDIR
	case mode&fs.ModeSymlink != 0:
		return syscall.S_IFLNK
	case mode&fs.ModeNamedPipe != 0:
		return syscall.S_IFIFO
	case mode&fs.ModeSocket != 0:
		return syscall.S_IFSOCK
	case mode&fs.ModeCharDevice != 0:
		return syscall.S_IFCHR
	case mode&fs.ModeDevice != 0:
		return syscall.S_IFBLK
	}
	return syscall.S_IFREG
}

// modeString is a mode as ls prints it.
func modeString(mode fs.FileMode) string {
	kinds := map[uint32]byte{syscall.S_IFDIR: 'd', syscall.S_IFLNK: 'l', syscall.S_IFIFO: 'p',
		syscall.S_IFSOCK: 's', syscall.S_IFCHR: 'c', syscall.S_IFBLK: 'b', syscall.S_IFREG: '-'}
	b := []byte{kinds[typeBits(mode)]}
	for i, letter := range "rwxrwxrwx" {
		if mode&(1<<(8-i)) == 0 {
			letter = '-'
		}
		b = append(b, byte(letter))
	}
	special := func(bit fs.FileMode, at int, lower, upper byte) {
		if mode&bit == 0 {
			return
		}
		if b[at] == 'x' {
			b[at] = lower
		} else {
			b[at] = upper
		}
	}
	special(fs.ModeSetuid, 3, 's', 'S')
	special(fs.ModeSetgid, 6, 's', 'S')
	special(fs.ModeSticky, 9, 't', 'T')
	return string(b)
}

func typeName(info fs.FileInfo) string {
	switch typeBits(info.Mode()) {
	case syscall.S_IFDIR:
		return "directory"
	case syscall.S_IFLNK:
		return "symbolic link"
	case syscall.S_IFIFO:
		return "fifo"
	case syscall.S_IFSOCK:
		return "socket"
	case syscall.S_IFCHR:
		return "character special file"
	case syscall.S_IFBLK:
		return "block special file"
	}
	if info.Size() == 0 {
		return "regular empty file"
	}
	return "regular file"
}

// pad applies a width of a printf-like directive to a string.
func pad(value, flags string) string {
	left := strings.HasPrefix(flags, "-")
	zero := strings.HasPrefix(flags, "0")
	width, err := strconv.Atoi(strings.TrimLeft(flags, "'-+ #0"))
	if err != nil || width > 4096 {
		return value
	}
	switch {
	case left:
		return fmt.Sprintf("%-*s", width, value)
	case zero && len(value) < width:
		return strings.Repeat("0", width-len(value)) + value
	}
	return fmt.Sprintf("%*s", width, value)
}
