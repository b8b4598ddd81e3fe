package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// persist has the node's disk hold this program before it restarts anything. A
// container runtime does not see to that (containerd's image_pull_with_sync_fs is
// off by default), and the image was often pulled a moment ago: after a power cut
// within the next half minute the program would be an empty file, and no Job could
// finish on this node what this one has begun.
func persist(tree *host.FS) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	paths := []string{program}
	if tree.Dir() != "/" { // in a container: below the layers of its image
		mounts, err := os.ReadFile("/proc/self/mountinfo")
		if err != nil {
			return err
		}
		paths = nil
		for _, layer := range layers(string(mounts)) {
			paths = append(paths, filepath.Join(layer, program))
		}
	}
	for _, path := range paths {
		dir, base, err := tree.OpenParent(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // in another layer
		}
		if err != nil {
			return err
		}
		defer dir.Close()
		fd, err := unix.Openat(int(dir.Fd()), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
		defer unix.Close(fd)
		return errors.Join(unix.Fsync(fd), dir.Sync())
	}
	return fmt.Errorf("where the image of %s lies on the node is not known", program)
}

// layers are the directories of the host that the root of a container is made of,
// from its mounts: "ID PARENT DEV ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS"
// (proc_pid_mountinfo(5)). There are none but with overlayfs.
func layers(mounts string) (all []string) {
	for line := range strings.Lines(mounts) {
		left, right, _ := strings.Cut(strings.TrimSpace(line), " - ")
		at, how := strings.Fields(left), strings.Fields(right)
		if len(at) < 5 || at[4] != "/" || len(how) < 3 || how[0] != "overlay" {
			continue
		}
		for option := range strings.SplitSeq(how[2], ",") {
			if dirs, ok := strings.CutPrefix(option, "lowerdir="); ok {
				all = append(all, strings.Split(dirs, ":")...)
			} else if dir, ok := strings.CutPrefix(option, "lowerdir+="); ok { // since Linux 6.5
				all = append(all, dir)
			}
		}
	}
	return all
}
