package fix

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Breaks and reasons that several settings share.
const (
	breaksProfiling = "pprof tools that read /debug/pprof"
	reportedOnly    = "kubeadm sets it; it is reported, never changed"
)

const pluginVariable = "kube_apiserver_enable_admission_plugins"

func pluginVariables(names string) []Variable {
	return []Variable{{Name: pluginVariable, Value: "[" + names + "]", Since: "2.12", Adds: true,
		Note: "replaces kubeadm's list, so it must name NodeRestriction and every other plugin in use"}}
}

func apiserverRules() []rule {
	return slices.Concat(apiserverNever(), apiserverPlugins(), apiserverFlags(), auditRules())
}

// apiserverNever are the settings that are explained and left alone.
func apiserverNever() []rule {
	never := func(name, reason, breaks string, v ...Variable) rule {
		return rule{component: node.APIServer, name: name, state: Never, risk: RiskCluster, reason: reason, breaks: breaks, variables: v}
	}
	manual := func(name, reason, breaks string, v ...Variable) rule {
		return rule{component: node.APIServer, name: name, state: Manual, reason: reason, breaks: breaks, variables: v}
	}
	with := func(value string, r rule) rule { r.value = value; return r }
	return []rule{
		never("kubelet-certificate-authority",
			"not on one node: comes last of several steps on all nodes (hardener rollout fix --max-risk cluster): approver, serving certificates for every kubelet, then the flag",
			"logs, exec, port-forward and metrics of every node at once, because kubelets serve self-signed certificates",
			Variable{Name: "kubelet_rotate_server_certificates", Value: "true", Since: "2.14", Note: "sets this flag and serverTLSBootstrap; from 2.22 it installs kubelet-csr-approver"}),
		never("encryption-provider-config",
			"not on one node: encryption at rest is a plan in phases over all control planes (hardener rollout fix --max-risk cluster), with the key kept safe off the node",
			"data loss: other API servers cannot read what one writes, and a lost or changed key makes every secret unreadable",
			Variable{Name: "kube_encrypt_secret_data", Value: "true", Since: "2.12"},
			Variable{Name: "kube_encryption_algorithm", Value: "secretbox", Since: "2.12"}),
		never("client-ca-file", reportedOnly, "another authority locks out admin.conf, all kubelets and controllers"),
		never("etcd-cafile", reportedOnly, "the API server cannot reach etcd: Kubespray's files are in /etc/ssl/etcd/ssl, not where the profile's example has them"),
		never("etcd-certfile", reportedOnly, "the API server cannot reach etcd"),
		never("etcd-keyfile", reportedOnly, "the API server cannot reach etcd"),
		never("tls-cert-file", reportedOnly, "clients do not trust the server any more"),
		never("tls-private-key-file", reportedOnly, "clients do not trust the server any more"),
		never("service-account-key-file", reportedOnly, "every token in the cluster becomes invalid at once"),
		never("service-account-issuer", reportedOnly, "every token in the cluster becomes invalid at once"),
		manual("kubelet-client-certificate", reportedOnly, "logs and exec are refused when the certificate has no right to the kubelet API"),
		manual("kubelet-client-key", reportedOnly, "logs and exec are refused when the certificate has no right to the kubelet API"),
		manual("basic-auth-file", "remove it once nobody logs in with it", "every client that logs in with a password",
			Variable{Name: "kube_basic_auth", Value: "false", Since: "2.12", Gone: "2.15"}),
		manual("token-auth-file", "remove it once nobody uses its tokens", "every client with a static token, such as CI and monitoring",
			Variable{Name: "kube_token_auth", Value: "false", Since: "2.12"}),
		with("6443", manual("secure-port", "a port is not changed on a running cluster", "probes, kubeconfigs, load balancers and the kubernetes Service use the port",
			Variable{Name: "kube_apiserver_port", Value: valueWord, Since: "2.12"})),
		with("1m0s", manual("request-timeout", "the default of one minute is safe; change it only for a known need",
			"long requests tie up handlers, short ones break big lists; the value needs a unit, or the server does not start",
			Variable{Name: "kube_apiserver_request_timeout", Value: valueWord, Since: "2.12"})),
	}
}

