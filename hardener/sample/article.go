package sample

// Row is one check of the published list that the sample node goes back to: an
// article of 2020 about kube-bench findings on a Kubespray cluster and how its
// author dealt with them ("Remediations for kube-bench findings", David
// Medinets). Ids and outcomes are the article's, the words are not.
type Row struct {
	Target  string // section of kube-bench's profile: master, etcd, controlplane, node, policies
	ID      string // number of the check in the article
	Check   string // number in profile cis-1.5 of kube-bench v0.15.6
	Text    string // what the check is about
	Outcome string // PASS, FAIL or WARN: as printed, or what the article's remedy implies
	Verdict string // what kube-bench v0.15.6 says about the sample; differs from Outcome only with a Note

	Printed   bool // the article printed the outcome
	SelfFixed bool // the article has a remedy in place of an outcome
	Explained bool // the article explains why the check does not apply

	Note string // where the article or its kube-bench says less, or something else, than v0.15.6
}

// Article is the list, in the article's order: 116 rows, of which 20 were
// printed as FAIL, 7 have a remedy and 4 an explanation.
func Article() []Row {
	var all []Row
	for _, section := range []struct {
		target string
		rows   []Row
	}{
		{"master", masterRows()},
		{"etcd", etcdRows()},
		{"controlplane", controlplaneRows()},
		{"node", nodeRows()},
		{"policies", policiesRows()},
	} {
		for _, r := range section.rows {
			r.Target = section.target
			r.Printed = !r.SelfFixed && !r.Explained
			if r.Check == "" {
				r.Check = r.ID
			}
			if r.Verdict == "" {
				r.Verdict = r.Outcome
			}
			all = append(all, r)
		}
	}
	return all
}

