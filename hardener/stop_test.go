package hardener_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// Here is what a fix leaves behind at each place where it can stop: the files, the
// dead-man switch, the run, and what the report says of them.

// once gives the error of f the first time that a step comes.
func once(at string, f func() error) func(string) error {
	return func(step string) error {
		if step != at {
			return nil
		}
		at = ""
		return f()
	}
}

// asBefore checks which components have their old files and that the others have
// others.
func (n testNode) asBefore(t *testing.T, before map[string]string, old ...string) {
	t.Helper()
	now := n.contents(t)
	for component, file := range fileOf {
		if got, want := now[file] == before[file], slices.Contains(old, component); got != want {
			t.Errorf("%s of %s is as before: %v, want %v", file, component, got, want)
		}
	}
}

var everyComponent = []string{"kubelet", "scheduler", "controllermanager", "apiserver"}

// tells checks that a report of a run that stopped leaves nothing open, and
// whether it says all of some texts.
func tells(t *testing.T, r report.Report, texts ...string) {
	t.Helper()
	if r.Run.State != "stopped" {
		t.Errorf("the report's state is %q", r.Run.State)
	}
	notes := strings.Join(r.Run.Notes, "\n")
	for _, text := range texts {
		if !strings.Contains(notes, text) {
			t.Errorf("the report's notes do not say %q: %s", text, notes)
		}
	}
	for _, result := range r.Results() {
		if result.Fix != nil && result.Fix.State == fix.Planned {
			t.Errorf("check %s: the report says no more than %s", result.ID, result.Fix.State)
		}
	}
}

// reopen gives the node's store again and recovers, as the next fix or the
// dead-man switch does.
func (n *testNode) reopen(t *testing.T) []txn.Outcome {
	t.Helper()
	n.store.Close()
	store, err := txn.Open(n.tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	n.store = store
	outcomes, err := store.Recover()
	if err != nil {
		t.Fatal(err)
	}
	return outcomes
}

// TestInterrupted: wherever a run is interrupted, nothing unproven stays, the
// switch is disarmed, and nothing is remembered as having failed.
func TestInterrupted(t *testing.T) {
	for _, at := range []string{
		"fit " + strings.Join(everyComponent, " "), "arm", "before kubelet", "before scheduler", "take kubelet", "take scheduler",
		"soak " + strings.Join(everyComponent, " "),
	} {
		t.Run(at, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n, log := gated(t, gate{at: once(at, func() error { cancel(); return ctx.Err() }), cancellable: true})
			before := n.contents(t)
			fixed, err := hardener.Fix(ctx, n.options, n.fix)
			if !errors.Is(err, context.Canceled) {
				t.Fatalf("error %v, want %v", err, context.Canceled)
			}
			n.asBefore(t, before, everyComponent...)
			armed := slices.Contains(*log, "arm") && at != "arm"
			if disarmed := (*log)[len(*log)-1] == "disarm"; disarmed != armed {
				t.Errorf("asked %v", *log)
			}
			if remembered, err := txn.Failures(n.tree); err != nil || remembered != nil {
				t.Errorf("remembered: %v, %v", remembered, err)
			}
			tells(t, fixed.After, context.Canceled.Error())
			if state := n.state(t, fixed.After.Run.ID); state != txn.Committed {
				t.Errorf("the run of the files is %s", state)
			}
		})
	}
}

// TestStoppedBeforeItsEdit: what is not fit changes nothing of its own and ends
// the run; what was proven before is watched and stays.
func TestStoppedBeforeItsEdit(t *testing.T) {
	boom := errors.New("its container restarts")
	n, log := gated(t, gate{at: once("before scheduler", func() error { return boom })})
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want the gate's", err)
	}
	want := []string{"fit " + strings.Join(everyComponent, " "), "arm", "before kubelet", "take kubelet", "before scheduler", "soak kubelet", "disarm"}
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	n.asBefore(t, before, everyComponent[1:]...)
	tells(t, fixed.After, "scheduler: nothing of it was changed: "+boom.Error())
	if count := states(fixed.After); count[fix.Undone] != 0 || count[fix.Refused] == 0 || count[fix.Applied] == 0 {
		t.Errorf("the report does not tell: %v", count)
	}
	for _, result := range fixed.After.Results() {
		if d := result.Fix; d != nil && d.State == fix.Refused && slices.Equal(d.Paths, []string{"/" + fileOf["apiserver"]}) && !strings.Contains(d.Reason, "scheduler") {
			t.Errorf("%s: refused for %q", result.ID, d.Reason)
		}
	}
}

