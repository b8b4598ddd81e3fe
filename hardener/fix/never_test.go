package fix

import (
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// TestNeverMade: settings whose obvious remedy ends in an outage are not changed,
// whatever risk is allowed, and the finding says why and what it would break.
func TestNeverMade(t *testing.T) {
	for _, tt := range []struct {
		component, flag, path, value string
		state                        State
		why                          string // part of the reason or of what breaks
	}{
		{"apiserver", "--kubelet-certificate-authority", "", "", Never, "logs, exec, port-forward and metrics of every node at once"},
		{"apiserver", "--kubelet-client-certificate", "", "", Manual, "logs and exec are refused"},
		{"apiserver", "--kubelet-client-key", "", "", Manual, "logs and exec are refused"},
		{"apiserver", "--encryption-provider-config", "", "", Never, "data loss"},
		{"apiserver", "--client-ca-file", "", "", Never, "locks out admin.conf"},
		{"apiserver", "--etcd-cafile", "", "", Never, "cannot reach etcd"},
		{"apiserver", "--etcd-certfile", "", "", Never, "cannot reach etcd"},
		{"apiserver", "--etcd-keyfile", "", "", Never, "cannot reach etcd"},
		{"apiserver", "--tls-cert-file", "", "", Never, "do not trust the server"},
		{"apiserver", "--tls-private-key-file", "", "", Never, "do not trust the server"},
		{"apiserver", "--service-account-key-file", "", "", Never, "every token in the cluster"},
		{"apiserver", "--service-account-issuer", "", "", Never, "every token in the cluster"},
		{"apiserver", "--token-auth-file", "", "-", Manual, "every client with a static token"},
		{"apiserver", "--basic-auth-file", "", "-", Manual, "every client that logs in with a password"},
		{"apiserver", "--secure-port", "", "443", Manual, "load balancers"},
		{"apiserver", "--request-timeout", "", "300", Manual, "needs a unit"},
		{"controllermanager", "--service-account-private-key-file", "", "", Never, "new tokens are rejected"},
		{"controllermanager", "--root-ca-file", "", "", Never, "another authority"},
		{"controllermanager", "--terminated-pod-gc-threshold", "", "10", Manual, "logs of finished Jobs"},
		{"kubelet", "--hostname-override", "", "-", Never, "NotReady"},
		{"kubelet", "--client-ca-file", "{.authentication.x509.clientCAFile}", "", Manual, "does not start"},
		{"kubelet", "--tls-cert-file", "{.tlsCertFile}", "", Never, "stops the kubelet"},
		{"kubelet", "--tls-private-key-file", "{.tlsPrivateKeyFile}", "", Never, "stops the kubelet"},
		{"kubelet", "--IPAddressDeny", "{.IPAddressDeny}", "", Never, "the kubelet's own traffic"},
		{"etcd", "--cert-file", "", "", Never, "loss of quorum"},
		{"etcd", "--key-file", "", "", Never, "loss of quorum"},
		{"etcd", "--peer-cert-file", "", "", Never, "loss of quorum"},
		{"etcd", "--peer-key-file", "", "", Never, "loss of quorum"},
		{"etcd", "--trusted-ca-file", "", "", Never, "quorum and API are lost"},
	} {
		t.Run(tt.component+" "+strings.TrimPrefix(tt.flag, "--"), func(t *testing.T) {
			check := flagCheck(tt.component, "", tt.flag, tt.path, "", true)
			switch tt.value {
			case "":
			case "-":
				check.Tests.Items[0].Set = false
			default:
				check = flagCheck(tt.component, "eq", tt.flag, tt.path, tt.value, true)
			}
			plan, d := planOne(t, sampleNode(t), sampleFacts(true), check)
			if d.State != tt.state || !strings.Contains(d.Reason+"; "+d.Breaks, tt.why) || len(plan.Groups) > 0 {
				t.Errorf("decision %q because %q, breaks %q, %d groups", d.State, d.Reason, d.Breaks, len(plan.Groups))
			}
		})
	}
	for _, plugin := range []string{"SecurityContextDeny", "PodSecurityPolicy"} {
		t.Run("apiserver "+plugin, func(t *testing.T) {
			plan, d := planOne(t, sampleNode(t), sampleFacts(true), flagCheck("apiserver", "has", "--enable-admission-plugins", "", plugin, true))
			if d.State != Never || !strings.Contains(d.Reason, "does not start with it") || len(plan.Groups) > 0 {
				t.Errorf("decision %q because %q", d.State, d.Reason)
			}
		})
	}
}

// TestClusterIsLeftToPeople: what lives in the cluster and not on a node is never
// changed: roles, bindings, policies, tokens.
func TestClusterIsLeftToPeople(t *testing.T) {
	for _, tt := range []struct {
		target, text string
		state        State
		why          string
	}{
		{"policies", "Ensure that the cluster-admin role is only used where required (Manual)", Never, "admin.conf and logs and exec are locked out"},
		{"policies", "Avoid use of system:masters group (Manual)", Never, "ends with the authority only"},
		{"policies", "Minimize access to the proxy sub-resource of nodes (Manual)", Manual, "for a person to say"},
		{"policies", "Minimize access to the approval sub-resource of certificatesigningrequests objects (Manual)", Manual, "for a person to say"},
		{"policies", "Ensure that default service accounts are not actively used. (Manual)", Manual, "namespace by namespace"},
		{"policies", "Minimize the admission of privileged containers (Manual)", Manual, "dry run first"},
		{"policies", "Ensure that all Namespaces have Network Policies defined (Manual)", Manual, "default deny cuts DNS"},
		{"policies", "Configure Image Provenance using ImagePolicyWebhook admission controller (Manual)", Manual, "outside the cluster that it guards"},
		{"controlplane", "Bootstrap token authentication should not be used for users (Manual)", Manual, "how nodes join"},
		{"controlplane", "Client certificate authentication should not be used for users (Manual)", Manual, "need client certificates"},
	} {
		t.Run(tt.text, func(t *testing.T) {
			m := sampleNode(t)
			plan, err := Make(Input{FS: m, Facts: sampleFacts(true), MaxRisk: RiskWorkload, Findings: []Finding{{Target: tt.target, Check: &profile.Check{ID: "x", Text: tt.text}}}})
			if err != nil {
				t.Fatal(err)
			}
			d := plan.Decisions[Key(tt.target, "x")]
			if d.State != tt.state || !strings.Contains(d.Reason, tt.why) || len(plan.Groups) > 0 {
				t.Errorf("decision %q because %q, %d groups", d.State, d.Reason, len(plan.Groups))
			}
		})
	}
}

// TestAskedForOnly: what shows only when pods start anew, or needs steps on other
// nodes, is not made at the default risk, and says what it breaks.
func TestAskedForOnly(t *testing.T) {
	for _, tt := range []struct {
		reason string
		check  *profile.Check
		risk   Risk
		breaks string
	}{
		{"tokens that end", flagCheck("apiserver", "eq", "--service-account-extend-token-expiration", "", "false", true), RiskWorkload, "401 after up to an hour"},
		{"every image is pulled", flagCheck("apiserver", "has", "--enable-admission-plugins", "", "AlwaysPullImages", true), RiskWorkload, "preloaded images"},
		{"external addresses of Services", flagCheck("apiserver", "has", "--enable-admission-plugins", "", "DenyServiceExternalIPs", true), RiskWorkload, "spec.externalIPs"},
		{"seccomp", flagCheck("kubelet", "eq", "--seccomp-default", "{.seccompDefault}", "true", true), RiskWorkload, "at their next start"},
		{"processes of a pod", flagCheck("kubelet", "", "--pod-max-pids", "{.podPidsLimit}", "", true), RiskWorkload, "thread creation fails"},
		{"peers of etcd", flagCheck("etcd", "eq", "--peer-client-cert-auth", "", "true", true), RiskCluster, "the quorum is lost"},
		{"self-signed peers of etcd", flagCheck("etcd", "noteq", "--peer-auto-tls", "", "true", true), RiskCluster, "peers that trust"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			for max, want := range map[Risk]State{"": AboveRisk, RiskWorkload: Planned} {
				plan, err := Make(Input{FS: sampleNode(t), Facts: sampleFacts(true), MaxRisk: max, Gated: true, Findings: []Finding{{Target: "s", Check: tt.check}}})
				if err != nil {
					t.Fatal(err)
				}
				d := plan.Decisions["s/x"]
				if d.State != want || d.Risk != tt.risk || !strings.Contains(d.Breaks, tt.breaks) || (len(plan.Groups) > 0) != (want == Planned) {
					t.Errorf("at risk %q: decision %q of risk %q because %q, breaks %q", max, d.State, d.Risk, d.Reason, d.Breaks)
				}
			}
		})
	}
}

