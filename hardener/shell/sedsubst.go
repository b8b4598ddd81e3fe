package shell

import (
	"errors"
	"strings"
)

func (p *sedParser) substitution(cmd *sedCommand) error {
	unterminated := errors.New("unterminated `s' command")
	if p.pos == len(p.text) {
		return unterminated
	}
	delimiter := p.text[p.pos]
	p.pos++
	pattern, ok := p.until(delimiter, true)
	if !ok {
		return unterminated
	}
	replacement, ok := p.until(delimiter, false)
	if !ok {
		return unterminated
	}
	fold := false
flags:
	for p.pos < len(p.text) {
		switch ch := p.text[p.pos]; {
		case ch == 'g':
			cmd.global = true
		case ch == 'p':
			cmd.printed = true
		case ch == 'i' || ch == 'I':
			fold = true
		case ch >= '1' && ch <= '9':
			cmd.number = p.integer()
			continue
		case ch == 'w' || ch == 'e' || ch == 'm' || ch == 'M':
			return &regexpError{text: "s///" + string(ch), unsupported: true}
		default:
			break flags
		}
		p.pos++
	}
	var err error
	if cmd.re, err = p.regexp(pattern, fold); err != nil {
		return err
	}
	cmd.replacement, err = sedReplacement(replacement, cmd.re.NumSubexp())
	return err
}

// sedReplacement reads the second part of an s command.
func sedReplacement(text string, groups int) (parts []sedPart, err error) {
	var b strings.Builder
	flush := func() {
		if b.Len() > 0 {
			parts = append(parts, sedPart{text: b.String(), group: -1})
			b.Reset()
		}
	}
	for i := 0; i < len(text); i++ {
		switch ch := text[i]; {
		case ch == '&':
			flush()
			parts = append(parts, sedPart{group: 0})
		case ch == '\\' && i+1 < len(text):
			i++
			switch next := text[i]; {
			case next >= '0' && next <= '9':
				n := int(next - '0')
				if n > groups {
					return nil, errors.New("invalid reference \\" + string(next) + " on `s' command's RHS")
				}
				flush()
				parts = append(parts, sedPart{group: n})
			case next == 'n':
				b.WriteByte('\n')
			case next == 't':
				b.WriteByte('\t')
			case strings.IndexByte("LUElu", next) >= 0:
				return nil, &regexpError{text: `s \` + string(next), unsupported: true}
			default:
				b.WriteByte(next)
			}
		default:
			b.WriteByte(ch)
		}
	}
	flush()
	return parts, nil
}

func (p *sedParser) transliteration(cmd *sedCommand) error {
	if p.pos == len(p.text) {
		return errors.New("unterminated `y' command")
	}
	delimiter := p.text[p.pos]
	p.pos++
	from, ok1 := p.until(delimiter, false)
	to, ok2 := p.until(delimiter, false)
	if !ok1 || !ok2 {
		return errors.New("unterminated `y' command")
	}
	from, _ = unescape(from)
	to, _ = unescape(to)
	if len(from) != len(to) {
		return errors.New("strings for `y' command are different lengths")
	}
	cmd.table = new([256]byte)
	for i := range cmd.table {
		cmd.table[i] = byte(i)
	}
	for i := range len(from) {
		cmd.table[from[i]] = to[i]
	}
	return nil
}
