// Package adjudicate owns what is true where kube-bench is misled by the layout
// of a node: the corrected process table and variables with which the same
// checks are run again, and rules, keyed by the setting that a check judges and
// never by its number, for what a process line or a file mode cannot tell.
//
// It leaves to others how an audit runs (package shell), what its output means
// (package check) and how the layout was found (package node). It never writes
// to the node, and its evidence never holds secrets.
package adjudicate

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// SyntheticPID is the first process id of components that are configured but do
// not run. It lies above the largest id that Linux gives (2^22).
const SyntheticPID = 1<<22 + 1

// binaries are the programs of the components.
var binaries = map[string]string{
	node.APIServer:         "kube-apiserver",
	node.ControllerManager: "kube-controller-manager",
	node.Scheduler:         "kube-scheduler",
	node.Etcd:              "etcd",
	node.Kubelet:           "kubelet",
	node.Proxy:             "kube-proxy",
}

// components in the order in which synthetic processes get their ids.
var components = []string{node.APIServer, node.ControllerManager, node.Scheduler, node.Etcd, node.Kubelet, node.Proxy}

// View is a node as it is, in contrast to what kube-bench makes of it. It does
// not change once made, and configuration files are read once: make another
// View after a change to the node. Its methods may be called concurrently.
type View struct {
	fsys  fs.FS
	facts node.Facts
	users node.Users
	table node.Processes
	known map[string]*component // running or configured on this node
	live  bool                  // the tree has a process table
	notes map[string][]string   // by component: processes that were left out, as evidence

	mu        sync.Mutex
	documents map[string]document // by host path; nil for what cannot be read
}

// component is a component with the command line that counts.
type component struct {
	argv
	pid    int
	runs   bool
	where  string            // where its flags were read
	folded map[string]string // etcd: flag -> where else than on the command line it was set
}

// New makes the view of a node from what Detect found on it. Judge reads
// configuration files from the tree.
func New(fsys fs.FS, facts node.Facts, procs node.Processes, users node.Users) *View {
	v := &View{
		fsys: fsys, facts: facts, users: users, live: len(procs) > 0,
		known: map[string]*component{}, notes: map[string][]string{}, documents: map[string]document{},
	}
	chosen := map[string]node.Process{}
	for _, name := range components {
		if p, ok := v.choose(name, procs); ok {
			chosen[name] = p
		}
	}
	for _, p := range procs {
		if i := slices.IndexFunc(components, func(n string) bool { c, ok := chosen[n]; return ok && c.PID == p.PID }); i >= 0 {
			v.table = append(v.table, v.real(components[i], p))
		} else if !v.mentions(p) {
			v.table = append(v.table, p)
		}
	}
	pid := SyntheticPID
	for _, name := range components {
		c, configured := facts.Components[name]
		if _, runs := chosen[name]; runs || !configured || len(c.Configured) == 0 {
			continue
		}
		v.table = append(v.table, v.synthetic(name, c, pid))
		pid++
	}
	return v
}

// Processes is the corrected process table: one process for each component that
// runs or is configured here, its flags as the component understands them, and
// nothing else that mentions a component.
func (v *View) Processes() node.Processes { return slices.Clone(v.table) }

// choose picks the process that Detect found to be the component.
func (v *View) choose(component string, procs node.Processes) (node.Process, bool) {
	fact := v.facts.Components[component]
	i := slices.IndexFunc(procs, func(p node.Process) bool { return fact.Running && p.PID == fact.PID && len(p.Args) > 0 })
	if i < 0 {
		return node.Process{}, false
	}
	return procs[i], true
}

// programOf is the component whose program a process runs, or empty. An
// interpreter that runs a wrapper script called etcd is not etcd, although the
// kernel calls the process so (kube-bench issue 828).
func programOf(p node.Process) string {
	if len(p.Args) == 0 {
		return ""
	}
	base := path.Base(p.Args[0])
	if base == "hyperkube" && len(p.Args) > 1 {
		base = "kube-" + strings.TrimPrefix(p.Args[1], "kube-")
		if base == "kube-kubelet" {
			base = "kubelet"
		}
	}
	for name, binary := range binaries {
		if base == binary {
			return name
		}
	}
	return ""
}

// isEvents tells whether a process is the etcd of Kubespray's second cluster
// for Events (etcd_events_cluster_enabled).
func (v *View) isEvents(pid int) bool {
	events, ok := v.facts.Components[node.EtcdEvents]
	return ok && events.Running && events.PID == pid
}

