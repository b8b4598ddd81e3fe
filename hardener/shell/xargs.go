package shell

import (
	"context"
	"strconv"
	"strings"
)

// xargsQuery is a command line of xargs.
type xargsQuery struct {
	command    []string
	replace    string // -I
	lines, max int    // -L, -n
	null       bool   // -0
	delimiter  string // -d
	noRunEmpty bool   // -r
}

// xargsBytes is the length of one command line (findutils: 128 KiB).
const xargsBytes = 128 << 10

// xargs is GNU xargs. Without -r it runs the command once even when there is
// nothing to read. Its status is 123 when a command failed with 1-125.
func xargs(ctx context.Context, c *invocation) int {
	q, ok := c.xargsOptions()
	if !ok {
		return 1
	}
	input, err := c.readAll(c.stdin)
	if err != nil {
		return 1
	}
	batches, problem := q.batches(string(input))
	status := 0
	for _, batch := range batches {
		if ctx.Err() != nil {
			return 1
		}
		code, stop := c.xargsRun(ctx, batch)
		status = max(status, code)
		if stop {
			return status
		}
	}
	if problem != "" {
		c.errorf("%s", problem)
		return 1
	}
	return status
}

func (c *invocation) xargsOptions() (*xargsQuery, bool) {
	spec := optionSpec{short: "rI:i::L:l::n:0d:txP:s:E:", stop: true, long: map[string]string{
		"no-run-if-empty": "r", "replace": "i", "max-lines": "l", "max-args": "n:", "null": "0", "delimiter": "d:",
		"max-procs": "P:", "max-chars": "s:", "exit": "x",
	}}
	opts, command, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return nil, false
	}
	q := &xargsQuery{command: command}
	if len(q.command) == 0 {
		q.command = []string{"echo"}
	}
	for _, o := range opts {
		switch o.name {
		case "r":
			q.noRunEmpty = true
		case "I":
			q.replace = o.value
		case "i":
			q.replace = o.value
			if q.replace == "" {
				q.replace = "{}"
			}
		case "L", "l", "n":
			n := 1
			if o.value != "" {
				var err error
				if n, err = strconv.Atoi(o.value); err != nil || n < 1 {
					c.errorf("value %s for -%s option should be >= 1", o.value, o.name)
					return nil, false
				}
			}
			if o.name == "n" {
				q.max = n
			} else {
				q.lines = n
			}
		case "0":
			q.null = true
		case "d":
			q.delimiter, _ = unescape(o.value)
		case "t", "E", "s":
			c.lacksOption("-" + o.name)
			return nil, false
		}
	}
	return q, true
}

// xargsRun runs the command for one batch. stop ends xargs.
func (c *invocation) xargsRun(ctx context.Context, args []string) (status int, stop bool) {
	c.stdout.Flush()
	child := c.child(args, strings.NewReader(""))
	code, found := child.run(ctx)
	if !found {
		code, _ = child.absent(args[0])
		text := "No such file or directory"
		if code == 126 {
			text = "Permission denied"
		}
		c.errorf("%s: %s", args[0], text)
		return code, true
	}
	switch {
	case code == 0:
		return 0, false
	case code == 255:
		c.errorf("%s: exited with status 255; aborting", args[0])
		return 124, true
	}
	return 123, false
}

// batches are the command lines to run. A problem ends xargs after they have
// been run.
func (q *xargsQuery) batches(input string) (batches [][]string, problem string) {
	if q.replace != "" {
		return q.replaced(input)
	}
	var items []xargsItem
	switch {
	case q.null:
		items = delimited(input, "\x00")
	case q.delimiter != "":
		items = delimited(input, q.delimiter[:1])
	default:
		items, problem = xargsWords(input)
	}
	if len(items) == 0 {
		if q.noRunEmpty || problem != "" {
			return nil, problem
		}
		return [][]string{q.command}, ""
	}
	base := 0
	for _, word := range q.command {
		base += len(word) + 1
	}
	batch := append([]string(nil), q.command...)
	size, lines, count := base, 0, 0
	flush := func() {
		if count > 0 {
			batches = append(batches, batch)
			batch = append([]string(nil), q.command...)
			size, lines, count = base, 0, 0
		}
	}
	for _, item := range items {
		if size+len(item.text)+1 > xargsBytes {
			flush()
		}
		batch = append(batch, item.text)
		size += len(item.text) + 1
		count++
		if item.endsLine {
			lines++
		}
		if q.max > 0 && count == q.max || q.lines > 0 && lines == q.lines {
			flush()
		}
	}
	flush()
	return batches, problem
}

// replaced is -I: one command for each line, with leading blanks removed.
func (q *xargsQuery) replaced(input string) (batches [][]string, problem string) {
	for line := range strings.Lines(input) {
		line = strings.TrimLeft(strings.TrimSuffix(line, "\n"), " \t")
		text, bad := unquote(line)
		if bad != "" {
			return batches, bad
		}
		if line == "" {
			continue
		}
		args := make([]string, len(q.command))
		for i, word := range q.command {
			args[i] = word
			if i > 0 {
				args[i] = strings.ReplaceAll(word, q.replace, text)
			}
		}
		batches = append(batches, args)
	}
	return batches, ""
}

// xargsItem is one argument. endsLine is for -L.
type xargsItem struct {
	text     string
	endsLine bool
}

func delimited(input, delimiter string) (items []xargsItem) {
	input = strings.TrimSuffix(input, delimiter)
	if input == "" {
		return nil
	}
	for _, text := range strings.Split(input, delimiter) {
		items = append(items, xargsItem{text, true})
	}
	return items
}

// xargsWords splits at blanks and newlines and honours quotes and backslashes.
// A line that ends in a blank goes on with the next one (-L).
func xargsWords(input string) (items []xargsItem, problem string) {
	for line := range strings.Lines(input) {
		text := strings.TrimSuffix(line, "\n")
		for {
			text = strings.TrimLeft(text, " \t")
			if text == "" {
				break
			}
			end, quoteMark := wordEnd(text)
			if quoteMark != 0 {
				return items, unmatchedQuote(quoteMark)
			}
			word, _ := unquote(text[:end])
			text = text[end:]
			items = append(items, xargsItem{word, text == ""})
		}
	}
	if len(items) > 0 {
		items[len(items)-1].endsLine = true
	}
	return items, ""
}

// wordEnd is where the first word of a line ends. quoteMark is a quote without
// its partner.
func wordEnd(text string) (end int, quoteMark byte) {
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case ' ', '\t':
			return i, 0
		case '\\':
			i++
		case '\'', '"':
			closing := strings.IndexByte(text[i+1:], text[i])
			if closing < 0 {
				return 0, text[i]
			}
			i += closing + 1
		}
	}
	return len(text), 0
}

// unquote removes quotes and backslashes.
func unquote(text string) (string, string) {
	if !strings.ContainsAny(text, `'"\`) {
		return text, ""
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; ch {
		case '\\':
			if i++; i < len(text) {
				b.WriteByte(text[i])
			}
		case '\'', '"':
			closing := strings.IndexByte(text[i+1:], ch)
			if closing < 0 {
				return b.String(), unmatchedQuote(ch)
			}
			b.WriteString(text[i+1 : i+1+closing])
			i += closing + 1
		default:
			b.WriteByte(ch)
		}
	}
	return b.String(), ""
}

func unmatchedQuote(mark byte) string {
	name := "single"
	if mark == '"' {
		name = "double"
	}
	return "unmatched " + name + " quote; by default quotes are special to xargs unless you use the -0 option"
}
