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

func TestNested(t *testing.T) {
	t.Parallel()
	s := settings{values: map[string]any{"authentication": map[string]any{"x509": map[string]any{"clientCAFile": "/file"}}, "tlsCertFile": "/cert"}}
	for want, got := range map[string]string{
		"/file": s.nested("authentication", "x509", "clientCAFile"),
		"/cert": s.nested("tlsCertFile"),
		"":      s.nested("authentication", "webhook", "enabled") + s.nested("tlsCertFile", "inner"),
	} {
		if got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	s.argv = []string{"kubelet", "--client-ca-file=/flag"}
	if got := s.nested("authentication", "x509", "clientCAFile"); got != "/flag" {
		t.Errorf("the flag wins: %q", got)
	}
}
