// Package metrics owns what a watcher tells Prometheus: names, labels and help
// texts of its metrics, which alerts and dashboards go by (manifests/monitoring)
// and so do not change, and the handler that serves them. docs/watch.md lists them.
//
// It leaves to others what is watched, when a check has drifted and what a repair
// is: they call it with what happened. That the node's name is on a series is the
// business of whoever scrapes.
package metrics

import (
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Scope says how much of a node a run looked at.
type Scope string

// The scopes.
const (
	Partial Scope = "partial" // the checks that a change can have touched
	Full    Scope = "full"    // every check
)

// RepairOutcome is how a repair ended.
type RepairOutcome string

// The outcomes of repairs.
const (
	Repaired   RepairOutcome = "repaired"    // put back and proven
	RolledBack RepairOutcome = "rolled_back" // not proven, so the drift stands
	Failed     RepairOutcome = "failed"      // not made: refused, or could not be written
	Conflict   RepairOutcome = "conflict"    // somebody undoes the repairs, so no more are made
)

// EventOutcome is what became of an Event.
type EventOutcome string

// The outcomes of Events.
const (
	Delivered EventOutcome = "delivered"
	Dropped   EventOutcome = "dropped" // given up: refused, or too many were waiting
)

// severity is the value of a state, in ascending order of how much somebody has to
// do: a max over checks is then the worst, and a threshold makes an alert.
var severity = map[check.State]float64{check.Pass: 0, check.Info: 1, check.Warn: 2, check.Fail: 3}

// buckets hold a check of a few files as well as one of a node under load.
var buckets = []float64{.005, .01, .025, .05, .1, .25, .5, 1}

// Metrics are those of one watcher. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	status  *prometheus.GaugeVec
	checks  *prometheus.GaugeVec
	lastRun *prometheus.GaugeVec
	took    *prometheus.HistogramVec

	drifted  prometheus.Gauge
	since    *prometheus.GaugeVec
	detected prometheus.Counter
	gone     prometheus.Counter

	repairs *prometheus.CounterVec
	events  *prometheus.CounterVec
	pending prometheus.Gauge

	watched   prometheus.Gauge
	limited   prometheus.Gauge
	overflows prometheus.Counter
	held      prometheus.Gauge

	mu     sync.Mutex // keeps what is known in step with its series
	states map[key]check.State
	open   map[key]time.Time
}

// key is a check.
type key struct{ target, id string }

// New are the metrics of a watcher of this version that repairs in this way (the
// value of --repair) and checks the whole node once in an interval.
//
// Whatever can be counted is there from the start, as 0: a series that begins with
// its first event hides that event from increase().
func New(version, repair string, interval time.Duration) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(), states: map[key]check.State{}, open: map[key]time.Time{}}

	m.gauges("hardener_build_info", "Always 1: the version of the watcher, and what it repairs (none, files or restart).",
		"version", "repair").WithLabelValues(version, repair).Set(1)
	m.gauge("hardener_check_interval_seconds", "How often the whole node is checked, whether or not anything has changed.").Set(interval.Seconds())

	m.status = m.gauges("hardener_check_status", "Verdict of a check: 0 PASS, 1 INFO, 2 WARN (a person has to look), 3 FAIL.", "target", "check")
	m.checks = m.gauges("hardener_checks", "How many checks have a verdict.", "state")
	m.lastRun = m.gauges("hardener_last_run_timestamp_seconds", "When checks were last run, in seconds since 1970; 0 before the first run.", "scope")
	m.took = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "hardener_run_duration_seconds", Help: "How long runs of checks took.", Buckets: buckets,
	}, []string{"scope"})
	m.registry.MustRegister(m.took)

	m.drifted = m.gauge("hardener_drifted_checks", "How many checks are worse than they were, and not yet put right.")
	m.since = m.gauges("hardener_drift_since_timestamp_seconds", "Since when a drifted check has been worse, in seconds since 1970.", "target", "check")
	m.detected = m.counter("hardener_drift_detected_total", "Checks that became worse.")
	m.gone = m.counter("hardener_drift_gone_total", "Drifted checks that are as they were again, by whoever's hand.")

	m.repairs = m.counters("hardener_repairs_total",
		"Repairs by outcome: repaired, rolled_back (not proven and taken back), failed (not made), conflict (somebody undoes them).", "outcome")
	m.events = m.counters("hardener_events_total", "Events on the Node by outcome: delivered or dropped.", "outcome")
	m.pending = m.gauge("hardener_events_pending", "Events that wait for the API server.")

	m.watched = m.gauge("hardener_watched_directories", "Directories that are watched for changes.")
	m.limited = m.gauge("hardener_watch_limited", "1 while a limit of inotify keeps some directories from being watched, and changes there are found by polling.")
	m.overflows = m.counter("hardener_watch_overflows_total", "How often the kernel dropped changes because too many came at once; the whole node is then checked.")
	m.held = m.gauge("hardener_held", "1 while an installer is at work on the node, and nothing is told or repaired.")

	for state := range severity {
		m.checks.WithLabelValues(string(state))
	}
	for _, scope := range []Scope{Partial, Full} {
		m.lastRun.WithLabelValues(string(scope))
		m.took.WithLabelValues(string(scope))
	}
	for _, outcome := range []RepairOutcome{Repaired, RolledBack, Failed, Conflict} {
		m.repairs.WithLabelValues(string(outcome))
	}
	for _, outcome := range []EventOutcome{Delivered, Dropped} {
		m.events.WithLabelValues(string(outcome))
	}
	// What the watcher costs. The collector of the Go runtime would be some thirty
	// series more on each node.
	m.registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *Metrics) gauge(name, help string) prometheus.Gauge {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) gauges(name, help string, labels ...string) *prometheus.GaugeVec {
	g := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(g)
	return g
}