// TestAuthorizationModes: a mode is added to others, and nothing else.
func TestAuthorizationModes(t *testing.T) {
	const was = "    - --authorization-mode=Node,RBAC\n"
	rbac := flagCheck("apiserver", "has", "--authorization-mode", "", "RBAC", true)
	for _, tt := range []struct {
		reason, flags string
		state         State
		why           string
	}{
		{"added behind what is there", "    - --authorization-mode=Webhook,Node\n", Planned, "Webhook,Node,RBAC"},
		{"from a cluster that allows everything", "    - --authorization-mode=AlwaysAllow\n", Manual, "denied at once"},
		{"not set at all, which allows everything", "", Manual, "denied at once"},
		{"an AuthorizationConfiguration is used", "    - --authorization-config=/etc/kubernetes/ssl/a.yaml\n", Manual, "the server does not start"},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			m := sampleNode(t)
			if !strings.Contains(string(m[apiManifest].Data), was) {
				t.Fatal("the sample has other modes")
			}
			editFile(m, apiManifest, was, tt.flags)
			plan, d := planOne(t, m, sampleFacts(false), rbac)
			if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
				t.Fatalf("decision %q because %q", d.State, d.Reason)
			}
			if text := string(applied(t, m, plan)[apiManifest].Data); tt.state == Planned && !strings.Contains(text, "    - --authorization-mode=Webhook,Node,RBAC\n") {
				t.Errorf("%s", d.Diff)
			}
		})
	}
}

