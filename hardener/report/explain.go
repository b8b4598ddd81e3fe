package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Explanation is what there is to say about some checks, on a node or without
// one.
type Explanation struct {
	Benchmark     string      `json:"benchmark"`
	BenchmarkNote string      `json:"benchmark_note,omitempty"`
	Node          *NodeInfo   `json:"node"` // null when no node was looked at
	Notes         []string    `json:"notes,omitempty"`
	Checks        []Explained `json:"checks"`
}

// Explained is one check.
type Explained struct {
	ID        string           `json:"id"`
	Target    string           `json:"target"` // its section: master, node, ...
	Text      string           `json:"text"`
	Scored    bool             `json:"scored"`
	Wants     []string         `json:"wants"`     // each of them, or with "or" between one of them
	Catalogue *fix.Disposition `json:"catalogue"` // null when nothing in particular is known
	Result    *Result          `json:"result"`    // null when the node was not looked at for it
	NotHere   string           `json:"not_here,omitempty"`
}

// NewExplained is a check as its profile has it.
func NewExplained(target string, c *profile.Check) Explained {
	return Explained{ID: c.ID, Target: target, Text: c.Text, Scored: c.Scored, Wants: wants(c)}
}

// wants are the items of a check in words.
func wants(c *profile.Check) []string {
	if c.Tests == nil || len(c.Tests.Items) == 0 {
		return nil
	}
	settings := c.Settings()
	var out []string
	for i, item := range c.Tests.Items {
		out = append(out, want(settings[i], item))
	}
	if c.Tests.BinOp == "or" {
		return []string{strings.Join(out, " or ")}
	}
	return out
}

func want(s profile.Setting, item profile.TestItem) string {
	name := item.Flag
	switch {
	case s.Path != "" && name != "":
		name = s.Path + " (" + name + ")"
	case s.Path != "":
		name = s.Path
	case name == "":
		name = item.Env
	}
	value := item.Compare.Value
	switch {
	case !item.Set:
		return name + " is not set"
	case s.Kind == profile.Mode && item.Compare.Op == "bitmask":
		return "mode " + value + " or stricter"
	case s.Kind == profile.Owner && item.Compare.Op == "":
		return "owner " + item.Flag
	}
	switch item.Compare.Op {
	case "":
		return name + " is set"
	case "eq":
		return name + " is " + value
	case "noteq":
		return name + " is not " + value
	case "gt":
		return name + " is more than " + value
	case "gte":
		return name + " is at least " + value
	case "lt":
		return name + " is less than " + value
	case "lte":
		return name + " is at most " + value
	case "has":
		return name + " has " + value
	case "nothave":
		return name + " does not have " + value
	case "valid_elements":
		return name + " has none but " + strings.ReplaceAll(value, ",", ", ")
	case "regex":
		return name + " matches " + value
	}
	return fmt.Sprintf("%s %s %s", name, item.Compare.Op, value)
}

// WriteJSON writes the explanation as one line and a newline.
func (e Explanation) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("write explanation: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write explanation: %w", err)
	}
	return nil
}

// WriteText writes the explanation for a person to read.
func (e Explanation) WriteText(w io.Writer, s Style) error {
	var b bytes.Buffer
	p := page{w: &b, style: s}
	where := "benchmark " + oneLine(e.Benchmark)
	if e.Node != nil {
		name := oneLine(e.Node.Name)
		if name == "" {
			name = "this node"
		}
		if e.Node.KubernetesVersion != "" {
			name += ", Kubernetes " + oneLine(e.Node.KubernetesVersion)
		}
		where = name + ", " + where
	}
	p.line("%s", p.style.paint(ansiBold, where))
	if e.BenchmarkNote != "" {
		p.block("  note        ", ansiYellow, oneLine(e.BenchmarkNote))
	}
	for _, n := range e.Notes {
		p.block("  note        ", ansiYellow, oneLine(n))
	}
	for _, x := range e.Checks {
		p.line("")
		p.explained(x)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write explanation: %w", err)
	}
	return nil
}

