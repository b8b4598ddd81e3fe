package drift

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/metrics"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/watch"
)

// Node is what a Loop does with a node and its cluster.
type Node interface {
	// Look observes checks by number, or all of them. paths is what was looked at.
	Look(ctx context.Context, checks []string) (seen hardener.Observation, paths []string, err error)
	// Processes is the process table.
	Processes() (node.Processes, error)
	// Installers names who is at work on the node that rewrites its files, "" for nobody.
	Installers(node.Processes) string
	// Origin says who changed files, as far as can be known, in one line.
	Origin(files []string, procs node.Processes) string
	// Digest identifies what is in a file.
	Digest(file string) (string, error)
	// Run is the newest run of hardener on the node, which may be under way, "" for
	// none; its report, nil unless its changes are in place.
	Run() (id string, underWay bool, r *report.Report, err error)
	// Repair fixes checks, by key, at a risk.
	Repair(ctx context.Context, keys []string, risk fix.Risk) (report.Report, error)
	// Tell sends an Event about the node. Refused says that it will never be taken.
	Tell(context.Context, Letter) error
	Refused(error) bool
	// Save keeps the memory. It is called beside the other calls, once at a time.
	Save([]byte) error
}

// Watcher notices changes. Package watch has it.
type Watcher interface {
	Follow(paths []string) (grown bool, err error)
	Refresh()
	FollowProcesses(pids []int) error
	Wait(ctx context.Context, limit time.Duration) (watch.Change, bool, error)
	// Pending are files that have changed and are not told by Wait yet.
	Pending() map[string][]string
	// Undisturbed is a context that ends when there is a change that Wait has yet to
	// tell.
	Undisturbed(context.Context) (context.Context, context.CancelFunc)
}

// Gauge is told what a Loop sees, for whoever counts.
type Gauge interface {
	Looked(r report.Report, full bool, took time.Duration, at time.Time)
	Drift(open map[string]time.Time)
	Detected(n int)
	Gone(n int)
	Repaired(metrics.RepairOutcome)
	Told(delivered bool)
	Waiting(letters int)
	Lost()
	Limited(bool)
	Held(bool)
}

// Options say how a Loop goes about it.
type Options struct {
	Repair   fix.Risk      // how far repairs may go: files, restart, or "" for none
	Interval time.Duration // after which everything is looked at without any change
	Quiet    time.Duration // after the last sign of an installer, for it to be over
	Rounds   int           // of repairs that may be undone before a check is left alone
	Confirm  time.Duration // that a check has to be worse before it is told
	Say      func(line string)
	Now      func() time.Time
}

// Times that are no matter of taste.
const (
	// A component that does not run is taken to be restarting for so long, as its
	// settings cannot be judged meanwhile.
	restartTime = 3 * time.Minute
	// How often it is looked for: at once, at first, and later.
	instantPoll, eagerPoll, patientPoll = 10 * time.Millisecond, 40 * time.Millisecond, 250 * time.Millisecond
	instantTime, eagerTime              = time.Second, 10 * time.Second
	// Changes that go on and on lead to no look at everything once these have taken so
	// long together, until for each of them as many times of how long it took has passed:
	// in the long run they take a fifth of the time.
	restAfter, restFactor = time.Second, 4
	// How many looks at everything in a row are given up for a change that comes meanwhile
	// and would wait for their end. What a careful program does is two steps, a new file
	// and its rename, and the first may have led to the look.
	disturbedMost = 3
	// How often the memory follows what is delivered.
	letterPoll = time.Second
	// How often an installer is looked for that was seen.
	installerPoll = time.Second
	// When a look or a repair that failed is tried again.
	lookAgain, repairAgain = 10 * time.Second, 5 * time.Minute
	// How often a node is looked at whose directories cannot all be watched.
	limitedInterval = time.Minute
)

// maxChanged is about how many files are remembered as changed while an installer
// is at work.
const maxChanged = 4096

