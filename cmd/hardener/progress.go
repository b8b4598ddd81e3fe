package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"
	"golang.org/x/term"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// progress shows a rollout as it happens: plain lines, or on a terminal also a
// line for each node that is under way and a bar, which are drawn anew with
// everything that happens.
type progress struct {
	w     io.Writer
	width int // columns of the terminal, 0 if it is none

	nodes []string // under way, by name
	lines map[string]string
	drawn int // lines to draw over
}

func newProgress(w io.Writer) *progress {
	p := &progress{w: w, lines: map[string]string{}}
	if file, ok := w.(*os.File); ok && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb" {
		if width, _, err := term.GetSize(int(file.Fd())); err == nil {
			p.width = width
		}
	}
	return p
}

// barWidth is the length of the bar, in columns.
const barWidth = 30

// maxLive is how many nodes under way have a line: all must fit the terminal.
const maxLive = 12

// tell shows what has happened.
func (p *progress) tell(e rollout.Progress) {
	line := progressLine(e)
	if p.width == 0 {
		fmt.Fprintln(p.w, line)
		return
	}
	var b strings.Builder
	b.WriteString(p.over())
	live := e.State == rollout.Waiting || e.State == rollout.Running
	if live {
		if _, known := p.lines[e.Node]; !known {
			p.nodes = append(p.nodes, e.Node)
			slices.Sort(p.nodes)
		}
		p.lines[e.Node] = visible(fmt.Sprintf("  %s: %s: %s", e.Node, e.State, e.Text))
	} else {
		p.nodes = slices.DeleteFunc(p.nodes, func(n string) bool { return n == e.Node })
		delete(p.lines, e.Node)
		b.WriteString(line + "\n")
	}
	for i, node := range p.nodes {
		if i == maxLive {
			fmt.Fprintf(&b, "  and %d more\n", len(p.nodes)-maxLive)
			p.drawn++
			break
		}
		b.WriteString(text.Trim(p.lines[node], p.width-1) + "\n") // a line that wraps would be two
		p.drawn++
	}
	if e.Total > 0 {
		full := barWidth * e.Done / e.Total
		bar := fmt.Sprintf("  [%s%s] %d of %d", strings.Repeat("=", full), strings.Repeat(" ", barWidth-full), e.Done, e.Total)
		b.WriteString(text.Trim(bar, p.width-1) + "\n")
		p.drawn++
	}
	io.WriteString(p.w, b.String())
}

// end takes the lines away that are drawn anew each time.
func (p *progress) end() { io.WriteString(p.w, p.over()) }

// over goes to the first of the lines drawn last and clears the rest of the screen.
func (p *progress) over() string {
	if p.drawn == 0 {
		return ""
	}
	up := fmt.Sprintf("\x1b[%dA\x1b[J", p.drawn)
	p.drawn = 0
	return up
}

// progressLine is one line for something that has happened.
func progressLine(p rollout.Progress) string {
	switch {
	case p.Node == "":
		return visible("hardener: rollout: " + p.Text)
	case p.Text == "":
		return visible(fmt.Sprintf("hardener: [%d/%d] %s: %s", p.Done, p.Total, p.Node, p.State))
	}
	return visible(fmt.Sprintf("hardener: [%d/%d] %s: %s: %s", p.Done, p.Total, p.Node, p.State, p.Text))
}

// visible keeps words of a node or a pod from steering the terminal, or from
// being several lines.
func visible(line string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, line)
}
