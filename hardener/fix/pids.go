package fix

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// podGroups are where the cgroups of pods begin: cgroup v2 and v1, by systemd and
// by the kubelet itself.
var podGroups = [...]string{
	"sys/fs/cgroup/kubepods.slice", "sys/fs/cgroup/kubepods",
	"sys/fs/cgroup/pids/kubepods.slice", "sys/fs/cgroup/pids/kubepods",
}

// podGroup is the cgroup of one pod, not of one of its containers.
var podGroup = regexp.MustCompile(`(^|-)pod[0-9a-f][0-9a-f_-]{20,}(\.slice)?$`)

// busiestPod is the most processes and threads that a pod of this node has now.
// It is false when none can be seen.
func busiestPod(fsys fs.FS) (most int, seen bool) {
	for _, root := range podGroups {
		top := children(fsys, root)
		dirs := top
		for _, class := range top { // burstable and besteffort
			dirs = append(dirs, children(fsys, class)...)
		}
		for _, pod := range dirs {
			if !podGroup.MatchString(path.Base(pod)) {
				continue
			}
			data, err := fs.ReadFile(fsys, pod+"/pids.current")
			n, errNumber := strconv.Atoi(strings.TrimSpace(string(data)))
			if err == nil && errNumber == nil {
				most, seen = max(most, n), true
			}
		}
	}
	return most, seen
}

func children(fsys fs.FS, dir string) []string {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, path.Join(dir, e.Name()))
		}
	}
	return out
}

// crowdedPods says that a pod has more than a quarter of the limit already: at its
// next start it could come to it.
func crowdedPods(c *attempt) string {
	if most, _ := busiestPod(c.tx.fsys); most*4 > minPodPids {
		return fmt.Sprintf("a pod of this node has %d processes and threads now, and a limit below four times that may stop it: choose a higher one", most)
	}
	return ""
}

func touchPids(c *attempt) []string {
	if most, seen := busiestPod(c.tx.fsys); seen {
		return []string{fmt.Sprintf("the busiest pod of this node has %d processes and threads now", most)}
	}
	return nil
}
