package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// changes are what a fix made of the checks and of the node.
func (p page) changes(r Report) {
	if r.Run.Command != "fix" {
		return
	}
	p.movements(r)
	if len(r.Run.Changes) == 0 {
		p.heading("", "Nothing to change.")
		return
	}
	files := plural(len(r.Run.Changes), "change")
	if r.Run.DryRun {
		p.heading("", "%s planned, none made (--dry-run)", files)
	} else {
		p.heading("", "%s made%s", files, runState(r.Run))
	}
	component := ""
	for _, c := range r.Run.Changes {
		if c.Component != component {
			component = c.Component
			p.line("  %s", p.style.paint(ansiBold, oneLine(component)))
			if c.Refused != "" {
				p.block("    not made: ", ansiYellow, oneLine(c.Refused))
			}
		}
		p.change(c, r.Run.DryRun || p.style.Verbose)
	}
	p.keep(r)
}

// maxLines is how many lines of a variable's value are shown.
const maxLines = 8

// keep are the Kubespray variables without which the next playbook run takes
// back what was changed, each with the checks it stands for: those of the releases
// that the node may have.
func (p page) keep(r Report) {
	wanted := fix.Applied
	if r.Run.DryRun {
		wanted = fix.Planned
	}
	type pair struct{ name, value string }
	var order []fix.Variable
	checks := map[pair][]string{}
	for _, res := range r.Results() {
		if res.Fix == nil || res.Fix.State != wanted {
			continue
		}
		for _, v := range res.Fix.Variables {
			if release := r.Layout.Kubespray; release != nil {
				if _, may := v.In(*release); !may {
					continue
				}
			}
			k := pair{v.Name, v.Value}
			if checks[k] == nil {
				order = append(order, v)
			}
			checks[k] = append(checks[k], res.ID)
		}
	}
	if len(order) == 0 {
		return
	}
	p.heading("", "Kubespray variables that keep these changes through its next run")
	for _, v := range order {
		lines := strings.Split(strings.TrimRight(printable(v.Name+": "+v.Value), "\n"), "\n")
		if more := len(lines) - maxLines; more > 1 {
			lines = append(lines[:maxLines], fmt.Sprintf("... and %d lines more: hardener vars has them", more))
		}
		for i, l := range lines {
			l = strings.TrimRight(l, " ")
			if i == 0 {
				l = p.style.paint(ansiBold, l)
			}
			p.line("  %s", l)
		}
		why := "for " + strings.Join(checks[pair{v.Name, v.Value}], ", ")
		if v.Since != "" {
			why += "; Kubespray " + v.Releases()
		}
		if v.Note != "" {
			why += "; " + v.Note
		}
		p.block("      ", "", oneLine(why))
	}
}

func runState(run RunInfo) string {
	s := ""
	if run.ID != "" {
		s = " in run " + oneLine(run.ID)
	}
	if run.State != "" {
		s += " (" + oneLine(run.State) + ")"
	}
	return s
}

// movements are the checks whose verdict changed.
func (p page) movements(r Report) {
	var n int
	for _, res := range r.Results() {
		if !res.moved() {
			continue
		}
		if n++; n == 1 {
			p.heading("", "Before and after")
		}
		head := fmt.Sprintf("  %s -> %s  %-7s ", res.StatusBefore, res.Status, oneLine(res.ID))
		p.block(head, colourOf(res.Status), title(res.Text))
	}
}

func (r Result) moved() bool { return r.StatusBefore != "" && r.StatusBefore != r.Status }

func colourOf(s check.State) string {
	switch s {
	case check.Pass:
		return ansiGreen
	case check.Fail:
		return ansiRed
	case check.Warn:
		return ansiYellow
	}
	return ansiBlue
}

// change writes one change. Those of mode and owner fit on the line of the path.
func (p page) change(c ChangeSummary, whole bool) {
	ids := make([]string, len(c.Checks))
	for i, k := range c.Checks {
		_, id, _ := strings.Cut(k, "/")
		ids[i] = id
	}
	t := oneLine(c.Path)
	if len(ids) > 0 {
		t += " for " + oneLine(strings.Join(ids, ", "))
	}
	p.block(fmt.Sprintf("    %-5s ", c.Kind), ansiBlue, t)
	switch diff := strings.TrimRight(printable(c.Diff), "\n"); {
	case diff == "":
	case c.Kind != fix.Write:
		p.block("          ", "", oneLine(diff))
	case whole:
		for l := range strings.SplitSeq(diff, "\n") {
			p.line("          %s", p.diffLine(l))
		}
	}
}

// diffLine colours one line of a unified diff.
func (p page) diffLine(l string) string {
	switch {
	case strings.HasPrefix(l, "+++"), strings.HasPrefix(l, "---"):
		return p.style.paint(ansiBold, l)
	case strings.HasPrefix(l, "+"):
		return p.style.paint(ansiGreen, l)
	case strings.HasPrefix(l, "-"):
		return p.style.paint(ansiRed, l)
	case strings.HasPrefix(l, "@@"):
		return p.style.paint(ansiDim, l)
	}
	return l
}

// next hints at what to run now.
func (p page) next(r Report) {
	hint := nextStep(r)
	if hint == "" {
		return
	}
	p.line("")
	p.block("Next: ", ansiBold, hint)
}

func nextStep(r Report) string {
	count := map[fix.State]int{}
	above := map[fix.Risk]int{}
	for _, res := range r.Results() {
		if res.Fix != nil && res.Status != check.Pass {
			count[res.Fix.State]++
			if res.Fix.State == fix.AboveRisk {
				above[res.Fix.Risk]++
			}
		}
	}
	switch {
	case r.Run.Command == "fix" && r.Run.DryRun && len(r.Run.Changes) > 0 && !slices.ContainsFunc(r.Run.Changes, func(c ChangeSummary) bool { return c.Kind != fix.Restart }):
		return "hardener fix restarts what has not read its files; nothing is written, so that there is nothing to roll back."
	case r.Run.Command == "fix" && r.Run.DryRun && len(r.Run.Changes) > 0:
		return "hardener fix makes these changes; without --dry-run each can be undone with hardener rollback."
	case r.Run.Command == "fix" && !r.Run.DryRun && r.Run.ID != "" && len(r.Run.Changes) > 0:
		return fmt.Sprintf("hardener rollback --run %s takes this run back.", oneLine(r.Run.ID))
	case r.Run.Command == "check" && count[fix.Planned] > 0:
		return fmt.Sprintf("hardener fix --dry-run shows what it would change for %s; hardener fix changes it.", plural(count[fix.Planned], "check"))
	case above[fix.RiskWorkload] > 0:
		return fmt.Sprintf("hardener fix --max-risk %s would also take on %s, which may change how workloads behave.", fix.RiskWorkload, plural(above[fix.RiskWorkload], "check"))
	}
	return ""
}