// TestNoEmptyList: a list flag that has nothing left goes, and a list keeps no
// stray comma.
func TestNoEmptyList(t *testing.T) {
	without := flagCheck("apiserver", "nothave", "--enable-admission-plugins", "", "AlwaysAdmit", true)
	without.Tests.BinOp = "or" // as the profiles have it: or the flag is not set
	without.Tests.Items = append(without.Tests.Items, profile.TestItem{Flag: "--enable-admission-plugins"})
	for value, want := range map[string]string{
		"AlwaysAdmit":                 "",
		"NodeRestriction,AlwaysAdmit": "    - --enable-admission-plugins=NodeRestriction\n",
		"AlwaysAdmit,NodeRestriction": "    - --enable-admission-plugins=NodeRestriction\n",
	} {
		m := sampleNode(t)
		editFile(m, apiManifest, "--enable-admission-plugins=NodeRestriction", "--enable-admission-plugins="+value)
		plan, d := planOne(t, m, sampleFacts(false), without)
		text := string(applied(t, m, plan)[apiManifest].Data)
		if d.State != Planned || want == "" && strings.Contains(text, "enable-admission-plugins") || !strings.Contains(text, want) {
			t.Errorf("%s: %q because %q\n%s", value, d.State, d.Reason, d.Diff)
		}
	}
}

