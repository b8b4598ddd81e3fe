package shell

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/itchyny/gojq"
)

// jqQuery is a command line of jq.
type jqQuery struct {
	program             string
	files               []string
	raw, compact, slurp bool
	null, exit, join    bool
	indent              string
	names               []string
	values              []any
}

// jq is jq 1.6 with gojq behind it. Unlike jq it prints the keys of objects in
// order, which is how kubectl has them anyway.
func jq(ctx context.Context, c *invocation) int {
	q, status := c.jqOptions()
	if q == nil {
		return status
	}
	query, err := gojq.Parse(q.program)
	if err != nil {
		return c.jqCompileError(err)
	}
	code, err := gojq.Compile(query, gojq.WithVariables(q.names), gojq.WithEnvironLoader(func() []string { return nil }))
	if err != nil {
		return c.jqCompileError(err)
	}
	run := &jqRun{invocation: c, q: q, code: code}
	if q.null {
		run.one(ctx, nil)
		return run.result()
	}
	input := c.stdin
	if len(q.files) > 0 {
		var all bytes.Buffer
		for _, name := range q.files {
			data, err := c.readFile(c.path(name))
			if err != nil {
				fmt.Fprintf(c.stderr, "jq: error: Could not open file %s: %s\n", name, reason(err))
				run.status = 2
				continue
			}
			all.Write(data)
		}
		input = &all
	}
	run.stream(ctx, input)
	return run.result()
}

func (c *invocation) jqCompileError(err error) int {
	c.errorf("error: %v", err)
	io.WriteString(c.stderr, "jq: 1 compile error\n")
	return 3
}

const jqUsage = `Use jq --help for help with command-line options,
or see the jq manpage, or online docs  at https://stedolan.github.io/jq
`

// jqOptions reads the command line. Without a query, jq ends with status.
func (c *invocation) jqOptions() (q *jqQuery, status int) {
	q = &jqQuery{indent: "  "}
	args, given := c.args[1:], false
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case len(arg) < 2 || arg[0] != '-':
			if given {
				q.files = append(q.files, arg)
			} else {
				q.program, given = arg, true
			}
		case arg == "--arg" || arg == "--argjson":
			if len(args) < 2 {
				fmt.Fprintf(c.stderr, "jq: error: %s takes two parameters (e.g. %s varname value)\n", arg, arg)
				return nil, 2
			}
			var value any = args[1]
			if arg == "--argjson" {
				if json.Unmarshal([]byte(args[1]), &value) != nil {
					fmt.Fprintf(c.stderr, "jq: Invalid JSON text passed to --argjson\n%s", jqUsage)
					return nil, 2
				}
			}
			q.names, q.values = append(q.names, "$"+args[0]), append(q.values, value)
			args = args[2:]
		default:
			if !q.set(arg) {
				fmt.Fprintf(c.stderr, "jq: Unknown option %s\n%s", arg, jqUsage)
				if strings.HasPrefix(arg, "--") {
					c.lacks("jq " + arg)
				}
				return nil, 2
			}
		}
	}
	if !given {
		io.WriteString(c.stderr, "Usage:\tjq [OPTIONS] FILTER [FILES...]\n")
		return nil, 2
	}
	return q, 0
}

// set is one option or a cluster of letters.
func (q *jqQuery) set(arg string) bool {
	long := map[string]byte{"--raw-output": 'r', "--compact-output": 'c', "--slurp": 's', "--null-input": 'n',
		"--exit-status": 'e', "--sort-keys": 'S', "--join-output": 'j', "--monochrome-output": 'M', "--tab": 't'}
	letters := arg[1:]
	if strings.HasPrefix(arg, "--") {
		letter, ok := long[arg]
		if !ok {
			return false
		}
		letters = string(letter)
	}
	for _, letter := range letters {
		switch letter {
		case 'r':
			q.raw = true
		case 'c':
			q.compact = true
		case 's':
			q.slurp = true
		case 'n':
			q.null = true
		case 'e':
			q.exit = true
		case 'j':
			q.raw, q.join = true, true
		case 't':
			q.indent = "\t"
		case 'S', 'M':
		default:
			return false
		}
	}
	return true
}

// jqRun is a program at work.
type jqRun struct {
	*invocation
	q      *jqQuery
	code   *gojq.Code
	status int
	last   any
	some   bool
	input  int
}