// TestStuckGroupIsLeftToRecovery: what cannot be put back is never committed, and
// the switch stays armed. The recovery then undoes it and all that rests unproven
// below it.
func TestStuckGroupIsLeftToRecovery(t *testing.T) {
	boom := errors.New("the scheduler is not healthy")
	n, log := gated(t, gate{})
	n.fix.Gate = gate{log: log, at: once("take scheduler", func() error {
		lead(t, n, true)
		return boom
	})}
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want the gate's", err)
	}
	if last := (*log)[len(*log)-1]; last != "take scheduler" {
		t.Errorf("after what could not be undone: %v", *log)
	}
	lead(t, n, false)
	n.asBefore(t, before, "controllermanager", "apiserver")
	tells(t, fixed.After, "scheduler: ", boom.Error(), "is unfinished")
	for _, change := range fixed.After.Run.Changes {
		if change.Component != fix.FilesGroup {
			t.Errorf("the report says that %s of %s stays", change.Path, change.Component)
		}
	}
	if state := n.state(t, fixed.After.Run.ID); state != txn.Unfinished {
		t.Errorf("the run is %s", state)
	}
	if out := n.reopen(t); len(out) != 1 || out[0].State != txn.Committed { // of the files group
		t.Errorf("recovered: %+v", out)
	}
	n.asBefore(t, before, everyComponent...)
}

