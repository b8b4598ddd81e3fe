package fix

import (
	"regexp"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

func allRules() []rule {
	return slices.Concat(apiserverRules(), controllerRules(), kubeletRules(), etcdRules())
}

// textRules decide about checks that test nothing on the node. Their name is
// looked for in the check's text, in lower case; component is the section.
var textRules = [...]rule{
	{name: "cluster-admin", state: Never, risk: RiskCluster, reason: "bindings are reported, never deleted: without kubeadm:cluster-admins admin.conf and logs and exec are locked out"},
	{name: "system:masters", state: Never, risk: RiskCluster, reason: "membership is in certificates and ends with the authority only"},
	{name: "service account", component: "policies", state: Manual, risk: RiskWorkload, reason: "pods that use the default service account would break at their next start: look which do, then set it for each namespace"},
	{name: "network polic", component: "policies", state: Manual, risk: RiskWorkload, reason: "default deny cuts DNS, the API server and metrics unless each is allowed first: add policies namespace by namespace"},
	{name: "container", component: "policies", state: Manual, risk: RiskWorkload, reason: "pod security is enforced by namespace, with a warning phase first: running pods are hit at their next start"},
	{name: "pod security", component: "policies", state: Manual, risk: RiskWorkload, reason: "pod security is enforced by namespace, with a warning phase first: running pods are hit at their next start"},
	{name: "image", component: "policies", state: Manual, risk: RiskWorkload, reason: "an image webhook that is down stops every pod, its own among them"},
	{name: "", component: "policies", state: Manual, risk: RiskWorkload, reason: "roles and policies of the cluster are reported; who needs them is for a person to say"},
	{name: "encryption", state: Never, risk: RiskCluster, reason: "encryption at rest is a plan in phases over all control planes, with the key kept safe off the node"},
	{name: "authentication should not be used", state: Manual, risk: RiskCluster, reason: "taking it away shuts out the nodes and people that use it"},
	{name: "audit policy", state: Manual, reason: "the policy that comes with audit logging covers secrets, configmaps, token reviews and ways into pods; what else matters is for a person to say"},
	{name: "container network interface", state: Manual, risk: RiskFiles, reason: "the profile does not say which files: look at /etc/cni/net.d, and leave its directories searchable"},
}

var textFlag = regexp.MustCompile(`--([a-z][a-z0-9-]+)`)

// decideText is for checks that test nothing: what they are about stands in
// their text.
func (p *planner) decideText(f Finding, settings []profile.Setting) Decision {
	for _, m := range textFlag.FindAllStringSubmatch(f.Check.Text, -1) {
		for _, component := range auditComponents(f.Check) {
			if r, ok := findRule(p.rules, profile.Setting{Component: component, Name: m[1]}, ""); ok {
				return r.decision(Manual, joinReason("the profile leaves the value to a person", r.reason))
			}
		}
	}
	text := strings.ToLower(f.Check.Text)
	for _, r := range textRules {
		if strings.Contains(text, r.name) && (r.component == "" || r.component == f.Target) {
			return r.decision(r.state, r.reason)
		}
	}
	if f.Check.Tests == nil {
		return Decision{State: Manual, Reason: "the profile gives no test for it: a person has to look"}
	}
	return Decision{State: Manual, Reason: "nothing on this node can be changed for it: a person has to look"}
}

func auditComponents(c *profile.Check) []string {
	var out []string
	for _, v := range c.Variables {
		if component, ok := strings.CutSuffix(v, "bin"); ok {
			out = append(out, component)
		}
	}
	return out
}
