//go:build linux

package txn

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// The crash test: a run with three groups, its recovery, and a rollback are
// stopped before each of their operations on the disk, and the node must end up
// as it was before the run or as it was after it. Nothing waits for time to
// pass.

// job is what is stopped.
type job struct {
	name string
	do   func(*Store) error
}

func crashJobs() map[string]job {
	jobs := map[string]job{}
	for _, j := range []job{
		{"run", func(s *Store) error { return crashRun(s, 0) }},
		{"keep", func(s *Store) error { return crashRun(s, 2) }},
		{"undo", crashUndo},
		{"recover", func(s *Store) error { _, err := s.Recover(); return err }},
		{"rollback", func(s *Store) error { _, err := s.Rollback("", false, nil); return err }},
		{"force", func(s *Store) error { _, err := s.Rollback("", true, nil); return err }},
	} {
		jobs[j.name] = j
	}
	return jobs
}

// crash is what a hook panics with. Every later operation panics too, so that
// nothing deferred reaches the disk: to the tree it is a kill.
type crash struct{ op, path string }

// stopAt does a job on a tree and stops it before operation n, counted from 1.
// where is nil when the job came to its end before.
func stopAt(t testing.TB, root string, n int, j job) (where *crash) {
	t.Helper()
	h, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var s *Store
	defer func() {
		switch p := recover().(type) {
		case nil:
		case crash:
			where = &p
		default:
			panic(p)
		}
		if s != nil {
			if s.run != nil {
				s.run.close()
			}
			s.closeFiles()
		}
	}()
	count := 0
	s, err = open(h, disk{step: func(op, path string) {
		if count++; count >= n {
			panic(crash{op, path})
		}
	}})
	if err == nil {
		s.keep = 2
		err = j.do(s)
	}
	if err == nil {
		err = s.Close()
	}
	if err != nil {
		t.Fatalf("%s, to be stopped at %d: %v", j.name, n, err)
	}
	return nil
}

const crashJobEnv = "HARDENER_TXN_CRASH"

// crashChild does a job in a process of its own, which kills itself.
func crashChild(spec string) {
	name, rest, _ := strings.Cut(spec, "|")
	number, root, _ := strings.Cut(rest, "|")
	n, err := strconv.Atoi(number)
	if err != nil {
		panic(err)
	}
	fail := func(err error) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
	}
	h, err := host.Open(root)
	fail(err)
	count := 0
	s, err := open(h, disk{step: func(string, string) {
		if count++; count >= n {
			syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {} // never passed
		}
	}})
	fail(err)
	s.keep = 2
	fail(crashJobs()[name].do(s))
	fail(s.Close())
	os.Exit(0)
}

// killAt is stopAt with a real process and a real SIGKILL.
func killAt(t testing.TB, root string, n int, j job) (killed bool) {
	t.Helper()
	p, err := os.StartProcess("/proc/self/exe", []string{"crash-child"}, &os.ProcAttr{
		Env:   append(os.Environ(), fmt.Sprintf("%s=%s|%d|%s", crashJobEnv, j.name, n, root)),
		Files: []*os.File{nil, nil, os.Stderr},
	})
	if err != nil {
		t.Fatal(err)
	}
	state, err := p.Wait()
	if err != nil {
		t.Fatal(err)
	}
	status := state.Sys().(syscall.WaitStatus)
	if status.Signaled() && status.Signal() == syscall.SIGKILL {
		return true
	}
	if status.ExitStatus() != 0 {
		t.Fatalf("%s, to be killed at %d: %v", j.name, n, state)
	}
	return false
}

// TestCrash stops the run, the recovery from each of its stops, and the
// rollback, in this process.
func TestCrash(t *testing.T) {
	n := newCrashNode(t)
	groups := len(crashGroups())
	var mu sync.Mutex
	tried := map[string]int{}
	count := func(what string, k int) {
		mu.Lock()
		defer mu.Unlock()
		tried[what] += k
		tried["all"] += k
	}
	t.Run("stopped", func(t *testing.T) {
		for _, c := range []crashCase{
			{"run", "old", []int{0, groups}, groups, true},
			{"keep", "old", []int{0, 2, groups}, groups, true},
			{"undo", "old", []int{0, 2}, 0, false},
			{"rollback", "new", []int{0, groups}, 0, true},
			{"force", "new", []int{0, groups}, 0, false},
		} {
			t.Run(c.job, func(t *testing.T) {
				t.Parallel()
				n.stopEverywhere(t, c, count)
			})
		}
	})
	report := fmt.Sprintf("crash: %d steps tried: run %d, run with kept groups %d, undo %d, rollback %d, forced rollback %d, recover %d, torn journals %d",
		tried["all"], tried["run"], tried["keep"], tried["undo"], tried["rollback"], tried["force"], tried["recover"], tried["torn journals"])
	fmt.Println(report)
	t.Log(report)
	if tried["run"] < 50 || tried["rollback"] < 20 || tried["recover"] < 300 {
		t.Error("too few steps: the hook is not called where it should be")
	}
}

type crashCase struct {
	job, tree string
	allowed   []int // numbers of groups in place that are right after a stop
	end       int   // and when nothing stops it
	again     bool  // stop the recovery too; those of the others are no different
}