// lead exchanges the manifests' folder for a link that leads to itself, an error that goes
// away, and back.
func lead(t *testing.T, n testNode, astray bool) {
	t.Helper()
	folder, away := filepath.Join(n.dir, filepath.Clean(manifests)), filepath.Join(n.dir, "away")
	err := errors.Join(os.Remove(folder), os.Rename(away, folder))
	if astray {
		err = errors.Join(os.Rename(folder, away), os.Symlink(filepath.Base(folder), folder))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestLostFileEndsItsGroup: a file whose backup is gone is left and named; the
// component takes it, and what was proven before stays.
func TestLostFileEndsItsGroup(t *testing.T) {
	boom := errors.New("the scheduler is not healthy")
	n, log := gated(t, gate{})
	n.fix.Gate = gate{log: log, at: once("take scheduler", func() error {
		backups, err := filepath.Glob(filepath.Join(n.dir, txn.StateDir, "runs/*/backup/*"))
		if err != nil || len(backups) == 0 {
			t.Errorf("%v, %v", backups, err)
		}
		if err := os.Remove(backups[len(backups)-1]); err != nil {
			t.Error(err)
		}
		return boom
	})}
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) || !errors.Is(err, txn.ErrLost) {
		t.Fatalf("error %v, want the gate's and %v", err, txn.ErrLost)
	}
	if tail := strings.Join((*log)[len(*log)-4:], ", "); tail != "take scheduler, take scheduler, soak kubelet, disarm" {
		t.Errorf("asked %v", *log)
	}
	n.asBefore(t, before, "controllermanager", "apiserver")
	tells(t, fixed.After, "/"+fileOf["scheduler"]+" (its backup ")
	runs, err := n.store.Runs()
	if err != nil || len(runs) != 1 || runs[0].State != txn.Committed || len(runs[0].Lost) != 1 || runs[0].Lost[0].Component != "scheduler" {
		t.Errorf("%+v, %v", runs, err)
	}
}

// TestForeignChangeDuringProof: somebody else's file is left as it is; the
// component takes it, and what was proven before is not lost over it.
func TestForeignChangeDuringProof(t *testing.T) {
	boom := errors.New("the scheduler is not healthy")
	n, log := gated(t, gate{})
	file := filepath.Join(n.dir, fileOf["scheduler"])
	n.fix.Gate = gate{log: log, at: once("take scheduler", func() error {
		if err := os.WriteFile(file, []byte("somebody's"), 0o600); err != nil {
			t.Error(err)
		}
		return boom
	})}
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) || !errors.Is(err, txn.ErrChanged) {
		t.Fatalf("error %v, want the gate's and %v", err, txn.ErrChanged)
	}
	want := []string{"take scheduler", "take scheduler", "soak kubelet", "disarm"}
	if diff := cmp.Diff(want, (*log)[len(*log)-len(want):]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	n.asBefore(t, before, "controllermanager", "apiserver")
	if now, err := os.ReadFile(file); err != nil || string(now) != "somebody's" {
		t.Errorf("the foreign file became %q, %v", now, err)
	}
	tells(t, fixed.After, "/"+fileOf["scheduler"])
	if state := n.state(t, fixed.After.Run.ID); state != txn.Committed {
		t.Errorf("the run is %s", state)
	}
}

// TestNothingToUndo: a group whose files somebody else has made as planned is not
// undone when its proof fails, nor is the group before it.
func TestNothingToUndo(t *testing.T) {
	other, _, _, after := fixed(t)
	boom := errors.New("the scheduler is not healthy")
	n, log := gated(t, gate{})
	file := fileOf["scheduler"]
	n.fix.Gate = gate{log: log, at: func(step string) error {
		switch step {
		case "before scheduler":
			data, err := os.ReadFile(filepath.Join(other.dir, file))
			if err == nil {
				err = os.WriteFile(filepath.Join(n.dir, file), data, 0o600)
			}
			if err != nil {
				t.Error(err)
			}
		case "take scheduler":
			return boom
		}
		return nil
	}}
	before := n.contents(t)
	_, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) || !strings.Contains(err.Error(), "as planned already") {
		t.Fatalf("error %v, want the gate's", err)
	}
	n.asBefore(t, before, "controllermanager", "apiserver")
	if now := n.contents(t); now[file] != after[file] {
		t.Errorf("%s is not as somebody else made it", file)
	}
	if tail := (*log)[len(*log)-2:]; !slices.Equal(tail, []string{"soak kubelet", "disarm"}) {
		t.Errorf("asked %v", *log)
	}
}

// TestKeepFails: what cannot be recorded as proven is not: it goes back, at the
// latest by the switch, which stays armed until it has.
func TestKeepFails(t *testing.T) {
	n, log := gated(t, gate{})
	n.fix.Gate = gate{log: log, at: once("soak "+strings.Join(everyComponent, " "), func() error { return n.store.Close() })}
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err == nil {
		t.Fatal("no error")
	}
	if slices.Contains(*log, "disarm") {
		t.Errorf("the switch is disarmed: %v", *log)
	}
	tells(t, fixed.After, "keep: ", "is unfinished")
	if out := n.reopen(t); len(out) != 1 {
		t.Errorf("recovered: %+v", out)
	}
	n.asBefore(t, before, everyComponent...)
}

// TestCommitFails: what is proven stays, and the next one ends the run.
func TestCommitFails(t *testing.T) {
	n, log := gated(t, gate{})
	n.fix.DeadMan = gate{log: log, at: once("disarm", func() error { return n.store.Close() })}.deadMan(t, "")
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err == nil || !strings.Contains(err.Error(), "commit: ") {
		t.Fatalf("error %v, want the commit's", err)
	}
	if count := states(fixed.After); count[fix.Undone] != 0 || count[fix.Applied] == 0 {
		t.Errorf("the report does not tell: %v", count)
	}
	tells(t, fixed.After, "commit: ", "stays")
	if out := n.reopen(t); len(out) != 1 || out[0].State != txn.Committed || out[0].ID != fixed.After.Run.ID {
		t.Errorf("recovered: %+v, the report names run %q", out, fixed.After.Run.ID)
	}
	n.asBefore(t, before)
}