// Loop watches one node.
type Loop struct {
	o       Options
	node    Node
	watcher Watcher
	gauge   Gauge
	memory  *Memory
	courier *courier
	keeper  *keeper

	last    hardener.Observation // the last of everything
	changed map[string][]string  // files since then, or since an installer began
	hold    hold
	ran     map[string]node.Component // components as they ran last
	missing map[string]time.Time      // those that do not now, and since when
	limited string                    // what was said about a limit
	said    map[string]bool           // kinds of complaints that were made once
	greeted []events.Event            // how the node is, if nothing was known of it before

	lookAt    time.Time     // when everything is looked at next
	lookedAt  time.Time     // and when it was last
	tired     time.Duration // of looks at everything, that is not rested from yet
	disturbed int           // looks at everything that were given up in a row
	restUntil time.Time     // for the node's sake, until when no change leads to that
	confirmAt time.Time     // zero: there is nothing to confirm
	retryAt   time.Time     // zero: there is no repair to try again
}

// New makes a Loop that goes on from a memory, as Node.Save was given it, or
// begins anew.
func New(n Node, w Watcher, g Gauge, memory []byte, o Options) *Loop {
	l := &Loop{
		o: o, node: n, watcher: w, gauge: g, hold: hold{quiet: o.Quiet},
		changed: map[string][]string{}, ran: map[string]node.Component{}, missing: map[string]time.Time{}, said: map[string]bool{},
	}
	var err error
	if l.memory, err = decodeMemory(memory); err != nil {
		o.Say(err.Error())
	}
	l.courier = newCourier(n.Tell)
	l.courier.refused, l.courier.say, l.courier.told = n.Refused, o.Say, g.Told
	l.courier.waiting = l.memory.Letters
	l.keeper = newKeeper(n.Save)
	return l
}

// Run watches until the context ends, and returns then. The error is that of the
// first look at the node.
func (l *Loop) Run(ctx context.Context) error {
	sending, stop := context.WithCancel(ctx)
	var courier, keeper sync.WaitGroup
	courier.Go(func() { l.courier.run(sending) })
	keeper.Go(l.keeper.run)
	defer func() {
		stop()
		courier.Wait()
		l.save() // with what was delivered at last
		l.keeper.end()
		keeper.Wait()
		l.kept(l.keeper.failed())
	}()
	if err := l.all(ctx); err != nil {
		return err
	}
	l.tell(l.greeted...)
	for ctx.Err() == nil {
		change, noticed, err := l.watcher.Wait(ctx, max(0, l.due().Sub(l.o.Now())))
		switch {
		case err != nil:
			return nil
		case noticed:
			l.noticed(ctx, change)
		default:
			l.timer(ctx)
		}
		l.gauge.Waiting(len(l.courier.letters()))
	}
	return nil
}

// due is when something has to be done without any change.
func (l *Loop) due() time.Time {
	now, due := l.o.Now(), l.lookAt
	sooner := func(t time.Time) {
		if t.Before(due) {
			due = t
		}
	}
	for _, t := range []time.Time{l.confirmAt, l.retryAt} {
		if !t.IsZero() {
			sooner(t)
		}
	}
	if !l.confirmAt.IsZero() {
		sooner(now.Add(eagerPoll)) // for an installer, which shows for moments only
	}
	if len(l.courier.letters()) > 0 || len(l.memory.Letters) > 0 {
		sooner(now.Add(letterPoll))
	}
	if !l.hold.since.IsZero() {
		sooner(now.Add(installerPoll))
	}
	for _, since := range l.missing {
		sooner(now.Add(pollAfter(now.Sub(since))))
	}
	return due
}

func pollAfter(age time.Duration) time.Duration {
	switch {
	case age < instantTime:
		return instantPoll
	case age < eagerTime:
		return eagerPoll
	}
	return patientPoll
}

