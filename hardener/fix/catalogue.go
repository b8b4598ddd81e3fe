package fix

import (
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Answer is what is done about a check that does not pass.
type Answer string

// The answers of a Disposition.
const (
	Fixed     Answer = "fixed"  // a change is planned, of the Disposition's Risk
	Judged    Answer = "judged" // nothing is changed: the verdict for the layout answers it
	Explained Answer = "never"  // not changed automatically, and the Reason says why
	Person    Answer = "person" // evaluated and left to a person
)

// ClusterGroup is the Component of what is no setting of a node: roles, policies
// and who logs in how.
const ClusterGroup = "cluster"

// Disposition is what the catalogue says about a check, whatever the node. What
// is done on one is a Decision.
type Disposition struct {
	Setting   string     `json:"setting"`   // in the component's own words, or in ours where no setting stands for it
	Component string     `json:"component"` // FilesGroup, ClusterGroup or a component of package node
	Answer    Answer     `json:"answer"`
	Risk      Risk       `json:"risk,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Note      string     `json:"note,omitempty"`   // what is so of this setting, beside a Reason that others share
	Breaks    string     `json:"breaks,omitempty"` // what the change, or its naive form, can break
	Guard     []string   `json:"guard,omitempty"`  // what must hold before it is made, its own before its component's
	Proof     []string   `json:"proof,omitempty"`  // what shows afterwards that all is well
	Undo      []string   `json:"undo,omitempty"`   // how it is taken back
	Variables []Variable `json:"variables,omitempty"`
}

// DispositionOf is the catalogue's answer to a check of a section, from the rules
// alone: a check as its profile has it, substituted or not. It is false for a
// check of which nothing in particular is known.
func DispositionOf(target string, c *profile.Check) (Disposition, bool) {
	settings := c.Settings()
	if r, owner, ok := findFileRule(c, settings); ok {
		return r.disposition(owner), true
	}
	p := &planner{rules: allRules()}
	if picks := p.picks(Finding{Target: target, Check: c}, settings); len(picks) > 0 {
		return settingDisposition(picks)
	}
	if r, ok := p.flagOfText(c); ok {
		d := r.disposition(r.component)
		if d.Answer == Fixed { // there is no test to plan from
			d.Answer, d.Reason = Person, joinReason(noTest, d.Reason)
		}
		return d, true
	}
	if r, ok := findTextRule(target, c.Text); ok {
		return r.disposition(ClusterGroup), true
	}
	return Disposition{}, false
}

func settingDisposition(picks []pick) (Disposition, bool) {
	chosen := picks[0]
	for _, k := range picks {
		if !k.known {
			return Disposition{}, false
		}
		if k.rule.state != "" || k.rule.unless != nil && k.rule.unless(k.item) != "" {
			chosen = k
			break
		}
	}
	d := chosen.rule.disposition(chosen.setting.Component)
	var names []string
	for _, k := range picks {
		names = append(names, k.name())
		if d.Answer == Fixed && riskRank(k.rule.riskOf()) > riskRank(d.Risk) {
			d.Risk = k.rule.riskOf()
		}
	}
	d.Setting = strings.Join(unique(names), ", ")
	if chosen.rule.state == "" && chosen.rule.unless != nil {
		if why := chosen.rule.unless(chosen.item); why != "" {
			d.Answer, d.Reason = answerOf(chosen.rule.refused(why).State, chosen.rule), why
		}
	}
	if d.Answer != Fixed {
		d.Guard, d.Proof, d.Undo = nil, nil, nil
	}
	return d, true
}

// name is the setting as an operator writes it.
func (k pick) name() string {
	name := "--" + k.setting.Name
	switch {
	case k.rule.element != "" && k.setting.Name == "enable-admission-plugins":
		return "admission plugin " + k.rule.element
	case k.rule.element != "" && k.setting.Name == "disable-admission-plugins":
		return "admission plugin " + k.rule.element + " (not disabled)"
	case k.rule.element != "":
		return name + " " + k.rule.element
	case k.setting.Component == node.Kubelet && k.setting.Path != "":
		return k.setting.Path
	}
	return name
}

func answerOf(s State, r rule) Answer {
	switch {
	case s == "":
		return Fixed
	case r.words.judged != "" && s == Manual:
		return Judged
	case s == Never:
		return Explained
	}
	return Person
}

// disposition is what a rule says without a node. The component's own words
// follow only where something is changed.
func (r rule) disposition(component string) Disposition {
	d := Disposition{
		Setting: r.what, Component: component, Answer: answerOf(r.state, r), Risk: r.riskOf(),
		Reason: strings.Join(unique([]string{r.words.judged, r.reason}), "; "), Note: r.words.more, Breaks: r.breaks, Variables: slices.Concat(r.filled(nil), r.words.variables),
	}
	if d.Setting == "" {
		d.Setting = "--" + r.name
	}
	switch d.Answer {
	case Fixed:
		w := ComponentWords(component)
		d.Guard = unique([]string{r.words.guard, w.Guard})
		d.Proof = unique([]string{r.words.proof, w.Proof})
		d.Undo = unique([]string{r.words.undo, w.Undo})
	case Judged, Person:
		d.Risk = ""
	}
	return d
}

// fileRule is what the catalogue says about mode and owner of files, keyed by
// the setting as rule is.
type fileRule struct {
	component string
	name      string // profile.Setting.Name, or cniFilesName
	audit     string // part of the audit, where one setting stands for several kinds of files
	what      string
	paths     []string // where Kubespray has them, for the variables
	judged    string
	breaks    string // besides what every change of owner or mode breaks
	guard     string
}

const cniFilesName = "cni"

// cniAudit tells the audits of CNI files: they look where the files were under
// kubelets before 1.24, or leave the place to a person. On a node the real
// directory is audited instead (package adjudicate).
func cniAudit(audit string) bool {
	return strings.Contains(audit, "--cni-conf-dir") && strings.Contains(audit, "/var/lib/cni/networks") || strings.Contains(audit, "<path/to/cni/files>")
}

func findFileRule(c *profile.Check, settings []profile.Setting) (r fileRule, owner, ok bool) {
	if cniAudit(c.Audit) {
		i := slices.IndexFunc(fileRules[:], func(r fileRule) bool { return r.name == cniFilesName })
		return fileRules[i], strings.Contains(c.Audit, "%U:%G"), true
	}
	for _, s := range settings {
		if s.Kind != profile.Mode && s.Kind != profile.Owner {
			continue
		}
		for _, r := range fileRules {
			if r.component == s.Component && r.name == s.Name && strings.Contains(c.Audit, r.audit) {
				return r, s.Kind == profile.Owner, true
			}
		}
	}
	return fileRule{}, false, false
}

func (r fileRule) disposition(owner bool) Disposition {
	want, kind := wantedMeta{mode: true, mask: 0o600}, "mode" // the strictest that a benchmark asks for
	if owner {
		want, kind = wantedMeta{owner: "root:root"}, "owner"
	}
	w := ComponentWords(FilesGroup)
	d := Disposition{
		Setting: kind + " of " + r.what, Component: FilesGroup, Answer: Fixed, Risk: RiskFiles,
		Note: strings.Join(durability(r.paths, want), "; "), Breaks: joinReason(fileBreaks(want), r.breaks),
		Guard: unique([]string{r.guard, w.Guard}), Proof: []string{w.Proof}, Undo: []string{w.Undo}, Variables: fileVariables(r.paths, want),
	}
	if r.judged != "" {
		d.Answer, d.Risk, d.Reason, d.Guard, d.Proof, d.Undo, d.Variables, d.Breaks = Judged, "", r.judged, nil, nil, nil, nil, r.breaks
	}
	return d
}

// fileRules are the files whose mode or owner a benchmark asks for.
var fileRules = [...]fileRule{
	{component: node.APIServer, name: "conf", what: "the API server's manifest", paths: []string{"/etc/kubernetes/manifests/kube-apiserver.yaml"}, guard: noRestart},
	{component: node.ControllerManager, name: "conf", what: "the controller manager's manifest", paths: []string{"/etc/kubernetes/manifests/kube-controller-manager.yaml"}, guard: noRestart},
	{component: node.Scheduler, name: "conf", what: "the scheduler's manifest", paths: []string{"/etc/kubernetes/manifests/kube-scheduler.yaml"}, guard: noRestart},
	{component: node.Etcd, name: "conf", what: "etcd's manifest",
		judged: "Kubespray runs etcd as a service, so there is no manifest and the check does not apply; one is never made up, because the kubelet would start it as a pod. The manifest of kubeadm's etcd is fixed like the others",
		breaks: "a made-up etcd.yaml starts a second etcd"},
	{component: node.ControllerManager, name: "kubeconfig", what: "controller-manager.conf", paths: []string{"/etc/kubernetes/controller-manager.conf"}, guard: rootPods},
	{component: node.Scheduler, name: "kubeconfig", what: "scheduler.conf", paths: []string{"/etc/kubernetes/scheduler.conf"}, guard: rootPods},
	{name: "/etc/kubernetes/admin.conf", what: "admin.conf and super-admin.conf", paths: []string{"/etc/kubernetes/admin.conf"}, guard: "the files are neither moved nor removed: super-admin.conf is the way back in"},
	{name: "/etc/kubernetes/pki", audit: "*.crt", what: "certificates", paths: []string{"/etc/kubernetes/ssl/ca.crt"}, guard: rootPods,
		breaks: "agents and people that read ca.crt without being root"},
	{name: "/etc/kubernetes/pki", audit: "*.key", what: "keys", paths: []string{"/etc/kubernetes/ssl/ca.key"}, guard: rootPods},
	{name: "/etc/kubernetes/pki", what: "the PKI directory and its files", paths: []string{"/etc/kubernetes/ssl"}, guard: rootPods,
		breaks: "whatever runs as user kube or in group kube-cert"},
	{component: node.Etcd, name: "datadir", what: "etcd's data directory", paths: []string{"/var/lib/etcd"},
		guard: "the directory only, where etcd really has it; given to user etcd only while that user exists and the service runs as root"},
	{component: node.Kubelet, name: "svc", what: "the kubelet's unit", paths: []string{"/etc/systemd/system/kubelet.service"}},
	{component: node.Kubelet, name: "conf", what: "the kubelet's configuration file", paths: []string{"/etc/kubernetes/kubelet-config.yaml"}},
	{component: node.Kubelet, name: "kubeconfig", what: "kubelet.conf", paths: []string{"/etc/kubernetes/kubelet.conf"}, breaks: "network plugins and agents that read it without being root"},
	{component: node.Kubelet, name: "cafile", what: "the client certificate authority", paths: []string{"/etc/kubernetes/ssl/ca.crt"}, breaks: "agents that read ca.crt without being root"},
	{component: node.Proxy, name: "kubeconfig", what: "kube-proxy's kubeconfig",
		judged: "kube-proxy is a DaemonSet and its kubeconfig a volume, so the check does not apply where the host has no such file; where it has one it is fixed like the others",
		breaks: "nothing: the kubelet writes the volume anew"},
	{name: cniFilesName, what: "the network plugin's configuration", paths: []string{"/etc/cni/net.d"}, breaks: "Cilium's init containers, if a directory loses its search bit",
		guard: "files only, in the directory in use; lock files and links are left alone"},
}

const (
	noRestart = "the content stays, so the kubelet does not restart the pod"
	rootPods  = "no control plane pod runs as another user than root"
)