// TestEmbeddedCertificate: a kubelet whose certificate is inside its kubeconfig
// would not use a rotated one, and expires.
func TestEmbeddedCertificate(t *testing.T) {
	rotate := flagCheck("kubelet", "eq", "--rotate-certificates", "{.rotateCertificates}", "true", true)
	for data, want := range map[string]State{"client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem": Planned, "client-certificate-data: AAAA": Manual} {
		m := sampleNode(t)
		editFile(m, "etc/kubernetes/kubelet-config.yaml", "rotateCertificates: true", "rotateCertificates: false")
		put(m, "etc/kubernetes/kubelet.conf", "users:\n- user:\n    "+data+"\n", 0o600, 0, 0)
		if _, d := planOne(t, m, sampleFacts(false), rotate); d.State != want || want == Manual && !strings.Contains(d.Reason, "would not be used") {
			t.Errorf("%s: %q because %q", data, d.State, d.Reason)
		}
	}
}

// TestEtcdNeedsItsCertificates: TLS is asked for, or self-signed certificates are
// given up, only where etcd has what takes their place.
func TestEtcdNeedsItsCertificates(t *testing.T) {
	for _, tt := range []struct {
		check   *profile.Check
		missing string
	}{
		{flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true), "TRUSTED_CA_FILE"},
		{flagCheck("etcd", "eq", "--peer-client-cert-auth", "", "true", true), "PEER_TRUSTED_CA_FILE"},
		{flagCheck("etcd", "noteq", "--auto-tls", "", "true", true), "CERT_FILE"},
		{flagCheck("etcd", "noteq", "--peer-auto-tls", "", "true", true), "PEER_KEY_FILE"},
	} {
		m := sampleNode(t)
		if _, d := planOne(t, m, sampleFacts(false), tt.check); d.State != Planned {
			t.Errorf("with %s: %q because %q", tt.missing, d.State, d.Reason)
		}
		editFile(m, "etc/etcd.env", "\nETCD_"+tt.missing, "\n#ETCD_"+tt.missing)
		flag := strings.ToLower(strings.ReplaceAll(tt.missing, "_", "-"))
		if plan, d := planOne(t, m, sampleFacts(false), tt.check); d.State != Manual || !strings.Contains(d.Reason, "etcd has no "+flag) || len(plan.Groups) > 0 {
			t.Errorf("without %s: %q because %q", tt.missing, d.State, d.Reason)
		}
	}
}

// TestEtcdIsNoStaticPod: no manifest is made up for a check that looks for one.
func TestEtcdIsNoStaticPod(t *testing.T) {
	check := modeCheck("x", "600")
	check.Text = "Ensure that the etcd pod specification file permissions are set to 600"
	m := sampleNode(t)
	plan, d := planOne(t, m, sampleFacts(true), check)
	if d.State != Manual || !strings.Contains(d.Reason, "is started as a pod") || len(plan.Groups) > 0 {
		t.Errorf("%q because %q", d.State, d.Reason)
	}
}

// TestOnePlaceForEachSetting: a plan changes files of the node's own components
// only: not the kubelet files of kubeadm, by which Kubespray knows that it has run,
// nor anything that it would take away.
func TestOnePlaceForEachSetting(t *testing.T) {
	m := sampleNode(t)
	const marker = "var/lib/kubelet/config.yaml"
	put(m, marker, "kind: KubeletConfiguration\n", 0o644, 0, 0)
	facts := sampleFacts(false)
	plan, err := Make(Input{FS: m, Facts: facts, Findings: allFindings(t, benchmarks[len(benchmarks)-1].name, m), MaxRisk: RiskWorkload})
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Groups) == 0 {
		t.Fatal("nothing is planned")
	}
	for _, g := range plan.Groups {
		for _, c := range g.Changes {
			if !slices.Contains([]ChangeKind{Write, Meta, MkdirK}, c.Kind) {
				t.Errorf("%s: %s", c.Kind, c.Path)
			}
			if strings.HasPrefix(c.Path, "/var/lib/kubelet") && c.Kind == Write {
				t.Errorf("%s is written", c.Path)
			}
			if dir := facts.ManifestDir + "/"; strings.HasPrefix(c.Path, dir) && c.Before == nil {
				t.Errorf("%s is new in the manifest directory", c.Path)
			}
		}
	}
}
