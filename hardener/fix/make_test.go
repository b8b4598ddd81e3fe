package fix

import (
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// flagCheck is a check of one flag, with one item.
func flagCheck(component, op, flag, path, value string, set bool) *profile.Check {
	return &profile.Check{ID: "x", Variables: []string{component + "bin"}, Audit: "/bin/ps -ef | grep $" + component + "bin | grep -v grep",
		Tests: &profile.Tests{Items: []profile.TestItem{{Flag: flag, Path: path, Set: set, Compare: profile.Compare{Op: op, Value: value}}}}}
}

func TestMakeSettings(t *testing.T) {
	tests := []struct {
		reason   string
		check    *profile.Check
		edit     func(f map[string]string) // of the sample's files, before
		max      Risk
		state    State
		contains map[string][]string // file: what it holds afterwards
		absent   map[string][]string
		why      string // part of the reason
	}{
		{reason: "profiling is switched off in place", check: flagCheck("apiserver", "eq", "--profiling", "", "false", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"    - --profiling=false\n"}},
			absent:   map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"True\n    - --proxy"}}},
		{reason: "anonymous requests are limited to the health endpoints, never ended by the flag", check: flagCheck("apiserver", "eq", "--anonymous-auth", "", "false", true), state: Planned,
			contains: map[string][]string{
				"etc/kubernetes/manifests/kube-apiserver.yaml": {
					"    - --authentication-config=/etc/kubernetes/authentication/apiserver-authentication-config.yaml\n",
					"    - mountPath: /etc/kubernetes/authentication\n      name: authentication-config\n      readOnly: true\n",
					"  - hostPath:\n      path: /etc/kubernetes/authentication\n      type: Directory\n    name: authentication-config\n"},
				"etc/kubernetes/authentication/apiserver-authentication-config.yaml": {"apiVersion: apiserver.config.k8s.io/v1\n", "  - path: /healthz\n"}},
			absent: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"anonymous-auth"}}},
		{reason: "an unknown flag is left to a person", check: flagCheck("apiserver", "eq", "--what-is-this", "", "1", true), state: Manual, why: "nothing is known"},
		{reason: "a bind address takes the probes along", check: flagCheck("controllermanager", "eq", "--bind-address", "", "127.0.0.1", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/manifests/kube-controller-manager.yaml": {
				"    - --bind-address=127.0.0.1\n", "      httpGet:\n        host: 127.0.0.1\n        path: /healthz\n"}}},
		{reason: "audit logging comes with policy and directories", check: flagCheck("apiserver", "", "--audit-log-path", "", "", true), state: Planned,
			contains: map[string][]string{
				"etc/kubernetes/manifests/kube-apiserver.yaml": {
					"    - --audit-log-maxage=30\n    - --audit-log-maxbackup=10\n    - --audit-log-maxsize=100\n    - --audit-log-path=/var/log/audit/kube-apiserver-audit.log\n    - --audit-policy-file=/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml\n",
					"    - mountPath: /etc/kubernetes/audit-policy\n      name: audit-policy\n      readOnly: true\n",
					"    - mountPath: /var/log/audit\n      name: audit-logs\n",
					"  - hostPath:\n      path: /var/log/kubernetes/audit\n      type: DirectoryOrCreate\n    name: audit-logs\n",
				},
				"etc/kubernetes/audit-policy/apiserver-audit-policy.yaml": {"kind: Policy"},
			}},
		{reason: "event limits come with their configuration, and NodeRestriction stays", check: flagCheck("apiserver", "has", "--enable-admission-plugins", "", "EventRateLimit", true), state: Planned,
			contains: map[string][]string{
				"etc/kubernetes/manifests/kube-apiserver.yaml":     {"    - --enable-admission-plugins=NodeRestriction,EventRateLimit\n", "    - --admission-control-config-file=/etc/kubernetes/admission/admission-controls.yaml\n"},
				"etc/kubernetes/admission/admission-controls.yaml": {"- name: EventRateLimit\n", "kind: AdmissionConfiguration\n"},
			}},
		{reason: "always pulling is a risk to workloads", check: flagCheck("apiserver", "has", "--enable-admission-plugins", "", "AlwaysPullImages", true), state: AboveRisk, why: "workload"},
		{reason: "and made when asked for", check: flagCheck("apiserver", "has", "--enable-admission-plugins", "", "AlwaysPullImages", true), max: RiskWorkload, state: Planned,
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"NodeRestriction,AlwaysPullImages\n"}}},
		{reason: "an explicit false goes", check: flagCheck("apiserver", "", "--service-account-lookup", "", "", false), state: Planned,
			absent: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"service-account-lookup"}}},
		{reason: "a gate goes, the others stay", check: flagCheck("controllermanager", "nothave", "--feature-gates", "", "RotateKubeletServerCertificate=false", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/manifests/kube-controller-manager.yaml": {"    - --feature-gates=Other=true\n"}}},
		{reason: "scheduler profiling is switched off where it is read", check: flagCheck("scheduler", "eq", "--profiling", "", "false", true), state: Planned,
			contains: map[string][]string{
				"etc/kubernetes/kubescheduler-config.yaml":     {"\nenableProfiling: false\n"},
				"etc/kubernetes/manifests/kube-scheduler.yaml": {"    - --profiling=false\n", "metadata:\n  annotations:\n    kubespray-hardener/scheduler-config: "},
			}},
		{reason: "the kubelet's file", check: flagCheck("kubelet", "eq", "--anonymous-auth", "{.authentication.anonymous.enabled}", "false", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"  anonymous:\n    enabled: false\n  webhook:\n    enabled: true\n"}}},
		{reason: "authorization and webhook authentication together", check: flagCheck("kubelet", "nothave", "--authorization-mode", "{.authorization.mode}", "AlwaysAllow", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"  webhook:\n    enabled: true\n", "  mode: Webhook\n"}}},
		{reason: "a flag overrides the file and is changed there", check: flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true), state: Planned,
			edit: func(f map[string]string) {
				f["etc/kubernetes/kubelet.env"] += "X=\"--read-only-port=10255 --other=1\"\n"
			},
			contains: map[string][]string{"etc/kubernetes/kubelet.env": {"X=\"--read-only-port=0 --other=1\"\n"},
				"etc/kubernetes/kubelet-config.yaml": {"readOnlyPort: 10255\n"}}},
		{reason: "a flag in the unit is not edited", check: flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true), state: Manual, why: "unit file",
			edit: func(f map[string]string) {
				f["etc/systemd/system/kubelet.service"] = "[Service]\nExecStart=/usr/local/bin/kubelet --read-only-port=10255\n"
			}},
		{reason: "kernel defaults are made permanent", check: flagCheck("kubelet", "eq", "--protect-kernel-defaults", "{.protectKernelDefaults}", "true", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"\nprotectKernelDefaults: true\n"},
				"etc/sysctl.d/99-zz-kubespray-hardener.conf": {"kernel.keys.root_maxkeys = 1000000\n"}}},
		{reason: "unless another file undoes them", check: flagCheck("kubelet", "eq", "--protect-kernel-defaults", "{.protectKernelDefaults}", "true", true), state: Manual, why: "/etc/sysctl.d/zzz.conf",
			edit: func(f map[string]string) { f["etc/sysctl.d/zzz.conf"] = "kernel.panic=0\n" }},
		{reason: "or the kernel has others now", check: flagCheck("kubelet", "eq", "--protect-kernel-defaults", "{.protectKernelDefaults}", "true", true), state: Manual, why: "kernel.panic is 0 now",
			edit: func(f map[string]string) { f["proc/sys/kernel/panic"] = "0\n" }},
		{reason: "an event rate that is positive is never lowered", check: flagCheck("kubelet", "eq", "--event-qps", "{.eventRecordQPS}", "0", true), state: Manual, why: "already says so",
			edit: func(f map[string]string) {
				const c = "etc/kubernetes/kubelet-config.yaml"
				f[c] = strings.Replace(f[c], "eventRecordQPS: -5", "eventRecordQPS: 5", 1)
			}},
		{reason: "one of 0 is none", check: flagCheck("kubelet", "gte", "--event-qps", "{.eventRecordQPS}", "0", true), state: Planned,
			edit: func(f map[string]string) {
				const c = "etc/kubernetes/kubelet-config.yaml"
				f[c] = strings.Replace(f[c], "eventRecordQPS: -5", "eventRecordQPS: 0", 1)
			},
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"eventRecordQPS: 50\n"}}},
		{reason: "a minimum version of TLS, when a profile asks for one", check: flagCheck("apiserver", "eq", "--tls-min-version", "", "VersionTLS12", true), state: Planned,
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"    - --tls-min-version=VersionTLS12\n"}}},
		{reason: "is never lowered", check: flagCheck("apiserver", "eq", "--tls-min-version", "", "VersionTLS12", true), state: Manual, why: "already says so",
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "    - --tls-private", "    - --tls-min-version=VersionTLS13\n    - --tls-private", 1)
			}},
		{reason: "suites that Go calls insecure go, though a profile allows them", state: Planned,
			check: flagCheck("apiserver", "valid_elements", "--tls-cipher-suites", "", tlsSuites+",TLS_RSA_WITH_AES_128_GCM_SHA256", true),
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "    - --tls-private", "    - --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_RSA_WITH_AES_128_GCM_SHA256\n    - --tls-private", 1)
			},
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"    - --tls-cipher-suites=TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n"}}},
		{reason: "how many finished pods to keep is left to a person", check: flagCheck("controllermanager", "", "--terminated-pod-gc-threshold", "", "", true), state: Manual, why: "12500 is in force"},
		{reason: "AlwaysAllow is explained", check: flagCheck("apiserver", "nothave", "--authorization-mode", "", "AlwaysAllow", true), state: Never, why: "denied at once"},
		{reason: "a log of somebody's own that is lost with the container is mounted", check: flagCheck("apiserver", "", "--audit-log-path", "", "", true), state: Planned,
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "    - --authorization", "    - --audit-log-path=/srv/log/audit/a.log\n    - --authorization", 1)
			},
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"    - mountPath: /srv/log/audit\n      name: audit-logs\n"}}},
		{reason: "but nothing is mounted over the container's /var/log", check: flagCheck("apiserver", "", "--audit-log-path", "", "", true), state: Manual, why: "too high up",
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "    - --authorization", "    - --audit-log-path=/var/log/a.log\n    - --authorization", 1)
			}},
		{reason: "a server that is not root cannot read what comes along", check: flagCheck("apiserver", "", "--audit-log-path", "", "", true), state: Manual, why: "does not run as root",
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "  securityContext:\n", "  securityContext:\n    runAsUser: 2000\n", 1)
			}},
		{reason: "the name of a node stays", check: flagCheck("kubelet", "", "--hostname-override", "", "", false), state: Never},
		{reason: "a list of suites in the kubelet's file", state: Planned,
			check:    flagCheck("kubelet", "valid_elements", "--tls-cipher-suites", "{range .tlsCipherSuites[:]}{}{','}{end}", tlsSuites, true),
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"\ntlsCipherSuites:\n- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n"}}},
		{reason: "a pid limit of -1 is none", check: flagCheck("kubelet", "", "--pod-max-pids", "{.podPidsLimit}", "", true), max: RiskWorkload, state: Planned,
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"podPidsLimit: 4096\n"}}},
		{reason: "etcd's environment, in place", check: flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true), state: Planned,
			contains: map[string][]string{"etc/etcd.env": {"\nETCD_CLIENT_CERT_AUTH=true\n"}}},
		{reason: "a variable that is missing goes beside its like", check: flagCheck("etcd", "eq", "--peer-client-cert-auth", "", "true", true), max: RiskCluster, state: Planned,
			contains: map[string][]string{"etc/etcd.env": {"ETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem\nETCD_PEER_CLIENT_CERT_AUTH=true\n"}}},
		{reason: "no client authentication without an authority", check: flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true), state: Manual, why: "trusted-ca-file",
			edit: func(f map[string]string) {
				f["etc/etcd.env"] = strings.ReplaceAll(etcdEnv, "ETCD_TRUSTED_CA_FILE", "#ETCD_TRUSTED_CA_FILE")
			}},
		{reason: "a broken manifest stays as it is", check: flagCheck("apiserver", "eq", "--profiling", "", "false", true), state: Manual, why: "not YAML",
			edit: func(f map[string]string) { f["etc/kubernetes/manifests/kube-apiserver.yaml"] = "a: [\n" }},
		{reason: "lists given twice add up and become one", state: Planned, max: RiskWorkload,
			check: flagCheck("apiserver", "has", "--enable-admission-plugins", "", "AlwaysPullImages", true),
			edit: func(f map[string]string) {
				const m = "etc/kubernetes/manifests/kube-apiserver.yaml"
				f[m] = strings.Replace(f[m], "    - --event-ttl", "    - --enable-admission-plugins=Other\n    - --event-ttl", 1)
			},
			contains: map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"    - --enable-admission-plugins=NodeRestriction,Other,AlwaysPullImages\n    - --enable-agg"}},
			absent:   map[string][]string{"etc/kubernetes/manifests/kube-apiserver.yaml": {"plugins=Other"}}},
		{reason: "a backup in the manifest directory holds the same pod", check: flagCheck("apiserver", "eq", "--profiling", "", "false", true), state: Manual, why: "kube-apiserver.yaml.bak holds the same pod",
			edit: func(f map[string]string) {
				f["etc/kubernetes/manifests/kube-apiserver.yaml.bak"] = f["etc/kubernetes/manifests/kube-apiserver.yaml"]
			}},
		{reason: "a field that the kubelet does not know stays and is told of", state: Planned, why: "does not know",
			check:    flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true),
			edit:     func(f map[string]string) { f["etc/kubernetes/kubelet-config.yaml"] += "madeUp: 1\n" },
			contains: map[string][]string{"etc/kubernetes/kubelet-config.yaml": {"readOnlyPort: 0\n", "madeUp: 1\n"}}},
		{reason: "a flag that is gone is not added", check: flagCheck("apiserver", "eq", "--insecure-port", "", "0", true), state: Manual, why: "removed in Kubernetes 1.24"},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m := sampleNode(t)
			if tt.edit != nil {
				files := map[string]string{}
				for k, f := range m {
					files[k] = string(f.Data)
				}
				tt.edit(files)
				for k, content := range files {
					if m[k] == nil || string(m[k].Data) != content {
						put(m, k, content, 0o644, 0, 0)
					}
				}
			}
			users, err := node.ReadUsers(m)
			if err != nil {
				t.Fatal(err)
			}
			in := Input{FS: m, Facts: sampleFacts(false), Users: users, MaxRisk: tt.max, Findings: []Finding{{Target: "s", Check: tt.check}}}
			plan, err := Make(in)
			if err != nil {
				t.Fatal(err)
			}
			d := plan.Decisions["s/x"]
			if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
				t.Fatalf("decision %q because %q, want %q because %q", d.State, d.Reason, tt.state, tt.why)
			}
			if (tt.state == Planned) != (len(plan.Groups) > 0) || (tt.state == Planned) != (d.Diff != "" && len(d.Paths) > 0) {
				t.Errorf("decision %q with %d groups, paths %q and diff %q", d.State, len(plan.Groups), d.Paths, d.Diff)
			}
			after := applied(t, m, plan)
			for file, parts := range tt.contains {
				for _, p := range parts {
					if f := after[file]; f == nil || !strings.Contains(string(f.Data), p) {
						t.Errorf("%s does not hold %q; plan:\n%s", file, p, d.Diff)
					}
				}
			}
			for file, parts := range tt.absent {
				for _, p := range parts {
					if strings.Contains(string(after[file].Data), p) {
						t.Errorf("%s still holds %q", file, p)
					}
				}
			}
			in.FS = after
			if again, err := Make(in); err != nil || len(again.Groups) > 0 {
				t.Errorf("planning again gives changes: %v %+v", err, again.Decisions)
			}
		})
	}
}

