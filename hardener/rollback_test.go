package hardener_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// fileOf is a file that the fix of the sample changes, by component.
var fileOf = map[string]string{
	"kubelet":           kubeletConfig,
	"scheduler":         manifests + "kube-scheduler.yaml",
	"controllermanager": manifests + "kube-controller-manager.yaml",
	"apiserver":         manifests + "kube-apiserver.yaml",
}

// fixed is a node with a committed run that restarted every component, and how
// its files were before and after.
func fixed(t *testing.T) (n testNode, run string, before, after map[string]string) {
	t.Helper()
	n, _ = gated(t, gate{})
	before = n.contents(t)
	done, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	after = n.contents(t)
	for component, file := range fileOf {
		if before[file] == after[file] {
			t.Fatalf("the fix has not changed %s of %s", file, component)
		}
	}
	return n, done.After.Run.ID, before, after
}

// rollBack undoes a run through a gate. What the gate was asked is in the log.
func (n testNode) rollBack(t *testing.T, g gate, run string, o hardener.RollbackOptions) (out txn.Outcome, log, said []string, err error) {
	t.Helper()
	g.log = &log
	o.Gate, o.DeadMan = g, g.deadMan(t, run)
	o.Say = func(line string) { said = append(said, line) }
	out, err = hardener.Rollback(t.Context(), n.store, o)
	return out, log, said, err
}

func (n testNode) state(t *testing.T, run string) txn.RunState {
	t.Helper()
	infos, err := n.store.Runs()
	if err != nil {
		t.Fatal(err)
	}
	for _, info := range infos {
		if info.ID == run {
			return info.State
		}
	}
	return ""
}

var rollbackSteps = []string{
	"arm", "before apiserver", "take apiserver", "before controllermanager", "take controllermanager",
	"before scheduler", "take scheduler", "before kubelet", "take kubelet", "disarm",
}

