package metrics

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// node is a report on checks of the target node, "ID STATE" each.
func node(results ...string) report.Report {
	s := report.Section{Target: "node", Groups: []report.Group{{}}}
	for _, r := range results {
		id, state, _ := strings.Cut(r, " ")
		s.Groups[0].Results = append(s.Groups[0].Results, report.Result{ID: id, Status: check.State(state)})
	}
	return report.New([]report.Section{s})
}

// busy are metrics of which every one has a series.
func busy() *Metrics {
	m := New("v1", "none", time.Hour)
	m.Checked(node("4.1.1 FAIL"), Full, 7*time.Millisecond, time.Unix(100, 0))
	m.Drift(map[string]time.Time{"node/4.1.1": time.Unix(90, 0)})
	return m
}

// want compares the series of some metrics, in the text format without comments.
func want(t *testing.T, m *Metrics, expected string, names ...string) {
	t.Helper()
	recorder := httptest.NewRecorder()
	m.Handler().ServeHTTP(recorder, httptest.NewRequest("GET", "/metrics", nil))
	var got strings.Builder
	for line := range strings.Lines(recorder.Body.String()) {
		for _, name := range names {
			if strings.HasPrefix(line, name+"{") || strings.HasPrefix(line, name+" ") {
				got.WriteString(line)
			}
		}
	}
	if diff := cmp.Diff(strings.TrimLeft(expected, "\n"), got.String()); diff != "" {
		t.Errorf("metrics (-want +got)\n%s", diff)
	}
}