// apiserverFlags are the settings that are changed.
func apiserverFlags() []rule {
	return []rule{
		{component: node.APIServer, name: "anonymous-auth", instead: &detour{holds: anonymousLimited, make: limitAnonymous}, guard: anonymousGuard, refusal: Never,
			reason: "an AuthenticationConfiguration limits anonymous requests to /livez, /readyz, /healthz and kube-public/cluster-info, from which kubeadm join starts; " +
				"the flag set to false would end the kubelet's own probes",
			breaks: "whoever asks for more without credentials, such as checks that read /version. Nodes still join: without the path of cluster-info kubeadm gets 401 for it and gives up, " +
				"by a discovery file as well. The naive --anonymous-auth=false crash-loops the API server after four minutes",
			variables: []Variable{
				{Name: "kube_apiserver_use_authentication_config_file", Value: "true", Since: "2.31",
					Note: "before, Kubespray always gives --anonymous-auth, beside which the API server does not start with such a file"},
				{Name: "kube_apiserver_authentication_config_anonymous", Value: "{enabled: true, conditions: [{path: /livez}, {path: /readyz}, {path: /healthz}, {path: " + discoveryPath + "}]}", Since: "2.31"}},
			words: words{
				variables: []Variable{{Name: "remove_anonymous_access", Value: "true", Since: "2.25", Note: "if cluster-info is to be closed too: removes its anonymous binding and has new nodes join by a discovery file; kubeadm_use_file_discovery follows it. The path stays among the conditions: kubeadm asks for it all the same and goes on at 403, not at 401"}},
				guard:     "Kubernetes 1.32 or later; no --oidc-* flag, no AuthenticationConfiguration in use, no feature gate off that it needs; every probe asks for one of the three paths; the API server runs as root",
				proof:     "without credentials /livez, /readyz and /healthz answer 200, kube-public/cluster-info what RBAC says of it, never 401, and /api answers 401; the pod is started and ready for five minutes, because the startup probe hides a failure for four",
			}},
		{component: node.APIServer, name: "profiling", value: "false", breaks: breaksProfiling,
			variables: []Variable{{Name: "kube_profiling", Value: "false", Since: "2.12"}}, words: words{proof: "/debug/pprof/ answers 404 to an administrator"}},
		{component: node.APIServer, name: "kubelet-https", remove: true,
			reason: "the flag is removed, never set: its default is true, and from 1.22 the server does not start with it", breaks: "nothing: kubelets are asked over TLS either way"},
		{component: node.APIServer, name: "insecure-bind-address", remove: true, breaks: "clients of the unauthenticated port",
			variables: []Variable{{Name: "kube_apiserver_insecure_port", Value: "0", Since: "2.12", Gone: "2.20"}}, words: words{proof: "port 8080 is closed"}},
		{component: node.APIServer, name: "insecure-port", value: "0", breaks: "clients of the unauthenticated port 8080",
			reason:    "below 1.20 the port is open unless set to 0, so the flag stays; from 1.20 it is closed without, and from 1.24 the flag is gone",
			variables: []Variable{{Name: "kube_apiserver_insecure_port", Value: "0", Since: "2.12", Gone: "2.20"}}, words: words{guard: "Kubernetes below 1.24", proof: "port 8080 is closed"}},
		{component: node.APIServer, name: "service-account-lookup", remove: true, reason: "the default is true: only an explicit false goes", breaks: "tokens of service accounts that were deleted: they end at once",
			variables: []Variable{{Name: "kube_apiserver_service_account_lookup", Value: "true", Since: "2.19"}}},
		{component: node.APIServer, name: "service-account-extend-token-expiration", value: "false", risk: RiskWorkload,
			breaks:    "clients that read their token once: 401 after up to an hour",
			variables: []Variable{extraArg(node.APIServer, "service-account-extend-token-expiration", "false", "")},
			words: words{
				guard: "for three days the metric serviceaccount_stale_tokens_total and the audit annotation authentication.k8s.io/stale-token have not grown",
				proof: "failed authentications do not grow for two hours: a token lives for one",
				undo:  "tokens made meanwhile stay short-lived",
			}},
		cipherSuites(node.APIServer, "clients without ECDHE and AES-GCM"),
		minVersion(node.APIServer),
		{component: node.APIServer, name: "authorization-mode", element: "AlwaysAllow", state: Never, risk: RiskCluster,
			reason:    "a cluster that allows everything is reported: taken away, whatever has no binding would be denied at once",
			breaks:    "every workload and person without a role binding",
			variables: []Variable{{Name: "authorization_modes", Value: "[Node, RBAC]", Since: "2.12"}},
			words:     words{judged: "an AuthorizationConfiguration counts as well as the flag"}},
		{component: node.APIServer, name: "authorization-mode", guard: authorizationMode,
			value:     "Node,RBAC",
			breaks:    "what relied on the mode that was in force",
			variables: []Variable{{Name: "authorization_modes", Value: listWord, Since: "2.12"}},
			words: words{
				guard: "modes are added and never taken away; no AlwaysAllow is in force; no --authorization-config, beside which the flag is an error at start",
				proof: "nodes, controllers and a sample of service accounts may do what they could before",
			}},
	}
}

