package node

import "strings"

// ParseEnvFile reads a systemd EnvironmentFile (systemd.exec(5)). Of a name
// given twice the last value counts. The rules are those of systemd's
// src/basic/env-file.c: quotes are special only where a value or a piece of it
// begins, a backslash joins lines, an unquoted value loses the blanks at its
// end, and lines without a valid name are ignored.
func ParseEnvFile(data []byte) map[string]string {
	env := map[string]string{}
	p := envParser{rest: string(data)}
	for p.rest != "" {
		name, ok := p.name()
		if !ok {
			continue
		}
		if value := p.value(); validEnvName(name) {
			env[name] = value
		}
	}
	return env
}

type envParser struct{ rest string }

const blanks = " \t\r\n"

// name reads up to the "=" of an assignment. A comment and a line without "="
// are read over.
func (p *envParser) name() (string, bool) {
	p.rest = strings.TrimLeft(p.rest, blanks)
	line, after, _ := strings.Cut(p.rest, "\n")
	if line == "" || line[0] == '#' || line[0] == ';' {
		p.rest = after
		return "", false
	}
	name, _, ok := strings.Cut(line, "=")
	if !ok {
		p.rest = after
		return "", false
	}
	p.rest = p.rest[len(name)+1:]
	return strings.TrimRight(name, blanks), true
}

// value reads up to the end of the line, which may be several lines when they
// are joined or quoted.
func (p *envParser) value() string {
	var b strings.Builder
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case c == '\n':
			return b.String()
		case c == '\'':
			text, after, _ := strings.Cut(p.rest, "'")
			b.WriteString(text)
			p.rest = after
		case c == '"':
			p.doubleQuoted(&b)
		case strings.IndexByte(blanks, c) < 0:
			p.rest = string(c) + p.rest
			p.plain(&b)
			return b.String()
		}
	}
	return b.String()
}

func (p *envParser) doubleQuoted(b *strings.Builder) {
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case c == '"':
			return
		case c == '\\' && p.rest != "":
			next := p.rest[0]
			p.rest = p.rest[1:]
			if !strings.ContainsRune("\"\\`$\n", rune(next)) {
				b.WriteByte('\\')
			}
			if next != '\n' {
				b.WriteByte(next)
			}
		default:
			b.WriteByte(c)
		}
	}
}

// plain reads the rest of a value that is not in quotes, in which quotes mean
// themselves.
func (p *envParser) plain(b *strings.Builder) {
	keep := b.Len() // what stands before this is not trimmed
	for p.rest != "" {
		c := p.rest[0]
		p.rest = p.rest[1:]
		if c == '\n' {
			break
		}
		if c == '\\' && p.rest != "" {
			c = p.rest[0]
			p.rest = p.rest[1:]
			if c != '\n' {
				b.WriteByte(c)
				keep = b.Len()
			}
			continue
		}
		b.WriteByte(c)
		if strings.IndexByte(blanks, c) < 0 {
			keep = b.Len()
		}
	}
	s := b.String()[:keep]
	b.Reset()
	b.WriteString(s)
}

func validEnvName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c != '_' && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}
