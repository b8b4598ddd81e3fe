package fix

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// kubeadmConfig is what Kubespray renders with nothing set that hardens.
const kubeadmConfig = `apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
certificatesDir: /etc/kubernetes/ssl
apiServer:
  extraArgs:
  - {name: anonymous-auth, value: "True"}
  - {name: authorization-mode, value: "Node,RBAC"}
  - {name: profiling, value: "False"}
controllerManager:
  extraArgs:
  - {name: bind-address, value: "::"}
  - {name: profiling, value: "False"}
scheduler:
  extraArgs:
  - {name: bind-address, value: "::"}
`

// keptDecisions fixes the sample node and then looks at what passes on it.
func keptDecisions(t *testing.T, config string, release node.ReleaseRange, made bool) map[string]Decision {
	t.Helper()
	m := sampleNode(t)
	put(m, "etc/kubernetes/kubeadm-config.yaml", config, 0o640, 0, 0)
	facts := sampleFacts(false)
	facts.Kubespray, facts.KubeadmConfig = &release, "/etc/kubernetes/kubeadm-config.yaml"
	users, err := node.ReadUsers(m)
	if err != nil {
		t.Fatal(err)
	}
	in := Input{FS: m, Facts: facts, Users: users, Findings: allFindings(t, "cis-1.12", m), MaxRisk: RiskWorkload}
	plan, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	fixed := applied(t, m, plan)
	in = Input{FS: fixed, Facts: facts, Users: users, MaxRisk: RiskWorkload, Made: map[string]bool{}}
	for _, f := range allFindings(t, "cis-1.12", fixed) {
		if plan.Decisions[Key(f.Target, f.Check.ID)].State == Planned {
			f.Result.State = check.Pass
			in.Passing = append(in.Passing, f)
		}
	}
	if made {
		for _, d := range plan.Decisions {
			for _, s := range d.Settings {
				in.Made[s] = true
			}
		}
	}
	again, err := Make(in)
	if err != nil {
		t.Fatal(err)
	}
	bySetting := map[string]Decision{}
	for _, d := range again.Decisions {
		if d.State != InForce {
			t.Errorf("%v: state %s", d.Settings, d.State)
		}
		for _, s := range d.Settings {
			if other, ok := bySetting[s]; !ok || len(d.Settings) < len(other.Settings) {
				bySetting[s] = d
			}
		}
	}
	return bySetting
}

func TestInForce(t *testing.T) {
	release := node.ReleaseRange{Min: "2.28", Max: "2.28"}
	seen := keptDecisions(t, kubeadmConfig, release, false)
	for setting, lost := range map[string]string{
		"apiserver --audit-log-maxage":              "does not set --audit-log-maxage",
		"controllermanager --bind-address":          "comes to --bind-address=::",
		"apiserver admission plugin EventRateLimit": "comes to --enable-admission-plugins=NodeRestriction",
		"apiserver --anonymous-auth":                "comes to --anonymous-auth=True",
		"scheduler --profiling":                     "does not set --profiling",
	} {
		if got := seen[setting]; !strings.Contains(got.Lost, lost) {
			t.Errorf("%s: lost %q, want %q", setting, got.Lost, lost)
		}
	}
	for _, setting := range []string{"apiserver --profiling", "controllermanager --profiling", "kubelet podPidsLimit", "apiserver admission plugin NodeRestriction"} {
		if _, ok := seen[setting]; ok {
			t.Errorf("%s: kept by itself, or nobody knows who made it", setting)
		}
	}

	made := keptDecisions(t, kubeadmConfig, release, true)
	for setting, on := range map[string][]string{ // what a variable is needed for
		"kubelet podPidsLimit":                            nil,
		"files owner of /etc/cni/net.d":                   nil,
		"apiserver --audit-log-maxage":                    nil,
		"apiserver --anonymous-auth":                      {OnUpgrade},
		"files mode of /etc/cni/net.d/10-calico.conflist": {OnCluster, OnUpgrade},
	} {
		d, ok := made[setting]
		if !ok {
			t.Errorf("%s: made and not known", setting)
			continue
		}
		var ends []string
		for _, f := range d.Forecast {
			if !f.Survives {
				ends = append(ends, f.On)
			}
		}
		if diff := cmp.Diff(on, ends); diff != "" {
			t.Errorf("%s: does not survive (-want +got)\n%s", setting, diff)
		}
	}
	plugins := made["apiserver admission plugin EventRateLimit"].Variables[0]
	for _, want := range []string{"NodeRestriction", "EventRateLimit", "AlwaysPullImages"} {
		if !strings.Contains(plugins.Value, want) {
			t.Errorf("%s is %s, without %s", plugins.Name, plugins.Value, want)
		}
	}
}

