package adjudicate

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// ruleTest is one judgement. An empty reason means that the rule has nothing to
// say and truth stands.
type ruleTest struct {
	name       string
	change     func(*fixture)
	check      *profile.Check
	raw, truth check.State
	want       check.State
	reason     string // a part of it
}

func same(*fixture) {}

// judge runs the tests. truth fails without a Reason, as a plain FAIL does.
func judge(t *testing.T, target string, tests []ruleTest) {
	t.Helper()
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := kubespray()
			test.change(f)
			got := f.view().Judge(target, test.check, check.Result{State: test.raw}, check.Result{State: test.truth})
			if got.State != test.want || !strings.Contains(got.Reason, test.reason) || test.reason == "" && got.Reason != "" {
				t.Errorf("got %s, reason %q, evidence %q; want %s, reason with %q", got.State, got.Reason, got.Evidence, test.want, test.reason)
			}
			if (got.Reason == "") != (len(got.Evidence) == 0) {
				t.Errorf("reason %q, evidence %q: one without the other", got.Reason, got.Evidence)
			}
		})
	}
}

// kubeletConf replaces the kubelet's configuration file.
func kubeletConf(text string) func(*fixture) {
	return func(f *fixture) { f.file(kubeletYAML, "kind: KubeletConfiguration\n"+text, 0o600) }
}

// unread has the kubelet running, without having read a file.
func unread(file string) func(*fixture) {
	return func(f *fixture) {
		c := f.facts.Components[node.Kubelet]
		c.Running, c.PID, c.Unread = true, 7, []string{file}
		f.facts.Components[node.Kubelet] = c
	}
}

// authn gives the API server an AuthenticationConfiguration.
func authn(text string) func(*fixture) {
	return func(f *fixture) {
		f.args(node.APIServer, "--authentication-config=/etc/kubernetes/ssl/authn.yaml")
		f.file("/etc/kubernetes/ssl/authn.yaml", "kind: AuthenticationConfiguration\n"+text, 0o600)
	}
}

func authz(text string) func(*fixture) {
	return func(f *fixture) {
		f.without(node.APIServer, "authorization-mode")
		f.args(node.APIServer, "--authorization-config=/etc/kubernetes/ssl/authz.yaml")
		f.file("/etc/kubernetes/ssl/authz.yaml", "kind: AuthorizationConfiguration\n"+text, 0o600)
	}
}

func version(v string) func(*fixture) {
	return func(f *fixture) { f.facts.Kubernetes.Version = v }
}

func both(changes ...func(*fixture)) func(*fixture) {
	return func(f *fixture) {
		for _, c := range changes {
			c(f)
		}
	}
}

func args(component string, args ...string) func(*fixture) {
	return func(f *fixture) { f.args(component, args...) }
}