// namedByCertificate looks whether this node's kubelet may go on: the plugin lets
// a kubelet change its own Node only, which it knows by the certificate. Of other
// nodes nothing can be seen here.
func namedByCertificate(c *attempt) string {
	const file = "/var/lib/kubelet/pki/kubelet-client-current.pem"
	data, err := c.tx.read(file)
	if err != nil || c.facts.NodeName == "" {
		return "" // nothing speaks against it
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err == nil && certificate.Subject.CommonName != "system:node:"+c.facts.NodeName {
			return fmt.Sprintf("%s is for %q, not for system:node:%s: the kubelet could not update its Node any more", file, certificate.Subject.CommonName, c.facts.NodeName)
		}
		break
	}
	return ""
}

// authorizationMode lets a mode be added to others, and nothing else: an API
// server that comes from AlwaysAllow would deny whatever has no binding.
func authorizationMode(c *attempt) string {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return "the API server is not a static pod here"
	}
	if _, ok := pod.flag("authorization-config"); ok {
		return "--authorization-config is used: with the flag as well the server does not start"
	}
	current, set := pod.flag("authorization-mode")
	modes := splitList(current)
	switch {
	case !set || slices.Contains(modes, "AlwaysAllow"):
		return "everything is allowed now: from AlwaysAllow, whatever has no binding would be denied at once"
	case c.item.Compare.Op != "has":
		return "modes are never taken away"
	}
	return ""
}

