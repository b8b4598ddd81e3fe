package shell

import (
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// grepQuery is a command line of grep.
type grepQuery struct {
	literals [][]byte // the patterns when none has special characters
	re       *regexp.Regexp
	nothing  bool // the only pattern is empty

	invert, only, quiet, fold, word, line, count bool
	number, silent, list, listWithout, names     bool
	noNames, recursive                           bool
	before, after, max                           int
	context                                      bool
}

func egrep(ctx context.Context, c *invocation) int { return grepWith(ctx, c, 'E') }
func fgrep(ctx context.Context, c *invocation) int { return grepWith(ctx, c, 'F') }
func grep(ctx context.Context, c *invocation) int  { return grepWith(ctx, c, 'G') }

// grepWith is GNU grep. Its status is 0 when a line was selected, 1 when none
// was, and 2 after an error, unless -q has found something.
func grepWith(_ context.Context, c *invocation, syntax byte) int {
	q, files, status := c.grepOptions(syntax)
	if status != 0 {
		return status
	}
	if len(files) == 0 {
		files = []string{"-"}
		if q.recursive {
			files = []string{"."}
		}
	}
	if q.max == 0 || q.invert && q.nothing && !q.word && !q.line && !q.listWithout {
		return 1 // grep does not read the files then
	}
	g := &grepper{invocation: c, q: q, names: (len(files) > 1 || q.recursive || q.names) && !q.noNames}
	for _, file := range files {
		g.file(file)
		if q.quiet && g.found || c.ctx.Err() != nil {
			break
		}
	}
	switch {
	case g.found && (q.quiet || !g.failed):
		return 0
	case g.failed:
		return 2
	}
	return 1
}

const grepUsage = "Usage: grep [OPTION]... PATTERNS [FILE]...\nTry 'grep --help' for more information.\n"

// grepOptions reads the command line. A status that is not 0 ends grep.
func (c *invocation) grepOptions(syntax byte) (q *grepQuery, files []string, status int) {
	args := c.args[1:]
	for i, arg := range args { // the old form -NUM of -C
		if arg == "--" {
			break
		}
		if len(arg) > 1 && arg[0] == '-' && strings.Trim(arg[1:], "0123456789") == "" {
			args = append(append(append([]string{}, args[:i]...), "-C"+arg[1:]), args[i+1:]...)
		}
	}
	spec := optionSpec{short: "EFGe:f:ivwxcom:nqshHlLrRA:B:C:aU", long: map[string]string{
		"extended-regexp": "E", "fixed-strings": "F", "basic-regexp": "G", "regexp": "e:", "ignore-case": "i",
		"invert-match": "v", "word-regexp": "w", "line-regexp": "x", "count": "c", "only-matching": "o",
		"max-count": "m:", "line-number": "n", "quiet": "q", "silent": "q", "no-messages": "s", "no-filename": "h",
		"with-filename": "H", "files-with-matches": "l", "files-without-match": "L", "recursive": "r",
		"after-context": "A:", "before-context": "B:", "context": "C:", "text": "a", "color": "color", "colour": "color",
	}}
	opts, operands, bad := spec.parse(args)
	if bad != "" {
		c.lacksOption(bad)
		return nil, nil, 2
	}
	q = &grepQuery{max: -1}
	var patterns []string
	given := false
	for _, o := range opts {
		switch o.name {
		case "E", "F", "G":
			syntax = o.name[0]
		case "e":
			patterns, given = append(patterns, strings.Split(o.value, "\n")...), true
		case "f", "color":
			if o.name == "f" || o.value == "always" {
				c.lacksOption("-" + o.name + " " + o.value)
				return nil, nil, 2
			}
		case "m", "A", "B", "C":
			n, err := strconv.Atoi(o.value)
			if err != nil || n < 0 {
				what := "context length argument"
				if o.name == "m" {
					what = "max count"
				}
				if o.name == "m" {
					c.errorf("invalid %s", what)
				} else {
					c.errorf("%s: invalid %s", o.value, what)
				}
				return nil, nil, 2
			}
			q.limits(o.name, n)
		default:
			q.set(o.name)
		}
	}
	if !given {
		if len(operands) == 0 {
			io.WriteString(c.stderr, grepUsage)
			return nil, nil, 2
		}
		patterns, operands = strings.Split(operands[0], "\n"), operands[1:]
	}
	if status := c.grepPatterns(q, patterns, syntax); status != 0 {
		return nil, nil, status
	}
	return q, operands, 0
}

func (q *grepQuery) limits(name string, n int) {
	switch name {
	case "m":
		q.max = n
	case "A":
		q.after, q.context = n, true
	case "B":
		q.before, q.context = n, true
	case "C":
		q.before, q.after, q.context = n, n, true
	}
}

func (q *grepQuery) set(name string) {
	switch name {
	case "v":
		q.invert = true
	case "o":
		q.only = true
	case "q":
		q.quiet = true
	case "i":
		q.fold = true
	case "w":
		q.word = true
	case "x":
		q.line = true
	case "c":
		q.count = true
	case "n":
		q.number = true
	case "s":
		q.silent = true
	case "l":
		q.list = true
	case "L":
		q.listWithout = true
	case "h":
		q.noNames, q.names = true, false
	case "H":
		q.names, q.noNames = true, false
	case "r", "R":
		q.recursive = true
	}
}

// grepPatterns compiles the patterns. Ones without special characters are
// searched as they are, which is most of an audit's work.
func (c *invocation) grepPatterns(q *grepQuery, patterns []string, syntax byte) int {
	q.nothing = len(patterns) == 1 && patterns[0] == ""
	special := `\[.*^$`
	if syntax == 'E' {
		special += "(){}|+?"
	}
	plain := !q.fold && !q.word && !q.line
	for _, p := range patterns {
		if syntax != 'F' && strings.ContainsAny(p, special) {
			plain = false
		}
	}
	if plain {
		for _, p := range patterns {
			q.literals = append(q.literals, []byte(p))
		}
	}
	if plain && !q.only {
		return 0
	}
	var parts []string
	for _, p := range patterns {
		part := regexp.QuoteMeta(p)
		if syntax != 'F' {
			var err error
			if part, err = translate(p, syntax == 'E'); err != nil {
				return c.badPattern(err)
			}
		}
		if q.line {
			part = "^(?:" + part + ")$"
		}
		parts = append(parts, part)
	}
	expr := strings.Join(parts, "|")
	if q.fold {
		expr = "(?i:" + expr + ")"
	}
	re, err := c.compile(expr)
	if err != nil {
		return c.badPattern(err)
	}
	q.re = re
	return 0
}

// badPattern reports a pattern that grep or sed cannot use.
func (c *invocation) badPattern(err error) int {
	var bad *regexpError
	if errors.As(err, &bad) && bad.unsupported {
		c.lacksOption(bad.text)
	} else {
		c.errorf("%v", err)
	}
	return 2
}