// noticed answers a change: the checks that rest on it first, then all.
func (l *Loop) noticed(ctx context.Context, c watch.Change) {
	l.watcher.Refresh()
	if len(l.changed) > maxChanged {
		l.changed = map[string][]string{}
	}
	maps.Copy(l.changed, c.Files)
	if c.Lost {
		l.gauge.Lost()
		l.o.Say("changes came faster than they could be told apart: everything is looked at")
	}
	var components []string
	for name, component := range l.ran {
		if slices.Contains(c.Ended, component.PID) {
			components = append(components, name)
			l.missing[name] = l.o.Now()
		}
	}
	keys := l.last.ByInput(c.Files, components)
	// Also where a file is of no known check, as when a directory is replaced by way of
	// another name: what it is known to concern is known sooner so.
	if !c.Lost && len(c.Files) > 0 && len(keys) > 0 && len(keys) < len(l.last.Checks) {
		if seen, err := l.look(ctx, numbers(keys)); err == nil {
			l.judge(ctx, seen, false)
		}
	}
	if len(c.Files) == 0 && !c.Lost {
		return
	}
	if now := l.o.Now(); now.Before(l.restUntil) {
		if l.restUntil.Before(l.lookAt) {
			l.lookAt = l.restUntil
		}
		return
	}
	l.again(ctx)
}

// come tells whether a time has come, if there is one.
func (l *Loop) come(t time.Time) bool { return !t.IsZero() && !l.o.Now().Before(t) }

// timer does what is due.
func (l *Loop) timer(ctx context.Context) {
	now := l.o.Now()
	wanted := !now.Before(l.lookAt) || l.come(l.confirmAt) || l.come(l.retryAt)
	if len(l.missing) > 0 || !l.hold.since.IsZero() || !l.confirmAt.IsZero() {
		procs, err := l.node.Processes()
		if err != nil {
			l.o.Say(firstLine(err))
		}
		if who := l.node.Installers(procs); who != "" {
			l.holding(who, now)
		}
		if names := l.returned(procs, now); len(names) > 0 {
			l.back(ctx, names)
			if l.restUntil.Before(l.lookAt) {
				l.lookAt = l.restUntil
			}
			wanted = wanted || !now.Before(l.restUntil)
		}
	}
	if l.hold.over(now) {
		l.gauge.Held(false)
		l.o.Say(l.hold.who + " is done here: looking once at what has changed")
		wanted = true
	}
	switch {
	case wanted:
		l.again(ctx)
	case len(l.courier.letters()) != len(l.memory.Letters):
		l.save()
	}
}

// returned are the components that were missing and run again, or will not be waited
// for any longer.
func (l *Loop) returned(procs node.Processes, now time.Time) (names []string) {
	for name, since := range l.missing {
		old := l.ran[name]
		argv := old.Argv
		if len(argv) == 0 { // it has not run since this program does
			argv = l.last.Report.Layout.Components[name].Configured
		}
		if now.Sub(since) >= restartTime || slices.ContainsFunc(procs, func(p node.Process) bool {
			return len(p.Args) > 0 && len(argv) > 0 && p.PID != old.PID && path.Base(p.Args[0]) == path.Base(argv[0])
		}) {
			names = append(names, name)
		}
	}
	return names
}

// back looks at the checks of components that run again, before everything is looked
// at.
func (l *Loop) back(ctx context.Context, names []string) {
	keys := l.last.ByInput(nil, names)
	if len(keys) == 0 {
		return
	}
	seen, err := l.look(ctx, numbers(keys))
	if err != nil {
		return
	}
	for name, c := range seen.Running() {
		if _, missing := l.missing[name]; missing {
			l.runs(name, c)
		}
	}
	l.followProcesses(seen)
	l.judge(ctx, seen, false)
}

// runs takes down that a component runs.
func (l *Loop) runs(name string, c node.Component) {
	delete(l.missing, name)
	l.ran[name] = c
	l.memory.Running[name] = process(c)
	l.hasRead(name, c)
}

// again looks at everything. A look that fails is tried again.
func (l *Loop) again(ctx context.Context) {
	if err := l.all(ctx); err != nil && ctx.Err() == nil {
		l.o.Say("this node could not be looked at: " + firstLine(err))
		l.lookAt = l.o.Now().Add(lookAgain)
		for _, t := range []*time.Time{&l.confirmAt, &l.retryAt} {
			if !t.IsZero() {
				*t = l.lookAt
			}
		}
	}
}