// apiserverPlugins are the admission plugins, one rule for each.
func apiserverPlugins() []rule {
	const enable, disable = "enable-admission-plugins", "disable-admission-plugins"
	plugin := func(element string, r rule) rule {
		r.component, r.name, r.element = node.APIServer, enable, element
		return r
	}
	stayOn := func(element string) rule {
		return rule{component: node.APIServer, name: disable, element: element, reason: "on by default: it only leaves the list of what is off", breaks: "what was done because the plugin is off",
			variables: []Variable{{Name: "kube_apiserver_disable_admission_plugins", Value: listWord, Since: "2.12"}}}
	}
	return []rule{
		plugin("NodeRestriction", rule{also: mergePlugins, guard: namedByCertificate,
			breaks:    "a kubelet whose certificate does not name its node, and kubelets that set protected labels",
			variables: pluginVariables("NodeRestriction"),
			words:     words{guard: "this kubelet's certificate is that of its node", proof: "every node's Lease is still renewed"}}),
		plugin("EventRateLimit", rule{also: eventRateLimit,
			breaks: "Events above the limits are refused with 429, which hides incidents and disturbs operators",
			reason: "limits far above the usual rate",
			words: words{
				guard: "the limits' file is on the node and mounted before the plugin is named; one that is there keeps what it says about other plugins",
				proof: "an Event can be created, and the metric apiserver_admission_controller_admission_duration_seconds names the plugin",
			},
			variables: append(pluginVariables("NodeRestriction, EventRateLimit"),
				Variable{Name: "kube_apiserver_admission_control_config_file", Value: "true", Since: "2.19"},
				Variable{Name: "kube_apiserver_admission_event_rate_limits", Value: limitsWord, Since: "2.19"},
				extraArg(node.APIServer, "admission-control-config-file", admissionConfigFile, "2.19"),
				Variable{Name: "apiserver_extra_volumes", Since: "2.12", Gone: "2.19", Adds: true,
					Value: "[{name: admission-control-configs, hostPath: " + path.Dir(admissionConfigFile) + ", mountPath: " + path.Dir(admissionConfigFile) + ", readOnly: true}]"}),
			wordsOf: eventLimits}),
		plugin("AlwaysAdmit", rule{breaks: "nothing: the plugin admits what others decide", reason: "taken out of the list; a list that is then empty goes as well", variables: pluginVariables("NodeRestriction")}),
		plugin("AlwaysPullImages", rule{also: mergePlugins, risk: RiskWorkload,
			breaks:  "pods whose image cannot be pulled from every node at their next start: preloaded images, closed networks, a registry that is down",
			touches: pulledImages,
			words: words{
				guard: "every image of the cluster, pause and this program's own among them, can be pulled from every node with the secrets of its namespace, from a registry outside the cluster",
				proof: "a pod of a system image starts on each node; no ImagePullBackOff for a day",
				undo:  "pods that were made meanwhile keep the policy Always until they are made anew",
			},
			variables: pluginVariables("NodeRestriction, AlwaysPullImages")}),
		plugin("DenyServiceExternalIPs", rule{also: mergePlugins, risk: RiskWorkload, unless: wantsExternalIPs, refusal: Never,
			breaks: "controllers that set spec.externalIPs on Services",
			words: words{
				guard: "no Service has spec.externalIPs",
				proof: "a Service with external IPs is refused, one without is not",
			},
			variables: pluginVariables("NodeRestriction, DenyServiceExternalIPs")}),
		plugin("SecurityContextDeny", rule{state: Never, risk: RiskWorkload,
			words:  words{judged: "not applicable from 1.30 on, where both it and PodSecurityPolicy are gone"},
			reason: "never added: gated off since 1.27 and removed in 1.30, where the server does not start with it",
			breaks: "pods that set runAsUser, fsGroup or SELinux options: CoreDNS, CNI, monitoring"}),
		plugin("PodSecurityPolicy", rule{state: Never, risk: RiskWorkload,
			words:     words{judged: "not applicable from 1.25 on"},
			reason:    "never added: without policies it denies every pod, and from 1.25 the server does not start with it",
			breaks:    "every pod at its next start",
			variables: []Variable{{Name: "kube_pod_security_use_default", Value: "true", Since: "2.20", Note: "what came after it"}}}),
		stayOn("ServiceAccount"), stayOn("NamespaceLifecycle"),
	}
}

// wantsExternalIPs leaves the plugin where a benchmark wants it off: 1.23 and
// 1.24 ask for that, all later ones for the opposite.
func wantsExternalIPs(item profile.TestItem) string {
	if item.Compare.Op == "nothave" || !item.Set {
		return "this benchmark wants the plugin off, later ones want it on: taking it away would open the cluster to CVE-2020-8554"
	}
	return ""
}

// mergePlugins completes a change of the enabled plugins: kubeadm's default,
// NodeRestriction, stays, and no plugin is enabled and disabled at once, which is
// an error at start (apiserver pkg/server/options/admission.go).
func mergePlugins(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return fmt.Errorf("admission plugins outside a manifest")
	}
	if _, changed := pod.change.flags["enable-admission-plugins"]; !changed {
		return nil
	}
	value, _ := pod.flag("enable-admission-plugins")
	enabled := splitList(value)
	if _, had := pod.manifest.flag("enable-admission-plugins"); !had && !slices.Contains(enabled, "NodeRestriction") {
		enabled = append([]string{"NodeRestriction"}, enabled...)
	}
	pod.setFlag("enable-admission-plugins", strings.Join(enabled, ","))
	if off, set := pod.flag("disable-admission-plugins"); set {
		rest := slices.DeleteFunc(splitList(off), func(p string) bool { return slices.Contains(enabled, p) })
		switch {
		case len(rest) == 0:
			pod.change.flags["disable-admission-plugins"] = nil
		case len(rest) != len(splitList(off)):
			pod.setFlag("disable-admission-plugins", strings.Join(rest, ","))
		}
	}
	return nil
}
