package fix

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// TestLimitsAreOrdered: each name stands once, and goes after it came.
func TestLimitsAreOrdered(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range limits {
		key := l.component + " " + string(l.kind) + " " + l.name
		if seen[key] || l.from == "" && l.gone == "" || l.from != "" && l.gone != "" && atLeast(l.from, l.gone) {
			t.Errorf("%s: from %q, gone %q", key, l.from, l.gone)
		}
		seen[key] = true
	}
}

// TestKeptNames: a manifest with a flag, plugin or gate that the release refuses
// is not restarted for another flag's sake.
func TestKeptNames(t *testing.T) {
	profiling := flagCheck("apiserver", "eq", "--profiling", "", "false", true)
	for _, tt := range []struct {
		add, version string
		state        State
		why          string
	}{
		{"--insecure-port=0", "1.24.0", Manual, "has it already: --insecure-port was removed in Kubernetes 1.24"},
		{"--insecure-port=0", "1.23.9", Planned, ""},
		{"--insecure-port=0", "", Planned, ""},
		{"--enable-admission-plugins=PodSecurityPolicy", "1.25.1", Manual, "admission plugin PodSecurityPolicy was removed"},
		{"--feature-gates=SeccompDefault=true", "1.29.0", Manual, "feature gate SeccompDefault was removed"},
		{"--authorization-config=/x", "1.28.0", Manual, "does not know --authorization-config yet"},
	} {
		m := sampleNode(t)
		editFile(m, apiManifest, "    - --event-ttl", "    - "+tt.add+"\n    - --event-ttl")
		facts := sampleFacts(false)
		facts.Kubernetes.Version = tt.version
		if _, d := planOne(t, m, facts, profiling); d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
			t.Errorf("%s on %q: %q because %q", tt.add, tt.version, d.State, d.Reason)
		}
	}
	m := sampleNode(t)
	editFile(m, "etc/kubernetes/kubelet.env", "--kubeconfig", "--network-plugin=cni --kubeconfig")
	if _, d := planOne(t, m, sampleFacts(false), flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true)); d.State != Manual || !strings.Contains(d.Reason, "--network-plugin was removed") {
		t.Errorf("kubelet: %q because %q", d.State, d.Reason)
	}
}

// TestUnknownFlags: the program itself has the last word.
func TestUnknownFlags(t *testing.T) {
	plan := func(unknown string, err error) map[string]Decision {
		t.Helper()
		profiling, audit := flagCheck("apiserver", "eq", "--profiling", "", "false", true), flagCheck("apiserver", "", "--audit-log-path", "", "", true)
		profiling.ID, audit.ID = "profiling", "audit"
		in := Input{FS: sampleNode(t), Facts: sampleFacts(false), Findings: []Finding{{Target: "s", Check: profiling}, {Target: "s", Check: audit}},
			UnknownFlags: func(component string, names []string) ([]string, error) {
				if component != node.APIServer {
					t.Errorf("asked about %s", component)
				}
				return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n != unknown }), err
			}}
		made, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		return made.Decisions
	}
	if d := plan("", nil); d["s/profiling"].State != Planned || d["s/audit"].State != Planned {
		t.Errorf("known flags: %+v", d)
	}
	if d := plan("audit-log-maxsize", nil); d["s/profiling"].State != Planned || d["s/audit"].State != Manual || !strings.Contains(d["s/audit"].Reason, "does not know --audit-log-maxsize") {
		t.Errorf("an unknown flag: %+v", d["s/audit"])
	}
	if d := plan("", errors.New("no program")); d["s/profiling"].State != Manual || !strings.Contains(d["s/profiling"].Reason, "cannot be told: no program") {
		t.Errorf("nobody to ask: %+v", d["s/profiling"])
	}
}

// TestAuditRoom: twice what the logs may take must be free.
func TestAuditRoom(t *testing.T) {
	const most = 11 * 100 << 20
	for _, tt := range []struct {
		reason string
		free   uint64
		err    error
		state  State
		why    string
	}{
		{"enough", 2 * most, nil, Planned, ""},
		{"a byte too few", 2*most - 1, nil, Manual, "audit logs may take 1100 MB"},
		{"not to be told", 0, errors.New("no such device"), Manual, "cannot be told: no such device"},
	} {
		in := Input{FS: sampleNode(t), Facts: sampleFacts(false), Findings: []Finding{{Target: "s", Check: flagCheck("apiserver", "", "--audit-log-path", "", "", true)}},
			FreeBytes: func(path string) (uint64, error) {
				if path != "/var/log" {
					t.Errorf("%s: asked for %s, which is not the nearest directory there is", tt.reason, path)
				}
				return tt.free, tt.err
			}}
		plan, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		d := plan.Decisions["s/x"]
		if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
			t.Errorf("%s: %q because %q", tt.reason, d.State, d.Reason)
		}
		if tt.state == Planned && (len(d.Touches) != 1 || !strings.Contains(d.Touches[0], "2200 MB are free below /var/log")) {
			t.Errorf("%s: touches %q", tt.reason, d.Touches)
		}
	}
}