// lookAtAll observes everything, unless a change comes meanwhile: done is false then,
// and it has to be done after that.
func (l *Loop) lookAtAll(ctx context.Context) (seen hardener.Observation, paths []string, done bool, err error) {
	defer l.tire(l.o.Now())
	looking := ctx
	if l.disturbed < disturbedMost {
		var stop context.CancelFunc
		looking, stop = l.watcher.Undisturbed(ctx)
		defer stop()
	}
	seen, paths, err = l.node.Look(looking, nil)
	if looking.Err() != nil && ctx.Err() == nil {
		l.disturbed++
		return seen, paths, false, nil
	}
	l.disturbed = 0
	return seen, paths, true, err
}

// tire takes down a look at everything that has ended now, for the node's sake.
func (l *Loop) tire(began time.Time) {
	now := l.o.Now()
	l.tired = max(0, l.tired-began.Sub(l.lookedAt)/restFactor) + now.Sub(began)
	l.lookedAt = now
	l.restUntil = now.Add(restFactor * max(0, l.tired-restAfter))
}

// all looks at everything, concludes, and follows what was looked at. Where a
// directory was not watched yet it is looked at once more, as something may have
// changed in it since. It is put off where a change comes meanwhile.
func (l *Loop) all(ctx context.Context) error {
	for range 4 { // a node whose directories come and go is looked at by the timer
		seen, paths, done, err := l.lookAtAll(ctx)
		if !done {
			l.lookAt = l.o.Now()
			return nil
		}
		var broken *hardener.BrokenError
		if errors.As(err, &broken) {
			l.once("broken", "checked all the same: "+firstLine(err))
		} else if err != nil {
			return err
		} else {
			delete(l.said, "broken")
		}
		now, took := l.o.Now(), time.Duration(seen.Report.Run.DurationMS)*time.Millisecond
		l.lookAt = now.Add(l.o.Interval)
		l.gauge.Looked(seen.Report, true, took, now)
		l.remember(seen)
		l.judge(ctx, seen, true)
		seen.Report.Controls = nil // large, and not needed any more
		l.last = seen
		grown, err := l.watcher.Follow(paths)
		l.limits(err)
		l.followProcesses(seen)
		if !grown {
			break
		}
	}
	l.save()
	return nil
}

// followProcesses has the processes of components followed to their ends.
func (l *Loop) followProcesses(seen hardener.Observation) {
	if err := l.watcher.FollowProcesses(pids(seen)); err != nil {
		l.once("processes", "restarts of components are only found by the timer: "+firstLine(err))
	}
}

// limits says what inotify's limits come to.
func (l *Loop) limits(err error) {
	text := ""
	if err != nil {
		text = err.Error()
		l.lookAt = l.o.Now().Add(min(l.o.Interval, limitedInterval))
	}
	l.gauge.Limited(err != nil)
	if text == l.limited {
		return
	}
	l.limited = text
	if text == "" {
		l.o.Say("all directories are watched again")
		return
	}
	l.o.Say(text)
	l.tell(events.Event{Reason: events.WatchLimited, Warning: true, Note: text + "; until then changes are found within " + limitedInterval.String()})
}

// look observes some checks.
func (l *Loop) look(ctx context.Context, checks []string) (hardener.Observation, error) {
	seen, _, err := l.node.Look(ctx, checks)
	if err != nil && !errors.As(err, new(*hardener.BrokenError)) {
		return seen, err
	}
	l.gauge.Looked(seen.Report, false, time.Duration(seen.Report.Run.DurationMS)*time.Millisecond, l.o.Now())
	return seen, nil
}

