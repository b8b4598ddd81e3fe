package shell

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// sed is GNU sed without what writes files: -n, -e, -E, -r, -s, and the commands
// s y p P d D n N h H g G x = q Q a i c b t : { }.
func sed(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "ne:Ersuzi::f:", long: map[string]string{"quiet": "n", "silent": "n", "expression": "e:",
		"regexp-extended": "E", "separate": "s", "unbuffered": "u", "posix": "posix"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	var scripts []string
	quiet, extended, given := false, false, false
	for _, o := range opts {
		switch o.name {
		case "n":
			quiet = true
		case "E", "r":
			extended = true
		case "e":
			scripts, given = append(scripts, o.value), true
		case "i", "f", "z", "s":
			c.lacksOption("-" + o.name)
			return 1
		}
	}
	if !given {
		if len(files) == 0 {
			io.WriteString(c.stderr, "Usage: sed [OPTION]... {script-only-if-no-other-script} [input-file]...\n")
			return 1
		}
		scripts, files = files[:1], files[1:]
	}
	script := strings.Join(scripts, "\n")
	p := &sedParser{invocation: c, text: script, extended: extended}
	commands, err := p.parse()
	if err != nil {
		return c.sedError(p, err)
	}
	e := &sedRun{invocation: c, commands: commands, quiet: quiet}
	status := e.files(files)
	c.stdout.Flush()
	return status
}

func (c *invocation) sedError(p *sedParser, err error) int {
	var bad *regexpError
	if errors.As(err, &bad) && bad.unsupported {
		c.lacksOption(bad.text)
	} else {
		c.errorf("-e expression #1, char %d: %v", min(p.pos, len(p.text)), err)
	}
	return 1
}

// sedRun is a script at work.
type sedRun struct {
	*invocation
	commands []sedCommand
	quiet    bool

	in       *bufio.Reader
	pattern  []byte
	hold     []byte
	newline  bool // the line read last had one
	missing  bool // a line was printed without one
	number   int
	last     bool
	replaced bool // since the last line or t
	appended []byte
	status   int
	done     bool
}

// files runs the script over all files as over one stream.
func (e *sedRun) files(files []string) int {
	if len(files) == 0 {
		files = []string{"-"}
	}
	var readers []io.Reader
	status := 0
	for _, name := range files {
		if name == "-" {
			readers = append(readers, e.stdin)
			continue
		}
		f, err := e.open(e.path(name))
		if err != nil {
			e.errorf("can't read %s: %s", name, reason(err))
			status = 2
			continue
		}
		defer f.Close()
		if isDirError(f, io.EOF) {
			e.errorf("read error on %s: Is a directory", name)
			e.stdout.Flush()
			status = 4
			continue
		}
		readers = append(readers, f)
	}
	e.in = bufio.NewReaderSize(io.MultiReader(readers...), 16<<10)
	for !e.done && e.ctx.Err() == nil && e.next() {
		e.cycle()
	}
	if e.status != 0 {
		return e.status
	}
	return status
}

// next reads a line into the pattern space.
func (e *sedRun) next() bool {
	line, err := e.readLine()
	if err != nil {
		return false
	}
	e.pattern = append(e.pattern[:0], line...)
	return true
}

func (e *sedRun) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := e.in.ReadSlice('\n')
		line = append(line, part...)
		if errors.Is(err, bufio.ErrBufferFull) {
			if len(line) > e.maxOutput {
				e.tooMuch()
				return nil, errLimit
			}
			continue
		}
		if err != nil && len(line) == 0 {
			return nil, io.EOF
		}
		break
	}
	e.newline = bytes.HasSuffix(line, []byte("\n"))
	e.number++
	_, err := e.in.Peek(1)
	e.last = err != nil
	return bytes.TrimSuffix(line, []byte("\n")), nil
}

// cycle runs the script for one line.
func (e *sedRun) cycle() {
	for {
		e.replaced = false
		restart := e.run()
		if !restart {
			return
		}
	}
}

// run executes the commands and says whether to start again without reading
// (D).
func (e *sedRun) run() (restart bool) {
	for pc, steps := 0, 0; pc < len(e.commands); pc++ {
		if steps++; steps&0xff == 0 && e.ctx.Err() != nil {
			return false
		}
		cmd := &e.commands[pc]
		if e.selects(cmd) == cmd.not {
			if cmd.name == '{' {
				pc = cmd.jump
			}
			continue
		}
		switch e.execute(cmd, &pc) {
		case sedEnd:
			e.finish(!e.quiet)
			return false
		case sedDrop:
			e.finish(false)
			return false
		case sedRestart:
			e.finish(false)
			return true
		}
	}
	e.finish(!e.quiet)
	return false
}

// finish ends a cycle.
func (e *sedRun) finish(show bool) {
	if show {
		e.line(e.pattern)
	}
	if len(e.appended) > 0 {
		e.text(string(e.appended))
		e.appended = e.appended[:0]
	}
}

// line prints a line, with a newline unless it is the last and has none. Another
// line after that gets it.
func (e *sedRun) line(text []byte) {
	e.text(string(text))
	if e.newline || !e.last {
		e.stdout.WriteByte('\n')
	} else {
		e.missing = true
	}
}

