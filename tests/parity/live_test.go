package parity

import (
	"bytes"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
)

// TestFixOnLiveNode fixes a node with real processes: modes and owners are set,
// and nothing is restarted, because the node, which has no network, is not fit for
// it; a second run has nothing to write.
func TestFixOnLiveNode(t *testing.T) {
	needRoot(t)
	hardener, inmate := buildHardener(t)
	program := cell.Private + "/hardener"
	command := func() cell.Command {
		return cell.Command{Argv: []string{program, "fix", "--targets", "master,node,etcd,controlplane", "-o", "json"}}
	}
	outputs := runOn(t, inmate, []cell.Bind{{Source: hardener, Target: program}}, command(), command())
	var reports []report.Report
	for i, o := range outputs {
		if o.Exit != 3 || !bytes.Contains(o.Stderr, []byte("nothing was restarted: the node is not fit for a restart")) {
			t.Fatalf("run %d: exit %d: %s", i+1, o.Exit, o.Stderr)
		}
		r, err := report.Decode(bytes.NewReader(o.Stdout))
		if err != nil {
			t.Fatal(err)
		}
		reports = append(reports, r)
	}
	first, second := reports[0], reports[1]
	applied, refused := 0, 0
	for section, result := range first.Results() {
		if result.Fix == nil {
			continue
		}
		key := fix.Key(section.Target, result.ID)
		switch result.Fix.State {
		case fix.Applied:
			applied++
			if result.Fix.Risk != fix.RiskFiles || result.Status != check.Pass {
				t.Errorf("%s: made with risk %s, and then %s", key, result.Fix.Risk, result.Status)
			}
		case fix.Refused:
			refused++
			if result.Fix.Diff == "" {
				t.Errorf("%s: refused without showing the change", key)
			}
		case fix.Planned, fix.Undone:
			t.Errorf("%s: left %s", key, result.Fix.State)
		}
	}
	if applied == 0 || refused == 0 {
		t.Errorf("%d fixes made and %d refused; want some of both", applied, refused)
	}
	for _, change := range first.Run.Changes {
		if change.Kind != fix.Meta {
			t.Errorf("made on a live node: %s of %s", change.Kind, change.Path)
		}
	}
	if n := len(second.Run.Changes); n != 0 {
		t.Errorf("the second run made %d changes: %+v", n, second.Run.Changes)
	}
}