func masterRows() []Row {
	return []Row{
		{ID: "1.1.1", Text: "API server manifest: mode", Outcome: "PASS"},
		{ID: "1.1.2", Text: "API server manifest: owner", Outcome: "PASS"},
		{ID: "1.1.3", Text: "controller manager manifest: mode", Outcome: "PASS"},
		{ID: "1.1.4", Text: "controller manager manifest: owner", Outcome: "PASS"},
		{ID: "1.1.5", Text: "scheduler manifest: mode", Outcome: "PASS"},
		{ID: "1.1.6", Text: "scheduler manifest: owner", Outcome: "PASS"},
		{ID: "1.1.7", Text: "etcd manifest: mode", Outcome: "FAIL", Explained: true},
		{ID: "1.1.8", Text: "etcd manifest: owner", Outcome: "FAIL", Explained: true},
		{ID: "1.1.9", Text: "network plugin files: mode", Outcome: "WARN", SelfFixed: true,
			Note: "a manual check in v0.15.6 too, so it stays WARN after any fix"},
		{ID: "1.1.10", Text: "network plugin files: owner", Outcome: "WARN", SelfFixed: true,
			Note: "a manual check in v0.15.6 too, so it stays WARN after any fix"},
		{ID: "1.1.11", Text: "etcd data directory: mode", Outcome: "FAIL", Explained: true},
		{ID: "1.1.12", Text: "etcd data directory: owner", Outcome: "FAIL", Explained: true},
		{ID: "1.1.19", Text: "PKI directory and files: owner", Outcome: "FAIL", SelfFixed: true},
		{ID: "1.1.20", Text: "PKI certificates: mode", Outcome: "WARN", SelfFixed: true,
			Note: "not scored, so a finding is WARN; the article does not say which file was too open, the sample makes two of them 0664"},
		{ID: "1.1.21", Text: "PKI keys: mode", Outcome: "WARN", SelfFixed: true,
			Note: "not scored, so a finding is WARN; the article does not say which file was too open, the sample makes two of them 0640"},
		{ID: "1.2.1", Text: "API server --anonymous-auth", Outcome: "WARN", SelfFixed: true},
		{ID: "1.2.2", Text: "API server --basic-auth-file", Outcome: "PASS"},
		{ID: "1.2.3", Text: "API server --token-auth-file", Outcome: "PASS"},
		{ID: "1.2.4", Text: "API server --kubelet-https", Outcome: "PASS"},
		{ID: "1.2.5", Text: "API server kubelet client certificate", Outcome: "PASS"},
		{ID: "1.2.6", Text: "API server --kubelet-certificate-authority", Outcome: "FAIL", SelfFixed: true},
		{ID: "1.2.7", Text: "API server --authorization-mode without AlwaysAllow", Outcome: "PASS"},
		{ID: "1.2.8", Text: "API server --authorization-mode with Node", Outcome: "PASS"},
		{ID: "1.2.9", Text: "API server --authorization-mode with RBAC", Outcome: "PASS"},
		{ID: "1.2.10", Text: "admission plugin EventRateLimit", Outcome: "WARN"},
		{ID: "1.2.11", Text: "admission plugin AlwaysAdmit", Outcome: "PASS"},
		{ID: "1.2.12", Text: "admission plugin AlwaysPullImages", Outcome: "WARN"},
		{ID: "1.2.13", Text: "admission plugin SecurityContextDeny", Outcome: "WARN"},
		{ID: "1.2.14", Text: "admission plugin ServiceAccount", Outcome: "PASS"},
		{ID: "1.2.15", Text: "admission plugin NamespaceLifecycle", Outcome: "PASS"},
		{ID: "1.2.16", Text: "admission plugin PodSecurityPolicy", Outcome: "FAIL"},
		{ID: "1.2.17", Text: "admission plugin NodeRestriction", Outcome: "PASS"},
		{ID: "1.2.18", Text: "API server --insecure-bind-address", Outcome: "PASS"},
		{ID: "1.2.19", Text: "API server --insecure-port", Outcome: "PASS"},
		{ID: "1.2.20", Text: "API server --secure-port", Outcome: "PASS"},
		{ID: "1.2.21", Text: "API server --profiling", Outcome: "PASS"},
		{ID: "1.2.22", Text: "API server --audit-log-path", Outcome: "FAIL"},
		{ID: "1.2.23", Text: "API server --audit-log-maxage", Outcome: "FAIL"},
		{ID: "1.2.24", Text: "API server --audit-log-maxbackup", Outcome: "FAIL"},
		{ID: "1.2.25", Text: "API server --audit-log-maxsize", Outcome: "FAIL"},
		{ID: "1.2.26", Text: "API server --request-timeout", Outcome: "PASS", Verdict: "WARN",
			Note: "a manual check in v0.15.6, which never passes"},
		{ID: "1.2.27", Text: "API server --service-account-lookup", Outcome: "PASS"},
		{ID: "1.2.28", Text: "API server --service-account-key-file", Outcome: "PASS"},
		{ID: "1.2.29", Text: "API server etcd client certificate", Outcome: "PASS"},
		{ID: "1.2.30", Text: "API server serving certificate", Outcome: "PASS"},
		{ID: "1.2.31", Text: "API server --client-ca-file", Outcome: "PASS"},
		{ID: "1.2.32", Text: "API server --etcd-cafile", Outcome: "PASS"},
		{ID: "1.2.33", Text: "API server --encryption-provider-config", Outcome: "FAIL", Verdict: "WARN",
			Note: "not scored in v0.15.6, so the same finding is WARN"},
		{ID: "1.2.34", Text: "encryption providers", Outcome: "WARN"},
		{ID: "1.2.35", Text: "API server --tls-cipher-suites", Outcome: "WARN"},
		{ID: "1.3.1", Text: "controller manager --terminated-pod-gc-threshold", Outcome: "PASS"},
		{ID: "1.3.2", Text: "controller manager --profiling", Outcome: "PASS"},
		{ID: "1.3.3", Text: "controller manager --use-service-account-credentials", Outcome: "PASS"},
		{ID: "1.3.4", Text: "controller manager --service-account-private-key-file", Outcome: "PASS"},
		{ID: "1.3.5", Text: "controller manager --root-ca-file", Outcome: "PASS"},
		{ID: "1.3.6", Text: "controller manager gate RotateKubeletServerCertificate", Outcome: "FAIL",
			Note: "kube-bench of 2020 failed a gate that was not set; v0.15.6 fails it only when it is false, so the sample sets it to false"},
		{ID: "1.3.7", Text: "controller manager --bind-address", Outcome: "FAIL"},
		{ID: "1.4.1", Text: "scheduler --profiling", Outcome: "FAIL"},
		{ID: "1.4.2", Text: "scheduler --bind-address", Outcome: "FAIL"},
	}
}

func etcdRows() []Row {
	return []Row{
		{ID: "2.1", Text: "etcd client certificate", Outcome: "FAIL"},
		{ID: "2.2", Text: "etcd --client-cert-auth", Outcome: "FAIL"},
		{ID: "2.3", Text: "etcd --auto-tls", Outcome: "PASS"},
		{ID: "2.4", Text: "etcd peer certificate", Outcome: "FAIL"},
		{ID: "2.5", Text: "etcd --peer-client-cert-auth", Outcome: "FAIL"},
		{ID: "2.6", Text: "etcd --peer-auto-tls", Outcome: "PASS"},
		{ID: "2.7", Text: "etcd certificate authority", Outcome: "WARN"},
	}
}

func controlplaneRows() []Row {
	return []Row{
		{ID: "3.1.1", Text: "client certificates of users", Outcome: "WARN"},
		{ID: "3.2.1", Text: "audit policy", Outcome: "WARN", Verdict: "FAIL",
			Note: "printed as WARN; scored and with a test in v0.15.6, so the same finding is FAIL"},
		{ID: "3.2.2", Text: "audit policy: contents", Outcome: "WARN"},
	}
}

