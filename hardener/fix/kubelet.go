package fix

import (
	"errors"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

const restartKubelet = "the restart admits every pod of the node anew: changed labels, swap or an expired certificate surface then"

// minPodPids is the limit for a pod's processes where none is set: well above
// what runtimes and databases need.
const minPodPids = 4096

func kubeletRules() []rule {
	set := func(name, value, breaks string, v ...Variable) rule {
		return rule{component: node.Kubelet, name: name, value: value, breaks: joinReason(breaks, restartKubelet), variables: v}
	}
	with := func(r rule, change func(*rule)) rule { change(&r); return r }
	return []rule{
		with(set("anonymous-auth", "false", "scrapers of port 10250 that have no credentials"), func(r *rule) {
			r.also, r.always = webhookAuthentication, "Kubespray writes it in every release"
			r.words = words{guard: "webhook authentication is on first", proof: "logs, exec and kubectl top work"}
		}),
		with(set("authorization-mode", "Webhook", "what the API server's kubelet client may do is asked for: without rights, logs and exec are refused",
			Variable{Name: "kubelet_authorization_mode_webhook", Value: "true", Since: "2.12"},
			Variable{Name: "kubelet_authentication_token_webhook", Value: "true", Since: "2.12"}),
			func(r *rule) {
				r.also = webhookAuthentication
				r.words = words{guard: "webhook authentication is set with it; the API server's kubelet client may get nodes/proxy, nodes/log and nodes/stats", proof: "logs, exec and kubectl top work"}
			}),
		{component: node.Kubelet, name: "client-ca-file", state: Manual, reason: "Kubespray sets it; a wrong path and the kubelet does not start",
			breaks: "logs and exec, when the file is not the authority of the API server's kubelet client"},
		with(set("read-only-port", "0", "monitoring agents that read port 10255 without credentials", Variable{Name: "kube_read_only_port", Value: "0", Since: "2.12"}),
			func(r *rule) {
				r.touches, r.words.proof = connected(10255, "the kubelet's read-only port"), "port 10255 is closed"
			}),
		set("streaming-connection-idle-timeout", "4h0m0s", "nothing: four hours is the default; shorter values cut idle exec and port-forward sessions",
			Variable{Name: "kubelet_streaming_connection_idle_timeout", Value: `"$value"`, Since: "2.19"}, kubeletField("streamingConnectionIdleTimeout", `"$value"`, "2.19")),
		with(set("protect-kernel-defaults", "true", "a node whose kernel settings are not made permanent does not come back after a reboot",
			Variable{Name: "kubelet_protect_kernel_defaults", Value: "true", Since: "2.14", Note: "writes the sysctls as well"}, kubeletField("protectKernelDefaults", "true", "2.14")),
			func(r *rule) {
				r.guard, r.also = kernelOverridden, persistKernel
				r.words = words{
					guard: "the six kernel settings are made permanent first, no later file sets them otherwise, and they are in force now",
					proof: "the settings are the same after sysctl --system; at the next reboot the kubelet starts",
					undo:  "the kernel settings stay: they are what the kubelet sets itself otherwise",
				}
			}),
		set("make-iptables-util-chains", "true", "networks that document false", Variable{Name: "kubelet_make_iptables_util_chains", Value: "true", Since: "2.19"}, kubeletField("makeIPTablesUtilChains", "true", "2.19")),
		{component: node.Kubelet, name: "hostname-override", state: Never, risk: RiskCluster,
			reason: "Kubespray always sets it to the inventory's name, which is the Node's",
			breaks: "the kubelet asks for a Node of another name than its certificate: NotReady, and its pods are evicted"},
		{component: node.Kubelet, name: "event-qps", value: "50", meets: eventRate,
			reason: "the kubelet's own default; 0 is not unlimited but 5 events a second, so a profile that wants 0 is not followed and a positive rate is never lowered",
			breaks: restartKubelet, variables: []Variable{{Name: "kubelet_event_record_qps", Value: valueWord, Since: "2.15"}, kubeletField("eventRecordQPS", valueWord, "2.15")}},
		servingCertificate("tls-cert-file"), servingCertificate("tls-private-key-file"),
		with(set("rotate-certificates", "true", "nothing", Variable{Name: "kubelet_rotate_certificates", Value: "true", Since: "2.12"}),
			func(r *rule) {
				r.guard = embeddedCertificate
				r.words.guard = "kubelet.conf names its certificate's file and does not hold it"
			}),
		set("RotateKubeletServerCertificate", "true", "nothing: the gate is on by default",
			Variable{Name: "kubelet_feature_gates", Value: `["RotateKubeletServerCertificate=true"]`, Since: "2.20", Adds: true, Over: allGates},
			Variable{Name: allGates, Value: `["RotateKubeletServerCertificate=true"]`, Since: "2.12", Gone: "2.20", Adds: true}),
		cipherSuites(node.Kubelet, joinReason("clients of the kubelet without ECDHE and AES-GCM", restartKubelet)),
		minVersion(node.Kubelet),
		with(set("pod-max-pids", strconv.Itoa(minPodPids), "pods that need more processes, at their next start: thread creation fails",
			Variable{Name: "kubelet_pod_pids_limit", Value: valueWord, Since: "2.20"}, kubeletField("podPidsLimit", valueWord, "2.20")),
			func(r *rule) {
				r.risk, r.accept, r.guard, r.touches = RiskWorkload, positive, crowdedPods, touchPids
				r.words = words{guard: "no pod of the node has a quarter of the limit now (pids.current)", proof: "the largest pods start anew, and pids.events counts nothing", undo: "pods keep the limit until they are made anew"}
			}),
		with(set("seccomp-default", "true", "containers that need a system call outside the runtime's profile, at their next start",
			Variable{Name: "kubelet_seccomp_default", Value: "true", Since: "2.20"}),
			func(r *rule) {
				r.risk, r.accept = RiskWorkload, is("true")
				r.words = words{guard: "tried on one node; workloads that cannot do with it say seccompProfile: Unconfined", proof: "a sample of pods is made anew there, and the kernel log has no SECCOMP line", undo: "pods keep the profile until they are made anew"}
			}),
		{component: node.Kubelet, name: "IPAddressDeny", state: Never, risk: RiskCluster,
			reason:    "no flag or field of the kubelet: with the flag it does not start; the directive belongs into its systemd unit",
			breaks:    "the kubelet's own traffic: load balancer, DNS, probes",
			variables: []Variable{{Name: "kubelet_systemd_hardening", Value: "true", Since: "2.20", Note: "with kubelet_secure_addresses naming every address in use"}}},
		{component: node.Proxy, name: "metrics-bind-address", state: Manual, reason: "kube-proxy reads it from the cluster's ConfigMap kube-proxy, not from this node",
			words:     words{judged: "the verdict is by kube-proxy's own configuration, which kube-bench does not read"},
			breaks:    "Prometheus that scrapes port 10249",
			variables: []Variable{{Name: "kube_proxy_metrics_bind_address", Value: "127.0.0.1:10249", Since: "2.12"}}},
	}
}

func servingCertificate(name string) rule {
	return rule{component: node.Kubelet, name: name, state: Never, risk: RiskCluster,
		reason: "not on one node: a serving certificate comes with serverTLSBootstrap, in steps over all nodes (hardener rollout fix --max-risk cluster): an approver first, then the kubelets",
		breaks: "a path that does not exist yet stops the kubelet; until a request is approved, logs, exec and metrics of the node fail",
		variables: []Variable{{Name: "kubelet_rotate_server_certificates", Value: "true", Since: "2.14",
			Note: "from 2.22 with kubelet_csr_approver_enabled"}}}
}

func positive(value string, set bool) bool {
	n, err := strconv.Atoi(value)
	return set && err == nil && n > 0
}

// webhookAuthentication keeps bearer tokens working: without it metrics-server
// and Prometheus get 401 once nothing else lets them in.
func webhookAuthentication(c *attempt) error {
	k, ok := c.place.(*kubeletPlace)
	if !ok {
		return errors.New("kubelet setting outside a kubelet file")
	}
	s := profile.Setting{Component: node.Kubelet, Kind: profile.Flag, Name: "authentication-token-webhook", Path: "authentication.webhook.enabled"}
	v, set := k.get(s)
	if on, err := strconv.ParseBool(v); set && err == nil && on {
		return nil
	}
	if !set && c.setting.Name == "anonymous-auth" {
		return nil // on by default in the file
	}
	return k.set(s, "true")
}

// eventRate never lowers the rate: older profiles demand 0 as "everything", which
// is client-go's default of 5 a second, below the kubelet's 50. Not set, it is 50.
func eventRate(value string, set bool) bool { return !set || positive(value, set) }

// embeddedCertificate looks for a client certificate inside the kubeconfig: it
// would not be used any more once rotated.
func embeddedCertificate(c *attempt) string {
	if c.component.Kubeconfig == "" {
		return ""
	}
	data, err := c.tx.read(c.component.Kubeconfig)
	if err == nil && strings.Contains(string(data), "client-certificate-data:") {
		return c.component.Kubeconfig + " holds its certificate itself: a rotated one would not be used"
	}
	return ""
}