// TestNotLost: what kubeadm-config.yaml says as well is not lost, in Kubespray's own
// places too, and in force only where a run made it.
func TestNotLost(t *testing.T) {
	config := strings.ReplaceAll(kubeadmConfig, `value: "::"`, "value: 127.0.0.1")
	config = strings.Replace(config, `  - {name: anonymous-auth, value: "True"}`, "  - {name: authentication-config, value: /etc/kubernetes/authentication/apiserver-authentication-config.yaml}", 1)
	config = strings.Replace(config, "controllerManager:", "  extraVolumes:\n  - {name: a, hostPath: /etc/kubernetes/authentication, mountPath: /etc/kubernetes/authentication}\ncontrollerManager:", 1)
	release := node.ReleaseRange{Min: "2.31", Max: "2.31"}
	seen := keptDecisions(t, config, release, false)
	for _, setting := range []string{"controllermanager --bind-address", "scheduler --bind-address", "apiserver --anonymous-auth"} {
		if d, ok := seen[setting]; ok {
			t.Errorf("%s: %+v", setting, d)
		}
	}
	if d := keptDecisions(t, config, release, true)["scheduler --bind-address"]; d.Lost != "" || len(d.Variables) == 0 {
		t.Errorf("made and not lost: %+v", d)
	}
}

// TestVariableReleases: every variable is one of some release, those of a setting
// cover no release twice, and a range is told from a part of it.
func TestVariableReleases(t *testing.T) {
	for _, r := range allRules() {
		for i, v := range r.filled(nil) {
			if minor(v.Since)[1] < 12 || v.Gone != "" && minor(v.Gone)[1] <= minor(v.Since)[1] {
				t.Errorf("%s %s: %s is for no release: %q to %q", r.component, r.name, v.Name, v.Since, v.Gone)
			}
			for _, w := range r.filled(nil)[:i] {
				both, _ := v.In(node.ReleaseRange{Min: w.Since, Max: w.Since})
				if v.Name == w.Name && both {
					t.Errorf("%s %s: %s twice in %s", r.component, r.name, v.Name, w.Since)
				}
			}
		}
	}
	v := Variable{Since: "2.14", Gone: "2.20"}
	for _, tt := range []struct {
		r         node.ReleaseRange
		all, some bool
	}{
		{node.ReleaseRange{Min: "2.14", Max: "2.19"}, true, true},
		{node.ReleaseRange{Min: "2.13", Max: "2.14"}, false, true},
		{node.ReleaseRange{Min: "2.19"}, false, true},
		{node.ReleaseRange{Min: "2.20"}, false, false},
		{node.ReleaseRange{}, false, true},
	} {
		if all, some := v.In(tt.r); all != tt.all || some != tt.some {
			t.Errorf("%s: %v, %v", tt.r, all, some)
		}
	}
}

// TestLimitsInUse: limits of somebody's own are kept as they are, inline and in
// Kubespray's file beside.
func TestLimitsInUse(t *testing.T) {
	for name, config := range map[string]string{
		"inline": "kind: AdmissionConfiguration\nplugins:\n- name: EventRateLimit\n  configuration:\n    limits:\n    - {type: Namespace, qps: 7, burst: 9, cacheSize: 3}\n",
		"beside": "kind: AdmissionConfiguration\nplugins:\n- name: EventRateLimit\n  path: /etc/kubernetes/eventratelimit.yaml\n",
	} {
		m := sampleNode(t)
		withMount(m, "admission-control-configs", "/etc/kubernetes/admission-controls", "/etc/kubernetes", "")
		put(m, "etc/kubernetes/admission-controls/admission-controls.yaml", config, 0o600, 0, 0)
		put(m, "etc/kubernetes/admission-controls/eventratelimit.yaml", "kind: Configuration\nlimits:\n- {type: Namespace, qps: 7, burst: 9, cacheSize: 3}\n", 0o600, 0, 0)
		file := m["etc/kubernetes/manifests/kube-apiserver.yaml"]
		file.Data = []byte(strings.Replace(string(file.Data), "    - --allow-privileged=true\n", "    - --admission-control-config-file=/etc/kubernetes/admission-controls.yaml\n    - --allow-privileged=true\n", 1))
		tx := &workspace{fsys: fstest.MapFS(m), edits: map[string]edit{}, known: newMemory()}
		pod, err := openPod(tx, node.APIServer, "/etc/kubernetes/manifests/kube-apiserver.yaml")
		if err != nil {
			t.Fatal(err)
		}
		got := eventLimits(&attempt{tx: tx, place: pod})
		if want := "{limit_1: {type: Namespace, qps: 7, burst: 9, cache_size: 3}}"; got[limitsWord] != want {
			t.Errorf("%s: %s, want %s", name, got[limitsWord], want)
		}
	}
}

func TestFates(t *testing.T) {
	all := Worse(variable(OnUpgrade), because("x", OnCluster))
	if got := With(all, false); got[0].Why != "x" || got[1].Survives || !got[2].Survives {
		t.Errorf("without a variable: %+v", got)
	}
	if got := With(all, true); got[0].Survives || !got[1].Survives || !slices.ContainsFunc(got, func(f Fate) bool { return f.Variable }) {
		t.Errorf("with one: %+v", got)
	}
}
