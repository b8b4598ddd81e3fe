package shell

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
)

// sedCommand is one command of a sed script.
type sedCommand struct {
	first, second sedAddress
	not           bool
	name          byte

	re              *regexp.Regexp // s
	replacement     []sedPart
	global, printed bool
	number          int        // s: which match; q: the status
	table           *[256]byte // y
	text            string     // a, i, c; the label of b, t
	jump            int        // b, t, {

	inside, atEnd bool // of a range
	until         int
}

// sedAddress is n (a line), $ (the last), / (a regular expression), + (lines
// after the first address), ~ (every step-th line) or 0.
type sedAddress struct {
	kind       byte
	line, step int
	re         *regexp.Regexp
}

// sedPart is a piece of a replacement: text, or a group when group is not -1.
type sedPart struct {
	text  string
	group int
}

func (cmd *sedCommand) expand(out, src []byte, m []int) []byte {
	for _, p := range cmd.replacement {
		if p.group < 0 {
			out = append(out, p.text...)
		} else if 2*p.group+1 < len(m) && m[2*p.group] >= 0 {
			out = append(out, src[m[2*p.group]:m[2*p.group+1]]...)
		}
	}
	return out
}

// sedParser reads a script.
type sedParser struct {
	*invocation
	text     string
	pos      int
	extended bool
	lastRE   *regexp.Regexp
}

func (p *sedParser) parse() ([]sedCommand, error) {
	var commands []sedCommand
	var blocks []int
	labels := map[string]int{}
	for {
		p.skip(" \t\n;")
		if p.pos == len(p.text) {
			break
		}
		if p.text[p.pos] == '#' {
			p.rest()
			continue
		}
		cmd, err := p.command()
		if err != nil {
			return nil, err
		}
		switch cmd.name {
		case '{':
			blocks = append(blocks, len(commands))
		case '}':
			if len(blocks) == 0 {
				return nil, errors.New("unexpected `}'")
			}
			commands[blocks[len(blocks)-1]].jump = len(commands)
			blocks = blocks[:len(blocks)-1]
		case ':':
			labels[cmd.text] = len(commands)
		}
		commands = append(commands, cmd)
	}
	if len(blocks) > 0 {
		return nil, errors.New("unmatched `{'")
	}
	for i := range commands {
		cmd := &commands[i]
		if cmd.name != 'b' && cmd.name != 't' {
			continue
		}
		cmd.jump = len(commands)
		if cmd.text != "" {
			at, ok := labels[cmd.text]
			if !ok {
				return nil, errors.New("can't find label for jump to `" + cmd.text + "'")
			}
			cmd.jump = at
		}
	}
	return commands, nil
}

func (p *sedParser) skip(chars string) {
	for p.pos < len(p.text) && strings.IndexByte(chars, p.text[p.pos]) >= 0 {
		p.pos++
	}
}

// rest is the rest of the line.
func (p *sedParser) rest() string {
	line, _, _ := strings.Cut(p.text[p.pos:], "\n")
	p.pos += len(line)
	return line
}

func (p *sedParser) integer() int {
	start := p.pos
	for p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9' {
		p.pos++
	}
	n, err := strconv.Atoi(p.text[start:p.pos])
	if err != nil && p.pos > start {
		return 1 << 30
	}
	return n
}

func (p *sedParser) digit() bool {
	return p.pos < len(p.text) && p.text[p.pos] >= '0' && p.text[p.pos] <= '9'
}

func (p *sedParser) command() (cmd sedCommand, err error) {
	if cmd.first, err = p.address(); err != nil {
		return cmd, err
	}
	if p.skip(" \t"); cmd.first.kind != 0 && p.pos < len(p.text) && p.text[p.pos] == ',' {
		p.pos++
		p.skip(" \t")
		if cmd.second, err = p.address(); err != nil {
			return cmd, err
		}
		if cmd.second.kind == 0 {
			return cmd, errors.New("unexpected `,'")
		}
	} else if cmd.first.kind == 'n' && cmd.first.line == 0 {
		return cmd, errors.New("invalid usage of line address 0")
	}
	if cmd.first.kind == 'n' && cmd.first.line == 0 {
		cmd.first.kind = '0'
	}
	p.skip(" \t")
	for p.pos < len(p.text) && p.text[p.pos] == '!' {
		cmd.not = true
		p.pos++
		p.skip(" \t")
	}
	if p.pos == len(p.text) {
		return cmd, errors.New("missing command")
	}
	cmd.name = p.text[p.pos]
	p.pos++
	return cmd, p.arguments(&cmd)
}

