package rollout

import (
	"crypto/rand"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// noise is text that cannot be compressed below three quarters.
func noise(n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(rand.Text())
	}
	return b.String()
}

func TestPack(t *testing.T) {
	large := func(diff, evidence, reason int) report.Report {
		r := report.New([]report.Section{{ID: "1", Target: "master", Totals: report.Totals{Fail: 1}, Groups: []report.Group{{ID: "1.1", Results: []report.Result{
			{ID: "1.1.1", Status: check.Fail, Evidence: []string{noise(evidence)}, VerdictReason: noise(reason)},
		}}}}})
		r.Run.Mode = report.Adjudicated
		r.Run.Changes = []report.ChangeSummary{{Path: "/x", Diff: noise(diff)}}
		return r
	}
	const limit = 10_000
	tests := map[string]struct {
		in             report.Report
		diff, evidence bool // are kept
		fails          bool
	}{
		"small":                {large(100, 100, 100), true, true, false},
		"long diffs":           {large(50_000, 100, 100), false, true, false},
		"long evidence":        {large(50_000, 50_000, 100), false, false, false},
		"verdicts are not cut": {large(100, 100, 50_000), false, false, true},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			packed, err := pack(tt.in, limit)
			if tt.fails {
				if err == nil {
					t.Fatal("it fits, without its verdicts")
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if len(packed) > limit {
				t.Errorf("%d bytes", len(packed))
			}
			out, err := unpack(packed)
			if err != nil {
				t.Fatal(err)
			}
			if got := out.Run.Changes[0].Diff != ""; got != tt.diff {
				t.Errorf("diffs are there: %v", got)
			}
			result := out.Controls[0].Groups[0].Results[0]
			if got := result.Evidence != nil; got != tt.evidence {
				t.Errorf("evidence is there: %v", got)
			}
			if cut := !tt.diff; cut != (len(out.Run.Notes) > 0) {
				t.Errorf("notes %q", out.Run.Notes)
			}
			if result.VerdictReason != tt.in.Controls[0].Groups[0].Results[0].VerdictReason || out.Totals != tt.in.Totals {
				t.Error("the verdict is another")
			}
		})
	}
}

func TestUnpackRefuses(t *testing.T) {
	for _, bad := range []string{"", "no gzip", "\x1f\x8b\x08\x00\x00"} {
		if _, err := unpack([]byte(bad)); err == nil {
			t.Errorf("%q is taken for a report", bad)
		}
	}
}

func TestDestination(t *testing.T) {
	d := Destination{"ns", "report-x.y"}
	if got, err := ParseDestination(d.String()); err != nil || got != d {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"", "configmap/x", "secret/a/b", "configmap//b", "configmap/a/", "configmap/a/b/c"} {
		if _, err := ParseDestination(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
