package shell

import (
	"fmt"
	"regexp"
	"strings"
)

// regexpError says why a pattern cannot be used. When unsupported is set, the
// real commands would have understood it.
type regexpError struct {
	text        string
	unsupported bool
}

func (e *regexpError) Error() string { return e.text }

// translate turns a POSIX regular expression of grep or sed, basic or extended,
// with the extensions of GNU, into Go's syntax.
func translate(pattern string, extended bool) (string, error) {
	t := translator{in: pattern, extended: extended}
	if err := t.run(); err != nil {
		return "", err
	}
	return t.out.String(), nil
}

type translator struct {
	in       string
	extended bool
	pos      int
	out      strings.Builder
	depth    int
	start    bool // at the start of the expression, a group or an alternative
	atom     bool // something that can be repeated comes before
	repeated bool // the last thing was a repetition
}

func (t *translator) run() error {
	t.start = true
	for t.pos < len(t.in) {
		ch := t.in[t.pos]
		t.pos++
		var err error
		switch {
		case ch == '\\':
			err = t.escape()
		case ch == '[':
			err = t.bracket()
		case ch == '*':
			t.repeat("*")
		case ch == '.':
			t.emit(".")
		case ch == '^':
			t.caret()
		case ch == '$':
			t.dollar()
		case t.extended && strings.IndexByte("(){|+?", ch) >= 0:
			err = t.operator(ch)
		default:
			t.emit(regexp.QuoteMeta(string(ch)))
		}
		if err != nil {
			return err
		}
	}
	if t.depth > 0 {
		return &regexpError{text: `Unmatched ( or \(`}
	}
	return nil
}

// emit writes something that can be repeated.
func (t *translator) emit(s string) {
	t.out.WriteString(s)
	t.start, t.atom, t.repeated = false, true, false
}

// repeat writes a repetition. At the start a star is an ordinary character, and
// GNU takes repetitions of repetitions, which Go does not.
func (t *translator) repeat(op string) {
	switch {
	case !t.atom && t.start && (op == "*" || t.extended):
		if t.extended {
			return // GNU ignores it there
		}
		t.emit(regexp.QuoteMeta(op))
	case !t.atom:
		if !t.extended {
			t.emit(regexp.QuoteMeta(op))
		}
	case t.repeated:
		s := t.out.String()
		if strings.HasSuffix(s, op) && !strings.HasSuffix(s, `\`+op) && len(op) == 1 {
			return // a** is a*
		}
		t.out.Reset()
		t.out.WriteString(wrapLast(s))
		t.out.WriteString(op)
	default:
		t.out.WriteString(op)
		t.repeated = true
	}
}

// wrapLast is for x+* and the like: Go refuses a repetition of a repetition, so
// the expression so far gets a group. Only the last atom would need it, but a
// repetition right after another hardly ever comes, and "a+*" alone is right.
func wrapLast(s string) string { return "(?:" + s + ")" }

func (t *translator) caret() {
	if t.extended || t.start {
		t.out.WriteByte('^')
		if t.extended {
			t.atom = false
		}
		return
	}
	t.emit(`\^`)
}

func (t *translator) dollar() {
	rest := t.in[t.pos:]
	if t.extended || rest == "" || strings.HasPrefix(rest, `\)`) || strings.HasPrefix(rest, `\|`) {
		t.out.WriteByte('$')
		t.atom, t.start = false, false
		return
	}
	t.emit(`\$`)
}

// operator handles the special characters of extended expressions, which basic
// ones have with a backslash.
func (t *translator) operator(ch byte) error {
	switch ch {
	case '(':
		t.depth++
		t.out.WriteByte('(')
		t.start, t.atom, t.repeated = true, false, false
	case ')':
		if t.depth == 0 {
			if t.extended {
				t.emit(`\)`)
				return nil
			}
			return &regexpError{text: `Unmatched ) or \)`}
		}
		t.depth--
		t.out.WriteByte(')')
		t.start, t.atom, t.repeated = false, true, false
	case '|':
		t.out.WriteByte('|')
		t.start, t.atom, t.repeated = true, false, false
	case '+', '?':
		t.repeat(string(ch))
	case '{':
		return t.interval()
	}
	return nil
}

// interval is {n}, {n,}, {,m} or {n,m}.
func (t *translator) interval() error {
	closing := "}"
	if !t.extended {
		closing = `\}`
	}
	body, _, ok := strings.Cut(t.in[t.pos:], closing)
	valid := ok && body != "" && strings.Trim(body, "0123456789,") == "" && strings.Count(body, ",") <= 1
	if !valid {
		if t.extended {
			t.emit(`\{`)
			return nil
		}
		if !ok {
			return &regexpError{text: `Unmatched \{`}
		}
		return &regexpError{text: `Invalid content of \{\}`}
	}
	t.pos += len(body) + len(closing)
	if strings.HasPrefix(body, ",") {
		body = "0" + body
	}
	t.repeat("{" + body + "}")
	return nil
}

func (t *translator) escape() error {
	if t.pos == len(t.in) {
		return &regexpError{text: "Trailing backslash"}
	}
	ch := t.in[t.pos]
	t.pos++
	switch {
	case !t.extended && strings.IndexByte("(){|+?", ch) >= 0:
		return t.operator(ch)
	case ch >= '1' && ch <= '9':
		return &regexpError{text: fmt.Sprintf(`back-reference \%c in a pattern`, ch), unsupported: true}
	case strings.IndexByte("wWsS", ch) >= 0:
		t.emit(`\` + string(ch))
	case ch == 'b' || ch == 'B':
		t.out.WriteString(`\` + string(ch))
		t.start, t.atom = false, false
	case ch == '<' || ch == '>':
		t.out.WriteString(`\b`)
		t.start, t.atom = false, false
	case ch == '`':
		t.out.WriteString(`\A`)
	case ch == '\'':
		t.out.WriteString(`\z`)
	case ch == 'n':
		t.emit(`\n`)
	case ch == 't':
		t.emit(`\t`)
	default:
		t.emit(regexp.QuoteMeta(string(ch)))
	}
	return nil
}

