package shell

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"regexp"
	"strconv"
	"strings"
)

// grepper searches files.
type grepper struct {
	*invocation
	q             *grepQuery
	names         bool
	found, failed bool
	printed       bool // a line, so that a later group needs "--"
}

func (g *grepper) complain(name string, err error) {
	g.failed = true
	if !g.q.silent {
		g.errorf("%s: %s", name, reason(err))
	}
}

func (g *grepper) file(name string) {
	label := name
	if name == "-" {
		label = "(standard input)"
	} else if info, err := g.stat(g.path(name), true); err == nil && info.IsDir() {
		if g.q.recursive {
			g.tree(name)
		} else {
			g.complain(name, errIsDir)
		}
		return
	}
	err := g.withInput(name, func(_ string, r io.Reader) error { return g.search(label, r) })
	if err != nil {
		g.complain(name, err)
	}
}

// tree searches below a directory (-r), without following links.
func (g *grepper) tree(name string) {
	entries, err := g.readDir(g.path(name))
	if err != nil {
		g.complain(name, err)
		return
	}
	for _, e := range entries {
		child := strings.TrimSuffix(name, "/") + "/" + e.Name()
		switch {
		case e.IsDir():
			g.tree(child)
		case e.Type()&fs.ModeType == 0:
			g.file(child)
		}
		if g.ctx.Err() != nil || g.q.quiet && g.found {
			return
		}
	}
}

// search handles one input.
func (g *grepper) search(label string, r io.Reader) error {
	q := g.q
	selected, number, pending, lastPrinted := 0, 0, 0, 0
	binary := false
	var before [][]byte
	err := g.lines(r, func(line []byte) bool {
		number++
		if !binary && bytes.IndexByte(line, 0) >= 0 {
			binary = true
		}
		if q.max == 0 || q.max > 0 && selected >= q.max && pending == 0 {
			return false
		}
		spans, ok := g.match(line)
		if ok == q.invert || q.max > 0 && selected >= q.max {
			switch {
			case pending > 0 && g.prints():
				g.print(label, line, number, '-')
				lastPrinted = number
				pending--
			case q.before > 0 && g.prints():
				if len(before) == q.before {
					before = before[1:]
				}
				before = append(before, bytes.Clone(line))
			}
			return true
		}
		selected++
		g.found = true
		switch {
		case q.quiet || q.list || q.listWithout:
			return false
		case q.count:
		case binary:
			g.stdout.WriteString(grepBinary(g.args[0], label))
			return false
		case q.only:
			g.printSpans(label, line, spans, number)
		default:
			first := number - len(before)
			if q.context && g.printed && first > lastPrinted+1 {
				g.stdout.WriteString("--\n")
			}
			for i, b := range before {
				g.print(label, b, first+i, '-')
			}
			before = before[:0]
			g.print(label, line, number, ':')
			lastPrinted, pending = number, q.after
		}
		return true
	})
	if err != nil {
		return err
	}
	g.summary(label, selected)
	return nil
}

// grepBinary is what grep 3.5 and later say instead of a line that is not text.
func grepBinary(name, label string) string {
	return fmt.Sprintf("%s: %s: binary file matches\n", name, label)
}

func (g *grepper) prints() bool {
	return !g.q.only && !g.q.quiet && !g.q.count && !g.q.list && !g.q.listWithout
}

func (g *grepper) summary(label string, selected int) {
	switch q := g.q; {
	case q.quiet:
	case q.list && selected > 0, q.listWithout && selected == 0:
		g.stdout.WriteString(label + "\n")
	case q.count && !q.list && !q.listWithout:
		if g.names {
			g.stdout.WriteString(label + ":")
		}
		g.stdout.WriteString(strconv.Itoa(selected) + "\n")
	}
}

func (g *grepper) print(label string, line []byte, number int, sep byte) {
	if g.names {
		g.stdout.WriteString(label)
		g.stdout.WriteByte(sep)
	}
	if g.q.number {
		g.stdout.WriteString(strconv.Itoa(number))
		g.stdout.WriteByte(sep)
	}
	g.stdout.Write(line)
	g.stdout.WriteByte('\n')
	g.printed = true
}

// printSpans prints the matches alone (-o).
func (g *grepper) printSpans(label string, line []byte, spans [][]int, number int) {
	if g.q.invert {
		return
	}
	for _, s := range spans {
		if s[1] > s[0] {
			g.print(label, line[s[0]:s[1]], number, ':')
		}
	}
}

// match tells whether a line has a match, and where when -o wants to know.
func (g *grepper) match(line []byte) (spans [][]int, ok bool) {
	q := g.q
	if q.re == nil {
		for _, lit := range q.literals {
			if bytes.Contains(line, lit) {
				return nil, true
			}
		}
		return nil, false
	}
	if !q.only && !q.word {
		return nil, q.re.Match(line)
	}
	if q.word {
		spans = wordSpans(q.re, line)
	} else {
		spans = q.re.FindAllIndex(line, -1)
	}
	return spans, len(spans) > 0
}

// wordSpans are the matches that stand alone as words (-w). A longer match that
// does not may hide a shorter one that does; like grep, try those.
func wordSpans(re *regexp.Regexp, line []byte) (spans [][]int) {
	isWord := func(i int) bool {
		return i >= 0 && i < len(line) && (line[i] == '_' || line[i] >= '0' && line[i] <= '9' ||
			line[i]|0x20 >= 'a' && line[i]|0x20 <= 'z')
	}
	for at := 0; at <= len(line); {
		loc := re.FindIndex(line[at:])
		if loc == nil {
			break
		}
		start, end := at+loc[0], at+loc[1]
		for end > start && (isWord(start-1) || isWord(end)) {
			shorter := re.FindIndex(line[start : end-1])
			if shorter == nil || shorter[0] != 0 || shorter[1] == 0 {
				end = start
				break
			}
			end = start + shorter[1]
		}
		if end > start && !isWord(start-1) && !isWord(end) {
			spans = append(spans, []int{start, end})
			at = end
			continue
		}
		at = start + 1
	}
	return spans
}
