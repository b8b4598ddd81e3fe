package fix

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	auditv1 "k8s.io/apiserver/pkg/apis/audit/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// TestAuditPolicy: the policy is one that the API server knows, and the content
// of secrets never gets into the log.
func TestAuditPolicy(t *testing.T) {
	var p auditv1.Policy
	if err := yaml.UnmarshalStrict(auditPolicy, &p); err != nil {
		t.Fatal(err)
	}
	if err := checkAuditPolicy(auditPolicy); err != nil {
		t.Fatal(err)
	}
	covered := map[string]bool{}
	for i, r := range p.Rules {
		if r.Level == auditv1.LevelRequestResponse {
			t.Errorf("rule %d logs responses", i)
		}
		if r.Level == auditv1.LevelMetadata && len(r.Verbs) == 0 && len(r.Users) == 0 {
			for _, g := range r.Resources {
				for _, name := range g.Resources {
					covered[name] = true
				}
			}
		}
		if r.Level == auditv1.LevelRequest {
			for _, name := range []string{"secrets", "configmaps", "tokenreviews", "serviceaccounts/token", "pods/exec"} {
				if !covered[name] {
					t.Errorf("rule %d logs requests before %s is limited to metadata", i, name)
				}
			}
		}
	}
}

func TestCheckAuditPolicyRefuses(t *testing.T) {
	for reason, text := range map[string]string{
		"no rules":      "apiVersion: audit.k8s.io/v1\nkind: Policy\n",
		"another kind":  "apiVersion: v1\nkind: Pod\nrules:\n- level: None\n",
		"unknown level": "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Everything\n",
		"not YAML":      "a: [",
	} {
		if checkAuditPolicy([]byte(text)) == nil {
			t.Errorf("%s: accepted", reason)
		}
	}
}

func TestMergeAdmission(t *testing.T) {
	limits := strings.Join(eventRateLimitItem(), "\n") + "\n"
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\n"
	tests := []struct{ reason, in, version, want, wantErr string }{
		{reason: "new", version: "1.34.4", want: head + "plugins:\n" + limits},
		{reason: "new, for an old release", version: "1.16.3", want: "apiVersion: apiserver.k8s.io/v1alpha1\nkind: AdmissionConfiguration\nplugins:\n" + limits},
		{reason: "beside others", in: head + "plugins:\n- name: PodSecurity\n  path: ps.yaml\n", want: head + "plugins:\n- name: PodSecurity\n  path: ps.yaml\n" + limits},
		{reason: "no plugins yet", in: head + "plugins: []\n", want: head + "plugins:\n" + limits},
		{reason: "limits of somebody's own stay", in: head + "plugins:\n- name: EventRateLimit\n  path: e.yaml\n", want: head + "plugins:\n- name: EventRateLimit\n  path: e.yaml\n"},
		{reason: "another kind", in: "kind: Pod\n", wantErr: "not AdmissionConfiguration"},
		{reason: "flow style", in: head + "plugins: [{name: X}]\n", wantErr: "block style"},
	}
	for _, tt := range tests {
		got, err := mergeAdmission([]byte(tt.in), tt.version)
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: error %v, want %q", tt.reason, err, tt.wantErr)
			}
		} else if err != nil || string(got) != tt.want {
			t.Errorf("%s: %v\n%s\nwant\n%s", tt.reason, err, got, tt.want)
		}
	}
}

func planOne(t *testing.T, m fstest.MapFS, facts node.Facts, c *profile.Check) (Plan, Decision) {
	t.Helper()
	users, err := node.ReadUsers(m)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := Make(Input{FS: m, Facts: facts, Users: users, MaxRisk: RiskWorkload, Findings: []Finding{{Target: "s", Check: c}}})
	if err != nil {
		t.Fatal(err)
	}
	return plan, plan.Decisions["s/x"]
}

const apiManifest = "etc/kubernetes/manifests/kube-apiserver.yaml"