func TestAPIServerRules(t *testing.T) {
	anonymous := flagCheck(node.APIServer, false, item("--anonymous-auth", "eq", "false"))
	hasNode := flagCheck(node.APIServer, true, item("--authorization-mode", "has", "Node"))
	noAlways := flagCheck(node.APIServer, true, item("--authorization-mode", "nothave", "AlwaysAllow"))
	const health = "anonymous: {enabled: true, conditions: [{path: /livez}, {path: /readyz}, {path: /healthz}]}\n"
	psp := flagCheck(node.APIServer, true, item("--enable-admission-plugins", "has", "PodSecurityPolicy"))
	scd := flagCheck(node.APIServer, false, item("--enable-admission-plugins", "has", "SecurityContextDeny"), item("--enable-admission-plugins", "has", "PodSecurityPolicy"))
	port := flagCheck(node.APIServer, true, item("--insecure-port", "eq", "0"))
	judge(t, "master", []ruleTest{
		{"anonymous: on", same, anonymous, check.Warn, check.Warn, check.Warn, ""},
		{"anonymous: off by flag", args(node.APIServer, "--anonymous-auth=false"), anonymous, check.Pass, check.Pass, check.Pass, ""},
		{"anonymous: health paths only", authn(health), anonymous, check.Warn, check.Warn, check.Pass, "no node can join by token"},
		{"anonymous: off by file", authn("anonymous: {enabled: false}\n"), anonymous, check.Warn, check.Warn, check.Pass, "are off"},
		{"anonymous: where a join starts", authn("anonymous: {enabled: true, conditions: [{path: /livez}, {path: /api/v1/namespaces/kube-public/configmaps/cluster-info}]}\n"), anonymous, check.Warn, check.Warn, check.Pass, "restricted"},
		{"anonymous: other paths too", authn("anonymous: {enabled: true, conditions: [{path: /livez}, {path: /metrics}]}\n"), anonymous, check.Warn, check.Warn, check.Warn, "more than the health endpoints"},
		{"anonymous: no conditions", authn("anonymous: {enabled: true}\n"), anonymous, check.Warn, check.Warn, check.Warn, "every path"},
		{"anonymous: no block in the file", authn("jwt: []\n"), anonymous, check.Warn, check.Warn, check.Warn, ""},
		{"anonymous: flag beside the file", both(authn(health), args(node.APIServer, "--anonymous-auth=false")), anonymous, check.Pass, check.Pass, check.Warn, "refuses to start"},
		{"anonymous: conditions before 1.32", both(authn(health), version("1.30.4")), anonymous, check.Warn, check.Warn, check.Warn, "since Kubernetes 1.32"},
		{"anonymous: version not known", both(authn(health), version("")), anonymous, check.Warn, check.Warn, check.Warn, ""},
		{"anonymous: file not mounted", args(node.APIServer, "--authentication-config=/nowhere.yaml"), anonymous, check.Warn, check.Warn, check.Warn, ""},

		{"authorization: by flag", same, hasNode, check.Pass, check.Pass, check.Pass, ""},
		{"authorization: file has Node", authz("authorizers: [{type: Node}, {type: RBAC}]\n"), hasNode, check.Fail, check.Fail, check.Pass, "in an AuthorizationConfiguration"},
		{"authorization: file lacks Node", authz("authorizers: [{type: RBAC}]\n"), hasNode, check.Fail, check.Fail, check.Fail, "no authorizer Node"},
		{"authorization: file allows all", authz("authorizers: [{type: AlwaysAllow}]\n"), noAlways, check.Fail, check.Fail, check.Fail, "does not keep AlwaysAllow out"},
		{"authorization: file keeps it out", authz("authorizers: [{type: RBAC}]\n"), noAlways, check.Fail, check.Fail, check.Pass, "in an AuthorizationConfiguration"},
		{"authorization: empty file", authz(""), noAlways, check.Fail, check.Fail, check.Fail, "does not keep"},
		{"authorization: flag and file", args(node.APIServer, "--authorization-config=/etc/kubernetes/ssl/authz.yaml"), hasNode, check.Pass, check.Pass, check.Fail, "refuses to start"},

		{"PodSecurityPolicy after its end", same, psp, check.Fail, check.Fail, check.Info, "not applicable"},
		{"PodSecurityPolicy in its time", version("1.20.7"), psp, check.Fail, check.Fail, check.Fail, ""},
		{"SecurityContextDeny after both ends", same, scd, check.Warn, check.Warn, check.Info, "not applicable"},
		{"SecurityContextDeny while one is left", version("1.26.5"), scd, check.Warn, check.Warn, check.Warn, ""},
		{"insecure port gone", same, port, check.Fail, check.Fail, check.Info, "does not exist"},
		{"insecure port closed by default", version("1.21.6"), port, check.Fail, check.Fail, check.Pass, "is closed"},
		{"insecure port open by default", version("1.19.9"), port, check.Fail, check.Fail, check.Fail, ""},
		{"insecure port opened", both(version("1.19.9"), args(node.APIServer, "--insecure-port=8080")), port, check.Fail, check.Fail, check.Fail, ""},
	})
}

