package shell

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// tr translates, deletes (-d) or squeezes (-s) bytes.
func tr(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "dscCt", stop: true, long: map[string]string{"delete": "d", "squeeze-repeats": "s", "complement": "c"}}
	opts, sets, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	var remove, squeeze, complement, truncate bool
	for _, o := range opts {
		switch o.name {
		case "d":
			remove = true
		case "s":
			squeeze = true
		case "c", "C":
			complement = true
		case "t":
			truncate = true
		}
	}
	want := 2
	if remove != squeeze && (remove || len(sets) == 1) {
		want = 1
	}
	if len(sets) != want {
		what := "missing operand"
		if len(sets) > want {
			what = "extra operand " + c.quote(sets[want])
		} else if len(sets) > 0 {
			what = "missing operand after " + c.quote(sets[len(sets)-1])
			if want == 2 {
				what += "\nTwo strings must be given when translating."
			}
		}
		c.usage("%s", what)
		return 1
	}
	first, ok := trSet(sets[0])
	if !ok {
		c.lacksOption(sets[0])
		return 1
	}
	if complement {
		first = complemented(first)
	}
	var second []byte
	if want == 2 {
		if second, ok = trSet(sets[1]); !ok {
			c.lacksOption(sets[1])
			return 1
		}
	}
	t := trTable(first, second, remove, truncate)
	if squeeze {
		set := second
		if second == nil {
			set = first
		}
		for _, b := range set {
			t.squeeze[b] = true
		}
	}
	c.translate(&t)
	return 0
}

// trMap is what tr does with each byte.
type trMap struct {
	to      [256]byte
	remove  [256]bool
	squeeze [256]bool
}

func trTable(first, second []byte, remove, truncate bool) (t trMap) {
	for i := range t.to {
		t.to[i] = byte(i)
	}
	for i, b := range first {
		switch {
		case remove:
			t.remove[b] = true
		case i < len(second):
			t.to[b] = second[i]
		case len(second) > 0 && !truncate:
			t.to[b] = second[len(second)-1]
		}
	}
	return t
}

func (c *invocation) translate(t *trMap) {
	buf := make([]byte, 16<<10)
	last := -1
	for c.ctx.Err() == nil {
		n, err := c.stdin.Read(buf)
		out := buf[:0]
		for _, b := range buf[:n] {
			if t.remove[b] {
				continue
			}
			b = t.to[b]
			if t.squeeze[b] && last == int(b) {
				continue
			}
			last = int(b)
			out = append(out, b)
		}
		if _, werr := c.stdout.Write(out); werr != nil || err != nil {
			return
		}
	}
}

func complemented(set []byte) (out []byte) {
	for i := range 256 {
		if !slices.Contains(set, byte(i)) {
			out = append(out, byte(i))
		}
	}
	return out
}

// trSet expands ranges, escapes and classes.
func trSet(text string) (set []byte, ok bool) {
	for _, name := range []string{"alnum", "alpha", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper", "xdigit"} {
		text = strings.ReplaceAll(text, "[:"+name+":]", classBytes(name))
	}
	if strings.Contains(text, "[:") || strings.Contains(text, "[=") || strings.Contains(text, "*]") {
		return nil, false
	}
	for i := 0; i < len(text); i++ {
		var b byte
		b, i = trByte(text, i)
		if i+2 < len(text) && text[i+1] == '-' {
			end, at := trByte(text, i+2)
			for x := int(b); x <= int(end); x++ {
				set = append(set, byte(x))
			}
			i = at
			continue
		}
		set = append(set, b)
	}
	return set, true
}