// address reads an address, if one is there.
func (p *sedParser) address() (a sedAddress, err error) {
	if p.pos == len(p.text) {
		return a, nil
	}
	switch ch := p.text[p.pos]; {
	case p.digit():
		a.kind, a.line = 'n', p.integer()
		if p.pos < len(p.text) && p.text[p.pos] == '~' {
			p.pos++
			a.kind, a.step = '~', p.integer()
		}
	case ch == '$':
		a.kind = '$'
		p.pos++
	case ch == '+':
		p.pos++
		a.kind, a.line = '+', p.integer()
	case ch == '/' || ch == '\\':
		if ch == '\\' {
			if p.pos++; p.pos == len(p.text) {
				return a, errors.New("unexpected end")
			}
		}
		delimiter := p.text[p.pos]
		p.pos++
		pattern, ok := p.until(delimiter, true)
		if !ok {
			return a, errors.New("unterminated address regex")
		}
		fold := p.pos < len(p.text) && p.text[p.pos] == 'I'
		if fold {
			p.pos++
		}
		a.kind = '/'
		a.re, err = p.regexp(pattern, fold)
	}
	return a, err
}

// until reads up to a delimiter that has no backslash before it and, in a
// pattern, stands in no bracket expression.
func (p *sedParser) until(delimiter byte, pattern bool) (string, bool) {
	var b strings.Builder
	for p.pos < len(p.text) {
		ch := p.text[p.pos]
		p.pos++
		switch {
		case ch == delimiter:
			return b.String(), true
		case ch == '[' && pattern:
			end := bracketEnd(p.text, p.pos)
			b.WriteString(p.text[p.pos-1 : end])
			p.pos = end
		case ch == '\\' && p.pos < len(p.text):
			next := p.text[p.pos]
			p.pos++
			if next != delimiter {
				b.WriteByte('\\')
			}
			b.WriteByte(next)
		default:
			b.WriteByte(ch)
		}
	}
	return "", false
}

// bracketEnd is where the bracket expression ends whose content begins at pos.
func bracketEnd(text string, pos int) int {
	if pos < len(text) && text[pos] == '^' {
		pos++
	}
	if pos < len(text) && text[pos] == ']' {
		pos++
	}
	for pos < len(text) && text[pos] != ']' {
		if text[pos] == '[' && pos+1 < len(text) && strings.IndexByte(":.=", text[pos+1]) >= 0 {
			if end := strings.Index(text[pos+2:], text[pos+1:pos+2]+"]"); end >= 0 {
				pos += end + 4
				continue
			}
		}
		pos++
	}
	return min(pos+1, len(text))
}

func (p *sedParser) regexp(pattern string, fold bool) (*regexp.Regexp, error) {
	if pattern == "" {
		if p.lastRE == nil {
			return nil, errors.New("no previous regular expression")
		}
		return p.lastRE, nil
	}
	expr, err := translate(pattern, p.extended)
	if err != nil {
		return nil, err
	}
	expr = "(?s:" + expr + ")"
	if fold {
		expr = "(?i:" + expr + ")"
	}
	re, err := p.compile(expr)
	if err != nil {
		return nil, err
	}
	p.lastRE = re
	return re, nil
}

// arguments reads what follows a command's letter.
func (p *sedParser) arguments(cmd *sedCommand) error {
	switch cmd.name {
	case '{':
		return nil
	case 's':
		if err := p.substitution(cmd); err != nil {
			return err
		}
	case 'y':
		if err := p.transliteration(cmd); err != nil {
			return err
		}
	case 'a', 'i', 'c':
		cmd.text = p.insertion()
		return nil
	case 'b', 't', ':':
		p.skip(" \t")
		line := p.rest()
		cmd.text = line
		if at := strings.IndexAny(line, "; \t"); at >= 0 {
			cmd.text = line[:at]
		}
		p.pos -= len(line) - len(cmd.text)
		return nil
	case 'q', 'Q':
		p.skip(" \t")
		cmd.number = p.integer()
	case 'p', 'P', 'd', 'D', 'n', 'N', 'h', 'H', 'g', 'G', 'x', '=', '}':
	case 'w', 'W', 'r', 'R', 'e', 'l', 'F', 'z', 'T', 'v':
		return &regexpError{text: "command " + string(cmd.name), unsupported: true}
	default:
		return errors.New("unknown command: `" + string(cmd.name) + "'")
	}
	p.skip(" \t")
	if p.pos < len(p.text) {
		switch p.text[p.pos] {
		case ';', '\n':
			p.pos++
		case '#', '}':
		default:
			if cmd.name == 's' {
				return errors.New("unknown option to `s'")
			}
			return errors.New("extra characters after command")
		}
	}
	return nil
}

// insertion is the text of a, i and c: the rest of the line, or after a
// backslash the next lines.
func (p *sedParser) insertion() string {
	p.skip(" \t")
	if p.pos < len(p.text) && p.text[p.pos] == '\\' {
		p.pos++
		p.skip(" \t")
		p.skip("\n")
	}
	var b strings.Builder
	for p.pos < len(p.text) {
		ch := p.text[p.pos]
		p.pos++
		if ch == '\\' && p.pos < len(p.text) {
			b.WriteByte(p.text[p.pos])
			p.pos++
			continue
		}
		if ch == '\n' {
			break
		}
		b.WriteByte(ch)
	}
	return b.String()
}
