package node

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
)

// programs are the names of the components' executables.
var programs = map[string]string{
	APIServer: "kube-apiserver", ControllerManager: "kube-controller-manager", Scheduler: "kube-scheduler",
	Etcd: "etcd", EtcdEvents: "etcd", Kubelet: "kubelet", Proxy: "kube-proxy",
}

// attach completes a component from its configuration (the manifest or unit it
// already has, if any) with the process that runs it and the files it was
// given. known is false when there is neither configuration nor process.
func (d *detector) attach(name string, c Component) (_ Component, known bool) {
	if p, ok := d.processOf(name, c); ok {
		c.Running, c.PID, c.Argv = true, p.PID, p.Args
		if name == Etcd || name == EtcdEvents {
			c.LiveEnv, _ = d.etcdEnvironment(p.PID)
		}
	}
	if !c.Running && c.Manifest == "" && c.Unit == "" {
		return c, false
	}
	flags := Flags(c.Flags())
	env := c.Env
	if c.LiveEnv != nil {
		env = c.LiveEnv
	}
	file := func(names ...string) string {
		for _, n := range names {
			v := flags[n]
			if v == "" && (name == Etcd || name == EtcdEvents) {
				v = env["ETCD_"+strings.ToUpper(strings.ReplaceAll(n, "-", "_"))]
			}
			if host, ok := c.HostPath(v); ok && path.IsAbs(host) {
				return host
			}
		}
		return ""
	}
	c.Kubeconfig = file("kubeconfig")
	c.CAFile = file("client-ca-file", "trusted-ca-file")
	c.DataDir = file("data-dir")
	if name == Etcd || name == EtcdEvents {
		c.Config = file("config-file")
	} else if name != Proxy {
		c.Config = file("config")
	}
	return c, true
}

// processOf finds the process of a component. A process is recognised by the
// program in its arguments rather than by its command name: a script called
// etcd has a shell there, and Calico's kube-controllers, which the kernel cuts
// to the name kube-controller, has its own.
func (d *detector) processOf(name string, c Component) (Process, bool) {
	var best Process
	bestScore := -1
	candidates := d.candidates(name)
	for _, p := range candidates {
		score, why := d.score(name, c, p, len(candidates) > 1)
		if score < 0 {
			d.refused = append(d.refused, refusal{p.PID, fmt.Sprintf("process %d (%s) is not taken as this node's %s: %s", p.PID, programOf(p.Args), name, why)})
		}
		if score > bestScore {
			best, bestScore = p, score
		}
	}
	return best, bestScore >= 0
}

// refusal says why a process was not taken for a component.
type refusal struct {
	pid int
	why string
}

// warnRefused tells of the processes that look like a component and are none.
func (d *detector) warnRefused() {
	for _, r := range d.refused {
		taken := false
		for _, c := range d.Components {
			taken = taken || c.Running && c.PID == r.pid
		}
		if !taken {
			d.warn("%s", r.why)
		}
	}
}

func (d *detector) candidates(name string) Processes {
	var found Processes
	for _, p := range d.procs {
		if len(p.Args) == 0 || p.State == 'Z' || p.State == 'X' || programOf(p.Args) != programs[name] {
			continue
		}
		if name == EtcdEvents && p.PID == d.Components[Etcd].PID {
			continue
		}
		found = append(found, p)
	}
	return found
}

// score rates how well a process fits a component, -1 for not at all. A
// component may run in a pod of somebody's workload too: a virtual cluster's API
// server, an etcd of an application.
func (d *detector) score(name string, c Component, p Process, several bool) (int, string) {
	alike := similarity(c.Configured, p.Args)
	switch {
	case name == Proxy:
		return alike, ""
	case c.Manifest != "":
		// A manifest just edited differs in a few flags. A virtual cluster's API
		// server differs in most values.
		if alike < 50 && len(c.Configured) > 0 {
			return -1, "its arguments are not those of " + c.Manifest
		}
		return alike, ""
	}
	cgroup := d.cgroup(p.PID)
	if strings.Contains(cgroup, "kubepods") {
		return -1, "it runs in a pod that no static pod manifest describes"
	}
	if name == Kubelet && c.Unit == "" && path.IsAbs(p.Args[0]) && !d.exists(p.Args[0]) {
		return -1, p.Args[0] + " does not exist here, so it runs in a container"
	}
	if name != Etcd && name != EtcdEvents || c.Unit == "" {
		return alike, ""
	}
	// Kubespray's two etcds have the same arguments.
	unit := path.Base(c.Unit)
	if strings.Contains(cgroup, "/"+unit) {
		return alike + 200, ""
	}
	if strings.Contains(cgroup, "/etcd.service") || strings.Contains(cgroup, "/etcd-events.service") {
		return -1, "it belongs to another unit than " + unit
	}
	if env, ok := d.etcdEnvironment(p.PID); ok && c.Env["ETCD_DATA_DIR"] != "" {
		if env["ETCD_DATA_DIR"] != c.Env["ETCD_DATA_DIR"] {
			return -1, "its ETCD_DATA_DIR is not that of " + unit
		}
		return alike + 100, ""
	}
	if several {
		d.warn("process %d: whether this etcd is the one of %s cannot be told", p.PID, unit)
	}
	return alike, ""
}

// similarity is the share of words, in percent, that two argv have in common,
// argv[0] aside.
func similarity(a, b []string) int {
	if len(a) <= 1 && len(b) <= 1 {
		return 100
	}
	if len(a) <= 1 || len(b) <= 1 {
		return 0
	}
	common := 0
	for _, w := range a[1:] {
		if slices.Contains(b[1:], w) {
			common++
		}
	}
	return common * 100 / max(len(a)-1, len(b)-1)
}

func (d *detector) cgroup(pid int) string {
	data, _ := d.read("/proc/" + strconv.Itoa(pid) + "/cgroup")
	return string(data)
}

// etcdEnvironment are the ETCD_ variables of a process. Only root may read
// another user's.
func (d *detector) etcdEnvironment(pid int) (map[string]string, bool) {
	data, ok := d.read("/proc/" + strconv.Itoa(pid) + "/environ")
	if !ok {
		return nil, false
	}
	env := map[string]string{}
	for _, entry := range strings.Split(string(data), "\x00") {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, "ETCD_") {
			env[name] = value
		}
	}
	return env, true
}