func TestAuditAndEncryptionRules(t *testing.T) {
	log := flagCheck(node.APIServer, true, item("--audit-log-path", "", ""))
	policy := flagCheck(node.APIServer, false, item("--audit-policy-file", "", ""))
	provider := flagCheck(node.APIServer, false, item("provider", "valid_elements", "aescbc,kms,secretbox"))
	const policyFlag = "--audit-policy-file=/etc/kubernetes/audit-policy/p.yaml"
	logs := func(f *fixture) {
		f.file("/etc/kubernetes/audit-policy/p.yaml", "kind: Policy\nrules: [{level: None}, {level: Metadata}]\n", 0o600)
	}
	silent := func(f *fixture) {
		f.file("/etc/kubernetes/audit-policy/p.yaml", "kind: Policy\nrules: [{level: None}]\n", 0o600)
	}
	encrypt := func(inPod, onHost, providers string) func(*fixture) {
		return func(f *fixture) {
			f.args(node.APIServer, "--encryption-provider-config="+inPod)
			f.file(onHost, "kind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  providers: "+providers+"\n", 0o600)
		}
	}
	const elsewhere, there = "/etc/kubernetes/e.yaml", "/etc/kubernetes/admission-controls/e.yaml"
	judge(t, "master", []ruleTest{
		{"log: not set", same, log, check.Fail, check.Fail, check.Fail, ""},
		{"log: mounted, with policy", both(logs, args(node.APIServer, "--audit-log-path=/var/log/audit/a.log", policyFlag)), log, check.Pass, check.Pass, check.Pass, ""},
		{"log: no policy", args(node.APIServer, "--audit-log-path=/var/log/audit/a.log"), log, check.Pass, check.Pass, check.Fail, "nothing is logged"},
		{"log: not mounted", both(logs, args(node.APIServer, "--audit-log-path=/var/log/other/a.log", policyFlag)), log, check.Pass, check.Pass, check.Fail, "inside the container"},
		{"log: policy file missing", args(node.APIServer, "--audit-log-path=/var/log/audit/a.log", policyFlag), log, check.Pass, check.Pass, check.Fail, "cannot be read"},
		{"log: policy logs nothing", both(silent, args(node.APIServer, "--audit-log-path=/var/log/audit/a.log", policyFlag)), log, check.Pass, check.Pass, check.Fail, "no rule that logs"},
		{"log: standard output", both(logs, args(node.APIServer, "--audit-log-path=-", policyFlag)), log, check.Pass, check.Pass, check.Pass, ""},
		{"policy: there", both(logs, args(node.APIServer, policyFlag)), policy, check.Pass, check.Pass, check.Pass, ""},
		{"policy: logs nothing", both(silent, args(node.APIServer, policyFlag)), policy, check.Pass, check.Pass, check.Warn, "no rule that logs"},
		{"policy: not set", same, policy, check.Warn, check.Warn, check.Warn, ""},

		{"encryption: read through the mount", encrypt(elsewhere, there, "[{secretbox: {keys: [{name: k, secret: c2VzYW1l}]}}, {identity: {}}]"), provider, check.Warn, check.Warn, check.Pass, "encrypts"},
		{"encryption: identity first", encrypt(elsewhere, there, "[{identity: {}}, {secretbox: {keys: [{name: k, secret: c2VzYW1l}]}}]"), provider, check.Pass, check.Pass, check.Warn, "is identity"},
		{"encryption: no providers", encrypt(elsewhere, there, "[]"), provider, check.Warn, check.Warn, check.Warn, "no provider"},
		{"encryption: file not found", args(node.APIServer, "--encryption-provider-config="+elsewhere), provider, check.Warn, check.Warn, check.Warn, ""},
		{"encryption: not set", same, provider, check.Warn, check.Warn, check.Warn, ""},
	})
}

func TestControllerAndSchedulerRules(t *testing.T) {
	gate := flagCheck(node.ControllerManager, true, item("--feature-gates", "nothave", "RotateKubeletServerCertificate=false"))
	bind := flagCheck(node.ControllerManager, true, item("--bind-address", "eq", "127.0.0.1"))
	gc := flagCheck(node.ControllerManager, false, item("--terminated-pod-gc-threshold", "", ""))
	profiling := flagCheck(node.Scheduler, true, item("--profiling", "eq", "false"))
	config := func(text string) func(*fixture) {
		return func(f *fixture) {
			f.args(node.Scheduler, "--config=/etc/kubernetes/kubescheduler-config.yaml")
			f.file("/etc/kubernetes/kubescheduler-config.yaml", "kind: KubeSchedulerConfiguration\n"+text, 0o644)
		}
	}
	unbound := func(f *fixture) { f.without(node.ControllerManager, "bind-address") }
	judge(t, "master", []ruleTest{
		{"gate: absent among others", args(node.ControllerManager, "--feature-gates=A=true"), gate, check.Fail, check.Fail, check.Pass, "by default since"},
		{"gate: off", args(node.ControllerManager, "--feature-gates=RotateKubeletServerCertificate=false"), gate, check.Fail, check.Fail, check.Fail, ""},
		{"gate: off in another spelling", args(node.ControllerManager, "--feature-gates=RotateKubeletServerCertificate=False"), gate, check.Pass, check.Pass, check.Fail, "is off"},
		{"gate: the last word counts", args(node.ControllerManager, "--feature-gates=RotateKubeletServerCertificate=False,RotateKubeletServerCertificate=true"), gate, check.Pass, check.Pass, check.Pass, ""},
		{"bind: IPv6 loopback", both(unbound, args(node.ControllerManager, "--bind-address=::1")), bind, check.Fail, check.Fail, check.Pass, "loopback"},
		{"bind: all addresses", same, bind, check.Fail, check.Fail, check.Fail, ""},
		{"bind: by default all addresses", unbound, bind, check.Pass, check.Pass, check.Fail, "all addresses"},
		{"gc: off", args(node.ControllerManager, "--terminated-pod-gc-threshold=0"), gc, check.Pass, check.Pass, check.Warn, "off"},
		{"gc: on", args(node.ControllerManager, "--terminated-pod-gc-threshold=50"), gc, check.Pass, check.Pass, check.Pass, ""},
		{"scheduler: flag alone", same, profiling, check.Pass, check.Pass, check.Pass, ""},
		{"scheduler: file says nothing", config(""), profiling, check.Pass, check.Pass, check.Fail, "true by default"},
		{"scheduler: file says false", config("enableProfiling: false\n"), profiling, check.Fail, check.Fail, check.Pass, "enableProfiling is false"},
		{"scheduler: file says true", config("enableProfiling: true\n"), profiling, check.Pass, check.Pass, check.Fail, "enables it"},
		{"scheduler: keys are case-sensitive", config("enableprofiling: false\n"), profiling, check.Pass, check.Pass, check.Fail, "true by default"},
		{"scheduler: file missing", args(node.Scheduler, "--config=/etc/kubernetes/kubescheduler-config.yaml"), profiling, check.Pass, check.Pass, check.Fail, "cannot be read"},
		{"scheduler: missing component", func(f *fixture) { delete(f.facts.Components, node.Scheduler) }, profiling, check.Fail, check.Pass, check.Fail, ""},
	})
}