func editFile(m fstest.MapFS, name, old, with string) {
	f := *m[name]
	f.Data = []byte(strings.Replace(string(f.Data), old, with, 1))
	m[name] = &f
}

func withMount(m fstest.MapFS, volume, host, inside, extra string) {
	editFile(m, apiManifest, "    volumeMounts:\n", "    volumeMounts:\n    - mountPath: "+inside+"\n      name: "+volume+"\n"+extra)
	editFile(m, apiManifest, "  volumes:\n", "  volumes:\n  - hostPath:\n      path: "+host+"\n      type: \"\"\n    name: "+volume+"\n")
}

// TestMountsAreReused: the kubelet refuses a manifest with two mounts on one
// path.
func TestMountsAreReused(t *testing.T) {
	audit := flagCheck("apiserver", "", "--audit-log-path", "", "", true)
	tests := []struct {
		reason string
		node   func(m fstest.MapFS)
		state  State
		why    string
		paths  []string // among the paths
		mounts int      // of /var/log/audit and /etc/kubernetes/audit-policy
	}{
		{reason: "the log directory is mounted already", state: Planned, node: func(m fstest.MapFS) { withMount(m, "audit-logs", "/srv/audit", "/var/log/audit", "") },
			paths: []string{"/srv/audit", "/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml"}, mounts: 2},
		{reason: "a mount above shows the directory", state: Planned, node: func(m fstest.MapFS) {
			withMount(m, "admission", "/etc/kubernetes/admission-controls", "/etc/kubernetes", "")
		}, paths: []string{"/etc/kubernetes/admission-controls/audit-policy/apiserver-audit-policy.yaml", "/var/log/kubernetes/audit"}, mounts: 1},
		{reason: "read-only where the log goes", state: Manual, why: "read-only", node: func(m fstest.MapFS) {
			withMount(m, "audit-logs", "/srv/audit", "/var/log/audit", "      readOnly: true\n")
		}},
		{reason: "a volume has our name", state: Planned, node: func(m fstest.MapFS) { withMount(m, "audit-logs", "/srv/x", "/srv/x", "") }, mounts: 2},
		{reason: "a part of a volume is mounted there", state: Manual, why: "must be unique", node: func(m fstest.MapFS) {
			withMount(m, "v", "/srv/x", "/var/log/audit", "      subPath: a\n")
		}},
		{reason: "a policy that is there is used", state: Planned, node: func(m fstest.MapFS) {
			put(m, "etc/kubernetes/audit-policy/apiserver-audit-policy.yaml", "apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n", 0o600, 0, 0)
		}, mounts: 2},
		{reason: "unless it is broken", state: Manual, why: "not an audit policy", node: func(m fstest.MapFS) {
			put(m, "etc/kubernetes/audit-policy/apiserver-audit-policy.yaml", "x: 1\n", 0o600, 0, 0)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m := sampleNode(t)
			tt.node(m)
			plan, d := planOne(t, m, sampleFacts(false), audit)
			if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
				t.Fatalf("decision %q because %q", d.State, d.Reason)
			}
			if tt.state != Planned {
				return
			}
			for _, p := range tt.paths {
				if !strings.Contains(strings.Join(d.Paths, " ")+" ", p+" ") {
					t.Errorf("%s is not among %v", p, d.Paths)
				}
			}
			text := string(applied(t, m, plan)[apiManifest].Data)
			if n := strings.Count(text, "mountPath: /var/log/audit\n") + strings.Count(text, "mountPath: /etc/kubernetes/audit-policy\n"); n != tt.mounts {
				t.Errorf("%d mounts, want %d:\n%s", n, tt.mounts, text)
			}
		})
	}
}