// trByte reads one character, and returns where it ends.
func trByte(text string, i int) (byte, int) {
	if text[i] != '\\' || i+1 == len(text) {
		return text[i], i
	}
	n, j := 0, i+1
	for ; j < len(text) && j < i+4 && text[j] >= '0' && text[j] <= '7'; j++ {
		n = n*8 + int(text[j]-'0')
	}
	if j > i+1 {
		return byte(n), j - 1
	}
	if at := strings.IndexByte(`abfnrtv\`, text[i+1]); at >= 0 {
		return "\a\b\f\n\r\t\v\\"[at], i + 1
	}
	return text[i+1], i + 1
}

// classBytes are the members of a character class in the C locale, with what
// means something in a set escaped.
func classBytes(name string) string {
	var b strings.Builder
	for i := range 256 {
		ch := byte(i)
		upper, lower, digit := ch >= 'A' && ch <= 'Z', ch >= 'a' && ch <= 'z', ch >= '0' && ch <= '9'
		graph := ch > ' ' && ch < 0x7f
		var in bool
		switch name {
		case "alnum":
			in = upper || lower || digit
		case "alpha":
			in = upper || lower
		case "blank":
			in = ch == ' ' || ch == '\t'
		case "cntrl":
			in = ch < ' ' || ch == 0x7f
		case "digit":
			in = digit
		case "graph":
			in = graph
		case "lower":
			in = lower
		case "print":
			in = graph || ch == ' '
		case "punct":
			in = graph && !upper && !lower && !digit
		case "space":
			in = ch == ' ' || ch >= '\t' && ch <= '\r'
		case "upper":
			in = upper
		case "xdigit":
			in = digit || ch|0x20 >= 'a' && ch|0x20 <= 'f'
		}
		if in {
			fmt.Fprintf(&b, `\%03o`, ch)
		}
	}
	return b.String()
}

// cut prints fields (-f with -d) or bytes (-c, -b) of each line.
func cut(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "d:f:c:b:sn", long: map[string]string{"delimiter": "d:", "fields": "f:", "characters": "c:",
		"bytes": "b:", "only-delimited": "s"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	delimiter, list, byFields, only := "\t", "", false, false
	for _, o := range opts {
		switch o.name {
		case "d":
			delimiter = o.value
		case "f", "c", "b":
			list, byFields = o.value, o.name == "f"
		case "s":
			only = true
		}
	}
	if list == "" {
		c.usage("you must specify a list of bytes, characters, or fields")
		return 1
	}
	if len(delimiter) != 1 {
		c.usage("the delimiter must be a single character")
		return 1
	}
	in, ok := cutList(list)
	if !ok {
		c.usage("invalid field value %s", c.quote(list))
		return 1
	}
	return c.eachInput(files, func(_ string, r io.Reader) error {
		return c.lines(r, func(line []byte) bool {
			switch {
			case !byFields:
				for i, b := range line {
					if in(i + 1) {
						c.stdout.WriteByte(b)
					}
				}
			case !bytes.Contains(line, []byte(delimiter)):
				if only {
					return true
				}
				c.stdout.Write(line)
			default:
				first := true
				for i, field := range bytes.Split(line, []byte(delimiter)) {
					if in(i + 1) {
						if !first {
							c.stdout.WriteString(delimiter)
						}
						c.stdout.Write(field)
						first = false
					}
				}
			}
			c.stdout.WriteByte('\n')
			return true
		})
	})
}

// cutList reads a list such as 1,3-5,7-.
func cutList(list string) (in func(int) bool, ok bool) {
	var ranges [][2]int
	for item := range strings.SplitSeq(list, ",") {
		from, to, isRange := strings.Cut(item, "-")
		span := [2]int{1, 1 << 30}
		var err1, err2 error
		if from != "" {
			span[0], err1 = strconv.Atoi(from)
		}
		if !isRange {
			span[1] = span[0]
		} else if to != "" {
			span[1], err2 = strconv.Atoi(to)
		}
		if err1 != nil || err2 != nil || item == "" || item == "-" || span[0] < 1 || span[1] < span[0] {
			return nil, false
		}
		ranges = append(ranges, span)
	}
	return func(n int) bool {
		for _, s := range ranges {
			if n >= s[0] && n <= s[1] {
				return true
			}
		}
		return false
	}, true
}

// paste joins the lines of files, or with -s all lines of each.
func paste(_ context.Context, c *invocation) int {
	opts, files, bad := optionSpec{short: "sd:", long: map[string]string{"serial": "s", "delimiters": "d:"}}.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	delimiters, serial := "\t", false
	for _, o := range opts {
		if o.name == "d" {
			delimiters, _ = unescape(o.value)
		} else {
			serial = true
		}
	}
	if !serial && len(files) > 1 || delimiters == "" {
		c.lacksOption("of several files")
		return 1
	}
	return c.eachInput(files, func(_ string, r io.Reader) error {
		n := 0
		err := c.lines(r, func(line []byte) bool {
			if serial && n > 0 {
				c.stdout.WriteByte(delimiters[(n-1)%len(delimiters)])
			}
			c.stdout.Write(line)
			if n++; !serial {
				c.stdout.WriteByte('\n')
			}
			return true
		})
		if serial {
			c.stdout.WriteByte('\n')
		}
		return err
	})
}
