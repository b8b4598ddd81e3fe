package report

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// findings are the checks that fail and then those that need a person.
func (p page) findings(r Report) {
	left := ""
	if r.Run.Command == "fix" && !r.Run.DryRun {
		left = "Left: "
	}
	if r.Totals.Fail > 0 {
		p.heading(check.Fail, "%s%s FAIL", left, plural(r.Totals.Fail, "check"))
		p.each(r, check.Fail)
	}
	if r.Totals.Warn > 0 {
		p.heading(check.Warn, "%s%s WARN: a person has to look", left, plural(r.Totals.Warn, "check"))
		p.each(r, check.Warn)
	}
}

func (p page) each(r Report, state check.State) {
	p.grouped(r, func(res Result) bool { return res.Status == state }, p.results)
}

// grouped writes the results that are wanted below the names of their groups,
// without which some titles do not say which component they are about.
func (p page) grouped(r Report, wanted func(Result) bool, write func([]Result)) {
	for _, s := range r.Controls {
		for _, g := range s.Groups {
			var chosen []Result
			for _, res := range g.Results {
				if wanted(res) {
					chosen = append(chosen, res)
				}
			}
			if len(chosen) > 0 {
				p.block("  ", "", p.style.paint(ansiDim, oneLine(g.ID+" "+g.Text)))
				write(chosen)
			}
		}
	}
}

// results writes checks, each with its details; those of neighbours that have
// nothing but the same decision are written once, below the last of them.
func (p page) results(all []Result) {
	for i, res := range all {
		p.head(res)
		if !p.style.Brief && (i+1 == len(all) || !alike(res, all[i+1])) {
			p.details(res)
		}
	}
}

// alike says whether two manual checks differ in nothing but their title.
func alike(a, b Result) bool {
	plain := func(r Result) bool {
		return r.Type == "manual" && r.VerdictReason == "" && len(r.Evidence) == 0 && r.KubeBenchStatus == a.KubeBenchStatus
	}
	return plain(a) && plain(b) && reflect.DeepEqual(a.Fix, b.Fix)
}

// head writes number and title of a check.
func (p page) head(res Result) {
	p.block(fmt.Sprintf("  %-7s ", oneLine(res.ID)), ansiBold, title(res.Text))
}

// details writes what is known about a check.
func (p page) details(res Result) {
	detail := func(label, code, t string) {
		if t = oneLine(t); t != "" {
			p.block(fmt.Sprintf("          %-10s ", label), code, t)
		}
	}
	if res.VerdictReason != "" {
		detail("why", ansiDim, res.VerdictReason)
	} else if res.Type != "manual" && res.Status != check.Pass {
		p.found(res, detail)
	}
	p.evidence(res, detail)
	if res.KubeBenchStatus != "" && res.KubeBenchStatus != res.Status {
		detail("kube-bench", ansiDim, string(res.KubeBenchStatus))
	}
	if res.Fix != nil && res.Status != check.Pass {
		p.decision(*res.Fix, detail)
	}
}

// longValue is the length up to which an actual value is shown. Above it, it is
// a whole line of ps, in which nobody finds the one flag.
const longValue = 120

func (p page) found(res Result, detail func(label, code, t string)) {
	if res.Reason != "" {
		detail("why", ansiDim, shorten(oneLine(auditError(res.Reason)), 2*p.style.width()))
		return
	}
	a := strings.TrimSpace(res.Actual)
	if res.Multiple {
		a = distinct(a)
	}
	if len(a) > longValue {
		a = flags(a, res.Expected)
	}
	detail("found", ansiDim, a)
	detail("wanted", ansiDim, shorten(oneLine(res.Expected), 2*p.style.width()))
}

// auditError leaves out of kube-bench's words for a failed audit
// (check/check.go, runAudit) the script, which is of no use to the reader.
func auditError(reason string) string {
	i := strings.LastIndex(reason, ", output: ")
	if i < 0 || !strings.HasPrefix(reason, "failed to run: ") {
		return reason
	}
	rest := reason[i+len(", output: "):]
	quoted, err := strconv.QuotedPrefix(rest)
	if err != nil {
		return reason
	}
	output, err := strconv.Unquote(quoted)
	if err != nil {
		return reason
	}
	return "the audit failed: " + strings.TrimSpace(output) + rest[len(quoted):]
}

// distinct are the different lines of a value in which each line is judged.
func distinct(lines string) string {
	var d []string
	for l := range strings.Lines(lines) {
		if l = strings.TrimSpace(l); !slices.Contains(d, l) {
			d = append(d, l)
		}
	}
	return strings.Join(d, ", ")
}