// stopEverywhere stops a job before each of its operations, and what recovers
// from it before each of its own. In -short mode it samples the latter.
func (n *crashNode) stopEverywhere(t *testing.T, c crashCase, count func(string, int)) {
	jobs := crashJobs()
	stride := 1
	if testing.Short() {
		stride = 7
	}
	for at := 1; ; at++ {
		root := n.tree(t, c.tree)
		stop := stopAt(t, root, at, jobs[c.job])
		if stop == nil {
			n.verify(t, root, c.job+" not stopped", c.end)
			return
		}
		count(c.job, 1)
		template := tempDir(t)
		crashCopy(t, root, template)
		where := fmt.Sprintf("%s stopped at %d, %s %s", c.job, at, stop.op, stop.path)
		n.verify(t, root, where, c.allowed...)
		count("torn journals", n.tear(t, template, where, stop, c.allowed))
		for again := 1 + at%stride; c.again; again += stride {
			root := tempDir(t)
			crashCopy(t, template, root)
			stop := stopAt(t, root, again, jobs["recover"])
			if stop != nil {
				count("recover", 1)
				n.verify(t, root, fmt.Sprintf("%s, recover stopped at %d, %s %s", where, again, stop.op, stop.path), c.allowed...)
			}
			os.RemoveAll(root)
			if stop == nil {
				break
			}
		}
		os.RemoveAll(root)
		os.RemoveAll(template)
	}
}

// tear cuts and blanks the record that was about to be synced when a job was
// stopped: a power cut may keep any part of it.
func (n *crashNode) tear(t testing.TB, template, where string, stop *crash, allowed []int) int {
	t.Helper()
	if stop.op != "fsync" || filepath.Base(stop.path) != "journal" {
		return 0
	}
	journal := func(root string) string { return filepath.Join(root, stop.path) }
	b, err := os.ReadFile(journal(template))
	if err != nil {
		t.Fatal(err)
	}
	start := strings.LastIndexByte(strings.TrimSuffix(string(b), "\n"), '\n') + 1
	tears := map[string][]byte{}
	for _, cut := range []int{start, start + 1, start + frameHead, (start + len(b)) / 2, len(b) - 1} {
		tears[fmt.Sprintf("cut at %d", cut)] = b[:cut]
	}
	tears["zeros"] = append(append([]byte{}, b[:start]...), make([]byte, len(b)-start)...)
	for name, torn := range tears {
		root := tempDir(t)
		crashCopy(t, template, root)
		if err := os.WriteFile(journal(root), torn, 0o600); err != nil {
			t.Fatal(err)
		}
		n.verify(t, root, where+", journal "+name, allowed...)
		os.RemoveAll(root)
	}
	return len(tears)
}

// TestCrashKill9 does it with real processes and kill -9: the run and the
// rollback at each of their steps, and the recovery of a run that died with
// everything done but its commit.
func TestCrashKill9(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: starts some hundred processes")
	}
	n := newCrashNode(t)
	jobs := crashJobs()
	groups := len(crashGroups())
	n.templates["died"] = n.died(t)
	kills := map[string]int{}
	for _, c := range []struct {
		job, tree string
		allowed   []int
	}{
		{"run", "old", []int{0, groups}},
		{"rollback", "new", []int{0, groups}},
		{"recover", "died", []int{0}},
	} {
		for at := 1; ; at++ {
			root := n.tree(t, c.tree)
			killed := killAt(t, root, at, jobs[c.job])
			n.verify(t, root, fmt.Sprintf("%s killed at %d", c.job, at), c.allowed...)
			os.RemoveAll(root)
			if !killed {
				break
			}
			kills[c.job]++
		}
	}
	report := fmt.Sprintf("crash: %d processes killed with SIGKILL: run %d, rollback %d, recover %d",
		kills["run"]+kills["rollback"]+kills["recover"], kills["run"], kills["rollback"], kills["recover"])
	fmt.Println(report)
	t.Log(report)
	if kills["run"] < 50 || kills["rollback"] < 20 || kills["recover"] < 20 {
		t.Error("too few kills: the hook is not called where it should be")
	}
}

// TestForcedRollbackIsCompleted: a forced rollback that dies is completed by
// force, and one that has not begun leaves the operator's content alone.
func TestForcedRollbackIsCompleted(t *testing.T) {
	root, s, before, _ := rollbackNode(t)
	s.Close()
	plant(t, root, entry{name: "etc/replaced", mode: 0o600, content: "operator"})
	operator := snapshot(t, root)
	force := crashJobs()["force"]
	states := map[RunState]int{}
	for at := 1; ; at++ {
		tree := tempDir(t)
		crashCopy(t, root, tree)
		stop := stopAt(t, tree, at, force)
		s := openStore(t, tree)
		if _, err := s.Recover(); err != nil {
			t.Fatal(err)
		}
		infos, err := s.Runs()
		if err != nil {
			t.Fatal(err)
		}
		s.Close()
		want := map[RunState]map[string]string{Committed: operator, RolledBack: before}[infos[0].State]
		if diff := cmp.Diff(want, snapshot(t, tree)); diff != "" {
			t.Errorf("stopped at %d, %v: the run is %s: -want +got\n%s", at, stop, infos[0].State, diff)
		}
		states[infos[0].State]++
		if stop == nil {
			break
		}
	}
	if states[Committed] < 2 || states[RolledBack] < 10 || len(states) != 2 {
		t.Errorf("%v", states)
	}
}
