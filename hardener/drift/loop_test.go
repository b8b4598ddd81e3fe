package drift

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/metrics"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/watch"
)

// fakeNode is a node with a file and a kubelet: check 1.1.1 is about the file's
// mode, 4.2.1 about a setting of the kubelet.
type fakeNode struct {
	mode    string // of /etc/file; 600 passes
	setting string // --anonymous-auth of the kubelet; false passes
	pid     int    // of the kubelet, 0 when it does not run
	unread  bool   // the kubelet has not read its file, which is otherwise now

	installer string
	run       string
	report    *report.Report
	repair    func(keys []string, risk fix.Risk) error
	undone    bool // what a repair that failed had written is taken back
	tellError error
	lookError error

	during func() // called within a look at everything

	looks   []string // "all", or the checks that were looked at
	told    []string
	saved   []byte
	origins int
}

func state(pass bool) check.State {
	if pass {
		return check.Pass
	}
	return check.Fail
}

func (n *fakeNode) observation(checks []string) hardener.Observation {
	all := map[string]hardener.Subject{
		"master/1.1.1": {State: state(n.mode == "600"), Title: "mode of the file", Values: map[string]string{"permissions": n.mode},
			Seen: []string{"permissions=" + n.mode}, Files: []string{"/etc/file"}, Reads: []string{"/etc/file"}},
		"node/4.2.1": {State: state(n.setting == "false"), Title: "anonymous", Values: map[string]string{"--anonymous-auth": n.setting}, Components: []string{node.Kubelet}},
		"node/4.2.2": {State: check.Warn, Title: "left to a person"},
	}
	if n.unread {
		s := all["node/4.2.1"]
		s.State, s.Unread = check.Warn, true
		all["node/4.2.1"] = s
	}
	seen := hardener.Observation{Checks: map[string]hardener.Subject{}}
	var results []report.Result
	var totals report.Totals
	for key, s := range all {
		if checks == nil || slices.Contains(checks, number(key)) {
			seen.Checks[key] = s
			results = append(results, report.Result{ID: number(key), Status: s.State})
			switch s.State {
			case check.Pass:
				totals.Pass++
			case check.Fail:
				totals.Fail++
			}
		}
	}
	seen.Report = report.New([]report.Section{{ID: "1", Target: "master", Groups: []report.Group{{Results: results}}, Totals: totals}})
	seen.Report.Node.Benchmark = "cis-1.12"
	kubelet := node.Component{Config: "/etc/kubelet.yaml", Argv: []string{"/usr/bin/kubelet"}}
	if n.pid > 0 {
		kubelet.Running, kubelet.PID = true, n.pid
	}
	seen.Report.Layout.Components = map[string]node.Component{node.Kubelet: kubelet}
	return seen
}

func (n *fakeNode) Look(ctx context.Context, checks []string) (hardener.Observation, []string, error) {
	what := "all"
	if checks != nil {
		what = strings.Join(checks, " ")
	}
	n.looks = append(n.looks, what)
	if checks == nil && n.during != nil {
		n.during()
	}
	if ctx.Err() != nil { // half of what is seen is wrong
		return hardener.Observation{}, nil, ctx.Err()
	}
	return n.observation(checks), []string{"/etc/file"}, n.lookError
}

func (n *fakeNode) Processes() (node.Processes, error) {
	if n.pid == 0 {
		return nil, nil
	}
	return node.Processes{{PID: n.pid, Args: []string{"/usr/bin/kubelet"}}}, nil
}

func (n *fakeNode) Installers(node.Processes) string { return n.installer }

func (n *fakeNode) Origin(files []string, _ node.Processes) string {
	if n.origins++; len(files) == 0 {
		return ""
	}
	return "owner root"
}

func (n *fakeNode) Digest(string) (string, error) { return "digest", nil }

func (n *fakeNode) Run() (string, bool, *report.Report, error) {
	return n.run, strings.HasSuffix(n.run, "unfinished"), n.report, nil
}