// flags are the flags of a command line that expected names.
func flags(line, expected string) string {
	var found []string
	for _, w := range strings.Fields(line) {
		name, _, _ := strings.Cut(w, "=")
		if strings.HasPrefix(name, "--") && strings.Contains(expected, "'"+name+"'") {
			found = append(found, w)
		}
	}
	return strings.Join(found, " ")
}

// maxEvidence is how many observations are shown unless the style is verbose.
const maxEvidence = 3

func (p page) evidence(res Result, detail func(label, code, t string)) {
	for i, e := range res.Evidence {
		if i == maxEvidence && !p.style.Verbose {
			detail("", "", fmt.Sprintf("and %d more (--verbose)", len(res.Evidence)-i))
			return
		}
		label := ""
		if i == 0 {
			label = "seen"
		}
		detail(label, ansiDim, e)
	}
}

// decision says what a fix did or would do, and which variable keeps it.
func (p page) decision(d fix.Decision, detail func(label, code, t string)) {
	detail("fix", ansiBlue, sentence(d))
	detail("breaks", ansiYellow, d.Breaks)
	for i, t := range d.Touches {
		label := ""
		if i == 0 {
			label = "touches"
		}
		detail(label, ansiYellow, t)
	}
	if d.State == fix.Never {
		return
	}
	for i, v := range d.Variables {
		label := ""
		if i == 0 {
			label = "keep"
		}
		detail(label, ansiDim, variable(v))
	}
}

func sentence(d fix.Decision) string {
	var s string
	switch d.State {
	case fix.Planned:
		s = fmt.Sprintf("can be made (risk %s)", d.Risk)
	case fix.Applied:
		s = "made"
	case fix.Undone:
		s = "made and taken back"
	case fix.Refused:
		s = "not made"
	case fix.AboveRisk:
		s = fmt.Sprintf("needs --max-risk %s", d.Risk)
	case fix.Never:
		s = "never made automatically"
	case fix.Manual:
		s = "a person has to decide"
	case fix.InForce:
		s = "in force"
	default:
		s = string(d.State)
	}
	if d.State != fix.Never && d.State != fix.Manual {
		s += where(d)
	}
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	return s
}

// maxPaths is how many paths of a decision are named.
const maxPaths = 3

// where names the paths of a decision that its reason does not name.
func where(d fix.Decision) string {
	var paths []string
	for _, p := range d.Paths {
		if !strings.Contains(d.Reason, p) {
			paths = append(paths, p)
		}
	}
	switch n := len(paths); {
	case n == 0:
		return ""
	case n > maxPaths:
		return fmt.Sprintf(" in %s and %d more", strings.Join(paths[:maxPaths], ", "), n-maxPaths)
	default:
		return " in " + strings.Join(paths, ", ")
	}
}

func variable(v fix.Variable) string {
	s := v.Name + ": " + v.Value
	if strings.Contains(v.Value, "\n") {
		s = v.Name
	}
	s = "Kubespray variable " + s
	if v.Since != "" {
		s += " (" + v.Releases() + ")"
	}
	if v.Note != "" {
		s += "; " + v.Note
	}
	return s
}

// differences are the checks that pass or do not apply although kube-bench says
// otherwise.
func (p page) differences(r Report) {
	var n int
	for _, res := range r.Results() {
		if res.differs() {
			n++
		}
	}
	if n == 0 {
		return
	}
	p.heading("", "%s pass or do not apply, though kube-bench cannot see it", plural(n, "check"))
	p.grouped(r, Result.differs, func(all []Result) {
		for _, res := range all {
			res.Text = string(res.Status) + ": " + res.Text
			p.head(res)
			p.details(res)
		}
	})
}

// differs says whether a check that is no finding would be another state for
// kube-bench.
func (r Result) differs() bool {
	return (r.Status == check.Pass || r.Status == check.Info) && r.KubeBenchStatus != "" && r.KubeBenchStatus != r.Status
}

// passes are the checks that are neither findings nor differences.
func (p page) passes(r Report) {
	var n int
	for _, res := range r.Results() {
		if res.quiet() {
			n++
		}
	}
	if n == 0 {
		return
	}
	if !p.style.Verbose {
		p.heading("", "%s pass or are skipped (--verbose lists them)", plural(n, "check"))
		return
	}
	p.heading("", "%s pass or are skipped", plural(n, "check"))
	p.grouped(r, Result.quiet, func(all []Result) {
		for _, res := range all {
			p.block(fmt.Sprintf("  %-7s %s  ", oneLine(res.ID), res.Status), "", title(res.Text))
		}
	})
}

func (r Result) quiet() bool {
	return (r.Status == check.Pass || r.Status == check.Info) && !r.differs()
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