func TestKubeletRules(t *testing.T) {
	pids := flagCheck(node.Kubelet, false, field("--pod-max-pids", "podPidsLimit", "", ""))
	seccomp := flagCheck(node.Kubelet, false, field("--seccomp-default", "seccompDefault", "", ""))
	zero := flagCheck(node.Kubelet, false, field("--event-qps", "eventRecordQPS", "eq", "0"))
	deny := flagCheck(node.Kubelet, false, field("--IPAddressDeny", "IPAddressDeny", "", ""))
	anonymous := flagCheck(node.Kubelet, true, field("--anonymous-auth", "authentication.anonymous.enabled", "eq", "false"))
	readOnly := flagCheck(node.Kubelet, false, field("--read-only-port", "readOnlyPort", "eq", "0"))
	idle := flagCheck(node.Kubelet, false, field("--streaming-connection-idle-timeout", "streamingConnectionIdleTimeout", "noteq", "0"))
	cert := flagCheck(node.Kubelet, false, field("--tls-cert-file", "tlsCertFile", "", ""), field("--tls-private-key-file", "tlsPrivateKeyFile", "", ""))
	gate := flagCheck(node.Kubelet, false, field("RotateKubeletServerCertificate", "featureGates.RotateKubeletServerCertificate", "nothave", "false"))
	suites := flagCheck(node.Kubelet, false, field("--tls-cipher-suites", "tlsCipherSuites", "valid_elements",
		"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA"))
	configFile := fileCheck("kubeletconf", true, "permissions")
	unit := func(text string) func(*fixture) {
		return func(f *fixture) { f.file("/etc/systemd/system/kubelet.service", text, 0o600) }
	}
	flagsOnly := func(f *fixture) {
		f.component(node.Kubelet, func(c *node.Component) { c.Config, c.Configured = "", []string{"kubelet"} })
	}
	dropIn := func(f *fixture) {
		f.args(node.Kubelet, "--config-dir=/etc/kubelet.d")
		f.file("/etc/kubelet.d/10.conf", "podPidsLimit: -1\n", 0o600)
	}
	judge(t, "node", []ruleTest{
		{"pids: no limit", same, pids, check.Pass, check.Pass, check.Warn, "only a positive number"},
		{"pids: limit", kubeletConf("podPidsLimit: 4096\n"), pids, check.Pass, check.Pass, check.Pass, ""},
		{"pids: flag overrides the file", both(kubeletConf("podPidsLimit: 4096\n"), args(node.Kubelet, "--pod-max-pids=-1")), pids, check.Pass, check.Pass, check.Warn, "only a positive number"},
		{"pids: drop-in of the configuration", both(kubeletConf("podPidsLimit: 4096\n"), dropIn), pids, check.Pass, check.Pass, check.Warn, "merges a drop-in"},
		{"pids: a flag overrides the drop-in too", both(dropIn, args(node.Kubelet, "--pod-max-pids=4096")), pids, check.Pass, check.Pass, check.Pass, ""},
		{"seccomp: false", kubeletConf("seccompDefault: false\n"), seccomp, check.Pass, check.Pass, check.Warn, "not to true"},
		{"seccomp: true", kubeletConf("seccompDefault: true\n"), seccomp, check.Pass, check.Pass, check.Pass, ""},
		{"seccomp: absent", same, seccomp, check.Warn, check.Warn, check.Warn, ""},
		{"events: positive where 0 is asked", same, zero, check.Warn, check.Warn, check.Pass, "positive rate"},
		{"events: 0 is less than it seems", kubeletConf("eventRecordQPS: 0\n"), zero, check.Pass, check.Pass, check.Warn, "0 does not mean unlimited"},
		{"events: default", kubeletConf(""), zero, check.Warn, check.Warn, check.Pass, "default rate"},
		{"deny: in the unit", unit("[Service]\nIPAddressDeny=any\n"), deny, check.Warn, check.Warn, check.Pass, "is any"},
		{"deny: cleared again", unit("[Service]\nIPAddressDeny=any\nIPAddressDeny=\n"), deny, check.Warn, check.Warn, check.Warn, "is not any"},
		{"deny: another section", unit("[Unit]\nIPAddressDeny=any\n"), deny, check.Warn, check.Warn, check.Warn, "is not any"},
		{"deny: as a field that the kubelet does not know", kubeletConf("IPAddressDeny: any\n"), deny, check.Pass, check.Pass, check.Warn, "is not any"},
		{"anonymous: default of the file", same, anonymous, check.Fail, check.Fail, check.Pass, "by default"},
		{"anonymous: on", kubeletConf("authentication: {anonymous: {enabled: true}}\n"), anonymous, check.Fail, check.Fail, check.Fail, ""},
		{"anonymous: without a file the default is on", flagsOnly, anonymous, check.Fail, check.Fail, check.Fail, ""},
		{"read-only port: default of the file", same, readOnly, check.Pass, check.Pass, check.Pass, ""},
		{"read-only port: file not read", unread(kubeletYAML), readOnly, check.Pass, check.Pass, check.Warn, "has not read the file"},
		{"read-only port: another file not read", unread("/etc/kubernetes/kubelet.env"), readOnly, check.Pass, check.Pass, check.Pass, ""},
		{"read-only port: file not read, a flag decides", func(f *fixture) {
			f.args(node.Kubelet, "--read-only-port=0")
			unread(kubeletYAML)(f)
		}, readOnly, check.Pass, check.Pass, check.Pass, ""},
		{"read-only port: file not read and wrong", unread(kubeletYAML), readOnly, check.Warn, check.Warn, check.Warn, ""},
		{"read-only port: default of the flag", flagsOnly, readOnly, check.Pass, check.Pass, check.Warn, "10255"},
		{"idle: zero with a unit", args(node.Kubelet, "--streaming-connection-idle-timeout=0s"), idle, check.Pass, check.Pass, check.Warn, "zero"},
		{"idle: five minutes", args(node.Kubelet, "--streaming-connection-idle-timeout=5m"), idle, check.Pass, check.Pass, check.Pass, ""},
		{"certificate: rotated by the cluster", both(kubeletConf("serverTLSBootstrap: true\n"), func(f *fixture) {
			f.file("/var/lib/kubelet/pki/kubelet-server-current.pem", "k", 0o600)
		}), cert, check.Warn, check.Warn, check.Pass, "issued by the cluster"},
		{"certificate: not issued yet", kubeletConf("serverTLSBootstrap: true\n"), cert, check.Warn, check.Warn, check.Warn, ""},
		{"gate: off by flag", args(node.Kubelet, "--feature-gates=RotateKubeletServerCertificate=False"), gate, check.Pass, check.Pass, check.Warn, "is off"},
		{"gate: off in the file", kubeletConf("featureGates: {RotateKubeletServerCertificate: false}\n"), gate, check.Warn, check.Warn, check.Warn, ""},
		{"gate: absent", same, gate, check.Pass, check.Pass, check.Pass, ""},
		{"suites: TLS 1.3 only", kubeletConf("tlsMinVersion: VersionTLS13\n"), suites, check.Warn, check.Warn, check.Pass, "TLS 1.3"},
		{"suites: other name", kubeletConf("tlsCipherSuites: [TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256]\n"), suites, check.Warn, check.Warn, check.Pass, "other name"},
		{"suites: weak but in the benchmark's list", kubeletConf("tlsCipherSuites: [TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA]\n"), suites, check.Pass, check.Pass, check.Warn, "not strong"},
		{"suites: not in the list", kubeletConf("tlsCipherSuites: [TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384]\n"), suites, check.Warn, check.Warn, check.Warn, ""},
		{"suites: empty list", kubeletConf("tlsCipherSuites: []\n"), suites, check.Warn, check.Warn, check.Warn, ""},
		{"config file: none", flagsOnly, configFile, check.Fail, check.Fail, check.Info, "without a configuration file"},
		{"config file: there", same, configFile, check.Fail, check.Fail, check.Fail, ""},
	})
}