func (n *fakeNode) Repair(_ context.Context, keys []string, risk fix.Risk) (report.Report, error) {
	if n.repair == nil {
		return report.Report{}, errors.New("nobody asked for repairs")
	}
	err := n.repair(keys, risk)
	seen := n.observation(nil)
	var sections []report.Section
	for _, key := range slices.Sorted(maps.Keys(seen.Checks)) {
		target, id, _ := strings.Cut(key, "/")
		result := report.Result{ID: id, Status: seen.Checks[key].State}
		if err != nil && n.undone && slices.Contains(keys, key) {
			result.Fix = &fix.Decision{State: fix.Undone, Reason: err.Error()}
		}
		sections = append(sections, report.Section{ID: "1", Target: target, Groups: []report.Group{{Results: []report.Result{result}}}})
	}
	return report.New(sections), err
}

func (n *fakeNode) Tell(_ context.Context, l Letter) error {
	if n.tellError != nil {
		return n.tellError
	}
	n.told = append(n.told, fmt.Sprintf("%s %s", l.Event.Reason, l.Event.Note))
	return nil
}

func (n *fakeNode) Refused(error) bool { return false }

func (n *fakeNode) Save(data []byte) error { n.saved = data; return nil }

// fakeWatcher is a Watcher whose changes a test makes.
type fakeWatcher struct {
	changes chan watch.Change
	next    []watch.Change // that are told before those
	limit   error
	disturb func()
}

func (w *fakeWatcher) Follow([]string) (bool, error) { return false, w.limit }
func (w *fakeWatcher) Refresh()                      {}
func (w *fakeWatcher) Pending() map[string][]string  { return nil }
func (w *fakeWatcher) FollowProcesses([]int) error   { return nil }

func (w *fakeWatcher) Undisturbed(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, w.disturb = context.WithCancel(ctx)
	return ctx, w.disturb
}

func (w *fakeWatcher) Wait(ctx context.Context, limit time.Duration) (watch.Change, bool, error) {
	if len(w.next) > 0 {
		c := w.next[0]
		w.next = w.next[1:]
		return c, true, nil
	}
	select {
	case <-ctx.Done():
		return watch.Change{}, false, ctx.Err()
	case c := <-w.changes:
		return c, true, nil
	case <-time.After(limit):
		return watch.Change{}, false, nil
	}
}

type silent struct {
	lost, limited, held bool
	repairs             []metrics.RepairOutcome
}

func (*silent) Looked(report.Report, bool, time.Duration, time.Time) {}
func (*silent) Drift(map[string]time.Time)                           {}
func (*silent) Detected(int)                                         {}
func (*silent) Gone(int)                                             {}
func (*silent) Told(bool)                                            {}
func (*silent) Waiting(int)                                          {}
func (s *silent) Repaired(o metrics.RepairOutcome)                   { s.repairs = append(s.repairs, o) }
func (s *silent) Lost()                                              { s.lost = true }
func (s *silent) Limited(limited bool)                               { s.limited = limited }
func (s *silent) Held(held bool)                                     { s.held = held }

// watching is a Loop at work, in a bubble of its own time.
type watching struct {
	*fakeNode
	watcher *fakeWatcher
	gauge   *silent
	end     func()
}

func options(repair fix.Risk) Options {
	return Options{
		Repair: repair, Interval: 10 * time.Minute, Quiet: time.Minute, Rounds: 3, Confirm: 300 * time.Millisecond,
		Say: func(string) {}, Now: time.Now,
	}
}

// start begins to watch a node; what it tells of a node that it did not know is
// taken away.
func start(t *testing.T, n *fakeNode, memory []byte, o Options) *watching {
	t.Helper()
	w := &watching{fakeNode: n, watcher: &fakeWatcher{changes: make(chan watch.Change)}, gauge: &silent{}}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	loop := New(n, w.watcher, w.gauge, memory, o)
	go func() { ended <- loop.Run(ctx) }()
	w.end = func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	synctest.Wait()
	if memory == nil {
		n.told = nil
	}
	n.looks = nil
	return w
}

func (w *watching) change(files ...string) {
	changed := map[string][]string{}
	for _, f := range files {
		changed[f] = []string{f}
	}
	w.watcher.changes <- watch.Change{Files: changed, Since: time.Now()}
	synctest.Wait()
}

func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (n *fakeNode) wantTold(t *testing.T, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, n.told); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
	n.told = nil
}

func good() *fakeNode { return &fakeNode{mode: "600", setting: "false", pid: 7} }