// TestOldRunStays: that an old run cannot be removed does not make a fix fail.
func TestOldRunStays(t *testing.T) {
	n, _ := gated(t, gate{})
	var oldest string
	for i := range 20 {
		run, err := n.store.Begin(txn.RunInfo{})
		if err != nil {
			t.Fatal(err)
		}
		err = run.Apply(t.Context(), []txn.Change{{
			Kind: txn.Write, Path: fmt.Sprintf("/etc/old-%d", i), Mode: 0o600, UID: os.Getuid(), GID: os.Getgid(), Expect: txn.State{Absent: true},
		}})
		if err == nil {
			err = run.Commit()
		}
		if err != nil {
			t.Fatal(err)
		}
		if oldest == "" {
			oldest = run.ID()
		}
	}
	// In the way of the oldest run's removal.
	if err := os.MkdirAll(filepath.Join(n.dir, txn.StateDir, "runs/.removed-"+oldest, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(fixed.After.Run.Notes, "\n"); fixed.After.Run.State != "committed" || !strings.Contains(notes, oldest) {
		t.Errorf("state %q, notes %q", fixed.After.Run.State, notes)
	}
}

// TestSwitchThatStays is a note with what to do, and hides no success.
func TestSwitchThatStays(t *testing.T) {
	n, log := gated(t, gate{})
	n.fix.DeadMan = gate{log: log, at: once("disarm", func() error {
		return errors.New("disarm the dead-man switch: systemd does not answer")
	})}.deadMan(t, "")
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	notes := strings.Join(fixed.After.Run.Notes, "\n")
	if fixed.After.Run.State != "committed" || !strings.Contains(notes, "systemd does not answer") || !strings.Contains(notes, "hardener recover") {
		t.Errorf("state %q, notes %q", fixed.After.Run.State, notes)
	}
	n.asBefore(t, before)
}

// TestSwitchGuardsEveryEdit: no file of a component changes before the switch is
// armed, and when it is disarmed all that is there is proven.
func TestSwitchGuardsEveryEdit(t *testing.T) {
	for name, soak := range map[string]error{"proven": nil, "failed": errors.New("killed")} {
		t.Run(name, func(t *testing.T) {
			n, log := gated(t, gate{})
			before := n.contents(t)
			n.fix.Gate = gate{log: log, soak: soak}
			n.fix.DeadMan = gate{log: log, at: func(step string) error {
				old := everyComponent
				if step == "disarm" && soak == nil {
					old = nil
				}
				n.asBefore(t, before, old...)
				return nil
			}}.deadMan(t, "")
			fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
			if !errors.Is(err, soak) {
				t.Fatal(err)
			}
			if (*log)[1] != "arm" || (*log)[len(*log)-1] != "disarm" {
				t.Errorf("asked %v", *log)
			}
			if soak != nil {
				tells(t, fixed.After, "not healthy for long: killed", "restored: "+strings.Join(everyComponent, ", "))
			}
		})
	}
}

// TestTimeForOneComponent: a fix of one component has time for it to fail.
func TestTimeForOneComponent(t *testing.T) {
	n, log := gated(t, gate{})
	n.options.Checks = []string{"1.4.1"}
	if _, err := hardener.Fix(t.Context(), n.options, n.fix); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fit scheduler", "arm", "before scheduler", "take scheduler", "soak scheduler", "disarm"}, *log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestUnreadableFailuresAreReplaced: what fails now is remembered although what
// failed before cannot be read.
func TestUnreadableFailuresAreReplaced(t *testing.T) {
	n, _ := gated(t, gate{take: func(string) error { return errors.New("not healthy") }})
	if err := os.WriteFile(filepath.Join(n.dir, txn.StateDir, "failures.json"), []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err == nil || strings.Contains(err.Error(), "torn") || strings.Contains(err.Error(), "failed changes") {
		t.Errorf("error %v, want only the gate's", err)
	}
	tells(t, fixed.After, "kubelet: not healthy")
	if remembered, err := txn.Failures(n.tree); err != nil || len(remembered) != 1 || remembered[0].Component != "kubelet" {
		t.Errorf("remembered: %+v, %v", remembered, err)
	}
}