func TestVersions(t *testing.T) {
	insecure := flagCheck("apiserver", "eq", "--insecure-port", "", "0", true)
	https := flagCheck("apiserver", "", "--kubelet-https", "", "", false)
	deny := flagCheck("apiserver", "has", "--enable-admission-plugins", "", "DenyServiceExternalIPs", true)
	notDeny := flagCheck("apiserver", "nothave", "--enable-admission-plugins", "", "DenyServiceExternalIPs", true)
	tests := []struct {
		reason, version string
		check           *profile.Check
		add             string // a flag that is there
		state           State
		contains        string
		absent          string
	}{
		{reason: "the insecure port is closed where it is open by default", version: "1.18.9", check: insecure, state: Planned, contains: "--insecure-port=0"},
		{reason: "and not mentioned once it is gone", version: "1.24.0", check: insecure, state: Manual},
		{reason: "nor without knowing", version: "", check: insecure, state: Manual},
		{reason: "kubelet-https goes", version: "1.18.9", check: https, add: "--kubelet-https=false", state: Planned, absent: "kubelet-https"},
		{reason: "kubelet-https is never set", version: "1.18.9", check: https, state: Manual},
		{reason: "a plugin that the release does not have", version: "1.20.7", check: deny, state: Manual},
		{reason: "a plugin that it has", version: "1.21.5", check: deny, state: Planned, contains: "=NodeRestriction,DenyServiceExternalIPs"},
		{reason: "a plugin that a benchmark wants off stays on", version: "1.24.6", check: notDeny, add: "--enable-admission-plugins=DenyServiceExternalIPs", state: Never},
		{reason: "a plugin that is disabled is not enabled as well", version: "1.34.4", check: deny, add: "--disable-admission-plugins=DenyServiceExternalIPs,X", state: Planned, contains: "--disable-admission-plugins=X\n"},
		{reason: "a list that the release would not start with is not extended", version: "1.25.6", check: deny, add: "--enable-admission-plugins=PodSecurityPolicy", state: Manual},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m := sampleNode(t)
			if tt.add != "" {
				editFile(m, apiManifest, "    - --event-ttl", "    - "+tt.add+"\n    - --event-ttl")
			}
			facts := sampleFacts(false)
			facts.Kubernetes.Version = tt.version
			plan, d := planOne(t, m, facts, tt.check)
			text := string(applied(t, m, plan)[apiManifest].Data)
			if d.State != tt.state || !strings.Contains(text, tt.contains) || tt.absent != "" && strings.Contains(text, tt.absent) {
				t.Errorf("decision %q because %q\n%s", d.State, d.Reason, d.Diff)
			}
		})
	}
}

// TestEtcdWithoutEnvironmentFile: variables go into a drop-in of the unit, never
// flags.
func TestEtcdWithoutEnvironmentFile(t *testing.T) {
	m := sampleNode(t)
	delete(m, "etc/etcd.env")
	put(m, "etc/systemd/system/etcd.service", "[Service]\nEnvironment=ETCD_CERT_FILE=/c ETCD_KEY_FILE=/k\nEnvironment=\"ETCD_KEY_FILE=/k\"\nEnvironment=ETCD_TRUSTED_CA_FILE=/ca\nExecStart=/usr/local/bin/etcd\n", 0o644, 0, 0)
	facts := sampleFacts(false)
	facts.Components[node.Etcd] = node.Component{Unit: "/etc/systemd/system/etcd.service"}
	plan, d := planOne(t, m, facts, flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true))
	if d.State != Planned {
		t.Fatalf("decision %q because %q", d.State, d.Reason)
	}
	const want = "[Service]\nEnvironment=\"ETCD_CLIENT_CERT_AUTH=true\"\n"
	if f := applied(t, m, plan)[strings.TrimPrefix(etcdDropIn, "/")]; f == nil || string(f.Data) != want {
		t.Errorf("drop-in: %v", f)
	}
	put(m, "etc/systemd/system/etcd.service", "[Service]\nEnvironment=ETCD_CERT_FILE=/c\nEnvironment=ETCD_KEY_FILE=/k\nEnvironment=ETCD_TRUSTED_CA_FILE=/ca\nExecStart=/usr/local/bin/etcd --client-cert-auth=false\n", 0o644, 0, 0)
	if _, d = planOne(t, m, facts, flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true)); d.State != Manual || !strings.Contains(d.Reason, "flag in the unit") {
		t.Errorf("flag in the unit: %q because %q", d.State, d.Reason)
	}
}