func (r *jqRun) result() int {
	if r.status == 0 && r.q.exit {
		switch {
		case !r.some:
			return 4
		case r.last == nil || r.last == false:
			return 1
		}
	}
	return r.status
}

// stream runs the program for every value of the input.
func (r *jqRun) stream(ctx context.Context, input io.Reader) {
	data, err := r.readAll(input)
	if err != nil {
		r.status = 2
		return
	}
	d := json.NewDecoder(bytes.NewReader(data))
	var all []any
	for r.ctx.Err() == nil {
		var value any
		err := d.Decode(&value)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			// jq says where by line and column, gojq has no parser to ask.
			fmt.Fprintf(r.stderr, "parse error: %s\n", jqParseError(err, data))
			r.status = 4 // measured with jq 1.6 of Debian 12
			return
		}
		r.input++
		if r.q.slurp {
			all = append(all, value)
			continue
		}
		r.one(ctx, value)
	}
	if r.q.slurp {
		if all == nil {
			all = []any{}
		}
		r.one(ctx, all)
	}
}

func jqParseError(err error, data []byte) string {
	line := bytes.Count(data, []byte("\n")) + 1
	var syntax *json.SyntaxError
	if errors.As(err, &syntax) {
		read := data[:min(int(syntax.Offset), len(data))]
		if strings.HasSuffix(syntax.Error(), "in string literal") && len(read) > 0 && read[len(read)-1] < ' ' {
			line, column := afterString(data, len(read))
			return fmt.Sprintf("Invalid string: control characters from U+0000 through U+001F must be escaped at line %d, column %d", line, column)
		}
		line = bytes.Count(read, []byte("\n")) + 1
		return fmt.Sprintf("Invalid numeric literal at line %d, column %d", line, len(read)-bytes.LastIndexByte(read, '\n')-1)
	}
	return fmt.Sprintf("Unfinished JSON term at EOF at line %d, column 0", line)
}

// afterString is where the string ends that reaches over data[at]: jq looks into
// strings when it has read them.
func afterString(data []byte, at int) (line, column int) {
	for ; at < len(data) && data[at] != '"'; at++ {
		if data[at] == '\\' {
			at++
		}
	}
	read := data[:min(at+1, len(data))]
	return bytes.Count(read, []byte("\n")) + 1, len(read) - bytes.LastIndexByte(read, '\n') - 1
}

// one runs the program for one value and prints what comes out.
func (r *jqRun) one(ctx context.Context, value any) {
	iter := r.code.RunWithContext(ctx, value, r.q.values...)
	for {
		out, ok := iter.Next()
		if !ok {
			return
		}
		if err, failed := out.(error); failed {
			r.failed(err)
			return
		}
		r.last, r.some = out, true
		r.print(out)
		if r.ctx.Err() != nil {
			return
		}
	}
}

func (r *jqRun) failed(err error) {
	var halt *gojq.HaltError
	if errors.As(err, &halt) {
		if halt.Value() != nil {
			fmt.Fprintf(r.stderr, "jq: error: %v\n", err)
		}
		r.status = halt.ExitCode()
		return
	}
	// jq writes its messages at once and its output in the end.
	fmt.Fprintf(r.stderr, "jq: error (at <stdin>:%d): %s\n", r.input, jqMessage(err))
	r.status = 5
}

// jqMessage is the text of an error as jq has it, where that can be made from
// gojq's.
func jqMessage(err error) string {
	text := err.Error()
	if what, ok := strings.CutPrefix(text, "cannot iterate over: "); ok {
		if what == "null" {
			what = "null (null)"
		}
		return "Cannot iterate over " + what
	}
	return strings.TrimPrefix(text, "error: ")
}

func (r *jqRun) print(value any) {
	if text, ok := value.(string); ok && r.q.raw {
		r.stdout.WriteString(text)
	} else {
		text, err := gojq.Marshal(value)
		if err != nil {
			r.failed(err)
			return
		}
		if !r.q.compact {
			var b bytes.Buffer
			if json.Indent(&b, text, "", r.q.indent) == nil {
				text = b.Bytes()
			}
		}
		r.stdout.Write(text)
	}
	if !r.q.join {
		r.stdout.WriteByte('\n')
	}
}
