package specimen

import "strings"

// flag is a flag of a component and the values it may have.
type flag struct {
	name   string
	value  func(d dice) string
	likely int // percent of the nodes that have it
}

func oneOf(values ...string) func(dice) string {
	return func(d dice) string { return d.pick(values...) }
}

func number(values ...string) func(dice) string {
	return func(d dice) string { return d.number(values...) }
}

func listOf(values ...string) func(dice) string {
	return func(d dice) string { return d.list(values...) }
}

func file(values ...string) func(dice) string {
	return func(d dice) string {
		if d.chance(8) {
			return d.pick("", " ", "/path with blank/x.pem", "/p=1:2/x", `"/quoted"`, "/tab\tbed", "/new\nline", "/ümlaut/x", "/esc\x1b[0m", "$HOME/x", "/dev/null", "true", "false")
		}
		return d.pick(values...)
	}
}

var ciphers = listOf(
	"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384")

var anyCiphers = func(d dice) string {
	if d.chance(60) {
		return ciphers(d)
	}
	return d.list("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_RSA_WITH_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_FAKE")
}

var encryptionFile = file("/etc/kubernetes/ssl/secrets_encryption.yaml", "/etc/kubernetes/pki/secrets_encryption.yaml", "/etc/kubernetes/enc.yaml", "/etc/kubernetes/missing.yaml")

var apiserverFlags = []flag{
	{"--advertise-address", oneOf("10.0.0.1"), 80},
	{"--admission-control-config-file", file("/etc/kubernetes/admission-controls.yaml"), 30},
	{"--allow-privileged", dice.word, 70},
	{"--anonymous-auth", dice.word, 60},
	{"--audit-log-maxage", number("30", "29", "31", "100"), 50},
	{"--audit-log-maxbackup", number("10", "9", "1", "11"), 50},
	{"--audit-log-maxsize", number("100", "99", "101"), 50},
	{"--audit-log-path", file("/var/log/audit/kube-apiserver-audit.log", "-"), 50},
	{"--audit-policy-file", file("/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml"), 50},
	{"--authorization-mode", listOf("Node", "RBAC", "AlwaysAllow", "Webhook"), 85},
	{"--basic-auth-file", file("/etc/kubernetes/users/known_users.csv"), 8},
	{"--bind-address", oneOf("0.0.0.0", "::", "127.0.0.1"), 60},
	{"--client-ca-file", file("/etc/kubernetes/ssl/ca.crt", "/etc/kubernetes/pki/ca.crt"), 85},
	{"--disable-admission-plugins", listOf("ServiceAccount", "NamespaceLifecycle", "PodSecurityPolicy"), 30},
	{"--enable-admission-plugins", listOf("NodeRestriction", "AlwaysPullImages", "EventRateLimit", "PodSecurityPolicy", "AlwaysAdmit",
		"SecurityContextDeny", "NamespaceLifecycle", "ServiceAccount", "DenyServiceExternalIPs", "LimitRanger"), 75},
	{"--encryption-provider-config", encryptionFile, 50},
	{"--etcd-cafile", file("/etc/ssl/etcd/ssl/ca.pem", "/etc/kubernetes/pki/etcd/ca.crt"), 75},
	{"--etcd-certfile", file("/etc/ssl/etcd/ssl/node-node1.pem"), 75},
	{"--etcd-keyfile", file("/etc/ssl/etcd/ssl/node-node1-key.pem"), 75},
	{"--etcd-servers", oneOf("https://10.0.0.1:2379,https://10.0.0.2:2379"), 90},
	{"--feature-gates", oneOf("AllAlpha=true", "RotateKubeletServerCertificate=true", ""), 15},
	{"--insecure-bind-address", oneOf("127.0.0.1", "0.0.0.0"), 12},
	{"--insecure-port", number("0", "8080"), 25},
	{"--kubelet-certificate-authority", file("/etc/kubernetes/ssl/ca.crt"), 40},
	{"--kubelet-client-certificate", file("/etc/kubernetes/ssl/apiserver-kubelet-client.crt"), 75},
	{"--kubelet-client-key", file("/etc/kubernetes/ssl/apiserver-kubelet-client.key"), 75},
	{"--kubelet-https", dice.word, 15},
	{"--kubelet-preferred-address-types", oneOf("InternalDNS,InternalIP,Hostname,ExternalDNS,ExternalIP"), 70},
	{"--profiling", dice.word, 60},
	{"--repair-malformed-updates", dice.word, 8},
	{"--request-timeout", number("1m0s", "300s", "60"), 50},
	{"--secure-port", number("6443", "0", "443"), 85},
	{"--service-account-extend-token-expiration", dice.word, 30},
	{"--service-account-key-file", file("/etc/kubernetes/ssl/sa.pub"), 80},
	{"--service-account-lookup", dice.word, 60},
	{"--service-account-issuer", oneOf("https://kubernetes.default.svc.cluster.local"), 60},
	{"--tls-cert-file", file("/etc/kubernetes/ssl/apiserver.crt"), 80},
	{"--tls-cipher-suites", anyCiphers, 50},
	{"--tls-private-key-file", file("/etc/kubernetes/ssl/apiserver.key"), 80},
	{"--token-auth-file", file("/etc/kubernetes/tokens/known_tokens.csv"), 12},
}

