package gate

import "testing"

func TestFlagOf(t *testing.T) {
	for field, want := range map[string]string{
		"tlsCertFile": "tls-cert-file", "clusterDNS": "cluster-dns", "kubeAPIQPS": "kube-api-qps", "cpuCFSQuota": "cpu-cfs-quota",
		"authorization.mode": "authorization-mode", "authorization.webhook.cacheAuthorizedTTL": "authorization-webhook-cache-authorized-ttl",
		"oomScoreAdj": "oom-score-adj", "featureGates.RotateKubeletServerCertificate": "feature-gates", "podCIDR": "pod-cidr",
		"podPidsLimit": "pod-max-pids", "protectKernelDefaults": "protect-kernel-defaults", "resolvConf": "resolv-conf",
	} {
		if got := flagOf(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}