// TestRollbackPassesGates: the newest component first, each with its old files
// before the next one loses its own, and guarded by a switch for the run that is
// really undone.
func TestRollbackPassesGates(t *testing.T) {
	n, run, before, after := fixed(t)
	order := []string{"apiserver", "controllermanager", "scheduler", "kubelet"}
	// undone checks that the files of just the first count components are back.
	undone := func(step string, count int) {
		now := n.contents(t)
		for i, component := range order {
			want, file := after, fileOf[component]
			if i < count {
				want = before
			}
			if now[file] != want[file] {
				t.Errorf("at %q %s is not as it was to be", step, file)
			}
		}
	}
	taken := 0
	g := gate{at: func(step string) error {
		switch {
		case strings.HasPrefix(step, "take "):
			taken++
		case step == "disarm":
			if state := n.state(t, run); state != txn.RolledBack {
				t.Errorf("the switch is disarmed when the run is %s", state)
			}
		}
		undone(step, taken)
		return nil
	}}
	out, log, _, err := n.rollBack(t, g, run, hardener.RollbackOptions{})
	if err != nil || out.ID != run || out.State != txn.RolledBack {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff(rollbackSteps, log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(before, n.contents(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestRollbackGoesOnAfterFailedProof: there is nothing older to go back to. What
// was not healthy before and is afterwards is no failure.
func TestRollbackGoesOnAfterFailedProof(t *testing.T) {
	for _, when := range []string{"before scheduler", "take scheduler", "take apiserver"} {
		t.Run(when, func(t *testing.T) {
			n, run, before, _ := fixed(t)
			boom := errors.New("it is not healthy")
			out, log, _, err := n.rollBack(t, gate{at: func(step string) error {
				if step == when {
					return boom
				}
				return nil
			}}, run, hardener.RollbackOptions{})
			kind, component, _ := strings.Cut(when, " ")
			if kind == "before" && err != nil {
				t.Errorf("error %v of a component that its old files healed", err)
			}
			if kind == "take" && (!errors.Is(err, boom) || !strings.Contains(err.Error(), component+": ")) {
				t.Errorf("error %v, want it to name %s", err, component)
			}
			if out.State != txn.RolledBack {
				t.Errorf("state %s", out.State)
			}
			if diff := cmp.Diff(rollbackSteps, log); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(before, n.contents(t)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// TestRollbackOfModesArmsNothing: what restarts nothing needs no gate.
func TestRollbackOfModesArmsNothing(t *testing.T) {
	n, _ := gated(t, gate{})
	before := n.contents(t)
	n.fix.MaxRisk = fix.RiskFiles
	done, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	out, log, _, err := n.rollBack(t, gate{}, "", hardener.RollbackOptions{})
	if err != nil || log != nil || out.ID != done.After.Run.ID || out.State != txn.RolledBack {
		t.Errorf("%+v, %v, asked %v", out, err, log)
	}
	if diff := cmp.Diff(before, n.contents(t)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestUnfinishedRollbackStaysArmed: what the store cannot put back now, the switch
// tries again; every file before it is back and taken.
func TestUnfinishedRollbackStaysArmed(t *testing.T) {
	n, run, before, after := fixed(t)
	// A link that leads to itself is an error that goes away.
	folder := filepath.Dir(filepath.Join(n.dir, fileOf["scheduler"]))
	away := filepath.Join(n.dir, "away")
	out, log, _, err := n.rollBack(t, gate{take: func(component string) error {
		if component != "apiserver" {
			return nil
		}
		return errors.Join(os.Rename(folder, away), os.Symlink(filepath.Base(folder), folder))
	}}, run, hardener.RollbackOptions{})
	if err == nil || out.State != txn.RollingBack {
		t.Errorf("%+v, %v", out, err)
	}
	if diff := cmp.Diff(append(rollbackSteps[:3:3], "before controllermanager"), log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := errors.Join(os.Remove(folder), os.Rename(away, folder)); err != nil {
		t.Fatal(err)
	}
	now := n.contents(t)
	if now[fileOf["apiserver"]] != before[fileOf["apiserver"]] || now[fileOf["scheduler"]] != after[fileOf["scheduler"]] {
		t.Error("not the newest component, or more than it, is back")
	}
	if _, err := n.store.Recover(); err != nil { // as the switch does
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, n.contents(t)); diff != "" || n.state(t, run) != txn.RolledBack {
		t.Errorf("it is %s; (-want +got)\n%s", n.state(t, run), diff)
	}
}

// TestRollbackArmsForTheRunItUndoes: also when nobody named it.
func TestRollbackArmsForTheRunItUndoes(t *testing.T) {
	n, run, _, _ := fixed(t)
	out, log, _, err := n.rollBack(t, gate{}, run, hardener.RollbackOptions{Run: ""})
	if err != nil || out.ID != run || len(log) != len(rollbackSteps) {
		t.Errorf("%+v, %v, asked %v", out, err, log)
	}
}

// TestRefusedRollbackArmsNothing: what will not begin restarts nothing either.
func TestRefusedRollbackArmsNothing(t *testing.T) {
	n, run, before, after := fixed(t)
	if _, log, _, err := n.rollBack(t, gate{}, "", hardener.RollbackOptions{Run: "20200101T000000Z-abcdef"}); !errors.Is(err, txn.ErrNoRun) || log != nil {
		t.Errorf("no such run: %v, asked %v", err, log)
	}
	file := filepath.Join(n.dir, fileOf["scheduler"])
	if err := os.WriteFile(file, []byte("somebody's"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, log, _, err := n.rollBack(t, gate{}, "", hardener.RollbackOptions{}); !errors.Is(err, txn.ErrChanged) || log != nil {
		t.Errorf("changed since: %v, asked %v", err, log)
	}
	if now := n.contents(t); now[fileOf["apiserver"]] != after[fileOf["apiserver"]] || n.state(t, run) != txn.Committed {
		t.Error("it refused, but changed something")
	}
	broken := errors.New("no systemd")
	_, err := hardener.Rollback(t.Context(), n.store, hardener.RollbackOptions{Force: true, Gate: gate{log: new([]string)}, DeadMan: gate{
		log: new([]string), at: func(string) error { return broken },
	}.deadMan(t, run)})
	if !errors.Is(err, broken) || n.state(t, run) != txn.Committed {
		t.Errorf("no switch: %v, the run is %s", err, n.state(t, run))
	}
	if _, log, _, err := n.rollBack(t, gate{}, run, hardener.RollbackOptions{Force: true}); err != nil || len(log) != len(rollbackSteps) {
		t.Errorf("by force: %v, asked %v", err, log)
	}
	if now := n.contents(t); now[fileOf["scheduler"]] != before[fileOf["scheduler"]] {
		t.Error("by force the file is not back")
	}
	if _, log, _, err := n.rollBack(t, gate{}, run, hardener.RollbackOptions{Run: run}); err == nil || log != nil {
		t.Errorf("a second time: %v, asked %v", err, log)
	}
}

// TestRollbackSaysThatSwitchStays: it is rolled back all the same.
func TestRollbackSaysThatSwitchStays(t *testing.T) {
	n, run, _, _ := fixed(t)
	out, _, said, err := n.rollBack(t, gate{at: func(step string) error {
		if step == "disarm" {
			return errors.New("disarm the dead-man switch: systemd does not answer")
		}
		return nil
	}}, run, hardener.RollbackOptions{})
	if err != nil || out.State != txn.RolledBack {
		t.Errorf("%+v, %v", out, err)
	}
	if last := said[len(said)-1]; !strings.Contains(last, "systemd does not answer") || !strings.Contains(last, "hardener recover") {
		t.Errorf("said %q", last)
	}
}