// bracket is a bracket expression, where a backslash is an ordinary character.
func (t *translator) bracket() error {
	unmatched := &regexpError{text: "Unmatched [, [^, [:, [., or [="}
	if t.in == "[" {
		unmatched.text = "Invalid regular expression" // measured
	}
	i := t.pos
	var b strings.Builder
	b.WriteByte('[')
	if i < len(t.in) && t.in[i] == '^' {
		b.WriteByte('^')
		i++
	}
	for first := true; ; first = false {
		if i >= len(t.in) {
			return unmatched
		}
		ch := t.in[i]
		switch {
		case ch == ']' && !first:
			b.WriteByte(']')
			t.pos = i + 1
			t.emit(b.String())
			return nil
		case ch == '[' && i+1 < len(t.in) && strings.IndexByte(":.=", t.in[i+1]) >= 0:
			kind := t.in[i+1]
			end := strings.Index(t.in[i+2:], string(kind)+"]")
			if end < 0 {
				return unmatched
			}
			name := t.in[i+2 : i+2+end]
			i += end + 4
			if kind == ':' {
				if !posixClass(name) {
					return &regexpError{text: "Invalid character class name"}
				}
				b.WriteString("[:" + name + ":]")
			} else {
				b.WriteString(regexp.QuoteMeta(name))
			}
		case ch == '-':
			// A range needs both ends; elsewhere it is the character.
			if first || i+1 < len(t.in) && t.in[i+1] == ']' {
				b.WriteString(`\-`)
			} else {
				b.WriteByte('-')
			}
			i++
		case strings.IndexByte(`\^[]&~`, ch) >= 0:
			b.WriteString(`\` + string(ch))
			i++
		default:
			b.WriteByte(ch)
			i++
		}
	}
}

func posixClass(name string) bool {
	switch name {
	case "alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit":
		return true
	}
	return false
}