func (p page) explained(x Explained) {
	p.block(fmt.Sprintf("%-7s ", oneLine(x.ID)), ansiBold, title(x.Text))
	detail := func(label, code, t string) {
		if t = oneLine(t); t != "" {
			p.block(fmt.Sprintf("        %-10s ", label), code, t)
		}
	}
	each := func(label, code string, list []string) {
		for _, t := range list {
			detail(label, code, t)
			label = ""
		}
	}
	if x.Wants == nil {
		detail("wants", ansiDim, "what its title says: the profile has no test for it")
	}
	each("wants", ansiDim, x.Wants)
	p.now(x, detail)

	d := x.Catalogue
	if d == nil {
		d = &fix.Disposition{Answer: fix.Person, Reason: "nothing in particular is known about it"}
	}
	decision := (*fix.Decision)(nil)
	if x.Result != nil && x.Result.Status != check.Pass {
		decision = x.Result.Fix
	}
	if decision != nil {
		shown := *decision
		shown.Variables = nil // follow below, those of the catalogue where it has none
		p.decision(shown, detail)
	} else {
		detail("fix", ansiBlue, general(*d, x.Result))
		detail("breaks", ansiYellow, d.Breaks)
	}
	detail("note", ansiDim, d.Note)
	each("before", ansiDim, d.Guard)
	if decision == nil || decision.State != fix.Never { // else there is nothing to prove or undo here
		each("proof", ansiDim, d.Proof)
		if n := len(d.Undo) - 1; n >= 0 { // the component's own words come last
			each("undo", ansiDim, append([]string{"hardener rollback: " + d.Undo[n]}, d.Undo[:n]...))
		}
	}
	kept := d.Variables
	if decision != nil && len(decision.Variables) > 0 {
		kept = decision.Variables
	}
	var variables []string
	for _, v := range kept {
		variables = append(variables, variable(v))
	}
	each("keep", ansiDim, variables)
	if decision != nil && decision.Diff != "" {
		detail("diff", ansiDim, "what the fix would write here")
		for l := range strings.SplitSeq(strings.TrimRight(printable(decision.Diff), "\n"), "\n") {
			p.line("          %s", p.diffLine(l))
		}
	}
}

// now is what the node has.
func (p page) now(x Explained, detail func(label, code, t string)) {
	if x.Result == nil {
		if x.NotHere != "" {
			detail("now", ansiDim, "not looked at: "+x.NotHere)
		}
		return
	}
	detail("now", colourOf(x.Result.Status), string(x.Result.Status))
	if x.Result.VerdictReason != "" {
		detail("why", ansiDim, x.Result.VerdictReason)
	} else if x.Result.Type != "manual" {
		p.found(*x.Result, func(label, code, t string) {
			if label != "wanted" { // said before, in words
				detail(label, code, t)
			}
		})
	}
	p.evidence(*x.Result, detail)
	detail("lost", ansiYellow, x.Result.Lost())
	if x.Result.KubeBenchStatus != "" && x.Result.KubeBenchStatus != x.Result.Status {
		detail("kube-bench", ansiDim, string(x.Result.KubeBenchStatus))
	}
}

// general is what is done about a check when it does not pass, whatever the node.
func general(d fix.Disposition, result *Result) string {
	s := ""
	switch d.Answer {
	case fix.Fixed:
		s = fmt.Sprintf("can be made (risk %s)", d.Risk)
	case fix.Judged:
		s = "nothing to change: the verdict is found for the layout"
	case fix.Explained:
		s = "never made automatically"
	default:
		s = "a person has to decide"
	}
	if result != nil && (result.Status == check.Pass || result.Status == check.Info) {
		s = "nothing to do; where it fails: " + s
	}
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	return s
}