// mentions tells whether a process only mentions a component: kube-bench and
// this program, editors and pagers, docker clients, Calico's kube-controllers
// (whose name the kernel cuts to that of the controller manager), etcd-events.
// Audits find processes by text, so those lines could be taken for flags.
func (v *View) mentions(p node.Process) bool {
	found := programOf(p)
	command := p.Command()
	for _, name := range components {
		if found == "" && p.Comm == comm(binaries[name]) {
			found = name
		}
	}
	for _, name := range components {
		if found == "" && strings.Contains(command, binaries[name]) {
			found = name
		}
	}
	switch {
	case found == "":
		return false
	case found == node.Etcd && v.isEvents(p.PID):
		v.notes[found] = append(v.notes[found], fmt.Sprintf("process %d: etcd-events, a cluster of its own, is not part of this verdict", p.PID))
	case p.Comm == comm(binaries[found]) && len(p.Args) > 0 && programOf(p) != found:
		v.notes[found] = append(v.notes[found], fmt.Sprintf("process %d: called %s but runs %s, left out", p.PID, p.Comm, path.Base(p.Args[0])))
	case programOf(p) == found:
		v.notes[found] = append(v.notes[found], fmt.Sprintf("process %d: another %s, not this node's own, left out", p.PID, binaries[found]))
	}
	return true
}

// comm is a program's name as the kernel keeps it, 15 bytes at most.
func comm(binary string) string {
	if len(binary) > 15 {
		return binary[:15]
	}
	return binary
}

// real is a running component with its flags settled.
func (v *View) real(name string, p node.Process) node.Process {
	if path.Base(p.Args[0]) == "hyperkube" {
		p.Args, p.Comm = startOf(p.Args, binaries[name]), comm(binaries[name])
	}
	c := &component{argv: parseArgv(p.Args, v.singleDash(name)), pid: p.PID, runs: true, where: fmt.Sprintf("process %d", p.PID)}
	if name == node.Etcd {
		env := v.facts.Components[name].LiveEnv
		if env == nil {
			env = v.facts.Components[name].Env
		}
		c.folded = v.foldEtcd(&c.argv, env)
	}
	v.known[name] = c
	p.Args = c.args
	return p
}

// synthetic is a component as its manifest or unit would start it.
func (v *View) synthetic(name string, fact node.Component, pid int) node.Process {
	where := fact.Manifest
	if where == "" {
		where = fact.Unit
	}
	if where == "" {
		where = "configuration of " + binaries[name]
	}
	c := &component{argv: parseArgv(startOf(fact.Configured, binaries[name]), v.singleDash(name)), pid: pid, where: where}
	if name == node.Etcd {
		c.folded = v.foldEtcd(&c.argv, fact.Env)
	}
	v.known[name] = c
	return node.Process{PID: pid, PPID: 1, Comm: comm(binaries[name]), Args: c.args, State: 'S'}
}

// startOf cuts what runs a program, such as docker run or hyperkube, off its
// command line.
func startOf(args []string, binary string) []string {
	if path.Base(args[0]) == binary {
		return args
	}
	for i := len(args) - 1; i >= 0; i-- {
		switch path.Base(args[i]) {
		case binary:
			return args[i:]
		case "hyperkube":
			return append([]string{binary}, args[min(i+2, len(args)):]...)
		}
	}
	return append([]string{binary}, args[1:]...)
}

func (v *View) singleDash(name string) func(string) bool {
	if name == node.Etcd {
		return isEtcdFlag // etcd uses package flag, which takes one dash or two
	}
	return nil
}

// flag is the value of a component's flag that counts.
func (v *View) flag(component, flag string) (string, bool) {
	c := v.known[component]
	if c == nil {
		return "", false
	}
	value, ok := c.values[flag]
	return value, ok
}

// flagEvidence says where a flag was read and what it is.
func (v *View) flagEvidence(component, flag string) string {
	c := v.known[component]
	if c == nil {
		return binaries[component] + ": neither runs nor is configured on this node"
	}
	value, ok := c.values[flag]
	if !ok {
		line := fmt.Sprintf("%s: %s has no --%s", c.where, binaries[component], flag)
		if note := c.notes[flag]; note != "" {
			line += " (" + note + ")"
		}
		return line
	}
	line := c.where + ": " + show(flag, value)
	if source := c.folded[flag]; source != "" {
		line = fmt.Sprintf("%s: %s (from %s)", c.where, show(flag, value), v.etcdSource(source))
	}
	if note := c.notes[flag]; note != "" {
		line += " (" + note + ")"
	}
	return line
}

// etcdSource says where an etcd setting off the command line was read.
func (v *View) etcdSource(source string) string {
	if !strings.HasPrefix(source, "ETCD_") {
		return source
	}
	c := v.known[node.Etcd]
	if files := v.facts.Components[node.Etcd].EnvFiles; len(files) > 0 {
		return source + " in " + strings.Join(files, ", ")
	}
	if c.runs {
		return fmt.Sprintf("%s in the environment of process %d", source, c.pid)
	}
	return source + " in " + c.where
}
