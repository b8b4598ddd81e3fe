package fix

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// A finding whose files say already what is wanted needs a restart and no change.
// The restart puts into force everything else that was written since the process
// began, and of that no older bytes are known: nothing could be put back. So it is
// planned only when every such difference is known and is what a check of this run
// asks for. Otherwise it is left to a person, and so are the changes to the same
// component, whose restart would do the same.

// unread is what a plan knows about one component that has not read its files.
type unread struct {
	held  []heldFinding   // what only needs a restart
	files []string        // what it has not read
	risk  Risk            // the highest of theirs
	asked map[string]bool // settings that checks of this run want as they will be
}

// heldFinding is one whose settings are in the files already.
type heldFinding struct {
	key   string
	names []string // of its settings
	fails bool     // by what the process was given, not for want of knowing
}

func (p *planner) unreadOf(component string) *unread {
	u := p.unread[component]
	if u == nil {
		u = &unread{risk: RiskRestart, asked: map[string]bool{}}
		p.unread[component] = u
	}
	return u
}

// ask notes that checks want these settings as they are in the plan.
func (p *planner) ask(component string, picks []pick) {
	u := p.unreadOf(component)
	for _, name := range namesOf(component, picks) {
		u.asked[name] = true
	}
}

// namesOf are what settings go by in pending.
func namesOf(component string, picks []pick) []string {
	var names []string
	for _, k := range picks {
		names = append(names, k.setting.Name)
		if k.setting.Path != "" {
			names = append(names, k.setting.Path)
		}
		if component == node.Etcd {
			names = append(names, etcdVariable(k.setting.Name))
		}
	}
	return names
}

// held decides about a finding whose settings are in the files already.
func (p *planner) held(f Finding, d Decision, todo []pick, comp node.Component, at place, tx *workspace) Decision {
	component := todo[0].setting.Component
	if !comp.Running {
		d.State, d.Reason = Manual, at.file()+" already says so"
		return d
	}
	if comp.Manifest != "" {
		d.State, d.Reason = Manual, p.podUnread(component, comp, at)
		return d
	}
	u := p.unreadOf(component)
	if len(u.files) == 0 {
		u.files = slices.Clone(comp.Unread)
	}
	if len(u.files) == 0 { // a drop-in is gone, or a file has the date of an old one
		u.files = []string{at.file()}
		if component == node.Kubelet && comp.Unit != "" {
			u.files[0] = comp.Unit
		}
	}
	d.Reason = restartWords(component, u.files)
	if p.in.Pending == nil && slices.Contains(u.files, comp.Config) {
		d.Reason += "; before that, a fix asks what else of it is not in force"
	}
	d.Paths = nil
	d = p.keep(f, d, tx, true)
	if d.State == AboveRisk {
		return d
	}
	p.ask(component, todo)
	u.held = append(u.held, heldFinding{Key(f.Target, f.Check.ID), namesOf(component, todo), f.Result.State == check.Fail})
	if riskRank(d.Risk) > riskRank(u.risk) {
		u.risk = d.Risk
	}
	return d
}

func restartWords(component string, files []string) string {
	return fmt.Sprintf("restart %s: it has not read %s", component, strings.Join(files, ", "))
}

// podUnread is for static pods: the kubelet restarts one when its manifest changes,
// and what its process has of a file that it mounts, nobody can be asked.
func (p *planner) podUnread(component string, comp node.Component, at place) string {
	pod, ok := at.(*podPlace)
	if !slices.Contains(comp.Unread, comp.Config) || !ok {
		return at.file() + " already says so, and the process that runs does not: the kubelet has not taken it, and its log says why"
	}
	return fmt.Sprintf("%s already says so and the process that runs has not read it; what else of it a restart would put into force cannot be asked, and nothing could take that back: "+
		"look at it, then: crictl rmp --force $(crictl pods --quiet --namespace kube-system --name %s)", comp.Config, pod.binary)
}

// settleUnread decides which components are restarted for what they have not read,
// and which must not be restarted at all.
func (p *planner) settleUnread() {
	for _, component := range groupOrder {
		comp := p.in.Facts.Components[component]
		u := p.unread[component]
		if u == nil || !p.live(component) || comp.Manifest != "" || len(u.held) == 0 && len(comp.Unread) == 0 {
			continue
		}
		pending, unknown := p.pending(component, comp)
		var others []string
		for _, name := range slices.Sorted(maps.Keys(pending)) {
			if !u.asked[name] {
				others = append(others, pending[name])
			}
		}
		others = append(others, unknown...)
		var keys []string
		for _, h := range u.held {
			if h.fails && !slices.ContainsFunc(h.names, func(name string) bool { return pending[name] != "" }) {
				p.settle([]string{h.key}, Manual, fmt.Sprintf("%s says so, and %s runs with what its unit says otherwise: a restart changes nothing", strings.Join(u.files, ", "), component))
				continue
			}
			keys = append(keys, h.key)
		}
		switch {
		case len(others) > 0:
			why := fmt.Sprintf("a restart of %s puts into force all that was written since it started, and nothing could take that back; no check asks for this: %s; look at it, then: %s",
				component, strings.Join(others, "; "), restartCommand(component, comp))
			p.blocked[component] = why
			p.settle(keys, Manual, why)
		case len(pending) == 0 && p.in.Pending != nil:
			p.settle(keys, Manual, fmt.Sprintf("%s was written since %s started, which has every setting of it in force: nothing is to be done", strings.Join(u.files, ", "), component))
		case len(keys) > 0:
			p.restarts[component] = p.restart(component, u, keys, pending)
		}
	}
}

