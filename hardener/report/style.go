package report

import (
	"strings"
	"unicode"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// Style says how text is to look. The zero value is plain text for any
// terminal.
type Style struct {
	Width   int  // columns; 0 means 100, and text uses at most 120 and at least 60
	Colour  bool // ANSI colours; set it for a terminal without NO_COLOR only
	Verbose bool // also what passes, and whole diffs of changes made
	Brief   bool // of findings only number and title
	NoHint  bool // leave out what to run next
}

func (s Style) width() int {
	if s.Width <= 0 {
		return 100
	}
	return min(max(s.Width, 60), 120)
}

// The ANSI sequences in use.
const (
	ansiReset  = "\x1b[0m"
	ansiBold   = "\x1b[1m"
	ansiDim    = "\x1b[2m"
	ansiRed    = "\x1b[31m"
	ansiGreen  = "\x1b[32m"
	ansiYellow = "\x1b[33m"
	ansiBlue   = "\x1b[34m"
)

// paint colours text, a newline at its end excepted.
func (s Style) paint(code, text string) string {
	if !s.Colour || code == "" || text == "" {
		return text
	}
	body := strings.TrimSuffix(text, "\n")
	return code + body + ansiReset + text[len(body):]
}

// state colours text in the colour that kube-bench gives the state
// (cmd/root.go, colors).
func (s Style) state(state check.State, text string) string {
	switch state {
	case check.Pass:
		return s.paint(ansiGreen, text)
	case check.Fail:
		return s.paint(ansiRed, text)
	case check.Warn:
		return s.paint(ansiYellow, text)
	default:
		return s.paint(ansiBlue, text)
	}
}

// wrap breaks words of t into lines of at most width columns.
func wrap(t string, width int) []string {
	lines := strings.Split(text.WrapSoft(t, max(width, 20)), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimRight(l, " ")
	}
	return lines
}

// oneLine makes text of a node or a profile safe and short enough to print:
// white space becomes single blanks, and control characters, which could
// otherwise steer the terminal, become visible.
func oneLine(t string) string {
	return strings.Join(strings.Fields(printable(t)), " ")
}

// printable replaces control characters other than newline and tab.
func printable(t string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, t)
}

// shorten cuts text after n runes.
func shorten(t string, n int) string {
	if r := []rune(t); len(r) > n {
		return string(r[:n-1]) + "…"
	}
	return t
}

// title is the text of a check without the words in parentheses that say
// whether it is scored or automated.
func title(t string) string {
	t = oneLine(t)
	for _, suffix := range []string{"(Scored)", "(Not Scored)", "(Automated)", "(Manual)"} {
		if cut, ok := strings.CutSuffix(t, suffix); ok {
			return strings.TrimSpace(cut)
		}
	}
	return t
}