// TestEtcdEvents: Kubespray's second etcd has an environment file and a unit of its
// own. It gets what the first gets, as a group of its own that goes first, and what
// cannot be made there is made nowhere.
func TestEtcdEvents(t *testing.T) {
	events := strings.ReplaceAll(etcdEnv, "/var/lib/etcd", "/var/lib/etcd-events")
	auth := flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true)
	for _, tt := range []struct {
		reason, first, second string
		unit                  string
		state                 State
		why                   string
		groups                string
		written               map[string]string
	}{
		{reason: "both", first: etcdEnv, second: events, state: Planned, why: "ETCD_CLIENT_CERT_AUTH=true in /etc/etcd.env; ETCD_CLIENT_CERT_AUTH=true in /etc/etcd-events.env", groups: "etcd-events etcd",
			written: map[string]string{"etc/etcd.env": "\nETCD_CLIENT_CERT_AUTH=true\n", "etc/etcd-events.env": "\nETCD_CLIENT_CERT_AUTH=true\n"}},
		{reason: "the second has it already", first: etcdEnv, second: strings.Replace(events, "CERT_AUTH=false", "CERT_AUTH=true", 1), state: Planned, groups: "etcd"},
		{reason: "the first has it already", first: strings.Replace(etcdEnv, "CERT_AUTH=false", "CERT_AUTH=true", 1), second: events, state: Planned, why: "ETCD_CLIENT_CERT_AUTH=true in /etc/etcd-events.env", groups: "etcd-events"},
		{reason: "the second would shut everybody out", first: etcdEnv, second: strings.Replace(events, "ETCD_TRUSTED_CA_FILE", "#ETCD_TRUSTED_CA_FILE", 1), state: Manual, why: "etcd-events: etcd has no trusted-ca-file here"},
		{reason: "the second has the flag in its unit", first: etcdEnv, second: events, unit: "[Service]\nEnvironmentFile=/etc/etcd-events.env\nExecStart=/usr/local/bin/etcd --client-cert-auth=false\n", state: Manual, why: "etcd-events: --client-cert-auth is a flag in the unit"},
		{reason: "the second has no environment file", first: etcdEnv, state: Planned, groups: "etcd-events etcd",
			unit:    "[Service]\nEnvironment=ETCD_CERT_FILE=/c\nEnvironment=ETCD_KEY_FILE=/k\nEnvironment=ETCD_TRUSTED_CA_FILE=/ca\nExecStart=/usr/local/bin/etcd\n",
			written: map[string]string{strings.TrimPrefix(etcdEventsDropIn, "/"): "ETCD_CLIENT_CERT_AUTH=true"}},
	} {
		m := sampleNode(t)
		put(m, "etc/etcd.env", tt.first, 0o640, 0, 0)
		facts := sampleFacts(true)
		comp := node.Component{Running: true, Unit: "/etc/systemd/system/etcd-events.service", User: "root"}
		if tt.second != "" {
			put(m, "etc/etcd-events.env", tt.second, 0o640, 0, 0)
			comp.EnvFiles = []string{"/etc/etcd-events.env"}
		}
		if tt.unit == "" {
			tt.unit = strings.ReplaceAll(etcdUnit, "etcd.env", "etcd-events.env")
		}
		put(m, "etc/systemd/system/etcd-events.service", tt.unit, 0o644, 0, 0)
		facts.Components[node.EtcdEvents] = comp
		users, err := node.ReadUsers(m)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := Make(Input{FS: m, Facts: facts, Users: users, Gated: true, Findings: []Finding{{Target: "s", Check: auth}}})
		if err != nil {
			t.Fatal(err)
		}
		d := plan.Decisions["s/x"]
		var groups []string
		for _, g := range plan.Groups {
			groups = append(groups, g.Component)
			if g.Refused != "" {
				t.Errorf("%s: %s is refused: %s", tt.reason, g.Component, g.Refused)
			}
		}
		if d.State != tt.state || !strings.Contains(d.Reason, tt.why) || strings.Join(groups, " ") != tt.groups {
			t.Errorf("%s: decision %q because %q, groups %q", tt.reason, d.State, d.Reason, groups)
		}
		after := applied(t, m, plan)
		for file, part := range tt.written {
			if f := after[file]; f == nil || !strings.Contains(string(f.Data), part) {
				t.Errorf("%s: %s does not hold %q", tt.reason, file, part)
			}
		}
	}
}