// TestMakeOnARunningNode: what restarts a component is shown and not made; modes
// of the same file are made.
func TestMakeOnARunningNode(t *testing.T) {
	m := sampleNode(t)
	users, err := node.ReadUsers(m)
	if err != nil {
		t.Fatal(err)
	}
	profiling := flagCheck("scheduler", "eq", "--profiling", "", "false", true)
	profiling.ID = "p"
	const manifest = "/etc/kubernetes/manifests/kube-scheduler.yaml"
	plan, err := Make(Input{FS: m, Facts: sampleFacts(true), Users: users, Findings: []Finding{
		{Target: "s", Check: profiling}, {Target: "s", Check: modeCheck("m", "600"), Stats: []string{manifest}}}})
	if err != nil {
		t.Fatal(err)
	}
	if d := plan.Decisions["s/p"]; d.State != Refused || d.Diff == "" || !strings.Contains(d.Reason, "runs on this node") {
		t.Errorf("profiling: %+v", d)
	}
	if d := plan.Decisions["s/m"]; d.State != Planned || d.Risk != RiskFiles {
		t.Errorf("mode: %+v", d)
	}
	if len(plan.Groups) != 2 || plan.Groups[0].Component != FilesGroup || plan.Groups[1].Component != node.Scheduler {
		t.Fatalf("groups: %+v", plan.Groups)
	}
	files, scheduler := plan.Groups[0], plan.Groups[1]
	if files.Refused != "" || len(files.Changes) != 1 || files.Changes[0].Kind != Meta || files.Changes[0].Path != manifest || strings.Join(files.Changes[0].Checks, " ") != "s/m" {
		t.Errorf("files: %+v", files)
	}
	if scheduler.Refused == "" || scheduler.Risk != RiskRestart || len(scheduler.Changes) != 2 {
		t.Fatalf("scheduler: %+v", scheduler)
	}
	if last := scheduler.Changes[1]; last.Path != manifest || last.Before.Mode != 0o600 || last.After.Mode != 0o600 || strings.Join(last.Checks, " ") != "s/p" {
		t.Errorf("the manifest comes last, with the mode it then has: %+v", last)
	}
}