// settle puts another end to findings that were planned.
func (p *planner) settle(keys []string, state State, why string) {
	for _, key := range keys {
		d := p.plan.Decisions[key]
		d.State, d.Reason = state, why
		p.plan.Decisions[key] = d
	}
}

// restart is the change that writes nothing. Its Digest is that of what the process
// is to read.
func (p *planner) restart(component string, u *unread, keys []string, pending map[string]string) Change {
	var content []byte
	for _, file := range u.files {
		data, err := p.pristine().read(file)
		if err != nil {
			continue // the proof will not pass over it
		}
		content = append(content, data...)
	}
	words := restartWords(component, u.files)
	if len(pending) > 0 {
		words += " (" + strings.Join(slices.Sorted(maps.Values(pending)), "; ") + ")"
	}
	same := File{Content: content}
	return Change{Path: u.files[0], Kind: Restart, Before: &same, After: same, Checks: keys, Diff: words}
}

func restartCommand(component string, comp node.Component) string {
	unit := component
	if comp.Unit != "" {
		unit = strings.TrimSuffix(path.Base(comp.Unit), ".service")
	}
	return "systemctl daemon-reload && systemctl restart " + unit
}

// pending is what a restart would put into force, by the name of the flag, the
// field or the variable, in words; unknown is why there may be more. Values of
// flags and variables stay out: they may be secrets.
func (p *planner) pending(component string, comp node.Component) (pending map[string]string, unknown []string) {
	pending = map[string]string{}
	if len(comp.Configured) == 0 {
		unknown = append(unknown, "no unit says what it is started with")
	}
	runs, starts := flagsOf(comp.Argv), flagsOf(comp.Configured)
	for name := range union(runs, starts) {
		if len(comp.Configured) > 0 && runs[name] != starts[name] {
			pending[name] = "--" + name
		}
	}
	units := p.unitTexts(comp)
	live, err := p.environment(comp)
	if err != nil {
		unknown = append(unknown, fmt.Sprintf("the environment of process %d cannot be read: %v", comp.PID, err))
	}
	for name := range union(live, comp.Env) {
		// A variable of the command line shows in its flags. Of the others a process
		// has many that no file sets; etcd's count all.
		onLine := strings.Contains(units, "$"+name) || strings.Contains(units, "${"+name+"}")
		_, set := comp.Env[name]
		ours := set || component == node.Etcd && strings.HasPrefix(name, "ETCD_")
		if err == nil && ours && !onLine && live[name] != comp.Env[name] {
			pending[name] = name
		}
	}
	for _, file := range comp.Unread {
		switch {
		case file == comp.Config:
			unknown = append(unknown, p.pendingFields(component, comp, pending)...)
		case file == comp.Unit:
			unknown = append(unknown, file+" was written since, and what of it beside the command line is not in force cannot be told")
		case slices.Contains(comp.DropIns, file) && !p.onlyCommand(file):
			unknown = append(unknown, "settings of "+file+" beside the command line and the environment")
		}
	}
	return pending, unknown
}

// pendingFields adds what the component says of its configuration file.
func (p *planner) pendingFields(component string, comp node.Component, pending map[string]string) (unknown []string) {
	if p.in.Pending == nil {
		return nil // a fix asks before it plans
	}
	fields, err := p.in.Pending(component)
	if err != nil {
		return []string{fmt.Sprintf("what of %s is not in force yet cannot be asked: %v", comp.Config, err)}
	}
	maps.Copy(pending, fields)
	return nil
}

// environment is that of the component's process.
func (p *planner) environment(comp node.Component) (map[string]string, error) {
	data, err := fs.ReadFile(p.in.FS, "proc/"+strconv.Itoa(comp.PID)+"/environ")
	env := map[string]string{}
	for _, e := range strings.Split(string(data), "\x00") {
		if name, value, ok := strings.Cut(e, "="); ok {
			env[name] = value
		}
	}
	return env, err
}

func (p *planner) unitTexts(comp node.Component) string {
	var b strings.Builder
	for _, file := range append([]string{comp.Unit}, comp.DropIns...) {
		if data, err := p.pristine().read(file); file != "" && err == nil {
			b.Write(data)
		}
	}
	return b.String()
}

// onlyCommand reports a drop-in that sets nothing but the command line and the
// environment, which can be compared with the process.
func (p *planner) onlyCommand(file string) bool {
	data, err := p.pristine().read(file)
	if err != nil {
		return false
	}
	more := false
	for line := range strings.SplitSeq(string(data), "\n") {
		goesOn := more
		more = strings.HasSuffix(line, `\`)
		if goesOn || comment(line) || strings.HasPrefix(strings.TrimSpace(line), "[") {
			continue
		}
		name, _, _ := strings.Cut(line, "=")
		if !slices.Contains([]string{"ExecStart", "Environment", "EnvironmentFile"}, strings.TrimSpace(name)) {
			return false
		}
	}
	return true
}

// flagsOf are the flags of a command line by name, each with all its values.
func flagsOf(argv []string) map[string]string {
	flags := map[string]string{}
	for i := 1; i < len(argv); i++ {
		name := flagName(argv[i])
		if name == "" {
			continue
		}
		_, value, given := strings.Cut(argv[i], "=")
		if !given {
			value = "true"
			if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") {
				i++
				value = argv[i]
			}
		}
		flags[name] += value + "\x00"
	}
	return flags
}

func union(a, b map[string]string) map[string]bool {
	names := map[string]bool{}
	for name := range a {
		names[name] = true
	}
	for name := range b {
		names[name] = true
	}
	return names
}