// remember brings up to date what is known besides verdicts: which benchmark and
// which run of hardener the memory is of, and which components run.
func (l *Loop) remember(seen hardener.Observation) {
	m := l.memory
	now := l.o.Now()
	id, underWay, done, err := l.node.Run()
	switch {
	case err != nil:
		l.once("runs", "what hardener did on this node is not known: "+firstLine(err))
	case underWay:
		l.holding("hardener", now)
	case len(m.Good) == 0:
		m.Run = id
		l.greeted = events.FromReport(seen.Report)
		m.begin(done)
	case id != m.Run:
		m.Run = id
		if done != nil {
			m.Open, m.Tries = map[string]Drift{}, map[string]Tries{}
			m.begin(done)
		} else {
			m.rebase(seen)
		}
		l.o.Say("hardener has run on this node (run " + id + "): what it left is what is watched")
	}
	if m.Benchmark != "" && m.Benchmark != seen.Report.Node.Benchmark {
		l.o.Say(fmt.Sprintf("the benchmark is %s and was %s: what is seen now is what is watched", seen.Report.Node.Benchmark, m.Benchmark))
		m.rebase(seen)
	}
	m.Benchmark = seen.Report.Node.Benchmark
	m.forget(seen)

	running := seen.Running()
	for name := range m.Running {
		if _, runs := running[name]; runs {
			continue
		}
		if l.missing[name].IsZero() {
			l.missing[name] = now
		}
		if now.Sub(l.missing[name]) >= restartTime {
			delete(m.Running, name)
			delete(l.missing, name)
		}
	}
	for name, c := range running {
		l.runs(name, c)
	}
}

// process identifies the process of a component.
func process(c node.Component) string {
	return fmt.Sprintf("%d %s", c.PID, c.Started.UTC().Format(time.RFC3339))
}

// hasRead notes what a process has read: what was in its files before they were
// written again.
func (l *Loop) hasRead(name string, c node.Component) {
	read := l.memory.Read[name]
	if read.Process != process(c) || read.Files == nil {
		read = Read{Process: process(c), Files: map[string]string{}}
	}
	for _, file := range c.Files() {
		if read.Files[file] == "" && !slices.Contains(c.Unread, file) {
			if digest, err := l.node.Digest(file); err == nil {
				read.Files[file] = digest
			}
		}
	}
	l.memory.Read[name] = read
}

// HasRead tells whether a running component has read what is in a file of its that
// is newer than its process, see hardener.Options.
func (l *Loop) HasRead(c node.Component, file string) bool {
	for _, read := range l.memory.Read {
		if known := read.Files[file]; known != "" && read.Process == process(c) {
			digest, err := l.node.Digest(file)
			return err == nil && digest == known
		}
	}
	return false
}

// holding holds fire because of an installer.
func (l *Loop) holding(who string, now time.Time) {
	if l.hold.seen(who, now) {
		l.gauge.Held(true)
		l.o.Say(who + " is at work on this node: what changes is looked at when it is done")
	}
}

// judge concludes from a look at some checks or at all.
func (l *Loop) judge(ctx context.Context, seen hardener.Observation, full bool) {
	now := l.o.Now()
	procs, err := l.node.Processes()
	if err != nil {
		l.o.Say(firstLine(err))
	}
	if who := l.node.Installers(procs); who != "" {
		l.holding(who, now)
	}
	if l.hold.held(now) {
		l.confirmAt, l.retryAt = time.Time{}, time.Time{}
		return
	}
	restless := map[string]bool{}
	for name := range l.missing {
		restless[name] = true
	}
	if !full { // its end may not be told yet; a look at everything takes it down itself
		running := seen.Running()
		for name := range l.ran {
			if _, runs := running[name]; !runs {
				restless[name] = true
			}
		}
	}
	// The look may have seen a newer change than the one that it was for, and what it
	// saw is not to be blamed on that one.
	maps.Copy(l.changed, l.watcher.Pending())
	c := l.memory.compare(seen, l.changed, restless, now)
	l.gauge.Detected(len(c.opened))
	for _, key := range c.opened {
		d := l.memory.Open[key]
		line := strings.Join(d.Files, ", ")
		if line != "" {
			line += ": "
		}
		l.o.Say("drift: " + line + d.line(key))
	}
	origins := map[string]string{} // by file: to find one out takes a while
	for _, key := range c.opened {
		d := l.memory.Open[key]
		files := strings.Join(d.Files, ", ")
		if _, known := origins[files]; !known {
			origins[files] = l.node.Origin(d.Files, procs)
		}
		d.Origin = origins[files]
		l.memory.Open[key] = d
	}
	l.gone(c.closed)
	if l.o.Repair != "" {
		l.attempt(ctx, l.repairable(seen, fix.RiskFiles), fix.RiskFiles)
	}
	if !full {
		return
	}
	l.confirm(now)
	if l.o.Repair == fix.RiskRestart {
		l.attempt(ctx, l.repairable(seen, fix.RiskRestart), fix.RiskRestart)
	}
	l.retryAt = time.Time{}
	for key := range l.memory.Open {
		if at := l.memory.Tries[key].Until; at.After(now) && (l.retryAt.IsZero() || at.Before(l.retryAt)) {
			l.retryAt = at
		}
	}
	if l.confirmAt.IsZero() && len(l.missing) == 0 {
		l.changed = map[string][]string{}
	}
	l.gaugeDrift()
}