func (e *sedRun) text(text string) {
	if e.missing {
		e.stdout.WriteByte('\n')
		e.missing = false
	}
	e.stdout.WriteString(text)
}

// What execute wants next.
const (
	sedNext = iota
	sedEnd
	sedDrop
	sedRestart
)

func (e *sedRun) execute(cmd *sedCommand, pc *int) int {
	switch cmd.name {
	case 's':
		e.substitute(cmd)
	case 'y':
		for i, b := range e.pattern {
			e.pattern[i] = cmd.table[b]
		}
	case 'p':
		e.line(e.pattern)
	case 'P':
		first, _, _ := bytes.Cut(e.pattern, []byte("\n"))
		e.text(string(first) + "\n")
	case '=':
		e.text(strconv.Itoa(e.number) + "\n")
	case 'd':
		return sedDrop
	case 'D':
		_, rest, more := bytes.Cut(e.pattern, []byte("\n"))
		if !more {
			return sedDrop
		}
		e.pattern = append(e.pattern[:0], rest...)
		return sedRestart
	case 'n':
		if e.last {
			e.done = true
			return sedEnd
		}
		e.finish(!e.quiet)
		e.next()
	case 'N':
		if e.last {
			e.done = true
			return sedEnd
		}
		line, _ := e.readLine()
		e.pattern = append(append(e.pattern, '\n'), line...)
	case 'h':
		e.hold = append(e.hold[:0], e.pattern...)
	case 'H':
		e.hold = append(append(e.hold, '\n'), e.pattern...)
	case 'g':
		e.pattern = append(e.pattern[:0], e.hold...)
	case 'G':
		e.pattern = append(append(e.pattern, '\n'), e.hold...)
	case 'x':
		e.pattern, e.hold = e.hold, e.pattern
	case 'a':
		e.appended = append(append(e.appended, cmd.text...), '\n')
	case 'i':
		e.text(cmd.text + "\n")
	case 'c':
		if cmd.not || cmd.second.kind == 0 || cmd.atEnd {
			e.text(cmd.text + "\n")
		}
		return sedDrop
	case 'q':
		e.done, e.status = true, cmd.number
		return sedEnd
	case 'Q':
		e.done, e.status = true, cmd.number
		return sedDrop
	case 'b':
		*pc = cmd.jump
	case 't':
		if e.replaced {
			e.replaced = false
			*pc = cmd.jump
		}
	}
	if len(e.pattern)+len(e.hold) > e.maxOutput {
		e.tooMuch()
		return sedDrop
	}
	return sedNext
}

// substitute is the s command.
func (e *sedRun) substitute(cmd *sedCommand) {
	var out []byte
	at, n, changed := 0, 0, false
	for _, m := range e.matches(cmd.re, cmd.global || cmd.number > 1) {
		n++
		if n < cmd.number {
			continue
		}
		out = append(out, e.pattern[at:m[0]]...)
		out = cmd.expand(out, e.pattern, m)
		at, changed = m[1], true
		if !cmd.global {
			break
		}
	}
	if !changed {
		return
	}
	e.pattern = append(out, e.pattern[at:]...)
	e.replaced = true
	if cmd.printed {
		e.line(e.pattern)
	}
}

func (e *sedRun) matches(re *regexp.Regexp, all bool) [][]int {
	if all {
		return re.FindAllSubmatchIndex(e.pattern, -1)
	}
	if m := re.FindSubmatchIndex(e.pattern); m != nil {
		return [][]int{m}
	}
	return nil
}

// selects tells whether a command's addresses select the current line.
func (e *sedRun) selects(cmd *sedCommand) bool {
	cmd.atEnd = false
	switch {
	case cmd.first.kind == 0:
		return true
	case cmd.second.kind == 0:
		return e.at(&cmd.first)
	case !cmd.inside:
		if !(e.at(&cmd.first) || cmd.first.kind == '0') {
			return false
		}
		if cmd.first.kind == '0' {
			if e.number > 1 {
				return false
			}
			cmd.inside = !e.at(&cmd.second)
			cmd.atEnd = !cmd.inside
			return true
		}
		cmd.inside, cmd.until = true, 0
		switch cmd.second.kind {
		case 'n':
			cmd.until = cmd.second.line
		case '+':
			cmd.until = e.number + cmd.second.line
		}
		if cmd.until != 0 && e.number >= cmd.until || cmd.second.kind == '$' && e.last {
			cmd.inside, cmd.atEnd = false, true
		}
		return true
	}
	switch {
	case cmd.until != 0:
		if e.number > cmd.until { // passed in another branch
			cmd.inside = false
			return e.at(&cmd.first)
		}
		cmd.inside = e.number < cmd.until
	default:
		cmd.inside = !e.at(&cmd.second)
	}
	cmd.atEnd = !cmd.inside
	return true
}

func (e *sedRun) at(a *sedAddress) bool {
	switch a.kind {
	case 'n':
		return e.number == a.line
	case '$':
		return e.last
	case '/':
		return a.re.Match(e.pattern)
	case '~':
		return a.step > 0 && e.number >= a.line && (e.number-a.line)%a.step == 0
	}
	return false
}
