package fix

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

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

// TestKnownFlags: the program itself has the last word, and is asked once.
func TestKnownFlags(t *testing.T) {
	asked := 0
	plan := func(m fstest.MapFS, flags map[string]bool, err error) map[string]Decision {
		t.Helper()
		profiling, audit := flagCheck("apiserver", "eq", "--profiling", "", "false", true), flagCheck("apiserver", "", "--audit-log-path", "", "", true)
		in := Input{FS: m, Facts: sampleFacts(false), Findings: []Finding{{Target: "p", Check: profiling}, {Target: "a", Check: audit}},
			KnownFlags: func(component string) (map[string]bool, error) {
				asked++
				if component != node.APIServer {
					t.Errorf("asked about %s", component)
				}
				return flags, err
			}}
		made, err := Make(in)
		if err != nil {
			t.Fatal(err)
		}
		return made.Decisions
	}
	all := map[string]bool{"profiling": true, "audit-log-path": true, "audit-log-maxage": true, "audit-log-maxbackup": true, "audit-log-maxsize": true, "audit-policy-file": true}
	if d := plan(sampleNode(t), all, nil); d["p/x"].State != Planned || d["a/x"].State != Planned || asked != 1 {
		t.Errorf("known flags: %+v; asked %d times", d, asked)
	}
	delete(all, "audit-log-maxsize")
	if d := plan(sampleNode(t), all, nil); d["p/x"].State != Planned || d["a/x"].State != Manual || !strings.Contains(d["a/x"].Reason, "does not know --audit-log-maxsize") {
		t.Errorf("an unknown flag: %+v", d["a/x"])
	}
	if d := plan(sampleNode(t), nil, errors.New("no image")); d["p/x"].State != Manual || !strings.Contains(d["p/x"].Reason, "cannot be told: no image") {
		t.Errorf("nobody to ask: %+v", d["p/x"])
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
