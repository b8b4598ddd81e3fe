package adjudicate

import (
	"net"
	"slices"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// proxyKubeconfigFile: in a DaemonSet kube-proxy's kubeconfig comes from a
// ConfigMap. kube-bench's candidates include kubeconfigs of the kubelet.
func proxyKubeconfigFile(x *inquiry) (Verdict, bool) {
	if x.proxyKubeconfig() != "" {
		return undecided()
	}
	c := x.known[node.Proxy]
	evidence := []string{"/etc/kubernetes/proxy.conf: does not exist"}
	why := "kube-proxy has no kubeconfig file on the host, it is a DaemonSet with its configuration in a ConfigMap"
	switch config := x.proxyConfig(); {
	case slices.ContainsFunc(proxyFiles, x.exists):
		return undecided()
	case config != "":
		evidence = append(evidence, config+": kube-proxy's configuration, a volume of its pod")
	case c != nil:
		evidence = append(evidence, c.where+": kube-proxy names no kubeconfig of the host")
	case x.truth.State == check.Pass:
		return undecided()
	default:
		why = "this host has no kubeconfig of kube-proxy and no unit that starts it"
	}
	return x.notApplicable(why, evidence...)
}

// proxyFiles would mean that kube-proxy runs on the host itself.
var proxyFiles = []string{
	"/etc/kubernetes/proxy.conf", "/etc/systemd/system/kube-proxy.service",
	"/lib/systemd/system/kube-proxy.service", "/usr/lib/systemd/system/kube-proxy.service",
}

// proxyMetrics: the audit reads the kubeconfig, which never has the setting.
// With --config kube-proxy ignores its flags; an empty address is
// 127.0.0.1:10249 (kube-proxy configuration v1alpha1 reference).
func proxyMetrics(x *inquiry) (Verdict, bool) {
	config := x.proxyConfig()
	if x.known[node.Proxy] == nil && config == "" {
		if kubelet := x.known[node.Kubelet]; x.live && kubelet != nil && kubelet.runs {
			return x.notApplicable("no kube-proxy runs on this node", "process table: no kube-proxy", kubelet.where+": kubelet, so the table is the host's")
		}
		return undecided()
	}
	if config == "" {
		if _, hidden := x.own("config"); hidden {
			return x.bad("kube-proxy reads its configuration file, which was not found on the host, and kube-bench looks elsewhere", x.ownEvidence("config"))
		}
		return undecided() // flags only: the audit sees them
	}
	doc, ok := x.document(config)
	if !ok {
		return x.bad("kube-proxy's configuration cannot be read", config+": cannot be read as YAML")
	}
	address, _ := doc.text("metricsBindAddress")
	if address == "" {
		return x.pass("kube-proxy serves metrics on 127.0.0.1:10249 by default", config+": metricsBindAddress is not set")
	}
	evidence := config + ": metricsBindAddress: " + address
	if isLoopback(address) {
		return x.pass("kube-proxy's own configuration binds metrics to the loopback address", evidence)
	}
	return x.bad("kube-proxy's own configuration binds metrics to more than the loopback address", evidence)
}

// isLoopback tells whether an address with or without port is loopback.
func isLoopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = address
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
