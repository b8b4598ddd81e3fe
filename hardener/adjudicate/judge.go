package adjudicate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Verdict is what is true about a check on this node.
type Verdict struct {
	State    check.State
	Reason   string   // why it differs from kube-bench's, one sentence; empty when it does not
	Evidence []string // "PATH: what is there" or "process PID: --flag=value"; never secrets
	Unread   bool     // it would be PASS, had the running process read its file
}

// subject is the setting that a rule is for, by the name that package profile
// gives; CNI files are no setting of a component and go by "cni".
type subject struct {
	component string
	kind      profile.Kind
	name      string
}

// rule decides about a check from the node itself; false leaves it to the
// audit's own outcome. A rule never makes up for an audit that failed or a
// component that is missing: Judge takes such a PASS back.
type rule func(x *inquiry) (Verdict, bool)

// inquiry is one check under judgement.
type inquiry struct {
	*View
	target     string
	check      *profile.Check
	subject    subject
	item       profile.TestItem // the item of the subject; zero for checks without items
	raw, truth check.Result
}

// Judge gives the verdict on one check, which may be as kube-bench or as this
// view substitutes it. raw is kube-bench's own result, truth
// that of the same check with this view's processes, variables and scripts.
//
// Without a rule truth stands. A verdict other than raw's always has a reason
// and evidence. What fails in the audit, or has no component on this node,
// never becomes PASS here; it can become INFO when it is not applicable.
//
// A PASS that a file stands for which the running process has not read is WARN.
func (v *View) Judge(target string, c *profile.Check, raw, truth check.Result) Verdict {
	x := &inquiry{View: v, target: target, check: c, raw: raw, truth: truth}
	verdict := x.judge()
	if unread, ok := x.unread(verdict); ok {
		return unread
	}
	return verdict
}

func (x *inquiry) judge() Verdict {
	v, target, c, truth := x.View, x.target, x.check, x.truth
	if truth.State == check.Info || mandatory[target] == nil {
		return x.settle(Verdict{State: truth.State})
	}
	subjects := v.subjectsOf(c)
	if len(subjects) > 0 {
		x.subject = subjects[0].subject
	}
	if verdict, ok := x.notHere(); ok {
		return x.settle(verdict)
	}
	for _, s := range subjects {
		x.subject, x.item = s.subject, s.item
		if s.component == node.Kubelet {
			if verdict, ok := x.mergedElsewhere(s.name, s.field); ok {
				return x.settle(verdict)
			}
		}
		if decide := rules[s.subject]; decide != nil {
			if verdict, ok := decide(x); ok {
				return x.settle(verdict)
			}
		}
	}
	return x.settle(Verdict{State: truth.State})
}

// judged is a setting of a check with the test item and the field of the
// configuration file that it comes from.
type judged struct {
	subject
	item  profile.TestItem
	field string
}

// subjectsOf are the settings that a check judges.
func (v *View) subjectsOf(c *profile.Check) []judged {
	if v.isCNI(c.Audit) {
		kind := profile.Owner
		if strings.Contains(c.Audit, "permissions=") {
			kind = profile.Mode
		}
		return []judged{{subject: subject{"", kind, "cni"}}}
	}
	if c.Tests == nil {
		return nil
	}
	var out []judged
	for i, setting := range c.Settings() {
		if i >= len(c.Tests.Items) {
			break
		}
		out = append(out, judged{subject{setting.Component, setting.Kind, setting.Name}, c.Tests.Items[i], setting.Path})
	}
	return out
}

// settle guards a verdict: see Judge.
func (x *inquiry) settle(verdict Verdict) Verdict {
	failed := x.truth.Reason != "" && !x.manual()
	if verdict.State == check.Pass && (failed || x.missing() && x.raw.State != check.Pass) {
		verdict = Verdict{State: x.truth.State}
		if x.truth.State == check.Pass {
			verdict.State = x.raw.State
		}
	}
	if verdict.Reason != "" && len(verdict.Evidence) > 0 {
		return verdict
	}
	otherCause := x.raw.Reason != "" && x.truth.Reason == "" && x.truth.State != check.Pass && !x.manual()
	if verdict.State == x.raw.State && !otherCause {
		return Verdict{State: verdict.State}
	}
	return x.explain(verdict.State)
}

// manual tells whether the check was not run because its profile says so
// (kube-bench check/check.go, "Test marked as a manual test").
func (x *inquiry) manual() bool { return x.check.Type == "manual" }

// missing tells whether the check is about the settings of a component that
// neither runs nor is configured here.
func (x *inquiry) missing() bool {
	s := x.subject
	return s.kind != profile.Mode && s.kind != profile.Owner && binaries[s.component] != "" && x.known[s.component] == nil
}

// bad is how this check says no: kube-bench has WARN for what is not scored
// (check/check.go:109-193).
func (x *inquiry) bad(reason string, evidence ...string) (Verdict, bool) {
	state := check.Warn
	if x.check.Scored && !x.manual() {
		state = check.Fail
	}
	return Verdict{State: state, Reason: reason, Evidence: evidence}, true
}

func (x *inquiry) pass(reason string, evidence ...string) (Verdict, bool) {
	return Verdict{State: check.Pass, Reason: reason, Evidence: evidence}, true
}

// notApplicable is INFO: the check has no object on this node.
func (x *inquiry) notApplicable(why string, evidence ...string) (Verdict, bool) {
	return Verdict{State: check.Info, Reason: "not applicable: " + why, Evidence: evidence}, true
}

func undecided() (Verdict, bool) { return Verdict{}, false }