func (l *Loop) gaugeDrift() {
	since := map[string]time.Time{}
	for key, d := range l.memory.Open {
		since[key] = d.Since
	}
	l.gauge.Drift(since)
}

// gone tells of checks that are well again by somebody else. What was never told
// came and went at once.
func (l *Loop) gone(closed map[string]Drift) {
	if len(closed) == 0 {
		return
	}
	l.gauge.Gone(len(closed))
	var told []string
	for key, d := range closed {
		if d.Told {
			told = append(told, key)
		}
	}
	if len(told) > 0 {
		e := about(events.DriftGone, false, "as before again: %s", told)
		l.o.Say("drift gone: " + e.Note)
		l.tell(e)
	}
}

// confirm tells what has been worse for long enough, and says when the rest will
// have been.
func (l *Loop) confirm(now time.Time) {
	l.confirmAt = time.Time{}
	var ready []string
	for _, key := range slices.Sorted(maps.Keys(l.memory.Open)) {
		d := l.memory.Open[key]
		if d.Told {
			continue
		}
		if at := d.Since.Add(l.o.Confirm); now.Before(at) {
			if l.confirmAt.IsZero() || at.Before(l.confirmAt) {
				l.confirmAt = at
			}
			continue
		}
		ready = append(ready, key)
	}
	l.announce(ready)
}

// announce tells of drift.
func (l *Loop) announce(keys []string) {
	l.tell(detected(l.memory.Open, keys)...)
	for _, key := range keys {
		d := l.memory.Open[key]
		d.Told = true
		l.memory.Open[key] = d
	}
}

// repairable are the checks that drifted and may be put right now at a risk, by
// key: what only takes modes and owners at once, what takes a restart when it has
// been confirmed and told. One whose repairs are undone again and again is not, and
// told as a conflict.
func (l *Loop) repairable(seen hardener.Observation, risk fix.Risk) (keys []string) {
	now := l.o.Now()
	for _, key := range slices.Sorted(maps.Keys(l.memory.Open)) {
		s, looked := seen.Checks[key]
		mine := len(s.Files) > 0
		if risk == fix.RiskRestart {
			mine = len(s.Files) == 0 && l.memory.Open[key].Told
		}
		if !looked || !mine || l.memory.Tries[key].paused(now) {
			continue
		}
		if t, conflict := l.memory.Tries[key].undone(l.o.Rounds, now); conflict {
			l.memory.Tries[key] = t
			l.conflict(key, t.Until)
			continue
		}
		keys = append(keys, key)
	}
	return keys
}

// conflict tells that somebody undoes the repairs of a check, and until when it is
// left alone.
func (l *Loop) conflict(key string, until time.Time) {
	l.gauge.Repaired(metrics.Conflict)
	d := l.memory.Open[key]
	d.Failed = "somebody undoes it again and again"
	l.memory.Open[key] = d
	if !d.Told {
		l.announce([]string{key})
	}
	e := about(events.DriftConflict, true, "%s: repaired %d times within %s and undone each time: left as it is until %s", []string{key},
		l.o.Rounds, roundsWithin, until.UTC().Format(time.RFC3339))
	l.o.Say("conflict: " + e.Note)
	l.tell(e)
}

