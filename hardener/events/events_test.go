package events

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

func result(id string, status check.State, state fix.State) report.Result {
	r := report.Result{ID: id, Status: status}
	if state != "" {
		r.Fix = &fix.Decision{State: state}
	}
	return r
}

func reportOf(run string, totals report.Totals, results ...report.Result) report.Report {
	r := report.Report{Controls: []report.Section{{Groups: []report.Group{{Results: results}}}}, Totals: totals}
	r.Node.Benchmark, r.Run.ID = "cis-1.12", run
	return r
}

func TestFromReport(t *testing.T) {
	tests := map[string]struct {
		in   report.Report
		want []Event
	}{
		"nothing fails": {
			reportOf("", report.Totals{Pass: 1, Warn: 2}, result("1.1", check.Pass, "")),
			[]Event{{Compliant, false, "cis-1.12: no check fails, 1 PASS, 2 WARN"}},
		},
		"a plan is no fix": {
			reportOf("", report.Totals{Fail: 1}, result("1.1", check.Fail, fix.Planned)),
			[]Event{{CheckFailed, true, "cis-1.12: 1 FAIL, 0 PASS, 0 WARN: 1.1"}},
		},
		"fixed, taken back, and what is left": {
			reportOf("7", report.Totals{Pass: 1, Fail: 1}, result("1.1", check.Pass, fix.Applied), result("1.2", check.Fail, fix.Undone)),
			[]Event{
				{FixApplied, false, "fixed 1 (run 7): 1.1"},
				{FixRolledBack, true, "taken back 1 (run 7): 1.2"},
				{CheckFailed, true, "cis-1.12: 1 FAIL, 1 PASS, 0 WARN: 1.2"},
			},
		},
		"lost at the next upgrade": {
			reportOf("", report.Totals{Pass: 2},
				report.Result{ID: "1.1", Status: check.Pass, Fix: &fix.Decision{State: fix.InForce, Lost: "kubeadm-config.yaml does not set --x"}},
				report.Result{ID: "1.2", Status: check.Pass, Fix: &fix.Decision{State: fix.InForce}}),
			[]Event{
				{LostAtUpgrade, true, "lost at the next upgrade-cluster.yml, as kubeadm-config.yaml says otherwise (hardener vars has the variables that keep them): 1.1"},
				{Compliant, false, "cis-1.12: no check fails, 2 PASS, 0 WARN"},
			},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, FromReport(tt.in)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestManyChecks(t *testing.T) {
	var results []report.Result
	for i := range 50 {
		results = append(results, result(fmt.Sprintf("1.2.%d", i+1), check.Fail, ""))
	}
	got := FromReport(reportOf("", report.Totals{Fail: 50}, results...))
	if len(got) != 1 || !strings.HasSuffix(got[0].Note, "1.2.20 and 30 more") {
		t.Errorf("%+v", got)
	}
}

func TestObject(t *testing.T) {
	now := time.Now()
	path, o := Event{RolloutStopped, true, strings.Repeat("ä", 2000)}.Object(NewName(), corev1.ObjectReference{Kind: "Node", Name: "w1"}, "me", now)
	if path != "/apis/events.k8s.io/v1/namespaces/default/events" || o.Namespace != "default" {
		t.Errorf("an Event on a Node goes to %s, %s", path, o.Namespace)
	}
	if len(o.Note) > maxNote || !utf8.ValidString(o.Note) || !strings.HasSuffix(o.Note, "…") {
		t.Errorf("note of %d bytes: %q", len(o.Note), o.Note[len(o.Note)-8:])
	}
	if o.Type != "Warning" || o.Reason != "RolloutStopped" {
		t.Errorf("%+v", o)
	}
	path, next := Event{}.Object(NewName(), corev1.ObjectReference{Kind: "Job", Namespace: "ns", Name: "j"}, "me", now)
	if path != "/apis/events.k8s.io/v1/namespaces/ns/events" || next.Name == o.Name || next.Type != "Normal" {
		t.Errorf("%s %+v", path, next)
	}
}