const (
	fileDrift   = "DriftDetected /etc/file: 1.1.1 PASS -> FAIL: permissions=600 -> permissions=666 | owner root"
	fileGone    = "DriftGone as before again: 1.1.1"
	kubeletText = "4.2.1 PASS -> FAIL: --anonymous-auth=false -> --anonymous-auth=true"
)

func TestDrift(t *testing.T) {
	tests := map[string]func(*testing.T){
		"told once it has been confirmed, and when it is gone": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			w.change("/etc/file")
			if diff := cmp.Diff([]string{"1.1.1", "all"}, n.looks); diff != "" {
				t.Errorf("looked at (-want +got):\n%s", diff)
			}
			n.wantTold(t)
			pass(400 * time.Millisecond)
			n.wantTold(t, fileDrift)
			pass(time.Hour)
			n.wantTold(t)
			n.mode = "600"
			w.change("/etc/file")
			n.wantTold(t, fileGone)
		},
		"what is replaced for a moment is not told": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			w.change("/etc/file")
			n.mode = "600"
			w.change("/etc/file")
			pass(time.Hour)
			n.wantTold(t)
		},
		"found by the timer when no change was noticed": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			pass(11 * time.Minute)
			n.wantTold(t, fileDrift)
		},
		"a look at everything gives way to a change": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			n.during = func() {
				n.during = nil
				w.watcher.disturb()
				w.watcher.next = []watch.Change{{Files: map[string][]string{"/etc/file": {"/etc/file"}}, Since: time.Now()}}
			}
			w.change("/etc/file")
			if diff := cmp.Diff([]string{"1.1.1", "all", "1.1.1", "all"}, n.looks); diff != "" {
				t.Errorf("looked at (-want +got):\n%s", diff)
			}
			pass(400 * time.Millisecond)
			n.wantTold(t, fileDrift)
		},
		"and no more than a few times in a row": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			n.during = func() { w.watcher.disturb() }
			w.change("/etc/file")
			if diff := cmp.Diff([]string{"1.1.1", "all", "all", "all", "all"}, n.looks); diff != "" {
				t.Errorf("looked at (-want +got):\n%s", diff)
			}
			n.during = nil
			pass(400 * time.Millisecond)
			n.wantTold(t, fileDrift)
		},
		"a file of no known check": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			w.change("/etc/file", "/etc/file.new")
			w.change("/etc/other")
			if diff := cmp.Diff([]string{"1.1.1", "all", "all"}, n.looks); diff != "" {
				t.Errorf("looked at (-want +got):\n%s", diff)
			}
		},
		"changes that go on and on": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.during = func() { time.Sleep(500 * time.Millisecond) }
			for range 10 {
				w.watcher.changes <- watch.Change{Files: map[string][]string{"/etc/file": {"/etc/file"}}, Since: time.Now()}
			}
			synctest.Wait()
			all, some := 0, 0
			for _, what := range n.looks {
				if what == "all" {
					all++
				} else {
					some++
				}
			}
			if some != 10 || all != 3 {
				t.Errorf("looked at everything %d times and at the check %d times, want 3 and 10", all, some)
			}
			n.looks = nil
			pass(2 * time.Second) // it has been looked at for half a second too long
			if diff := cmp.Diff([]string{"all"}, n.looks); diff != "" {
				t.Errorf("looked at afterwards (-want +got):\n%s", diff)
			}
		},
		"a component that restarts is not judged meanwhile": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.pid, n.setting = 0, "true" // as its file has it
			w.watcher.changes <- watch.Change{Ended: []int{7}, Since: time.Now()}
			pass(time.Minute)
			n.wantTold(t)
			n.pid, n.setting = 8, "false"
			pass(time.Hour)
			n.wantTold(t)
		},
		"a component whose end is seen before it is told": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.pid, n.setting = 0, "true" // as its file has it
			n.during = func() {
				if n.origins > 0 {
					t.Error("judged before it runs again")
				}
				n.pid, n.during = 8, nil
			}
			w.change("/etc/kubelet.yaml")
			if len(n.looks) != 2 || n.looks[0] != "4.2.1" {
				t.Errorf("looked at %q, want the kubelet's check first", n.looks)
			}
			if n.origins != 1 {
				t.Errorf("drift found %d times, want once, when it runs", n.origins)
			}
			pass(400 * time.Millisecond)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: "+kubeletText+" | owner root")
		},
		"a component that comes back with other flags": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.pid = 0
			w.watcher.changes <- watch.Change{Ended: []int{7}, Since: time.Now()}
			pass(100 * time.Millisecond)
			n.pid, n.setting, n.looks = 8, "true", nil
			pass(time.Second)
			n.wantTold(t, "DriftDetected "+kubeletText)
			if len(n.looks) < 2 || n.looks[0] != "4.2.1" || n.looks[1] != "all" {
				t.Errorf("looked at %q, want its own checks first", n.looks)
			}
		},
		"a component that is away when everything is looked at": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.pid = 0
			w.watcher.changes <- watch.Change{Ended: []int{7}, Files: map[string][]string{"/etc/kubelet.yaml": {"/etc/kubelet.yaml"}}, Since: time.Now()}
			pass(100 * time.Millisecond)
			n.pid, n.setting = 8, "true"
			pass(time.Second)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: "+kubeletText+" | owner root")
			n.setting, n.pid = "false", 9
			w.watcher.changes <- watch.Change{Ended: []int{8}, Since: time.Now()}
			pass(time.Second)
			n.wantTold(t, "DriftGone as before again: 4.2.1")
		},
		"a component that stays away is judged by its files in the end": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.pid, n.setting = 0, "true"
			w.watcher.changes <- watch.Change{Ended: []int{7}, Since: time.Now()}
			pass(restartTime + time.Minute)
			n.wantTold(t, "DriftDetected "+kubeletText)
		},
		"fire is held while somebody installs": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskFiles))
			defer w.end()
			n.repair = func([]string, fix.Risk) error { t.Error("repaired under an installer's hands"); return nil }
			n.installer, n.mode = "ansible", "666"
			w.change("/etc/file")
			pass(10 * time.Minute)
			n.mode = "600"
			w.change("/etc/file")
			n.installer = ""
			pass(10 * time.Minute)
			n.wantTold(t)
			if w.gauge.held {
				t.Error("still held")
			}
		},
		"an installer that shows between two looks": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			w.change("/etc/file")
			pass(100 * time.Millisecond)
			n.installer = "ansible" // the next task of its play
			pass(100 * time.Millisecond)
			n.installer = ""
			pass(10 * time.Second)
			n.wantTold(t)
			n.mode = "600"
			pass(time.Hour)
			n.wantTold(t)
		},
		"what an installer leaves is looked at once": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.installer, n.mode = "ansible", "666"
			w.change("/etc/file")
			pass(10 * time.Minute)
			n.wantTold(t)
			n.installer = ""
			pass(2 * time.Minute)
			n.wantTold(t, fileDrift)
		},
		"what hardener itself has done is no drift": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.run, n.mode = "R2 rolled-back", "666"
			w.change("/etc/file")
			pass(time.Hour)
			n.wantTold(t)
		},
		"a run of hardener under way is waited for": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.run, n.mode = "R2 unfinished", "666"
			w.change("/etc/file")
			pass(time.Minute)
			n.wantTold(t)
			n.run, n.mode = "R2 committed", "600"
			w.change("/etc/file")
			pass(time.Hour)
			n.wantTold(t)
		},
		"another setting of a file that no process has read yet": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.unread = true
			w.change("/etc/kubelet.yaml")
			pass(time.Hour)
			n.wantTold(t)
			n.setting = "true"
			w.change("/etc/kubelet.yaml")
			pass(time.Second)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: 4.2.1 PASS -> WARN: --anonymous-auth=false -> --anonymous-auth=true | owner root")
		},
		"a node that cannot be looked at for a while": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			w.change("/etc/file")
			n.lookError = errors.New("input/output error")
			n.looks = nil
			pass(time.Minute)
			if len(n.looks) > 10 {
				t.Errorf("looked at %d times within a minute", len(n.looks))
			}
			n.lookError = nil
			pass(time.Minute)
			n.wantTold(t, fileDrift)
		},
		"events that were lost": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			n.mode = "666"
			w.watcher.changes <- watch.Change{Lost: true, Since: time.Now()}
			pass(time.Second)
			n.wantTold(t, fileDrift)
			if !w.gauge.lost || n.origins != 1 {
				t.Errorf("lost %t, origins asked %d", w.gauge.lost, n.origins)
			}
		},
		"a limit of inotify is told once, and looked around": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			defer w.end()
			w.watcher.limit = &watch.LimitError{Sysctl: "fs.inotify.max_user_watches", Dirs: 2, Err: errors.New("no space")}
			w.change("/etc/file")
			n.mode = "666"
			pass(3 * time.Minute)
			if len(n.told) != 2 || !strings.Contains(n.told[0], "WatchLimited") || !strings.Contains(n.told[0], "fs.inotify.max_user_watches") || !strings.Contains(n.told[1], "DriftDetected") {
				t.Errorf("told %q", n.told)
			}
			if !w.gauge.limited {
				t.Error("the gauge does not say so")
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

// What happened while no watcher ran, or no API server answered, is told afterwards.
func TestRemembered(t *testing.T) {
	tests := map[string]func(*testing.T){
		"drift while nobody watched": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			w.end()
			n.mode = "666"
			w = start(t, n, n.saved, options(""))
			defer w.end()
			pass(time.Second)
			n.wantTold(t, fileDrift)
		},
		"what was told is not told again": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			n.mode = "666"
			w.change("/etc/file")
			pass(time.Second)
			n.wantTold(t, fileDrift)
			w.end()
			w = start(t, n, n.saved, options(""))
			defer w.end()
			pass(time.Hour)
			n.wantTold(t)
			n.mode = "600"
			w.change("/etc/file")
			n.wantTold(t, fileGone)
		},
		"Events that no API server took": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(""))
			n.tellError = errors.New("connection refused")
			n.mode = "666"
			w.change("/etc/file")
			pass(time.Second)
			n.mode = "600"
			w.change("/etc/file")
			pass(time.Minute)
			n.wantTold(t)
			w.end()
			n.tellError = nil
			w = start(t, n, n.saved, options(""))
			defer w.end()
			pass(time.Minute)
			n.wantTold(t, fileDrift, fileGone)
		},
		"drift since the last fix, on a node that was never watched": func(t *testing.T) {
			n := good()
			r := report.New([]report.Section{{ID: "1", Target: "master", Groups: []report.Group{{Results: []report.Result{{ID: "1.1.1", Status: check.Pass}}}}}})
			r.Node.Benchmark = "cis-1.12"
			n.run, n.report, n.mode = "R1 committed", &r, "666"
			w := start(t, n, nil, options(""))
			defer w.end()
			pass(time.Second)
			n.wantTold(t, "DriftDetected /etc/file: 1.1.1 PASS -> FAIL: now permissions=666 | owner root")
		},
		"a memory that is damaged": func(t *testing.T) {
			n := good()
			n.mode = "666"
			w := start(t, n, []byte(`{"version":1,"good":`), options(""))
			defer w.end()
			pass(time.Hour)
			if len(n.told) != 1 || !strings.HasPrefix(n.told[0], string(events.CheckFailed)) {
				t.Errorf("told %q, want how the node is that is new", n.told)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

func TestRepair(t *testing.T) {
	const repaired = "DriftRepaired repaired: 1.1.1"
	tests := map[string]func(*testing.T){
		"a mode at once": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskFiles))
			defer w.end()
			n.repair = func(keys []string, risk fix.Risk) error {
				if risk != fix.RiskFiles || !slices.Equal(keys, []string{"master/1.1.1"}) {
					t.Errorf("repair of %v at risk %s", keys, risk)
				}
				n.mode = "600"
				return nil
			}
			n.mode = "666"
			w.change("/etc/file")
			n.wantTold(t, fileDrift, repaired)
		},
		"a setting only where restarts are asked for, and confirmed": func(t *testing.T) {
			for _, risk := range []fix.Risk{fix.RiskFiles, fix.RiskRestart} {
				n := good()
				w := start(t, n, nil, options(risk))
				repairs := 0
				n.repair = func(keys []string, at fix.Risk) error {
					if at != fix.RiskRestart {
						t.Errorf("repair of %v at risk %s", keys, at)
					}
					repairs++
					n.setting = "false"
					return nil
				}
				n.setting = "true"
				w.change("/etc/kubelet.yaml")
				if repairs > 0 {
					t.Error("restarted before it was confirmed")
				}
				pass(2 * time.Second)
				if want := map[fix.Risk]int{fix.RiskFiles: 0, fix.RiskRestart: 1}[risk]; repairs != want {
					t.Errorf("risk %s: %d repairs, want %d", risk, repairs, want)
				}
				w.end()
			}
		},
		"a restart that the node is not fit for yet": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskRestart))
			defer w.end()
			repairs := 0
			n.repair = func([]string, fix.Risk) error {
				if repairs++; repairs < 3 {
					return errors.New("nothing was restarted: the kubelet is not healthy")
				}
				n.setting = "false"
				return nil
			}
			n.setting = "true"
			w.change("/etc/kubelet.yaml")
			pass(2 * time.Minute)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: "+kubeletText+" | owner root", "DriftRepaired repaired: 4.2.1")
		},
		"a restart that is never made is told": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskRestart))
			defer w.end()
			n.repair = func([]string, fix.Risk) error { return errors.New("nothing was restarted: etcd is not whole") }
			n.setting = "true"
			w.change("/etc/kubelet.yaml")
			pass(time.Hour)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: "+kubeletText+" | owner root", "RepairFailed not repaired: 4.2.1: nothing was restarted: etcd is not whole")
		},
		"a restart that was taken back is told at once": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskRestart))
			defer w.end()
			n.undone = true
			n.repair = func([]string, fix.Risk) error { return errors.New("kubelet: not ready after 5m0s") }
			n.setting = "true"
			w.change("/etc/kubelet.yaml")
			pass(2 * time.Second)
			n.wantTold(t, "DriftDetected /etc/kubelet.yaml: "+kubeletText+" | owner root", "RepairFailed not repaired: 4.2.1: kubelet: not ready after 5m0s")
			if diff := cmp.Diff([]metrics.RepairOutcome{metrics.RolledBack}, w.gauge.repairs); diff != "" {
				t.Errorf("counted (-want +got):\n%s", diff)
			}
		},
		"what is undone again and again is left alone": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskFiles))
			defer w.end()
			repairs := 0
			n.repair = func([]string, fix.Risk) error { repairs++; n.mode = "600"; return nil }
			for range 6 {
				n.mode = "666"
				w.change("/etc/file")
				pass(time.Minute)
			}
			if repairs != 3 {
				t.Errorf("%d repairs within an hour, want 3", repairs)
			}
			if !slices.ContainsFunc(n.told, func(s string) bool { return strings.HasPrefix(s, "DriftConflict 1.1.1: repaired 3 times") }) {
				t.Errorf("told %q", n.told)
			}
			pass(2 * time.Hour) // it is tried once more
			if repairs != 4 {
				t.Errorf("%d repairs after the pause, want 4", repairs)
			}
		},
		"one that fails is told once, and tried again later": func(t *testing.T) {
			n := good()
			w := start(t, n, nil, options(fix.RiskFiles))
			defer w.end()
			repairs := 0
			n.repair = func([]string, fix.Risk) error { repairs++; return errors.New("read-only file system") }
			n.mode = "666"
			w.change("/etc/file")
			pass(time.Minute)
			n.wantTold(t, "RepairFailed not repaired: 1.1.1: read-only file system", fileDrift)
			pass(time.Hour)
			n.wantTold(t)
			if repairs < 10 || repairs > 14 { // every five minutes
				t.Errorf("%d tries in an hour", repairs)
			}
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

// What a process has read does not change when its file is written again as it was.
func TestHasRead(t *testing.T) {
	n := good()
	l := New(n, &fakeWatcher{}, &silent{}, nil, options(""))
	kubelet := node.Component{Running: true, PID: 7, Config: "/etc/kubelet.yaml", Started: time.Now()}
	if l.HasRead(kubelet, kubelet.Config) {
		t.Error("known before anything was seen")
	}
	l.hasRead(node.Kubelet, kubelet)
	if !l.HasRead(kubelet, kubelet.Config) {
		t.Error("the same bytes are taken for others")
	}
	other := kubelet
	other.PID = 8
	if l.HasRead(other, kubelet.Config) {
		t.Error("of another process")
	}
	late := other
	late.Unread = []string{kubelet.Config}
	l.hasRead(node.Kubelet, late)
	if l.HasRead(late, kubelet.Config) {
		t.Error("a file that the process cannot have read is taken for read")
	}
}
