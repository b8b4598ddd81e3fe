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

// podSecurity are the variables that enforce pod security by default.
func podSecurity() []Variable {
	return []Variable{
		{Name: "kube_pod_security_use_default", Value: "true", Since: "2.20", Note: "with kube_apiserver_admission_control_config_file: true"},
		{Name: "kube_pod_security_default_enforce", Value: "baseline", Since: "2.20", Note: "restricted rejects MetalLB, cert-manager, ingress and storage drivers at their next start"},
		{Name: "kube_pod_security_exemptions_namespaces", Value: "[kube-system]", Since: "2.20", Note: "name every namespace whose pods need more"},
	}
}

// textRules decide about checks that no setting of a node answers. Their name is
// looked for in the check's text, in lower case; component is the section. The
// first that fits counts.
func textRules() []rule {
	never := func(name, what, reason string) rule {
		return rule{name: name, what: what, state: Never, risk: RiskCluster, reason: reason}
	}
	person := func(target, name, what, reason, breaks string, v ...Variable) rule {
		return rule{component: target, name: name, what: what, state: Manual, risk: RiskWorkload, reason: reason, breaks: breaks, variables: v}
	}
	pods := func(name, what, who string) rule {
		r := person("policies", name, what,
			"enforced by namespace with Pod Security admission: look at the warnings of a dry run first, then warn, then enforce",
			"pods that need what is taken away, at their next start; running pods stay, so it shows late")
		r.words.more, r.words.variables = who, podSecurity()
		return r
	}
	roles := func(name, what, who string) rule {
		r := person("policies", name, what, "roles and their bindings are listed; whether each is needed is for a person to say",
			"whoever loses the right, at the next request")
		r.words.more = who
		return r
	}
	const policies, controlplane = "policies", "controlplane"
	return []rule{
		never("cluster-admin", "bindings of cluster-admin", "bindings are reported, never deleted: without kubeadm:cluster-admins admin.conf and logs and exec are locked out"),
		never("system:masters", "members of system:masters", "membership is in certificates and ends with the authority only"),
		never("encryption", "encryption at rest", "not on one node: encryption at rest is a plan in phases over all control planes (hardener rollout fix --max-risk cluster), with the key kept safe off the node"),

		roles("access to secrets", "who may read Secrets", "operators, ingress controllers and backups read Secrets by design"),
		roles("wildcard", "roles with wildcards", "operators and Kubernetes' own roles have them; narrowed, a controller fails at the first kind that it lacks"),
		roles("access to create pods", "who may create pods", "every controller of workloads does"),
		roles("bind, impersonate", "who may bind, impersonate or escalate", "operators that install roles need it, and so do login proxies"),
		roles("persistent volumes", "who may create persistent volumes", "storage provisioners do"),
		roles("proxy sub-resource of nodes", "who may use the proxy of nodes", "monitoring reads kubelets that way, and the API server's own kubelet client needs it for logs and exec"),
		roles("certificatesigningrequests", "who may approve certificates", "the controller manager and kubelet-csr-approver do; without them no node joins and no certificate is renewed"),
		roles("webhook configuration", "who may change admission webhooks", "cert-manager, ingress and policy controllers keep their own webhooks"),
		roles("token creation", "who may create service account tokens", "kubelets make the tokens of their pods, controllers those of theirs"),

		person(policies, "default service accounts", "use of default service accounts", "set automountServiceAccountToken to false namespace by namespace, once it is known which pods use the account",
			"pods that use the default account, at their next start: old operators, network helpers, CI"),
		person(policies, "tokens are only mounted", "service account tokens in pods", "set automountServiceAccountToken to false for each workload that never asks the API",
			"pods that use the token, at their next start"),

		person(policies, "policy control mechanism", "a mechanism that enforces policies", "Pod Security admission is on in every release since 1.23; which namespaces enforce which level is for a person to say",
			"pods that the level refuses, at their next start", podSecurity()...),
		pods("privileged containers", "privileged containers", "network plugins, storage drivers and kube-proxy are privileged"),
		pods("host process id", "pods that share the host's processes", "node exporters and debuggers do"),
		pods("host ipc", "pods that share the host's IPC", "few do, old databases among them"),
		pods("host network", "pods on the host's network", "network plugins, kube-proxy, nodelocaldns, ingress and node exporters are"),
		pods("allowprivilegeescalation", "containers that may gain privileges", "most images that nobody hardened leave it on"),
		pods("root containers", "containers that run as root", "many images do, most of Kubernetes' add-ons among them"),
		pods("net_raw", "capability NET_RAW", "ping and network plugins need it"),
		pods("added capabilities", "added capabilities", "network plugins, ingress and nodelocaldns add some"),
		pods("capabilities assigned", "capabilities of containers", "the runtime gives every container some unless it drops them"),
		pods("hostprocess", "Windows HostProcess containers", "no pod of a Linux node can be one"),
		pods("hostpath", "volumes from the host", "network plugins, storage drivers, log shippers and monitoring mount the host's files"),
		pods("hostports", "ports of the host", "ingress controllers and load balancers take some"),

		person(policies, "cni in use supports", "a network plugin that enforces policies", "Calico, Cilium and kube-router enforce network policies, flannel alone does not and every policy is without effect; another plugin on a running cluster is a migration",
			"the network of every pod", Variable{Name: "kube_network_plugin", Value: "calico", Since: "2.12", Note: "of new clusters"}),
		person(policies, "namespaces have network", "network policies of namespaces", "default deny cuts DNS, the API server, metrics and probes unless each is allowed first: start with ingress, namespace by namespace",
			"name resolution first: with nodelocaldns it goes to an address of the host, which no pod selector matches"),
		person(policies, "secrets as files", "Secrets in environment variables", "the workload itself has to read a file: a change to each application", "workloads that expect the variable"),
		person(policies, "external secret", "an external store for secrets", "a choice of product and of who runs it", "every workload whose secrets cannot be fetched"),
		person(policies, "imagepolicywebhook", "image provenance", "the webhook has to run outside the cluster that it guards and to be up always", "every pod while the webhook is down, its own among them"),
		person(policies, "boundaries between resources", "namespaces as boundaries", "how a cluster is divided is for those who use it to say", "nothing by itself"),
		person(policies, "seccomp profile", "seccomp profiles of pods", "set securityContext.seccompProfile to RuntimeDefault for each workload, or seccompDefault of the kubelets for all (risk workload)",
			"programs that make a system call outside the runtime's profile, at their next start"),
		person(policies, "security context", "security contexts of pods", "each workload needs its own: user, capabilities, a read-only root", "workloads that write where they no longer may"),
		person(policies, "securitycontext", "security contexts of pods", "each workload needs its own: user, capabilities, a read-only root", "workloads that write where they no longer may"),
		person(policies, "default namespace", "use of the default namespace", "what lives there has to be made anew elsewhere, with its names and volumes", "whoever reaches it by its name"),

		person(controlplane, "client certificate authentication", "people who log in by client certificate", "kubelets and components need client certificates; people are moved to OIDC first, and a certificate stays valid until it expires",
			"nodes and components, if the authority itself were taken away"),
		person(controlplane, "service account token authentication", "people who log in by service account token", "find them in the audit log and give them an account of their own first", "scripts and CI that log in with such a token"),
		person(controlplane, "bootstrap token authentication", "people who log in by bootstrap token", "bootstrap tokens are how nodes join; look that none outlives its purpose (kubeadm token list)", "nodes that join"),
		person(controlplane, "audit policy", "what the audit policy covers", "the policy that comes with audit logging covers Secrets, ConfigMaps, token reviews and ways into pods; what else matters is for a person to say (Kubespray: audit_policy_custom_rules)",
			"the disk, when more is logged than was reckoned with"),
	}
}

func findTextRule(target, text string) (rule, bool) {
	text = strings.ToLower(text)
	for _, r := range textRules() {
		if strings.Contains(text, r.name) && (r.component == "" || r.component == target) {
			return r, true
		}
	}
	return rule{}, false
}

var textFlag = regexp.MustCompile(`--([a-z][a-z0-9-]+)`)

// flagOfText is the rule of the flag that a check without a test talks about.
func (p *planner) flagOfText(c *profile.Check) (rule, bool) {
	for _, m := range textFlag.FindAllStringSubmatch(c.Text, -1) {
		for _, component := range auditComponents(c) {
			if r, ok := findRule(p.rules, profile.Setting{Component: component, Name: m[1]}, ""); ok {
				return r, true
			}
		}
	}
	return rule{}, false
}

const noTest = "the profile leaves the value to a person"

// decideText is for checks that test nothing: what they are about stands in
// their text.
func (p *planner) decideText(f Finding) Decision {
	if r, ok := p.flagOfText(f.Check); ok {
		return r.decision(Manual, joinReason(noTest, r.reason))
	}
	if r, ok := findTextRule(f.Target, f.Check.Text); ok {
		return r.decision(r.state, r.reason)
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
