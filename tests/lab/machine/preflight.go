package machine

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// What a lab of two nodes needs from the machine.
const (
	MinMemory = 3 << 30 // bytes available
	MinDisk   = 8 << 30 // bytes free where the lab's folder is
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
// machine lacks to carry a lab whose folder is in dir, or nil. It changes nothing.
func Preflight(dir string) error {
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
	if have := availableMemory(); have > 0 && have < MinMemory {
		lacks = append(lacks, fmt.Sprintf("memory: %d MiB available, %d needed", have>>20, MinMemory>>20))
	}
	if have := freeDisk(dir); have > 0 && have < MinDisk {
		lacks = append(lacks, fmt.Sprintf("disk: %d MiB free for %s, %d needed", have>>20, dir, MinDisk>>20))
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
