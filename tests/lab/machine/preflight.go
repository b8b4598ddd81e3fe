package machine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// What each node of a lab takes from the machine.
const (
	nodeMemory  = 1200 << 20 // bytes
	nodeDisk    = 3 << 30    // bytes where the lab's folder is: the disk, and its copy
	nodeWatches = 24         // inotify instances of root, most of them the kubelet's and systemd's
)

// programs are the machine's own programs that a lab calls, with the Debian
// packages that have them.
var programs = map[string]string{
	"ip":             "iproute2",
	"mkfs.ext4":      "e2fsprogs",
	"mount":          "mount",
	"nsenter":        "util-linux",
	"systemd-nspawn": "systemd-container",
	"tar":            "tar",
	"unshare":        "util-linux",
}

// Preflight returns an error that names, in one line, everything that this
// machine lacks to carry a lab of so many nodes whose folder is in dir, or nil. It
// changes nothing.
func Preflight(dir string, nodes int) error {
	var lacks []string
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		lacks = append(lacks, "Linux on amd64 (this is "+runtime.GOOS+" on "+runtime.GOARCH+")")
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("lab: needs root: nodes are made of namespaces, mounts and cgroups (run it with sudo)")
	}
	for _, p := range sorted(programs) {
		if _, err := exec.LookPath(p); err != nil {
			lacks = append(lacks, fmt.Sprintf("the program %s (Debian package %s)", p, programs[p]))
		}
	}
	for _, fs := range []string{"ext4", "overlay"} {
		if !hasFilesystem(fs) {
			lacks = append(lacks, "the "+fs+" file system in its kernel")
		}
	}
	for _, device := range []string{"/dev/loop-control", "/dev/kmsg"} {
		if _, err := os.Stat(device); err != nil {
			lacks = append(lacks, device)
		}
	}
	var missing []string
	for _, c := range controllers {
		var fs unix.Statfs_t
		if unix.Statfs(filepath.Join(cgroupRoot, c), &fs) != nil || fs.Type != unix.CGROUP_SUPER_MAGIC {
			missing = append(missing, c)
		}
	}
	if len(missing) > 0 {
		lacks = append(lacks, "cgroup v1 with "+strings.Join(missing, ", ")+" in "+cgroupRoot+
			" (cgroup v2 alone does not carry nodes yet: boot with systemd.unified_cgroup_hierarchy=0)")
	}
	if have, need := availableMemory(), uint64(nodes)*nodeMemory; have > 0 && have < need {
		lacks = append(lacks, fmt.Sprintf("memory: %d MiB available, %d needed", have>>20, need>>20))
	}
	if have, need := freeDisk(dir), uint64(nodes)*nodeDisk; have > 0 && have < need {
		lacks = append(lacks, fmt.Sprintf("disk: %d MiB free for %s, %d needed", have>>20, dir, need>>20))
	}
	// Without one, containerd leaves its CRI out and the kubelet exits.
	if limit, used := watchLimit(), watchesInUse(); limit > 0 && limit-used < nodes*nodeWatches {
		lacks = append(lacks, fmt.Sprintf("inotify instances: %d of %d (fs.inotify.max_user_instances) are free, %d needed: end another lab, or raise the limit", max(0, limit-used), limit, nodes*nodeWatches))
	}
	if len(lacks) > 0 {
		return fmt.Errorf("lab: this machine lacks: %s", strings.Join(lacks, "; "))
	}
	return nil
}

func sorted[V any](m map[string]V) []string {
	var keys []string
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// hasFilesystem tells whether the kernel has a file system, built in, loaded or
// as a module that mount will load.
func hasFilesystem(name string) bool {
	text, err := os.ReadFile("/proc/filesystems")
	if err == nil && slices.Contains(strings.Fields(string(text)), name) {
		return true
	}
	var release unix.Utsname
	if unix.Uname(&release) != nil {
		return false
	}
	found, _ := filepath.Glob("/lib/modules/" + unix.ByteSliceToString(release.Release[:]) + "/kernel/fs/*/" + name + ".ko*")
	return len(found) > 0
}

// availableMemory is MemAvailable of /proc/meminfo in bytes, 0 when unknown.
func availableMemory() uint64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var kib uint64
		if n, _ := fmt.Sscanf(lines.Text(), "MemAvailable: %d kB", &kib); n == 1 {
			return kib << 10
		}
	}
	return 0
}

// freeDisk is the free space, in bytes, of the file system that holds dir or the
// nearest folder above it that exists; 0 when unknown.
func freeDisk(dir string) uint64 {
	for {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) == nil {
			return fs.Bavail * uint64(fs.Bsize)
		}
		if dir == filepath.Dir(dir) {
			return 0
		}
		dir = filepath.Dir(dir)
	}
}

// watchLimit is how many inotify instances root may have, 0 when unknown.
func watchLimit() int {
	text, err := os.ReadFile("/proc/sys/fs/inotify/max_user_instances")
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(text))) // 0 when it is no number
	return n
}

// watchesInUse is how many inotify instances root's processes hold. A process
// that ends meanwhile does not count.
func watchesInUse() int {
	owned, _ := filepath.Glob("/proc/[0-9]*/fd")
	used := 0
	for _, dir := range owned {
		var stat unix.Stat_t
		if unix.Stat(dir, &stat) != nil || stat.Uid != 0 {
			continue
		}
		fds, _ := os.ReadDir(dir)
		for _, fd := range fds {
			if target, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && target == "anon_inode:inotify" {
				used++
			}
		}
	}
	return used
}