var controllerManagerFlags = []flag{
	{"--address", oneOf("127.0.0.1"), 10},
	{"--authentication-kubeconfig", file("/etc/kubernetes/controller-manager.conf"), 80},
	{"--bind-address", oneOf("127.0.0.1", "0.0.0.0", "::", "::1"), 70},
	{"--client-ca-file", file("/etc/kubernetes/ssl/ca.crt"), 60},
	{"--feature-gates", oneOf("RotateKubeletServerCertificate=true", "RotateKubeletServerCertificate=false", "RotateKubeletServerCertificate=False,X=true", "X=true"), 45},
	{"--profiling", dice.word, 60},
	{"--root-ca-file", file("/etc/kubernetes/ssl/ca.crt"), 75},
	{"--service-account-private-key-file", file("/etc/kubernetes/ssl/sa.key"), 75},
	{"--terminated-pod-gc-threshold", number("12500", "10", "500"), 60},
	{"--use-service-account-credentials", dice.word, 75},
}

var schedulerFlags = []flag{
	{"--authentication-kubeconfig", file("/etc/kubernetes/scheduler.conf"), 80},
	{"--address", oneOf("127.0.0.1"), 10},
	{"--bind-address", oneOf("127.0.0.1", "0.0.0.0", "::"), 70},
	{"--config", file("/etc/kubernetes/kubescheduler-config.yaml"), 50},
	{"--kubeconfig", file("/etc/kubernetes/scheduler.conf"), 80},
	{"--profiling", dice.word, 60},
}

var etcdFlags = []flag{
	{"--name", oneOf("etcd1", "node1"), 80},
	{"--data-dir", dataDir, 70},
	{"--cert-file", file("/etc/ssl/etcd/ssl/member-node1.pem"), 75},
	{"--key-file", file("/etc/ssl/etcd/ssl/member-node1-key.pem"), 75},
	{"--client-cert-auth", dice.word, 70},
	{"--auto-tls", dice.word, 30},
	{"--peer-cert-file", file("/etc/ssl/etcd/ssl/member-node1.pem"), 75},
	{"--peer-key-file", file("/etc/ssl/etcd/ssl/member-node1-key.pem"), 75},
	{"--peer-client-cert-auth", dice.word, 70},
	{"--peer-auto-tls", dice.word, 30},
	{"--peer-trusted-ca-file", file("/etc/ssl/etcd/ssl/ca.pem"), 70},
	{"--trusted-ca-file", file("/etc/ssl/etcd/ssl/ca.pem"), 70},
}