func (m *Metrics) counter(name, help string) prometheus.Counter {
	c := prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	m.registry.MustRegister(c)
	return c
}

func (m *Metrics) counters(name, help string, labels ...string) *prometheus.CounterVec {
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	m.registry.MustRegister(c)
	return c
}

// Handler serves the metrics. It does not compress: they are a few kilobytes, and a
// compressor is the larger part of a megabyte.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{DisableCompression: true, MaxRequestsInFlight: 4})
}

// Checked takes in the report of a run. A partial one says nothing of checks that it
// does not have; after a full one there are no others. Of checks that share an ID
// the worst counts.
func (m *Metrics) Checked(r report.Report, scope Scope, took time.Duration, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	states := map[key]check.State{}
	for s, res := range r.Results() {
		k := key{s.Target, res.ID}
		if old, ok := states[k]; !ok || severity[res.Status] > severity[old] {
			states[k] = res.Status
		}
	}
	for k, state := range states {
		m.states[k] = state
		m.status.WithLabelValues(k.target, k.id).Set(severity[state])
	}
	if scope == Full {
		for k := range m.states {
			if _, ok := states[k]; !ok {
				delete(m.states, k)
				m.status.DeleteLabelValues(k.target, k.id)
			}
		}
	}
	count := map[check.State]int{}
	for _, state := range m.states {
		count[state]++
	}
	for state := range severity {
		m.checks.WithLabelValues(string(state)).Set(float64(count[state]))
	}
	m.lastRun.WithLabelValues(string(scope)).Set(seconds(at))
	m.took.WithLabelValues(string(scope)).Observe(took.Seconds())
}

// Drift says which checks are worse than they were, by their keys "target/id", and
// since when.
func (m *Metrics) Drift(open map[string]time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := map[key]time.Time{}
	for name, since := range open {
		target, id, _ := strings.Cut(name, "/")
		k := key{target, id}
		now[k] = since
		m.since.WithLabelValues(target, id).Set(seconds(since))
	}
	for k := range m.open {
		if _, ok := now[k]; !ok {
			m.since.DeleteLabelValues(k.target, k.id)
		}
	}
	m.open = now
	m.drifted.Set(float64(len(now)))
}

// DriftDetected counts checks that became worse. What a watcher remembers from before
// it was restarted is not new, so it does not follow from Drift.
func (m *Metrics) DriftDetected(checks int) { m.detected.Add(float64(checks)) }

// DriftGone counts drifted checks that are as they were again.
func (m *Metrics) DriftGone(checks int) { m.gone.Add(float64(checks)) }

// Repair counts a repair.
func (m *Metrics) Repair(outcome RepairOutcome) { m.repairs.WithLabelValues(string(outcome)).Inc() }

// Event counts an Event.
func (m *Metrics) Event(outcome EventOutcome) { m.events.WithLabelValues(string(outcome)).Inc() }

// EventsPending says how many Events wait for the API server.
func (m *Metrics) EventsPending(n int) { m.pending.Set(float64(n)) }

// Watching says how many directories are watched, and whether a limit of inotify
// keeps others from it.
func (m *Metrics) Watching(directories int, limited bool) {
	m.watched.Set(float64(directories))
	m.limited.Set(truth(limited))
}

// Overflow counts a loss of changes in the kernel.
func (m *Metrics) Overflow() { m.overflows.Inc() }

// Held says whether an installer is at work.
func (m *Metrics) Held(held bool) { m.held.Set(truth(held)) }

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
