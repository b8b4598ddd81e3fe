package main

import (
	"sync/atomic"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/metrics"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/watch"
)

// watchGauge counts what a watch sees.
type watchGauge struct {
	metrics *metrics.Metrics
	watcher *watch.Watcher
	looked  atomic.Int64 // when everything was last looked at, in nanoseconds since 1970; 0 for never
}

func (g *watchGauge) Looked(r report.Report, full bool, took time.Duration, at time.Time) {
	scope := metrics.Partial
	if full {
		scope = metrics.Full
		g.looked.Store(at.UnixNano())
	}
	g.metrics.Checked(r, scope, took, at)
}

func (g *watchGauge) Drift(open map[string]time.Time)        { g.metrics.Drift(open) }
func (g *watchGauge) Detected(n int)                         { g.metrics.DriftDetected(n) }
func (g *watchGauge) Gone(n int)                             { g.metrics.DriftGone(n) }
func (g *watchGauge) Repaired(outcome metrics.RepairOutcome) { g.metrics.Repair(outcome) }
func (g *watchGauge) Waiting(letters int)                    { g.metrics.EventsPending(letters) }
func (g *watchGauge) Lost()                                  { g.metrics.Overflow() }
func (g *watchGauge) Held(held bool)                         { g.metrics.Held(held) }
func (g *watchGauge) Limited(limited bool)                   { g.metrics.Watching(len(g.watcher.Directories()), limited) }

func (g *watchGauge) Told(delivered bool) {
	outcome := metrics.Dropped
	if delivered {
		outcome = metrics.Delivered
	}
	g.metrics.Event(outcome)
}
