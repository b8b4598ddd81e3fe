package node

import (
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// Kubespray releases are 2.N here, by N. newest is the development branch.
const (
	oldest = 12
	newest = 32
)

// kubernetesOf are the Kubernetes minor versions that a release accepts at least
// and ships checksums for at most, from release 2.12 on (kube_version_min_required
// and roles/kubespray_defaults/vars/main/checksums.yml, at the tags v2.12.0 to
// v2.31.0 and master of August 2026).
var kubernetesOf = [newest - oldest + 1][2]int{
	{15, 17}, {16, 18}, {17, 19}, {18, 20}, {19, 21}, {19, 22}, {20, 23}, {21, 24}, {22, 24}, {23, 25}, {24, 26},
	{25, 27}, {26, 29}, {27, 29}, {28, 30}, {29, 31}, {30, 32}, {31, 33}, {32, 34}, {33, 35}, {34, 36},
}

// ParseRelease reads one Kubespray release, such as 2.28 or v2.28.1, as a range.
func ParseRelease(text string) (ReleaseRange, error) {
	parts := strings.Split(strings.TrimPrefix(text, "v"), ".")
	if len(parts) == 2 || len(parts) == 3 {
		n, err := strconv.Atoi(parts[1])
		_, patch := strconv.ParseUint(parts[len(parts)-1], 10, 16)
		if err == nil && patch == nil && parts[0] == "2" && n >= oldest && n <= newest {
			return ReleaseRange{release(n), release(n)}, nil
		}
	}
	return ReleaseRange{}, fmt.Errorf("%q is no release of Kubespray from %s to %s", text, release(oldest), release(newest))
}

// Ends are the first and the last release of a range by their second number. An
// open end is that of what is known.
func (r ReleaseRange) Ends() (first, last int) {
	number := func(text string, open int) int {
		_, n, _ := strings.Cut(text, ".")
		if i, err := strconv.Atoi(n); err == nil {
			return i
		}
		return open
	}
	return number(r.Min, oldest), number(r.Max, newest)
}

// And is what two ranges share; ok is false when that is nothing.
func (r ReleaseRange) And(other ReleaseRange) (shared ReleaseRange, ok bool) {
	a, b := r.Ends()
	c, d := other.Ends()
	first, last := max(a, c), min(b, d)
	if first > oldest {
		shared.Min = release(first)
	}
	if last < newest {
		shared.Max = release(last)
	}
	return shared, first <= last
}

// String is the range in words.
func (r ReleaseRange) String() string {
	switch {
	case r.Min == "" && r.Max == "":
		return "any release"
	case r.Min == r.Max:
		return r.Min
	case r.Min == "":
		return "up to " + r.Max
	case r.Max == "":
		return r.Min + " or later"
	}
	return r.Min + " to " + r.Max
}

// bound is an observation that fits the releases from min to max.
type bound struct {
	min, max int
	evidence string
}

func since(n int, format string, args ...any) bound {
	return bound{n, newest, fmt.Sprintf(format, args...)}
}

func until(n int, format string, args ...any) bound {
	return bound{oldest, n, fmt.Sprintf(format, args...)}
}

func (b bound) String() string {
	switch {
	case b.min == b.max:
		return fmt.Sprintf("kubespray %s", release(b.min))
	case b.max == newest:
		return "kubespray >= " + release(b.min)
	case b.min == oldest:
		return "kubespray <= " + release(b.max)
	}
	return fmt.Sprintf("kubespray %s to %s", release(b.min), release(b.max))
}

func release(n int) string { return "2." + strconv.Itoa(n) }

// findRelease narrows down which Kubespray release last ran here. Nothing on a
// node records it; what a release writes into the files that every run renders
// anew tells it. Observations are taken in the order of their worth, and one
// that contradicts those before is left out with a warning. A value that users
// and hardening guides change as well is told, but narrows nothing.
func (d *detector) findRelease() {
	var bounds []bound
	present, absent, settable := d.kubeletBounds()
	for _, more := range []func() (present, absent, settable []bound){d.kubeadmBounds, d.etcdBounds} {
		p, a, s := more()
		present, absent, settable = append(present, p...), append(absent, a...), append(settable, s...)
	}
	bounds = append(bounds, present...)            // a line that only some releases write
	bounds = append(bounds, d.ownerBounds()...)    // what a run resets
	bounds = append(bounds, absent...)             // a line that all later ones write
	bounds = append(bounds, d.versionBounds()...)  // a Kubernetes version that can be overridden
	bounds = append(bounds, d.leftoverBounds()...) // a file that upgrades leave behind

	low, high := oldest, newest
	for _, b := range bounds {
		lo, hi := max(low, b.min), min(high, b.max)
		if lo > hi {
			d.warn("%s speaks for %s, which contradicts other observations (%s) and is ignored", b.evidence, b, bound{low, high, ""})
			continue
		}
		if lo > low || hi < high {
			d.signal(b.String(), 0, "%s", b.evidence)
		}
		low, high = lo, hi
	}
	for _, b := range settable {
		d.signal("hint: "+b.String(), 0, "%s", b.evidence)
	}
	r := &ReleaseRange{}
	if low > oldest {
		r.Min = release(low)
	}
	if high < newest {
		r.Max = release(high)
	}
	d.Kubespray = r
}

var quotedAddress = regexp.MustCompile(`(?m)^address: "`)

// kubeletBounds reads roles/kubernetes/node/templates: kubelet.env,
// kubelet-config.yaml and kubelet.service.
func (d *detector) kubeletBounds() (present, absent, settable []bound) {
	c, ok := d.Components[Kubelet]
	if !ok {
		return nil, nil, nil
	}
	env := strings.Join(c.EnvFiles, ", ")
	all := ""
	for name, value := range d.kubeletEnv {
		all += " " + name + "=" + value
	}
	for _, t := range []struct {
		part string
		max  int
	}{
		{" KUBE_LOGTOSTDERR=", 21}, {"--network-plugin=cni", 19}, {"--pod-infra-container-image", 19},
		{"--container-runtime=remote", 22}, {"--container-runtime-endpoint", 26},
	} {
		if strings.Contains(all, t.part) {
			present = append(present, until(t.max, "%s has %s", env, strings.Trim(t.part, " =")))
		}
	}
	if len(c.EnvFiles) > 0 && !strings.Contains(all, " KUBE_LOGTOSTDERR=") {
		absent = append(absent, since(22, "%s has no KUBE_LOGTOSTDERR", env))
	}
	if d.kubeletUnit.Value("Service", "User") != "" {
		present = append(present, until(18, "%s has User=", c.Unit))
	}
	if d.kubeletText == "" {
		return present, absent, settable
	}
	has := func(key string) bool { _, ok := d.kubeletConfig.Values[key]; return ok }
	for key, min := range map[string]int{"containerLogMaxFiles": 15, "shutdownGracePeriod": 17, "maxParallelImagePulls": 26, "containerRuntimeEndpoint": 27, "failCgroupV1": 31} {
		if has(key) {
			present = append(present, since(min, "%s has %s", c.Config, key))
		}
	}
	if quotedAddress.MatchString(d.kubeletText) {
		present = append(present, since(28, "%s has a quoted address", c.Config))
	}
	for key, max := range map[string]int{"containerLogMaxFiles": 14, "podPidsLimit": 19, "maxParallelImagePulls": 25, "eventRecordQPS": 24, "containerRuntimeEndpoint": 26} {
		if !has(key) {
			absent = append(absent, until(max, "%s has no %s", c.Config, key))
		}
	}
	if text(d.kubeletConfig.Values, "podPidsLimit") == "-1" {
		present = append(present, since(20, "%s has podPidsLimit -1", c.Config)) // nobody sets that by hand
	} else if has("podPidsLimit") {
		settable = append(settable, since(20, "%s has podPidsLimit", c.Config))
	}
	switch text(d.kubeletConfig.Values, "eventRecordQPS") {
	case "5":
		settable = append(settable, bound{15, 24, c.Config + " has eventRecordQPS 5, then the default"})
	case "50":
		settable = append(settable, since(25, "%s has eventRecordQPS 50, since then the default", c.Config))
	}
	return sorted(present), sorted(absent), settable
}

// kubeadmBounds reads roles/kubernetes/control-plane/templates/kubeadm-config.*.
func (d *detector) kubeadmBounds() (present, absent, settable []bound) {
	cluster := d.kubeadm["ClusterConfiguration"]
	if cluster == nil {
		return nil, nil, nil
	}
	file := d.KubeadmConfig
	switch v := text(cluster, "apiVersion"); v {
	case "kubeadm.k8s.io/v1beta1":
		present = append(present, until(13, "%s has %s", file, v))
	case "kubeadm.k8s.io/v1beta2":
		present = append(present, until(19, "%s has %s", file, v))
	case "kubeadm.k8s.io/v1beta3":
		present = append(present, bound{20, 30, file + " has " + v})
	case "kubeadm.k8s.io/v1beta4":
		present = append(present, since(27, "%s has %s", file, v))
	}
	api, scheduler := extraArgs(cluster, "apiServer"), extraArgs(cluster, "scheduler")
	has := func(args map[string]string, name string) bool { _, ok := args[name]; return ok }
	if has(api, "insecure-port") {
		present = append(present, until(19, "%s has insecure-port", file))
	}
	for _, t := range []struct {
		args map[string]string
		name string
		min  int
	}{
		{api, "event-ttl", 14}, {api, "default-not-ready-toleration-seconds", 15}, {scheduler, "config", 16}, {api, "etcd-compaction-interval", 24},
	} {
		if has(t.args, t.name) {
			present = append(present, since(t.min, "%s has %s", file, t.name))
		}
	}
	for key, min := range map[string]int{"encryptionAlgorithm": 27, "certificateValidityPeriod": 29} {
		if text(cluster, key) != "" {
			present = append(present, since(min, "%s has %s", file, key))
		}
	}
	if has(api, "apiserver-count") {
		present = append(present, until(31, "%s has apiserver-count", file))
	} else if len(api) > 0 {
		absent = append(absent, since(32, "%s has no apiserver-count", file))
	}
	for _, t := range []struct {
		name string
		max  int
	}{{"event-ttl", 13}, {"etcd-compaction-interval", 23}} {
		if len(api) > 0 && !has(api, t.name) {
			absent = append(absent, until(t.max, "%s has no %s", file, t.name))
		}
	}
	if len(scheduler) > 0 && !has(scheduler, "profiling") {
		absent = append(absent, until(21, "%s has no profiling for the scheduler", file))
	}
	if has(scheduler, "profiling") {
		settable = append(settable, since(22, "%s has profiling for the scheduler", file))
	}
	if has(api, "service-account-lookup") {
		settable = append(settable, since(19, "%s has service-account-lookup", file))
	}
	if api["bind-address"] == "::" {
		settable = append(settable, since(28, "%s has the bind address ::, since then the default", file))
	}
	return sorted(present), absent, settable
}

// etcdBounds reads roles/etcd/templates/etcd.env.j2.
func (d *detector) etcdBounds() (present, absent, settable []bound) {
	c := d.Components[Etcd]
	if len(c.EnvFiles) == 0 {
		return nil, nil, nil
	}
	file := c.EnvFiles[0]
	for _, t := range []struct {
		prefix   string
		min, max int
	}{
		{"ETCDCTL_", 13, newest}, {"ETCD_ENABLE_V2", 14, 30}, {"ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK", 19, newest},
		{"ETCD_LOG_LEVEL", 21, newest}, {"ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL", 26, newest},
	} {
		found := false
		for name := range c.Env {
			found = found || strings.HasPrefix(name, t.prefix)
		}
		switch {
		case found:
			present = append(present, bound{t.min, t.max, fmt.Sprintf("%s has %s", file, t.prefix)})
		case t.max == newest:
			absent = append(absent, until(t.min-1, "%s has no %s", file, t.prefix))
		}
	}
	return present, absent, nil
}

// ownerBounds looks at the owners of certificate directories, which every run
// sets. Nobody gives them to these users by hand.
func (d *detector) ownerBounds() []bound {
	var bounds []bound
	switch d.owner(d.EtcdCertDir) {
	case "kube":
		bounds = append(bounds, until(19, "%s belongs to kube", d.EtcdCertDir))
	case "etcd":
		bounds = append(bounds, since(20, "%s belongs to etcd", d.EtcdCertDir))
	}
	if d.owner(d.PKIDir) == "kube" {
		bounds = append(bounds, until(21, "%s belongs to kube", d.PKIDir))
	}
	return bounds
}

func (d *detector) versionBounds() []bound {
	parts := strings.Split(d.Kubernetes.Version, ".")
	if len(parts) < 2 {
		return nil
	}
	minor, err := strconv.Atoi(parts[1])
	if err != nil {
		return nil
	}
	b := bound{min: newest + 1, evidence: "Kubernetes " + d.Kubernetes.Version}
	for i, k := range kubernetesOf {
		if k[0] <= minor && minor <= k[1] {
			b.min, b.max = min(b.min, oldest+i), oldest+i
		}
	}
	if b.max == 0 {
		return nil // newer than the table
	}
	return []bound{b}
}

// leftoverBounds are files that show that a release or a later one ran here at
// some time. Upgrades leave them, so they say nothing about an upper end.
func (d *detector) leftoverBounds() []bound {
	var bounds []bound
	bin := d.binDir()
	for _, t := range []struct {
		path string
		min  int
	}{
		{bin + "/k8s-certs-renew.sh", 15}, {d.KubeConfigDir + "/kubescheduler-config.yaml", 16},
		{bin + "/etcdutl", 23}, {"/etc/systemd/resolved.conf.d/kubespray.conf", 24},
	} {
		if d.exists(t.path) {
			bounds = append(bounds, since(t.min, "%s exists", t.path))
		}
	}
	return bounds
}

// sorted orders observations from a map, so that the same node gives the same
// signals.
func sorted(bounds []bound) []bound {
	slices.SortFunc(bounds, func(a, b bound) int { return strings.Compare(a.evidence, b.evidence) })
	return bounds
}

// owner is the name of a file's owner, "" when it is not known.
func (d *detector) owner(p string) string {
	if p == "" {
		return ""
	}
	info, err := fs.Stat(d.fsys, Name(p))
	if err != nil {
		return ""
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	name, _ := d.users.User(int(stat.Uid))
	return name
}

// Releases are the Kubespray releases that are known, oldest first.
func Releases() []string {
	var all []string
	for n := oldest; n <= newest; n++ {
		all = append(all, release(n))
	}
	return all
}