// attempt makes one repair and tells what it came to.
func (l *Loop) attempt(ctx context.Context, keys []string, risk fix.Risk) {
	if len(keys) == 0 {
		return
	}
	r, err := l.node.Repair(ctx, keys, risk)
	now := l.o.Now()
	if id, _, _, runErr := l.node.Run(); runErr == nil {
		l.memory.Run = id // ours: nobody's wish to have the node otherwise
	}
	states := map[string]check.State{}
	decisions := map[string]fix.Decision{}
	for s, res := range r.Results() {
		key := fix.Key(s.Target, res.ID)
		states[key] = res.Status
		if res.Fix != nil {
			decisions[key] = *res.Fix
		}
	}
	var repaired, failed []string
	for _, key := range keys {
		state, judged := states[key]
		if judged && badness(state) <= badness(l.memory.Good[key].State) {
			repaired = append(repaired, key)
		} else {
			failed = append(failed, key)
		}
	}
	if len(repaired) > 0 {
		var untold []string
		for _, key := range repaired {
			if !l.memory.Open[key].Told {
				untold = append(untold, key)
			}
		}
		l.announce(untold)
		for _, key := range repaired {
			l.memory.Tries[key] = l.memory.Tries[key].repaired(now)
			delete(l.memory.Open, key)
			l.gauge.Repaired(metrics.Repaired)
		}
		run := ""
		if r.Run.ID != "" {
			run = " (run " + r.Run.ID + ")"
		}
		e := about(events.DriftRepaired, false, "repaired%[2]s: %[1]s", repaired, run)
		l.o.Say("drift " + e.Note)
		l.tell(e)
	}
	if len(failed) > 0 && ctx.Err() == nil {
		l.failed(failed, risk, decisions, err, now)
	}
}

// failed notes repairs that could not be made, and tells of each reason once: of a
// restart when it has not been made for a while.
func (l *Loop) failed(keys []string, risk fix.Risk, decisions map[string]fix.Decision, err error, now time.Time) {
	var news []string
	why := ""
	for _, key := range keys {
		d := decisions[key]
		outcome := metrics.Failed
		if d.State == fix.Undone {
			outcome = metrics.RolledBack
		}
		l.gauge.Repaired(outcome)
		reason := "there is no change for it at this risk"
		switch {
		case err != nil:
			reason = firstLine(err)
		case d.Reason != "":
			reason = string(d.State) + ": " + d.Reason
		}
		t, open := l.memory.Tries[key], l.memory.Open[key]
		t.Until = now.Add(repairAgain)
		if t.Unfit++; risk == fix.RiskRestart && outcome == metrics.Failed && t.Unfit < unfitTries {
			t.Until = now.Add(unfitAgain)
			l.o.Say("not repaired yet: " + number(key) + ": " + reason)
		} else if open.Failed != reason {
			open.Failed = reason
			news, why = append(news, key), reason
		}
		l.memory.Tries[key], l.memory.Open[key] = t, open
	}
	if len(news) > 0 {
		e := about(events.RepairFailed, true, "not repaired: %s: %s", news, why)
		l.o.Say(e.Note)
		l.tell(e)
	}
}

// tell has Events delivered.
func (l *Loop) tell(all ...events.Event) {
	if len(all) > 0 {
		l.courier.put(l.o.Now(), all...)
	}
}

// save keeps the memory, as far as there is room for it.
func (l *Loop) save() {
	l.memory.Letters = l.courier.letters()
	data, err := l.memory.encode()
	if err == nil {
		l.keeper.keep(data)
		err = l.keeper.failed() // the one before
	}
	l.kept(err)
}

// kept says, once, that the memory cannot be kept.
func (l *Loop) kept(err error) {
	if err != nil {
		l.once("save", "what is known of this node cannot be kept over a restart of this program: "+firstLine(err))
		return
	}
	delete(l.said, "save")
}

// once says a line of a kind, until it is well again.
func (l *Loop) once(kind, line string) {
	if !l.said[kind] {
		l.said[kind] = true
		l.o.Say(line)
	}
}

func numbers(keys []string) []string {
	var all []string
	for _, key := range keys {
		if id := number(key); !slices.Contains(all, id) {
			all = append(all, id)
		}
	}
	return all
}

func pids(seen hardener.Observation) []int {
	var all []int
	for _, c := range seen.Running() {
		all = append(all, c.PID)
	}
	slices.Sort(all)
	return all
}