func TestLint(t *testing.T) {
	problems, err := testutil.GatherAndLint(busy().registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestFromTheStart wants what is counted to be there before it happens.
func TestFromTheStart(t *testing.T) {
	want(t, New("v1", "files", time.Hour), `
hardener_build_info{repair="files",version="v1"} 1
hardener_check_interval_seconds 3600
hardener_checks{state="FAIL"} 0
hardener_checks{state="INFO"} 0
hardener_checks{state="PASS"} 0
hardener_checks{state="WARN"} 0
hardener_drift_detected_total 0
hardener_drift_gone_total 0
hardener_drifted_checks 0
hardener_events_total{outcome="delivered"} 0
hardener_events_total{outcome="dropped"} 0
hardener_last_run_timestamp_seconds{scope="full"} 0
hardener_last_run_timestamp_seconds{scope="partial"} 0
hardener_repairs_total{outcome="conflict"} 0
hardener_repairs_total{outcome="failed"} 0
hardener_repairs_total{outcome="repaired"} 0
hardener_repairs_total{outcome="rolled_back"} 0
hardener_run_duration_seconds_count{scope="full"} 0
hardener_run_duration_seconds_count{scope="partial"} 0
hardener_watch_overflows_total 0
`, "hardener_build_info", "hardener_check_interval_seconds", "hardener_check_status", "hardener_checks", "hardener_drift_detected_total", "hardener_drift_gone_total",
		"hardener_drifted_checks", "hardener_events_total", "hardener_last_run_timestamp_seconds", "hardener_repairs_total",
		"hardener_run_duration_seconds_count", "hardener_watch_overflows_total")
}

func TestChecked(t *testing.T) {
	m := New("v1", "none", time.Hour)
	names := []string{"hardener_check_status", "hardener_checks", "hardener_last_run_timestamp_seconds", "hardener_run_duration_seconds_count"}
	m.Checked(node("4.1.1 PASS", "4.1.2 WARN", "4.2.1 FAIL", "4.2.1 PASS", "4.2.2 INFO"), Full, 30*time.Millisecond, time.Unix(100, 0))
	want(t, m, `
hardener_check_status{check="4.1.1",target="node"} 0
hardener_check_status{check="4.1.2",target="node"} 2
hardener_check_status{check="4.2.1",target="node"} 3
hardener_check_status{check="4.2.2",target="node"} 1
hardener_checks{state="FAIL"} 1
hardener_checks{state="INFO"} 1
hardener_checks{state="PASS"} 1
hardener_checks{state="WARN"} 1
hardener_last_run_timestamp_seconds{scope="full"} 100
hardener_last_run_timestamp_seconds{scope="partial"} 0
hardener_run_duration_seconds_count{scope="full"} 1
hardener_run_duration_seconds_count{scope="partial"} 0
`, names...)
	m.Checked(node("4.1.1 FAIL"), Partial, time.Millisecond, time.Unix(200, 5e8))
	want(t, m, `
hardener_check_status{check="4.1.1",target="node"} 3
hardener_check_status{check="4.1.2",target="node"} 2
hardener_check_status{check="4.2.1",target="node"} 3
hardener_check_status{check="4.2.2",target="node"} 1
hardener_checks{state="FAIL"} 2
hardener_checks{state="INFO"} 1
hardener_checks{state="PASS"} 0
hardener_checks{state="WARN"} 1
hardener_last_run_timestamp_seconds{scope="full"} 100
hardener_last_run_timestamp_seconds{scope="partial"} 200.5
hardener_run_duration_seconds_count{scope="full"} 1
hardener_run_duration_seconds_count{scope="partial"} 1
`, names...)
	m.Checked(node("4.1.1 PASS"), Full, time.Millisecond, time.Unix(300, 0)) // another benchmark
	want(t, m, `
hardener_check_status{check="4.1.1",target="node"} 0
hardener_checks{state="FAIL"} 0
hardener_checks{state="INFO"} 0
hardener_checks{state="PASS"} 1
hardener_checks{state="WARN"} 0
`, names[:2]...)
}

func TestDrift(t *testing.T) {
	m := New("v1", "none", time.Hour)
	names := []string{"hardener_drifted_checks", "hardener_drift_since_timestamp_seconds", "hardener_drift_detected_total", "hardener_drift_gone_total"}
	m.Drift(map[string]time.Time{"node/4.1.1": time.Unix(90, 0), "master/1.2.1": time.Unix(80, 0)})
	m.DriftDetected(2)
	want(t, m, `
hardener_drift_detected_total 2
hardener_drift_gone_total 0
hardener_drift_since_timestamp_seconds{check="1.2.1",target="master"} 80
hardener_drift_since_timestamp_seconds{check="4.1.1",target="node"} 90
hardener_drifted_checks 2
`, names...)
	m.Drift(map[string]time.Time{"node/4.1.1": time.Unix(90, 0)})
	m.DriftGone(1)
	want(t, m, `
hardener_drift_detected_total 2
hardener_drift_gone_total 1
hardener_drift_since_timestamp_seconds{check="4.1.1",target="node"} 90
hardener_drifted_checks 1
`, names...)
	m.Drift(nil)
	want(t, m, "\nhardener_drifted_checks 0\n", names[:2]...)
}

func TestOthers(t *testing.T) {
	m := New("v1", "restart", time.Hour)
	m.Repair(RolledBack)
	m.Event(Delivered)
	m.Event(Dropped)
	m.EventsPending(3)
	m.Overflow()
	m.Watching(40, true)
	m.Held(true)
	names := []string{"hardener_repairs_total", "hardener_events_total", "hardener_events_pending", "hardener_watch_overflows_total",
		"hardener_watched_directories", "hardener_watch_limited", "hardener_held"}
	want(t, m, `
hardener_events_pending 3
hardener_events_total{outcome="delivered"} 1
hardener_events_total{outcome="dropped"} 1
hardener_held 1
hardener_repairs_total{outcome="conflict"} 0
hardener_repairs_total{outcome="failed"} 0
hardener_repairs_total{outcome="repaired"} 0
hardener_repairs_total{outcome="rolled_back"} 1
hardener_watch_limited 1
hardener_watch_overflows_total 1
hardener_watched_directories 40
`, names...)
	m.Watching(50, false)
	m.Held(false)
	want(t, m, "\nhardener_held 0\nhardener_watch_limited 0\nhardener_watched_directories 50\n", names[4:]...)
}
