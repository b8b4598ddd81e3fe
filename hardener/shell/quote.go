package shell

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// utf8Locale tells whether the C library would work in UTF-8 under this
// environment. What is set but empty does not count (setlocale(3)).
func utf8Locale(env func(name string) string) bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := env(name); value != "" {
			_, codeset, _ := strings.Cut(value, ".")
			codeset, _, _ = strings.Cut(codeset, "@")
			codeset = strings.ToLower(codeset)
			return codeset == "utf-8" || codeset == "utf8"
		}
	}
	return false
}

func (c *invocation) utf8() bool {
	return utf8Locale(func(name string) string { return c.env.Get(name).String() })
}

// quote is how coreutils quotes a file name that stands in the middle of a
// message (gnulib's shell_escape_always_quoting_style).
func (c *invocation) quote(name string) string {
	return shellQuote(name, c.utf8())
}

// quoteColon is how coreutils writes a file name before a colon: quoted only
// when it would be mistaken otherwise (shell_escape_quoting_style).
func (c *invocation) quoteColon(name string) string {
	plain := name != "" && !strings.ContainsAny(name, " !\"$&'()*;<=>?[\\^`|") && name[0] != '#' && name[0] != '~' && name != "{" && name != "}"
	utf := c.utf8()
	for rest := name; plain && rest != ""; {
		size, escape := unprintable(rest, utf)
		plain, rest = escape == "", rest[size:]
	}
	if plain {
		return name
	}
	return shellQuote(name, utf)
}

// quoteLocale is how find quotes a file name (locale_quoting_style).
func (c *invocation) quoteLocale(name string) string {
	utf := c.utf8()
	left, right := "'", "'"
	if utf {
		left, right = "‘", "’"
	}
	var b strings.Builder
	b.WriteString(left)
	for name != "" {
		size, escape := unprintable(name, utf)
		switch {
		case escape != "":
			b.WriteString(escape)
		case name[0] == '\\':
			b.WriteString(`\\`)
		case strings.HasPrefix(name, right):
			b.WriteString(`\` + right)
			size = len(right)
		default:
			b.WriteString(name[:size])
		}
		name = name[size:]
	}
	return b.String() + right
}

// shellQuote writes a name as a shell would read it, what cannot be printed as
// $'\n' (quotearg_buffer_restyled in gnulib lib/quotearg.c).
func shellQuote(name string, utf bool) string {
	var b strings.Builder
	b.WriteByte('\'')
	escaping, double := false, true
	for rest := name; rest != ""; {
		size, escape := unprintable(rest, utf)
		switch {
		case escape != "":
			double = false
			if !escaping {
				b.WriteString(`'$'`)
			}
			b.WriteString(escape)
			escaping = true
		default:
			if escaping {
				b.WriteString(`''`)
			}
			escaping = false
			if rest[0] == '\'' {
				b.WriteString(`'\''`)
				break
			}
			if strings.IndexByte("\"$`\\!", rest[0]) >= 0 {
				double = false
			}
			b.WriteString(rest[:size])
		}
		rest = rest[size:]
	}
	if double && strings.Contains(name, "'") {
		return `"` + name + `"`
	}
	return b.String() + "'"
}

// unprintable is the length of the first character of a name and, when it
// cannot be printed in the locale, its escape.
func unprintable(s string, utf bool) (size int, escape string) {
	if i := strings.IndexByte("\a\b\f\n\r\t\v", s[0]); i >= 0 {
		return 1, `\` + "abfnrtv"[i:i+1]
	}
	if s[0] < utf8.RuneSelf {
		if s[0] >= ' ' && s[0] < 0x7f {
			return 1, ""
		}
		return 1, fmt.Sprintf(`\%03o`, s[0])
	}
	if r, size := utf8.DecodeRuneInString(s); utf && (r != utf8.RuneError || size > 1) {
		if node.Printable(r) {
			return size, ""
		}
		for _, c := range []byte(s[:size]) {
			escape += fmt.Sprintf(`\%03o`, c)
		}
		return size, escape
	}
	return 1, fmt.Sprintf(`\%03o`, s[0])
}