// TestMakeRemembersFailures: with a gate the change is made, unless the same one
// failed here before; another finding makes it another change.
func TestMakeRemembersFailures(t *testing.T) {
	m := sampleNode(t)
	users, err := node.ReadUsers(m)
	if err != nil {
		t.Fatal(err)
	}
	profiling := flagCheck("scheduler", "eq", "--profiling", "", "false", true)
	profiling.ID = "p"
	in := Input{FS: m, Facts: sampleFacts(true), Users: users, Gated: true, Findings: []Finding{{Target: "s", Check: profiling}}}
	scheduler := func() Group {
		t.Helper()
		plan, err := Make(in)
		if err != nil || len(plan.Groups) != 1 {
			t.Fatalf("%v, %+v", err, plan.Groups)
		}
		if d := plan.Decisions["s/p"]; (d.State == Refused) != (plan.Groups[0].Refused != "") {
			t.Errorf("decision %+v of group %q", d, plan.Groups[0].Refused)
		}
		return plan.Groups[0]
	}
	first := scheduler()
	if first.Refused != "" {
		t.Errorf("refused: %s", first.Refused)
	}
	in.Failed = map[string]string{first.Digest(): "the scheduler did not start"}
	if again := scheduler(); !strings.Contains(again.Refused, "the scheduler did not start") {
		t.Errorf("tried again: %q", again.Refused)
	}
	m["etc/kubernetes/kubescheduler-config.yaml"].Data = append(m["etc/kubernetes/kubescheduler-config.yaml"].Data, "# edited\n"...)
	if other := scheduler(); other.Refused != "" {
		t.Errorf("refused after its inputs changed: %s", other.Refused)
	}
}

