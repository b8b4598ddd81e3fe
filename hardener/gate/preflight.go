package gate

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tunables are what protectKernelDefaults insists on (Kubernetes
// pkg/kubelet/cm/container_manager_linux.go, setupKernelTunables).
var tunables = map[string]string{
	"vm/overcommit_memory":      "1",
	"vm/panic_on_oom":           "0",
	"kernel/panic":              "10",
	"kernel/panic_on_oops":      "1",
	"kernel/keys/root_maxkeys":  "1000000",
	"kernel/keys/root_maxbytes": "25000000",
}

// preflight lists what keeps a kubelet from starting that only a start brings to
// light: a fault that is there already must not be found by our restart.
func (k *kubelet) preflight(version string, now time.Time) []string {
	set, err := readSettings(k.FS, k.component)
	if err != nil {
		return []string{err.Error()}
	}
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }

	// The first line is the head of a table (pkg/kubelet/util/swap/swap_util.go).
	if swaps, err := fs.ReadFile(k.FS, "proc/swaps"); err == nil && set.bool("failSwapOn", true) {
		for _, line := range strings.Split(strings.TrimSpace(string(swaps)), "\n")[1:] {
			problem("swap is on (%s) and failSwapOn is true", strings.Fields(line + " ?")[0])
		}
	}
	if v1, err := cgroupV1(k.FS); err != nil {
		k.once("kubelet: which cgroups the node has cannot be told: %v", err)
	} else if v1 && set.bool("failCgroupV1", minor(version) >= 35) {
		problem("the node has cgroup v1 and failCgroupV1 is true")
	}
	if set.bool("protectKernelDefaults", false) {
		for _, name := range slices.Sorted(maps.Keys(tunables)) {
			dotted, want := strings.ReplaceAll(name, "/", "."), tunables[name]
			b, err := fs.ReadFile(k.FS, "proc/sys/"+name)
			if err != nil {
				problem("protectKernelDefaults is true and %s cannot be read: %v", dotted, err)
			} else if got := strings.TrimSpace(string(b)); got != want {
				problem("protectKernelDefaults is true and %s is %s, not %s", dotted, got, want)
			}
		}
	}
	if config, err := kubeconfig(k.FS, k.component.Kubeconfig); err != nil {
		problem("%v", err)
	} else if len(config.CertData) > 0 {
		if err := valid(config.CertData, now, 0); err != nil {
			problem("its client certificate: %v", err)
		}
	}
	return problems
}

// minor is the second number of a version such as v1.35.4.
func minor(version string) int {
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	if len(parts) < 2 {
		return 0
	}
	n, _ := strconv.Atoi(parts[1])
	return n
}

// cgroupV1 tells whether the node's /sys/fs/cgroup is not the unified
// hierarchy, as the kubelet does by its type, from the mounts of PID 1:
// "ID PARENT DEV ROOT MOUNTPOINT OPTIONS ... - TYPE SOURCE OPTIONS" (proc(5)).
func cgroupV1(fsys fs.FS) (bool, error) {
	mounts, err := fs.ReadFile(fsys, "proc/1/mountinfo")
	if err != nil {
		return false, err
	}
	kind := ""
	for line := range strings.Lines(string(mounts)) {
		left, right, ok := strings.Cut(line, " - ")
		if f := strings.Fields(left); ok && len(f) > 4 && f[4] == "/sys/fs/cgroup" {
			kind, _, _ = strings.Cut(right, " ") // a later mount hides an earlier one
		}
	}
	if kind == "" {
		return false, errors.New("/sys/fs/cgroup is not mounted")
	}
	return kind != "cgroup2", nil
}