// explain gives the reasons for which the corrected view differs from
// kube-bench's.
func (x *inquiry) explain(state check.State) Verdict {
	verdict := Verdict{State: state}
	var reasons []string
	add := func(reason string, evidence ...string) {
		if !slices.Contains(reasons, reason) {
			reasons = append(reasons, reason)
		}
		for _, e := range evidence {
			if e != "" && !slices.Contains(verdict.Evidence, e) {
				verdict.Evidence = append(verdict.Evidence, e)
			}
		}
	}
	if x.isCNI(x.check.Audit) {
		add("kube-bench's audit does not look at the CNI configuration", x.describe(x.cniDir()))
	} else {
		x.explainAudit(add)
	}
	if len(reasons) == 0 {
		add("the audit gives another result in the corrected view of this node")
	}
	if len(verdict.Evidence) == 0 {
		verdict.Evidence = []string{fmt.Sprintf("audit: %s as kube-bench sees the node, %s in the corrected view", x.raw.State, x.truth.State)}
	}
	verdict.Reason = strings.Join(reasons, "; ")
	return verdict
}

// explainAudit says what the audit's variables, processes and literal paths are
// on this node in place of what kube-bench takes for them.
func (x *inquiry) explainAudit(add func(string, ...string)) {
	corrected := x.corrected()
	for _, variable := range x.check.Variables {
		name, kind := split(variable)
		if value, ok := corrected[variable]; ok && value.value != usual[variable] {
			add(fmt.Sprintf("kube-bench guesses %s from a list of paths, this node says where it is", describeKind[kind]), value.evidence)
		}
		if kind == "bin" {
			x.explainProcess(name, add)
		}
	}
	if dir := x.pkiDir(); dir != compatPKI && (strings.Contains(x.check.Audit, dir+"/") || strings.Contains(x.check.Audit, compatPKI+"/")) {
		add("the audit's literal path is not the PKI that this node uses", x.describe(dir), x.describe(compatPKI))
	}
}

// explainProcess says what is different about the process of a component.
func (x *inquiry) explainProcess(name string, add func(string, ...string)) {
	c := x.known[name]
	if c == nil {
		if binary := binaries[name]; binary != "" {
			add(binary+" is not on this node", binary+": neither runs nor is configured on this node")
		}
		return
	}
	var flags, evidence []string
	byEnv := false
	for _, s := range x.subjectsOf(x.check) {
		flag, ok := strings.CutPrefix(s.item.Flag, "--")
		if !ok {
			continue
		}
		flags = append(flags, flag)
		byEnv = byEnv || c.folded[flag] != "" || len(c.folded) > 0 && s.item.Env != ""
		where := x.flagEvidence(name, flag)
		if _, set := c.values[flag]; !set && name == node.Kubelet && s.field != "" {
			where = x.fieldEvidence(strings.Split(s.field, "."))
		}
		evidence = append(evidence, where)
	}
	if !c.runs {
		add(binaries[name]+" does not run; judged by what its configuration would start", fmt.Sprintf("%s: starts %s", c.where, binaries[name]))
		add(binaries[name]+" does not run; judged by what its configuration would start", evidence...)
	}
	if byEnv {
		add("etcd is configured by its environment or a file, not by flags", evidence...)
	}
	for i, flag := range flags {
		if c.notes[flag] != "" {
			add("the command line means something else than its text", evidence[i])
		}
	}
	if notes := x.notes[name]; len(notes) > 0 {
		add("other processes look like "+binaries[name]+" to kube-bench", notes...)
	}
	if c.runs && !byEnv && x.raw.State != x.truth.State {
		add("kube-bench did not find the process or read another one", evidence...)
	}
}

func itemsOf(c *profile.Check) []profile.TestItem {
	if c.Tests == nil {
		return nil
	}
	return c.Tests.Items
}

var describeKind = map[string]string{
	"conf": "the configuration file", "svc": "the unit file", "kubeconfig": "the kubeconfig",
	"cafile": "the CA file", "datadir": "the data directory",
}

// notHere answers checks of components that this node does not have. Some
// distributions run all components in one program; of those nothing is said.
func (x *inquiry) notHere() (Verdict, bool) {
	if slices.Contains([]string{"k3s", "rke2", "microk8s", "k0s"}, x.facts.Distribution.Name) {
		return undecided()
	}
	if x.known[node.APIServer] == nil && (x.target == "master" || x.target == "controlplane") && !slices.Contains(x.facts.Roles, "control-plane") {
		return x.notApplicable("this node is no control plane", x.absent(node.APIServer)...)
	}
	if x.target == "etcd" && x.known[node.Etcd] == nil && !slices.Contains(x.facts.Roles, "etcd") {
		return x.notApplicable("no etcd runs on this node", x.absent(node.Etcd)...)
	}
	if x.target == "node" && x.known[node.Kubelet] == nil && !slices.Contains(x.facts.Roles, "worker") &&
		!slices.Contains(x.facts.Roles, "control-plane") && slices.Contains(x.facts.Roles, "etcd") {
		return x.notApplicable("this node only runs etcd, no kubelet", x.absent(node.Kubelet)...)
	}
	return undecided()
}

// absent is the evidence that a component is not on this node.
func (x *inquiry) absent(name string) []string {
	out := []string{fmt.Sprintf("roles of this node: %s", orNone(strings.Join(x.facts.Roles, ", ")))}
	if x.live {
		out = append(out, "process table: no "+binaries[name])
	}
	if dir := x.facts.ManifestDir; dir != "" && name != node.Kubelet {
		out = append(out, dir+": no manifest starts "+binaries[name])
	}
	return out
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}