var kubeletFlags = []flag{
	{"--anonymous-auth", dice.word, 20},
	{"--authorization-mode", listOf("Webhook", "AlwaysAllow"), 20},
	{"--bootstrap-kubeconfig", file("/etc/kubernetes/bootstrap-kubelet.conf"), 60},
	{"--client-ca-file", file("/etc/kubernetes/ssl/ca.crt", "/etc/kubernetes/pki/ca.crt", "/nowhere/ca.crt"), 25},
	{"--cni-conf-dir", file("/etc/cni/net.d", "/etc/cni", "/etc/cni/missing", "/etc/cni/net.d/"), 30},
	{"--config", file("/etc/kubernetes/kubelet-config.yaml", "/var/lib/kubelet/config.yaml"), 70},
	{"--container-runtime-endpoint", oneOf("unix:///var/run/containerd/containerd.sock"), 50},
	{"--event-qps", number("0", "5", "50"), 20},
	{"--feature-gates", oneOf("RotateKubeletServerCertificate=true", "RotateKubeletServerCertificate=false", "X=true", "RotateKubeletServerCertificate"), 15},
	{"--hostname-override", oneOf("node1", ""), 50},
	{"--kubeconfig", file("/etc/kubernetes/kubelet.conf"), 80},
	{"--make-iptables-util-chains", dice.word, 15},
	{"--node-ip", oneOf("10.0.0.1"), 50},
	{"--pod-max-pids", number("-1", "100", "1000"), 15},
	{"--protect-kernel-defaults", dice.word, 20},
	{"--read-only-port", number("0", "10255"), 20},
	{"--rotate-certificates", dice.word, 20},
	{"--seccomp-default", dice.word, 15},
	{"--streaming-connection-idle-timeout", number("0", "4h0m0s", "5m", "0s"), 20},
	{"--tls-cert-file", file("/etc/kubernetes/ssl/kubelet.crt"), 20},
	{"--tls-cipher-suites", anyCiphers, 20},
	{"--tls-private-key-file", file("/etc/kubernetes/ssl/kubelet.key"), 20},
	{"--IPAddressDeny", oneOf("any"), 5},
}

var proxyFlags = []flag{
	{"--config", file("/var/lib/kube-proxy/config.conf"), 80},
	{"--hostname-override", oneOf("node1"), 60},
	{"--kubeconfig", file("/etc/kubernetes/proxy.conf", "/var/lib/kube-proxy/kubeconfig.conf"), 20},
	{"--metrics-bind-address", oneOf("127.0.0.1:10249", "0.0.0.0:10249", "127.0.0.1", "::"), 40},
}

func dataDir(d dice) string {
	return d.pick("/var/lib/etcd", "/var/lib/etcd", "/var/lib/etcd/", "/var/lib/etcd-events", "/srv/etcd data", "/nowhere/etcd", "/var/lib/etcd/default.etcd", "/etc/hosts", "")
}

// args are the arguments of a component after its name.
func (d dice) args(flags []flag) []string {
	var out []string
	for _, f := range flags {
		if !d.chance(f.likely) {
			continue
		}
		out = append(out, d.write(f.name, f.value(d))...)
		if d.chance(5) {
			out = append(out, d.write(f.name, f.value(d))...)
		}
	}
	if d.chance(15) {
		d.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	}
	if d.chance(10) {
		out = append([]string{d.pick("--profiling-x=true", "--x-profiling=false", "-v=2", "--v", "", "--anonymous-auth-x", "port", "provider", "root:root", "permissions=600", "grep")}, out...)
	}
	return out
}

// write is one flag on the command line, mostly as --name=value.
func (d dice) write(name, value string) []string {
	switch d.IntN(40) {
	case 0, 1:
		return []string{name, value}
	case 2:
		return []string{name}
	case 3:
		return []string{name + "="}
	case 4:
		return []string{name[1:] + "=" + value}
	case 5:
		return []string{name + ": " + value}
	case 6:
		return []string{name + "==" + value}
	case 7:
		return []string{strings.ToUpper(name) + "=" + value}
	case 8:
		return []string{strings.ReplaceAll(name[2:], "-", "_") + "=" + value, name + "=" + value}
	case 9:
		return []string{"--x" + name + "=" + value}
	}
	return []string{name + "=" + value}
}