// TestEtcdAsStaticPod: kubeadm's etcd has flags in a manifest.
func TestEtcdAsStaticPod(t *testing.T) {
	m := sampleNode(t)
	manifest := strings.ReplaceAll(pod("    - --cert-file=/c\n    - --client-cert-auth=false\n    - --key-file=/k\n    - --trusted-ca-file=/ca\n"), "kube-apiserver", "etcd")
	put(m, "etc/kubernetes/manifests/etcd.yaml", manifest, 0o600, 0, 0)
	facts := sampleFacts(false)
	facts.Components[node.Etcd] = node.Component{Manifest: "/etc/kubernetes/manifests/etcd.yaml"}
	plan, d := planOne(t, m, facts, flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true))
	if text := string(applied(t, m, plan)["etc/kubernetes/manifests/etcd.yaml"].Data); d.State != Planned || text != strings.Replace(manifest, "auth=false", "auth=true", 1) {
		t.Errorf("decision %q because %q\n%s", d.State, d.Reason, text)
	}
}

func TestSecretsStayOut(t *testing.T) {
	m := sampleNode(t)
	const secret = "hunter2secret"
	editFile(m, "etc/etcd.env", "k8s_etcd_secret", secret)
	editFile(m, "etc/kubernetes/kubelet.env", "--v=2", "--v=2 --read-only-port=1 --bearer="+secret)
	editFile(m, apiManifest, "    image:", "    env:\n    - name: HTTP_PROXY\n      value: http://u:"+secret+"@proxy\n    - name: A_TOKEN\n      value: "+secret+"\n    image:")
	editFile(m, apiManifest, "    - --tls-cert-file", "    - --some-token="+secret+"\n    - --tls-cert-file")
	editFile(m, "etc/kubernetes/kubelet-config.yaml", "readOnlyPort", "staticPodURLHeader:\n  X-Token:\n  - "+"x\nreadOnlyPort")
	facts := sampleFacts(false)
	findings := []Finding{
		{Target: "a", Check: flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true)},
		{Target: "b", Check: flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true)},
		{Target: "c", Check: flagCheck("apiserver", "", "--audit-log-path", "", "", true)},
		{Target: "d", Check: flagCheck("apiserver", "valid_elements", "--tls-cipher-suites", "", tlsSuites, true)},
	}
	plan, err := Make(Input{FS: m, Facts: facts, Findings: findings})
	if err != nil {
		t.Fatal(err)
	}
	for key, d := range plan.Decisions {
		if d.State != Planned || strings.Contains(d.Diff+d.Reason, secret) {
			t.Errorf("%s: %+v", key, d)
		}
	}
	shown := 0
	for _, g := range plan.Groups {
		for _, c := range g.Changes {
			shown++
			if strings.Contains(c.Diff, secret) {
				t.Errorf("%s:\n%s", c.Path, c.Diff)
			}
		}
	}
	if shown < 4 {
		t.Errorf("only %d changes", shown)
	}
}

