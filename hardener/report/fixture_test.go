package report_test

import (
	"os"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// made are the sections of testdata/cfg/made-1.0, and outcomes what kube-bench
// v0.15.6 found: testdata/kube-bench.{json,txt} is its own output for
//
//	kube-bench run --benchmark made-1.0 --config-dir cfg --config cfg/config.yaml --group 3.1,3.2 [--json]
func made(t *testing.T) []*profile.Controls {
	t.Helper()
	catalog, err := profile.Open(os.DirFS("testdata/cfg"))
	if err != nil {
		t.Fatal(err)
	}
	var all []*profile.Controls
	for _, target := range []string{"policies", "controlplane"} {
		c, err := catalog.Controls("made-1.0", target, profile.Variables{})
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	return all
}

func outcomes() map[string]check.Result {
	return map[string]check.Result{
		"3.1.1": {State: check.Pass, Actual: "--colour=blue --size=3", Expected: "'--colour' is equal to 'blue'"},
		"3.1.2": {State: check.Fail, Actual: "--colour=blue --size=3", Expected: "'--size' is greater or equal to 10 AND '--colour' is present"},
		"3.1.3": {State: check.Info, Reason: "Test marked as skip"},
		"3.1.4": {State: check.Fail, Actual: "root:root\nkube:root", Expected: "'root:root' is present"},
		"3.2.1": {State: check.Warn, Reason: `failed to run: "echo oops; exit 3", output: "oops\n", error: exit status 3`},
		"3.2.2": {State: check.Warn, Reason: "Test marked as a manual test"},
	}
}

// rawReport is the report on made under Raw.
func rawReport(t *testing.T) report.Report {
	var sections []report.Section
	for _, c := range made(t) {
		sections = append(sections, report.NewSection(c, "none", func(_ *profile.Group, ck *profile.Check) (report.Outcome, bool) {
			res, ok := outcomes()[ck.ID]
			return report.Outcome{Result: res}, ok
		}))
	}
	r := report.New(sections)
	r.Run = report.RunInfo{Command: "check", Mode: report.Raw}
	return r
}

// checked is the adjudicated report on made: one verdict of each kind.
func checked(t *testing.T) report.Report {
	own := map[string]report.Outcome{
		"3.1.1": {},
		"3.1.2": {
			KubeBench: check.Fail,
			Fix: &fix.Decision{
				State: fix.Planned, Risk: fix.RiskRestart, Breaks: "the component restarts",
				Paths:     []string{"/etc/kubernetes/manifests/made-up.yaml"},
				Variables: []fix.Variable{{Name: "made_up_size", Value: "10", Since: "2.20", Note: "live after upgrade-cluster.yml only"}},
			},
		},
		"3.1.3": {},
		"3.1.4": {
			Result:    check.Result{State: check.Info},
			KubeBench: check.Fail, VerdictReason: "not applicable: there is no such file on this node",
			Evidence: []string{"/etc/made-up is missing", "the component is configured by \x1b[31m/etc/other.env"},
		},
		"3.2.1": {
			Result:    check.Result{State: check.Pass, Actual: "3"},
			KubeBench: check.Warn, VerdictReason: "the audit cannot see settings of the environment; /etc/other.env has it",
			Evidence: []string{"1", "2", "3", "4", "5"},
		},
		"3.2.2": {Fix: &fix.Decision{State: fix.Never, Reason: "it would lock everybody out", Breaks: "logins"}},
	}
	var sections []report.Section
	for _, c := range made(t) {
		sections = append(sections, report.NewSection(c, "", func(_ *profile.Group, ck *profile.Check) (report.Outcome, bool) {
			o, ok := own[ck.ID]
			if o.Result.State == "" {
				o.Result = outcomes()[ck.ID]
			}
			if o.KubeBench == "" {
				o.KubeBench = o.Result.State
			}
			return o, ok
		}))
	}
	r := report.New(sections)
	r.Node = report.NodeInfo{
		Name: "node1", KubernetesVersion: "1.35.4", Benchmark: "made-1.0",
		BenchmarkNote: "Kubernetes 1.35 is newer than the newest profile; that of 1.34 is used", Targets: []string{"controlplane", "policies"},
	}
	r.Layout = node.Facts{
		Distribution: node.Distribution{Name: "kubespray", Confidence: "probable", Score: 45},
		Kubespray:    &node.ReleaseRange{Min: "2.31"},
		Kubernetes:   node.Version{Version: "1.35.4", Source: "/etc/kubernetes/kubeadm-config.yaml"},
		Roles:        []string{"control-plane", "worker"}, EtcdType: "host", Runtime: "containerd", CNI: []string{"calico"},
		Components: map[string]node.Component{},
		Signals:    []node.Signal{{Conclusion: "distribution: kubespray", Evidence: "/etc/kubernetes/pki is a link", Weight: 20}},
	}
	r.Run = report.RunInfo{
		Command: "check", Mode: report.Adjudicated, Version: "hardener 0.1.0", Started: "2026-01-02T03:04:05Z", DurationMS: 21,
		Notes: []string{"one thing to know"},
	}
	return r
}

// fixed is the report after a fix of checked.
func fixed(t *testing.T, dryRun bool) report.Report {
	before := checked(t)
	r := checked(t)
	r.Run.Command, r.Run.DryRun, r.Run.MaxRisk = "fix", dryRun, fix.RiskRestart
	r.Run.Changes = []report.ChangeSummary{
		{Path: "/etc/made-up", Kind: fix.Meta, Component: "files", Checks: []string{"controlplane/3.1.9", "controlplane/3.1.10"}, Diff: "mode 0777 -> 0644, owner kube:root -> root:root\n"},
		{
			Path: "/etc/kubernetes/manifests/made-up.yaml", Kind: fix.Write, Component: "apiserver", Checks: []string{"controlplane/3.1.2"},
			Diff: "--- /etc/kubernetes/manifests/made-up.yaml\n+++ /etc/kubernetes/manifests/made-up.yaml\n@@ -1,3 +1,3 @@\n   - command:\n-    - --size=3\n+    - --size=10\n",
		},
	}
	if !dryRun {
		r.Run.ID, r.Run.State = "20260102T030405Z-1", "committed"
		for s, res := range r.Results() {
			if res.ID == "3.1.2" {
				res.Status, res.Fix = check.Pass, nil
				s.Fail, s.Pass = s.Fail-1, s.Pass+1
			}
		}
		for _, res := range before.Results() {
			if res.ID == "3.1.2" {
				d := *res.Fix
				d.State = fix.Applied
				d.Variables = append(d.Variables, fix.Variable{Name: "made_up_list", Value: "\n  - a\n  - b\n"})
				res.Fix = &d
			}
		}
		r = report.Report{Controls: report.New(r.Controls).Controls, Totals: report.New(r.Controls).Totals, Node: r.Node, Layout: r.Layout, Run: r.Run}
	}
	return r.WithBefore(before)
}
