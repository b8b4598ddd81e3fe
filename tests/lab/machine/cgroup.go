package machine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the machine mounts its cgroup hierarchies.
const cgroupRoot = "/sys/fs/cgroup"

// controllers are the cgroup v1 hierarchies that a kubelet asks for, and
// systemd's own.
var controllers = []string{"blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd"}

// hierarchies are the folders below cgroupRoot on which a cgroup file system is
// mounted, links such as cpu -> cpu,cpuacct left out.
func hierarchies() ([]string, error) {
	entries, err := os.ReadDir(cgroupRoot)
	if err != nil {
		return nil, fmt.Errorf("cgroups: %w", err)
	}
	var found []string
	for _, e := range entries {
		dir := filepath.Join(cgroupRoot, e.Name())
		var fs unix.Statfs_t
		if e.IsDir() && unix.Statfs(dir, &fs) == nil && (fs.Type == unix.CGROUP_SUPER_MAGIC || fs.Type == unix.CGROUP2_SUPER_MAGIC) {
			found = append(found, dir)
		}
	}
	return found, nil
}

// makeCgroups makes a cgroup of that name in every hierarchy and returns their
// folders. A new cpuset has no processors until it is given some.
func makeCgroups(name string) ([]string, error) {
	roots, err := hierarchies()
	if err != nil {
		return nil, err
	}
	var dirs []string
	for _, root := range roots {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
			return nil, fmt.Errorf("cgroups: %w", err)
		}
		for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
			value, err := os.ReadFile(filepath.Join(root, file))
			if err != nil {
				continue // not the cpuset hierarchy
			}
			if err := os.WriteFile(filepath.Join(dir, file), value, 0o644); err != nil {
				return nil, fmt.Errorf("cgroups: %w", err)
			}
		}
		if _, err := os.Stat(filepath.Join(dir, "cgroup.clone_children")); err == nil {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.clone_children"), []byte("1"), 0o644); err != nil {
				return nil, fmt.Errorf("cgroups: %w", err)
			}
		}
		dirs = append(dirs, dir)
	}
	return dirs, nil
}

// removeCgroups removes the cgroups whose names begin with prefix and those
// below them. Their processes must have ended.
func removeCgroups(prefix string) error {
	roots, err := hierarchies()
	if err != nil {
		return err
	}
	for _, root := range roots {
		entries, err := os.ReadDir(root)
		if err != nil {
			return fmt.Errorf("cgroups: %w", err)
		}
		for _, e := range entries {
			if e.IsDir() && strings.HasPrefix(e.Name(), prefix) {
				dir := filepath.Join(root, e.Name())
				// A process that was killed may still be on its way out.
				var failed error
				_ = waitFor(context.Background(), 10*time.Second, func() bool { failed = removeCgroup(dir); return failed == nil })
				if failed != nil {
					return fmt.Errorf("cgroups: remove %s: %w", dir, failed)
				}
			}
		}
	}
	return nil
}

func removeCgroup(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.IsDir() {
			if err := removeCgroup(filepath.Join(dir, e.Name())); err != nil {
				return err
			}
		}
	}
	return unix.Rmdir(dir)
}