// TestMakeSharesChanges: what one finding brings along counts for the next.
func TestMakeSharesChanges(t *testing.T) {
	m := sampleNode(t)
	path := flagCheck("apiserver", "", "--audit-log-path", "", "", true)
	age := flagCheck("apiserver", "gte", "--audit-log-maxage", "", "30", true)
	path.ID, age.ID = "path", "age"
	plan, err := Make(Input{FS: m, Facts: sampleFacts(false), Findings: []Finding{{Target: "s", Check: path}, {Target: "s", Check: age}}})
	if err != nil {
		t.Fatal(err)
	}
	if d := plan.Decisions["s/age"]; d.State != Planned || len(d.Paths) != 1 || !strings.Contains(d.Diff, "+    - --audit-log-maxage=30") {
		t.Errorf("maxage: %+v", d)
	}
	for _, c := range plan.Groups[0].Changes {
		if strings.HasSuffix(c.Path, "kube-apiserver.yaml") && strings.Join(c.Checks, " ") != "s/path s/age" {
			t.Errorf("checks of the manifest: %v", c.Checks)
		}
	}
}

func TestMakeRefusesNonsense(t *testing.T) {
	for reason, in := range map[string]Input{
		"no file system": {},
		"unknown risk":   {FS: sampleNode(t), MaxRisk: "huge"},
		"no check":       {FS: sampleNode(t), Findings: []Finding{{Target: "s"}}},
	} {
		if _, err := Make(in); err == nil {
			t.Errorf("%s: no error", reason)
		}
	}
}