func TestProxyRules(t *testing.T) {
	metrics := flagCheck(node.Proxy, true, field("--metrics-bind-address", "metricsBindAddress", "has", "127.0.0.1"))
	kubeconfig := fileCheck("proxykubeconfig", false, "permissions")
	const volume = "/var/lib/kubelet/pods/1/volumes/kubernetes.io~configmap/kube-proxy/"
	runs := func(f *fixture) {
		f.procs = append(f.procs, node.Process{PID: 77, Comm: "kube-proxy", Args: []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"}})
		f.component(node.Proxy, func(c *node.Component) { c.Running, c.PID = true, 77 })
	}
	config := func(text string) func(*fixture) {
		return both(runs, func(f *fixture) {
			f.component(node.Proxy, func(c *node.Component) { c.Config = volume + "config.conf" })
			f.file(volume+"config.conf", "kind: KubeProxyConfiguration\n"+text, 0o644)
		})
	}
	live := func(f *fixture) {
		f.procs = append(f.procs, node.Process{PID: 9, Comm: "kubelet", Args: []string{"kubelet"}})
		f.component(node.Kubelet, func(c *node.Component) { c.Running, c.PID = true, 9 })
	}
	judge(t, "node", []ruleTest{
		{"metrics: default", config(""), metrics, check.Pass, check.Pass, check.Pass, "by default"},
		{"metrics: loopback", config("metricsBindAddress: '[::1]:10249'\n"), metrics, check.Fail, check.Fail, check.Pass, "loopback"},
		{"metrics: everywhere", config("metricsBindAddress: 0.0.0.0:10249\n"), metrics, check.Pass, check.Pass, check.Fail, "more than the loopback"},
		{"metrics: port only", config("metricsBindAddress: ':10249'\n"), metrics, check.Pass, check.Pass, check.Fail, "more than the loopback"},
		{"metrics: file not found", runs, metrics, check.Pass, check.Pass, check.Fail, "not found on the host"},
		{"metrics: no kube-proxy on a live node", live, metrics, check.Fail, check.Fail, check.Info, "no kube-proxy runs"},
		{"metrics: a tree cannot tell", same, metrics, check.Fail, check.Fail, check.Fail, ""},
		{"kubeconfig: a volume", config(""), kubeconfig, check.Warn, check.Warn, check.Info, "DaemonSet"},
		{"kubeconfig: of the kubelet, taken for the proxy's", runs, kubeconfig, check.Pass, check.Pass, check.Info, "not applicable"},
		{"kubeconfig: nothing known", same, kubeconfig, check.Warn, check.Warn, check.Info, "no unit that starts it"},
		{"kubeconfig: on the host", func(f *fixture) {
			f.file("/etc/kubernetes/proxy.conf", "", 0o644)
			f.component(node.Proxy, func(c *node.Component) { c.Kubeconfig = "/etc/kubernetes/proxy.conf" })
		}, kubeconfig, check.Warn, check.Warn, check.Warn, ""},
		{"kubeconfig: a unit starts it", func(f *fixture) { f.file("/etc/systemd/system/kube-proxy.service", "", 0o644) }, kubeconfig, check.Warn, check.Warn, check.Warn, ""},
	})
}

func TestEtcdRules(t *testing.T) {
	pod := fileCheck("etcdconf", true, "permissions")
	data := fileCheck("etcddatadir", true, "permissions")
	noEtcd := func(f *fixture) { delete(f.facts.Components, node.Etcd); f.facts.EtcdType = "external" }
	kubeadm := func(f *fixture) {
		f.facts.EtcdType = "kubeadm"
		f.component(node.Etcd, func(c *node.Component) {
			*c = node.Component{Manifest: "/etc/kubernetes/manifests/etcd.yaml", DataDir: "/var/lib/etcd", Configured: []string{"etcd", "--data-dir=/var/lib/etcd"}}
		})
	}
	docker := func(f *fixture) { f.facts.EtcdType = "docker" }
	silent := func(f *fixture) { noEtcd(f); f.without(node.APIServer, "etcd-servers") }
	judge(t, "master", []ruleTest{
		{"pod: host", same, pod, check.Fail, check.Fail, check.Info, "systemd unit"},
		{"pod: a manifest beside the unit is judged", func(f *fixture) {
			f.component(node.Etcd, func(c *node.Component) { c.Manifest = "/etc/kubernetes/manifests/etcd.yaml" })
		}, pod, check.Fail, check.Fail, check.Fail, ""},
		{"pod: docker", docker, pod, check.Fail, check.Fail, check.Info, "systemd unit"},
		{"pod: external", noEtcd, pod, check.Fail, check.Fail, check.Info, "uses one elsewhere"},
		{"pod: kubeadm", kubeadm, pod, check.Fail, check.Fail, check.Fail, ""},
		{"pod: no etcd and no word of one", silent, pod, check.Fail, check.Fail, check.Fail, ""},
		{"data: real directory", same, data, check.Fail, check.Pass, check.Pass, "does not see the data directory"},
		{"data: real directory is open", same, data, check.Pass, check.Fail, check.Fail, "not as the benchmark asks"},
		{"data: external", noEtcd, data, check.Fail, check.Fail, check.Info, "uses one elsewhere"},
		{"data: kubeadm", kubeadm, data, check.Fail, check.Fail, check.Fail, ""},
	})
	ca := flagCheck(node.Etcd, false, item("--trusted-ca-file", "", ""))
	judge(t, "etcd", []ruleTest{
		{"ca: its own", same, ca, check.Pass, check.Pass, check.Pass, ""},
		{"ca: the cluster's", func(f *fixture) { f.file("/etc/ssl/etcd/ssl/ca.pem", "cluster CA\n", 0o600) }, ca, check.Pass, check.Pass, check.Warn, "cluster's own CA"},
		{"settings from the environment", same, flagCheck(node.Etcd, true, item("--cert-file", "", "")), check.Fail, check.Pass, check.Pass, "environment"},
		{"not on this node", func(f *fixture) { noEtcd(f); f.facts.Roles = []string{"control-plane"} }, ca, check.Warn, check.Warn, check.Info, "no etcd runs"},
	})
}

func TestCNIRule(t *testing.T) {
	mode := &profile.Check{
		Audit: "stat -c permissions=%a <path/to/cni/files>",
		Tests: &profile.Tests{Items: []profile.TestItem{{Flag: "permissions", Set: true, Compare: profile.Compare{Op: "bitmask", Value: "644"}}}},
	}
	judge(t, "master", []ruleTest{
		{"as wanted", same, mode, check.Warn, check.Pass, check.Pass, "does not look at the CNI configuration"},
		{"too wide", same, mode, check.Warn, check.Warn, check.Warn, ""},
		{"no directory", func(f *fixture) { f.facts.CNIConfDir = "/none" }, mode, check.Warn, check.Warn, check.Info, "no CNI configuration"},
	})
}

func TestRolesDecide(t *testing.T) {
	worker := func(f *fixture) {
		f.facts.Roles = []string{"worker"}
		for _, name := range []string{node.APIServer, node.ControllerManager, node.Scheduler, node.Etcd} {
			delete(f.facts.Components, name)
		}
	}
	file := fileCheck("apiserverconf", true, "permissions")
	judge(t, "master", []ruleTest{
		{"a worker", worker, file, check.Fail, check.Fail, check.Info, "no control plane"},
		{"all in one program", func(f *fixture) { worker(f); f.facts.Distribution.Name = "k3s" }, file, check.Fail, check.Fail, check.Fail, ""},
		{"a control plane without API server", func(f *fixture) { delete(f.facts.Components, node.APIServer) }, file, check.Fail, check.Fail, check.Fail, ""},
	})
	judge(t, "node", []ruleTest{
		{"a node for etcd only", func(f *fixture) {
			worker(f)
			f.facts.Roles = []string{"etcd"}
			delete(f.facts.Components, node.Kubelet)
		},
			fileCheck("kubeletsvc", true, "permissions"), check.Fail, check.Fail, check.Info, "only runs etcd"},
		{"a worker without kubelet", func(f *fixture) { worker(f); delete(f.facts.Components, node.Kubelet) },
			fileCheck("kubeletsvc", true, "permissions"), check.Fail, check.Fail, check.Fail, ""},
	})
	judge(t, "policies", []ruleTest{{"policies are not of a node", same, &profile.Check{}, check.Warn, check.Warn, check.Warn, ""}})
}

// TestGuards: whatever the rules say, a verdict other than kube-bench's has
// reason and evidence, and what failed or is missing never becomes PASS.
func TestGuards(t *testing.T) {
	nodes := map[string]func(*fixture){
		"kubespray": same, "nothing": func(f *fixture) { f.facts = node.Facts{Components: map[string]node.Component{}} },
		"audited": both(authn("anonymous: {enabled: false}\n"), authz("authorizers: [{type: Node}]\n")),
	}
	states := []check.State{check.Pass, check.Fail, check.Warn, check.Info}
	asked := 0
	for nodeName, change := range nodes {
		f := kubespray()
		change(f)
		v := f.view()
		for s := range rules {
			var c *profile.Check
			switch {
			case s.name == "cni":
				c = &profile.Check{Audit: "stat -c %U:%G <path/to/cni/files>"}
			case s.kind == profile.Mode || s.kind == profile.Owner:
				c = fileCheck(s.component+s.name, true, map[profile.Kind]string{profile.Mode: "permissions", profile.Owner: "root:root"}[s.kind])
			case s.kind == profile.Other:
				c = flagCheck(s.component, true, item(s.name, "", ""))
			default:
				c = flagCheck(s.component, true, item("--"+s.name, "", ""))
			}
			for _, raw := range states {
				for _, truth := range states {
					for _, failure := range []string{"", "exit status 1"} {
						for _, target := range []string{"master", "node", "etcd", "controlplane", "policies"} {
							if truth == check.Pass && failure != "" {
								continue
							}
							asked++
							got := v.Judge(target, c, check.Result{State: raw}, check.Result{State: truth, Reason: failure})
							where := fmt.Sprintf("%s, %v, raw %s, truth %s %q, %s", nodeName, s, raw, truth, failure, target)
							if got.State != raw && (got.Reason == "" || len(got.Evidence) == 0) {
								t.Errorf("%s: %s without reason or evidence", where, got.State)
							}
							if got.State == check.Pass && failure != "" {
								t.Errorf("%s: PASS from a failed audit (%s)", where, got.Reason)
							}
							if got.State == check.Pass && raw != check.Pass && nodeName == "nothing" && s.kind == profile.Flag && target != "policies" {
								t.Errorf("%s: PASS without the component (%s)", where, got.Reason)
							}
						}
					}
				}
			}
		}
	}
	t.Logf("%d judgements", asked)
}

func TestNoSecrets(t *testing.T) {
	const secret = "c2VzYW1l"
	f := kubespray()
	f.args(node.APIServer, "--encryption-provider-config=/etc/kubernetes/ssl/e.yaml", "--oidc-client-secret="+secret)
	f.file("/etc/kubernetes/ssl/e.yaml", "resources: [{resources: [secrets], providers: [{aescbc: {keys: [{name: k, secret: "+secret+"}]}}]}]\n", 0o600)
	f.component(node.Etcd, func(c *node.Component) { c.Env["ETCD_INITIAL_CLUSTER_TOKEN"] = secret })
	f.component(node.Etcd, func(c *node.Component) {
		c.Configured = append(c.Configured, "--bearer-token="+secret, "--bearer-token="+secret)
	})
	v := f.view()
	for _, c := range []*profile.Check{
		flagCheck(node.APIServer, false, item("provider", "valid_elements", "aescbc")),
		flagCheck(node.APIServer, false, item("--oidc-client-secret", "", "")),
		flagCheck(node.Etcd, false, item("--bearer-token", "", "")),
		flagCheck(node.Etcd, false, item("--cert-file", "", "")),
	} {
		got := v.Judge("master", c, check.Result{State: check.Warn}, check.Result{State: check.Pass})
		if len(got.Evidence) == 0 {
			t.Errorf("%v: no evidence to look at", c.Tests.Items[0].Flag)
		}
		if text := fmt.Sprint(got); strings.Contains(text, secret) {
			t.Errorf("a secret in %s", text)
		}
	}
	for _, p := range v.Processes() {
		if p.Comm == "etcd" && strings.Contains(strings.Join(p.Args, " "), "cluster-token") {
			t.Errorf("etcd's token became a flag: %q", p.Args)
		}
	}
}
