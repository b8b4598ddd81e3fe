package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Text writes the report for a person to read: kube-bench's own text under
// Raw, else what was looked at, the counts, what a fix changed, then findings,
// what needs a person, where the verdict differs from kube-bench's, and what
// to do next. What just passes is counted only, unless the style is verbose.
func (r Report) Text(w io.Writer, s Style) error {
	var b bytes.Buffer
	if r.raw() {
		r.kubeBench(&b, s)
	} else {
		p := page{w: &b, style: s}
		p.header(r)
		p.counts(r)
		p.changes(r)
		p.findings(r)
		p.lost(r)
		if !s.Brief {
			p.differences(r)
			p.passes(r)
		}
		if !s.Brief && !s.NoHint {
			p.next(r)
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// page is text being laid out.
type page struct {
	w     *bytes.Buffer
	style Style
}

func (p page) line(format string, args ...any) { fmt.Fprintf(p.w, format+"\n", args...) }

// block writes text after a head, wrapped and hanging below its first word.
// The head is coloured by code, if any.
func (p page) block(head, code, t string) {
	indent := text.StringWidth(head)
	for i, l := range wrap(t, p.style.width()-indent) {
		if i == 0 {
			p.line("%s%s", p.style.paint(code, head), l)
		} else {
			p.line("%s%s", strings.Repeat(" ", indent), l)
		}
	}
}

// heading starts a part of the page.
func (p page) heading(state check.State, format string, args ...any) {
	p.line("")
	for _, l := range wrap(fmt.Sprintf(format, args...), p.style.width()) {
		if state == "" {
			p.line("%s", p.style.paint(ansiBold, l))
		} else {
			p.line("%s", p.style.state(state, l))
		}
	}
}

func (p page) header(r Report) {
	name := oneLine(r.Node.Name)
	if name == "" {
		name = "this node"
	}
	p.line("%s", p.style.paint(ansiBold, name))
	p.block("  Kubernetes  ", ansiDim, oneLine(kubernetes(r)))
	if l := layout(r); l != "" {
		p.block("  layout      ", ansiDim, oneLine(l))
	}
	p.block("  benchmark   ", ansiDim, oneLine(r.Node.Benchmark))
	if r.Node.BenchmarkNote != "" {
		p.block("  note        ", ansiYellow, oneLine(r.Node.BenchmarkNote))
	}
	for _, n := range r.Run.Notes {
		p.block("  note        ", ansiYellow, oneLine(n))
	}
}

func kubernetes(r Report) string {
	parts := []string{"version unknown"}
	if r.Node.KubernetesVersion != "" {
		parts[0] = r.Node.KubernetesVersion
	}
	switch d := r.Layout.Distribution; d.Name {
	case "", "none":
		parts = append(parts, "no Kubernetes installation recognised")
	default:
		by := "installed by " + d.Name
		if rel := r.Layout.Kubespray; rel != nil && *rel != (node.ReleaseRange{}) && d.Name == "kubespray" {
			by += " " + rel.String()
		}
		if d.Confidence != "" && d.Confidence != "certain" {
			by += " (" + d.Confidence + ")"
		}
		parts = append(parts, by)
	}
	return strings.Join(parts, ", ")
}

func layout(r Report) string {
	var parts []string
	add := func(label string, values ...string) {
		if v := strings.Join(values, ", "); v != "" {
			parts = append(parts, label+" "+v)
		}
	}
	add("roles", r.Layout.Roles...)
	add("etcd", r.Layout.EtcdType)
	add("runtime", r.Layout.Runtime)
	add("network", r.Layout.CNI...)
	return strings.Join(parts, "; ")
}

// counts is the table of states per section.
func (p page) counts(r Report) {
	name := func(s Section) string { return shorten(oneLine(s.ID+" "+s.Text), p.style.width()-30) }
	wide := len("total")
	for _, s := range r.Controls {
		wide = max(wide, text.StringWidth(name(s)))
	}
	p.line("")
	p.line("  %s  %s", text.Pad("", wide, ' '), p.style.paint(ansiDim, " PASS  FAIL  WARN  INFO"))
	for _, s := range r.Controls {
		p.line("  %s  %s", text.Pad(name(s), wide, ' '), p.numbers(s.Totals))
	}
	if len(r.Controls) != 1 {
		p.line("  %s  %s", text.Pad("total", wide, ' '), p.numbers(r.Totals))
	}
}

func (p page) numbers(t Totals) string {
	var cells []string
	for _, c := range []struct {
		state check.State
		n     int
	}{{check.Pass, t.Pass}, {check.Fail, t.Fail}, {check.Warn, t.Warn}, {check.Info, t.Info}} {
		cell := fmt.Sprintf("%5d", c.n)
		if c.n > 0 {
			cell = p.style.state(c.state, cell)
		} else {
			cell = p.style.paint(ansiDim, cell)
		}
		cells = append(cells, cell)
	}
	return strings.Join(cells, " ")
}