func TestResolve(t *testing.T) {
	link := func(to string) *fstest.MapFile {
		return &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(to), Sys: &syscall.Stat_t{}}
	}
	m := fstest.MapFS{"a/real/f": &fstest.MapFile{}, "abs": link("/a/real"), "rel": link("a/../a/real"), "loop": link("loop"), "up": link("../../a")}
	w := &workspace{fsys: m}
	for in, want := range map[string]string{
		"/abs/f": "/a/real/f", "/rel/f": "/a/real/f", "/abs/": "/a/real", "/up/real/f": "/a/real/f", "/abs/none": "/a/real/none", "/": "/",
	} {
		if got, err := w.resolve(in); err != nil || got != want {
			t.Errorf("resolve(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	if _, err := w.resolve("/loop/x"); err == nil {
		t.Error("a loop resolves")
	}
}

func TestEnvFlag(t *testing.T) {
	tests := []struct{ reason, in, name, value, want string }{
		{"in quotes", `A="--x=1 --y=2"`, "x", "3", `A="--x=3 --y=2"`},
		{"alone", `A=--x=1`, "x", "3", `A=--x=3`},
		{"value behind a space", `A="--x 1 --y=2"`, "x", "3", `A="--x=3 --y=2"`},
		{"a switch", `A="--x --y=2"`, "x", "false", `A="--x=false --y=2"`},
		{"a switch at the end of a continued line", "A=\"--x \\\n--y=2\"", "x", "false", "A=\"--x=false \\\n--y=2\""},
		{"twice", `A="--x=1 --x=2"`, "x", "3", `A="--x=3 --x=3"`},
		{"a longer name", `A="--xx=1 --x=1"`, "x", "3", `A="--xx=1 --x=3"`},
		{"comments stay", "#--x=1\nA=--x=1", "x", "3", "#--x=1\nA=--x=3"},
		{"underscores", `A=--a_b=1`, "a-b", "3", `A=--a_b=3`},
	}
	for _, tt := range tests {
		got, err := setEnvFlag([]byte(tt.in), tt.name, tt.value)
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: %q, %v; want %q", tt.reason, got, err, tt.want)
		}
		if v, ok := envFlag(got, tt.name); !ok || v != tt.value {
			t.Errorf("%s: reads back %q", tt.reason, v)
		}
	}
	for _, bad := range []string{`a b`, `x"`, `$(id)`, ""} {
		if _, err := setEnvFlag([]byte("A=--x=1"), "x", bad); err == nil {
			t.Errorf("%q is written", bad)
		}
	}
}

func TestValidElements(t *testing.T) {
	allowed := splitList(tlsSuites + ",TLS_RSA_WITH_AES_128_GCM_SHA256")
	got, err := validElements(splitList(tlsSuites), allowed, splitList("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_BAD,TLS_RSA_WITH_AES_128_GCM_SHA256"))
	want := "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"
	if err != nil || strings.Join(got, ",") != want {
		t.Errorf("what is set, allowed and strong stays, HTTP/2's suites come along: %v, %v", got, err)
	}
	if _, err := validElements(splitList(tlsSuites), []string{"TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"}, nil); err == nil {
		t.Error("a list without HTTP/2's suites is accepted")
	}
}

func TestReadIsLimited(t *testing.T) {
	m := sampleNode(t)
	put(m, apiManifest, strings.Repeat("a: 1\n", maxFile/4), 0o600, 0, 0)
	if _, d := planOne(t, m, sampleFacts(false), flagCheck("apiserver", "eq", "--profiling", "", "false", true)); d.State != Manual || !strings.Contains(d.Reason, "larger than") {
		t.Errorf("decision %q because %q", d.State, d.Reason)
	}
	w := &workspace{fsys: os.DirFS(t.TempDir())}
	if _, err := w.read("/none"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}
