package hardener_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

const readOnlyPort = "4.2.4"

// unread is a node whose kubelet has not read that its file closes the read-only
// port. Restarted by the gate, it has.
func unread(t *testing.T, g gate) (n testNode, log *[]string) {
	t.Helper()
	n, log = gated(t, g)
	n.options.Times, n.options.Checks = true, []string{readOnlyPort}
	n.fix.Pending = pending("readOnlyPort")
	n.edit(t, kubeletConfig, "readOnlyPort: 10255", "readOnlyPort: 0")
	n.start(t, time.Now().Add(-time.Hour))
	return n, log
}

// pending is what a kubelet says that it has otherwise than its file.
func pending(fields ...string) func(string) (map[string]string, error) {
	return func(string) (map[string]string, error) {
		differ := map[string]string{}
		for _, f := range fields {
			differ[f] = f + " differs"
		}
		return differ, nil
	}
}

func (n testNode) edit(t *testing.T, name, from, to string) {
	t.Helper()
	file := filepath.Join(n.dir, name)
	data, err := os.ReadFile(file)
	if err == nil && !strings.Contains(string(data), from) {
		err = fmt.Errorf("%s has no %q", name, from)
	}
	if err == nil {
		err = os.WriteFile(file, []byte(strings.ReplaceAll(string(data), from, to)), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// start has all processes of the node started at a time. What else is there is older.
func (n testNode) start(t *testing.T, at time.Time) {
	t.Helper()
	if err := sample.RenderProcesses(n.dir); err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join(n.dir, "proc/stat")
	data, err := os.ReadFile(stat)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(data), "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, "btime ") {
			lines[i] = fmt.Sprintf("btime %d", at.Unix())
		}
	}
	if err := os.WriteFile(stat, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	processes, err := filepath.Glob(filepath.Join(n.dir, "proc/[0-9]*/stat"))
	if err != nil || len(processes) == 0 {
		t.Fatal(processes, err)
	}
	for _, file := range processes {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		head, rest, _ := strings.Cut(string(data), ") ")
		fields := strings.Fields(rest)
		fields[19] = "0" // ticks after boot
		if err := os.WriteFile(file, []byte(head+") "+strings.Join(fields, " ")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"etc/kubernetes/kubelet.env", "etc/systemd/system/kubelet.service", "etc/kubernetes/kubescheduler-config.yaml", "etc/etcd.env", "etc/systemd/system/etcd.service"} {
		long := at.Add(-24 * time.Hour)
		if err := os.Chtimes(filepath.Join(n.dir, file), long, long); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func result(t *testing.T, r report.Report, id string) report.Result {
	t.Helper()
	for _, found := range r.Results() {
		if found.ID == id {
			return *found
		}
	}
	t.Fatalf("the report has no %s", id)
	return report.Result{}
}

// TestUnreadFileIsRead: the component is restarted as after any change, nothing is
// written, and a second fix has nothing to do.
func TestUnreadFileIsRead(t *testing.T) {
	var n testNode
	n, log := unread(t, gate{take: func(string) error { n.start(t, time.Now().Add(time.Second)); return nil }})
	before := n.contents(t)

	dry := n.fix
	dry.DryRun = true
	planned, err := hardener.Fix(t.Context(), n.options, dry)
	if err != nil || len(*log) != 0 {
		t.Fatalf("a dry run asks %v, %v", *log, err)
	}
	changes := planned.After.Run.Changes
	if len(changes) != 1 || changes[0].Kind != fix.Restart || changes[0].Diff != "restart kubelet: it has not read /etc/kubernetes/kubelet-config.yaml (readOnlyPort differs)" {
		t.Errorf("a dry run shows %+v", changes)
	}
	if r := result(t, planned.After, readOnlyPort); r.Status != check.Warn || r.Fix.State != fix.Planned {
		t.Errorf("before the restart: %s, %+v", r.Status, r.Fix)
	}

	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"fit kubelet", "before kubelet", "take kubelet", "soak kubelet"}, *log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	run := fixed.After.Run
	if run.ID != "" || run.State != "restarted" || len(run.Changes) != 1 || !slices.ContainsFunc(run.Notes, func(s string) bool { return strings.Contains(s, "nothing of this can be rolled back") }) {
		t.Errorf("run %+v", run)
	}
	if r := result(t, fixed.After, readOnlyPort); r.Status != check.Pass || r.StatusBefore != check.Warn || r.Fix != nil && r.Fix.State != fix.Applied {
		t.Errorf("after the restart: %s, before %s, %+v", r.Status, r.StatusBefore, r.Fix)
	}
	if diff := cmp.Diff(before, n.contents(t)); diff != "" {
		t.Errorf("files changed (-before +after)\n%s", diff)
	}
	if runs, err := n.store.Runs(); err != nil || len(runs) != 0 {
		t.Errorf("runs on record: %+v, %v", runs, err)
	}
	if _, err := hardener.Rollback(t.Context(), n.store, hardener.RollbackOptions{Gate: n.fix.Gate}); err == nil || !strings.Contains(err.Error(), "no such run") {
		t.Errorf("a rollback: %v", err)
	}

	*log = nil
	second, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil || len(*log) != 0 || second.After.Run.State != "unchanged" {
		t.Errorf("the second fix asks %v, state %q, %v", *log, second.After.Run.State, err)
	}
}

// TestOtherPendingSettings: what no check asks for is not put into force, neither
// by a restart alone nor by that for a change.
func TestOtherPendingSettings(t *testing.T) {
	mute := errors.New("no credentials")
	for name, c := range map[string]struct {
		pending func(string) (map[string]string, error)
		edit    func(n testNode)
		checks  []string
		state   fix.State
		says    string
	}{
		"another field":      {pending: pending("maxPods", "readOnlyPort"), state: fix.Manual, says: "maxPods differs"},
		"cannot be asked":    {pending: func(string) (map[string]string, error) { return nil, mute }, state: fix.Manual, says: "cannot be asked: no credentials"},
		"all is in force":    {pending: pending(), state: fix.Manual, says: "every setting of it in force"},
		"beside our change":  {pending: pending("maxPods"), checks: []string{"4.2.6"}, state: fix.Refused, says: "maxPods differs"},
		"two checks ask":     {pending: pending("authentication.anonymous.enabled", "readOnlyPort"), checks: []string{readOnlyPort, "4.2.1"}, state: fix.Planned},
		"a flag of the unit": {pending: pending("readOnlyPort"), edit: func(n testNode) { n.edit(t, "etc/kubernetes/kubelet.env", "--v=2", "--v=4") }, state: fix.Manual, says: "--v"},
	} {
		t.Run(name, func(t *testing.T) {
			n, log := unread(t, gate{})
			n.fix.Pending, n.fix.DryRun = c.pending, c.state == fix.Planned
			if c.edit != nil {
				c.edit(n)
			}
			if c.checks != nil {
				n.options.Checks = c.checks
			}
			before := n.contents(t)
			fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
			if err != nil || len(*log) != 0 {
				t.Fatalf("asked %v, %v", *log, err)
			}
			r := result(t, fixed.After, n.options.Checks[0])
			if r.Fix == nil || r.Fix.State != c.state || !strings.Contains(r.Fix.Reason, c.says) {
				t.Fatalf("%+v, want %s with %q", r.Fix, c.state, c.says)
			}
			if (c.state == fix.Refused || c.says == "--v") && !strings.Contains(r.Fix.Reason, "systemctl daemon-reload && systemctl restart kubelet") {
				t.Errorf("no command: %s", r.Fix.Reason)
			}
			if diff := cmp.Diff(before, n.contents(t)); diff != "" {
				t.Errorf("files changed (-before +after)\n%s", diff)
			}
		})
	}
}

// TestFailedRestartOfUnread: nothing is taken back, as there is nothing, which is
// said; the restart is not tried again before the file changes.
func TestFailedRestartOfUnread(t *testing.T) {
	boom := errors.New("the kubelet does not come up")
	for name, g := range map[string]gate{
		"take": {take: func(string) error { return boom }},
		"soak": {soak: boom},
	} {
		t.Run(name, func(t *testing.T) {
			n, log := unread(t, g)
			fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
			if !errors.Is(err, boom) || !strings.Contains(err.Error(), "nothing was written, so that nothing can be put back") {
				t.Fatalf("error %v", err)
			}
			want := []string{"fit kubelet", "before kubelet", "take kubelet"}
			if name == "soak" {
				want = append(want, "soak kubelet")
			}
			if diff := cmp.Diff(want, *log); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if r := result(t, fixed.After, readOnlyPort); r.Fix == nil || r.Fix.State != fix.Manual || !strings.Contains(r.Fix.Reason, boom.Error()) || fixed.After.Run.State != "stopped" {
				t.Errorf("%+v, state %q", r.Fix, fixed.After.Run.State)
			}
			*log = nil
			if n.fix.Failed, err = txn.Failures(n.tree); err != nil || len(n.fix.Failed) != 1 {
				t.Fatalf("remembered: %v, %v", n.fix.Failed, err)
			}
			again, err := hardener.Fix(t.Context(), n.options, n.fix)
			if r := result(t, again.After, readOnlyPort); err != nil || len(*log) != 0 || r.Fix.State != fix.Refused {
				t.Errorf("the next fix asks %v, %v: %+v", *log, err, r.Fix)
			}
		})
	}
}
