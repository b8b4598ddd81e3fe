package report

import (
	"fmt"
	"io"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// kubeBench writes the text that kube-bench writes without further options
// (cmd/common.go:167-249): per section its checks, the remediations and a
// summary, and a summary of all in the end.
func (r Report) kubeBench(w io.Writer, s Style) {
	for _, section := range r.Controls {
		mark(w, s, check.Info, section.ID+" "+section.Text)
		for _, g := range section.Groups {
			mark(w, s, check.Info, g.ID+" "+g.Text)
			for _, res := range g.Results {
				mark(w, s, res.Status, res.ID+" "+res.Text)
			}
		}
		fmt.Fprintln(w)
		remediations(w, s, section)
		kubeBenchSummary(w, s, section.Totals, section.Target)
	}
	kubeBenchSummary(w, s, r.Totals, "total")
}

func mark(w io.Writer, s Style, state check.State, text string) {
	fmt.Fprintf(w, "%s%s\n", s.state(state, "["+string(state)+"] "), text)
}

func remediations(w io.Writer, s Style, section Section) {
	if section.Fail == 0 && section.Warn == 0 {
		return
	}
	fmt.Fprint(w, s.state(check.Warn, "== Remediations "+section.Target+" ==\n"))
	for _, g := range section.Groups {
		for _, res := range g.Results {
			switch {
			case res.Status == check.Warn && res.Reason != "" && res.Type != "manual":
				fmt.Fprintf(w, "%s audit test did not run: %s\n", res.ID, res.Reason)
			case res.Status == check.Warn || res.Status == check.Fail:
				fmt.Fprintf(w, "%s %s\n", res.ID, res.Remediation)
			}
		}
	}
	fmt.Fprintln(w)
}

func kubeBenchSummary(w io.Writer, s Style, t Totals, name string) {
	worst := check.Pass
	switch {
	case t.Fail > 0:
		worst = check.Fail
	case t.Warn > 0:
		worst = check.Warn
	}
	fmt.Fprint(w, s.state(worst, "== Summary "+name+" ==\n"))
	fmt.Fprintf(w, "%d checks PASS\n%d checks FAIL\n%d checks WARN\n%d checks INFO\n\n", t.Pass, t.Fail, t.Warn, t.Info)
}