func nodeRows() []Row {
	return []Row{
		{ID: "4.1.1", Text: "kubelet unit: mode", Outcome: "PASS"},
		{ID: "4.1.2", Text: "kubelet unit: owner", Outcome: "PASS"},
		{ID: "4.1.3", Text: "kube-proxy kubeconfig: mode", Outcome: "FAIL"},
		{ID: "4.1.4", Text: "kube-proxy kubeconfig: owner", Outcome: "FAIL"},
		{ID: "4.1.5", Text: "kubelet kubeconfig: mode", Outcome: "PASS"},
		{ID: "4.1.6", Text: "kubelet kubeconfig: owner", Outcome: "PASS"},
		{ID: "4.1.7", Text: "client CA file: mode", Outcome: "WARN", Verdict: "PASS",
			Note: "kube-bench of 2020 had no test for it; v0.15.6 has one, which the file passes"},
		{ID: "4.1.8", Text: "client CA file: owner", Outcome: "PASS"},
		{ID: "4.1.9", Text: "kubelet configuration: mode", Outcome: "PASS"},
		{ID: "4.1.10", Text: "kubelet configuration: owner", Outcome: "PASS"},
		{ID: "4.2.1", Text: "kubelet --anonymous-auth", Outcome: "PASS"},
		{ID: "4.2.2", Text: "kubelet --authorization-mode", Outcome: "PASS"},
		{ID: "4.2.3", Text: "kubelet --client-ca-file", Outcome: "PASS"},
		{ID: "4.2.4", Text: "kubelet --read-only-port", Outcome: "FAIL",
			Note: "kube-bench of 2020 failed a port that was not set; v0.15.6 passes that, so the sample sets the port to 10255"},
		{ID: "4.2.5", Text: "kubelet --streaming-connection-idle-timeout", Outcome: "PASS"},
		{ID: "4.2.6", Text: "kubelet --protect-kernel-defaults", Outcome: "FAIL"},
		{ID: "4.2.7", Text: "kubelet --make-iptables-util-chains", Outcome: "PASS"},
		{ID: "4.2.8", Text: "kubelet --hostname-override", Outcome: "WARN"},
		{ID: "4.2.9", Text: "kubelet --event-qps", Outcome: "WARN"},
		{ID: "4.2.10", Text: "kubelet serving certificate", Outcome: "FAIL"},
		{ID: "4.2.11", Text: "kubelet --rotate-certificates", Outcome: "PASS"},
		{ID: "4.2.12", Text: "kubelet gate RotateKubeletServerCertificate", Outcome: "FAIL",
			Note: "kube-bench of 2020 failed a gate that was not set; v0.15.6 fails it only when it is false, so the sample sets it to false"},
		{ID: "4.2.13", Text: "kubelet --tls-cipher-suites", Outcome: "WARN"},
	}
}

func policiesRows() []Row {
	return []Row{
		{ID: "5.1.1", Text: "cluster-admin bindings", Outcome: "WARN"},
		{ID: "5.1.2", Text: "access to secrets", Outcome: "WARN"},
		{ID: "5.1.3", Text: "wildcards in roles", Outcome: "WARN"},
		{ID: "5.1.4", Text: "right to create pods", Outcome: "WARN"},
		{ID: "5.1.5", Text: "default service accounts", Outcome: "WARN"},
		{ID: "5.1.6", Text: "service account tokens in pods", Outcome: "WARN"},
		{ID: "5.2.1", Text: "privileged containers", Outcome: "WARN"},
		{ID: "5.2.2", Text: "host process IDs", Outcome: "WARN"},
		{ID: "5.2.3", Text: "host IPC", Outcome: "WARN"},
		{ID: "5.2.4", Text: "host network", Outcome: "WARN"},
		{ID: "5.2.5", Text: "privilege escalation", Outcome: "WARN"},
		{ID: "5.2.6", Text: "root containers", Outcome: "WARN"},
		{ID: "5.2.7", Text: "capability NET_RAW", Outcome: "WARN"},
		{ID: "5.2.8", Text: "added capabilities", Outcome: "WARN"},
		{ID: "5.2.9", Text: "capabilities", Outcome: "WARN"},
		{ID: "5.3.1", Text: "network policy support", Outcome: "WARN"},
		{ID: "5.3.2", Text: "network policies of namespaces", Outcome: "WARN"},
		{ID: "5.4.1", Text: "secrets in environment variables", Outcome: "WARN"},
		{ID: "5.4.2", Text: "external secret storage", Outcome: "WARN"},
		{ID: "5.5.1", Text: "image provenance", Outcome: "WARN"},
		{ID: "5.6.1", Text: "namespaces as boundaries", Outcome: "WARN", Check: "5.7.1",
			Note: "numbered 5.7.1 in v0.15.6"},
		{ID: "5.6.2", Text: "seccomp profile", Outcome: "WARN", Check: "5.7.2",
			Note: "numbered 5.7.2 in v0.15.6"},
		{ID: "5.6.3", Text: "security contexts", Outcome: "WARN", Check: "5.7.3",
			Note: "numbered 5.7.3 in v0.15.6"},
		{ID: "5.6.4", Text: "default namespace", Outcome: "WARN", Check: "5.7.4",
			Note: "numbered 5.7.4 in v0.15.6"},
	}
}
