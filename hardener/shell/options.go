package shell

import (
	"strings"
)

// option is one option of a command line, in the order given. Long options have
// their full name.
type option struct {
	name, value string
}

// optionSpec says which options a command takes, as getopt has them: short is
// "c:Lv" with a colon after letters that take a value; long maps a long name to
// its short letter or to itself, with a colon in the end when it takes a value.
type optionSpec struct {
	short string
	long  map[string]string
	// stop ends options at the first operand, as for xargs, instead of taking
	// options anywhere.
	stop bool
}

// parse splits args (without the command's name) into options and operands. bad
// is an option that is not in the spec, or one whose value is missing.
func (o optionSpec) parse(args []string) (opts []option, operands []string, bad string) {
	for i := 0; i < len(args); i++ {
		arg := args[i]
		switch {
		case arg == "--":
			return opts, append(operands, args[i+1:]...), ""
		case len(arg) < 2 || arg[0] != '-':
			if o.stop {
				return opts, append(operands, args[i:]...), ""
			}
			operands = append(operands, arg)
		case strings.HasPrefix(arg, "--"):
			name, value, hasValue := strings.Cut(arg[2:], "=")
			spec, ok := o.longOption(name)
			if !ok {
				return nil, nil, arg
			}
			if takes := strings.HasSuffix(spec, ":"); takes && !hasValue {
				if i++; i == len(args) {
					return nil, nil, arg
				}
				value = args[i]
			}
			opts = append(opts, option{strings.TrimSuffix(spec, ":"), value})
		default:
			for j := 1; j < len(arg); j++ {
				at := strings.IndexByte(o.short, arg[j])
				if at < 0 || arg[j] == ':' {
					return nil, nil, "-" + arg[j:j+1]
				}
				opt := option{name: arg[j : j+1]}
				if at+1 < len(o.short) && o.short[at+1] == ':' {
					opt.value = arg[j+1:]
					optional := at+2 < len(o.short) && o.short[at+2] == ':'
					if opt.value == "" && !optional {
						if i++; i == len(args) {
							return nil, nil, arg
						}
						opt.value = args[i]
					}
					j = len(arg)
				}
				opts = append(opts, opt)
			}
		}
	}
	return opts, operands, ""
}

// longOption finds a long option by its name or an unambiguous beginning of it.
func (o optionSpec) longOption(name string) (string, bool) {
	if spec, ok := o.long[name]; ok {
		return spec, true
	}
	found, n := "", 0
	for full, spec := range o.long {
		if strings.HasPrefix(full, name) {
			found = spec
			n++
		}
	}
	return found, n == 1
}

// unescape expands the backslash escapes of echo -e and of tr. stop reports \c.
func unescape(s string) (text string, stop bool) {
	if !strings.Contains(s, `\`) {
		return s, false
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'a':
			b.WriteByte('\a')
		case 'b':
			b.WriteByte('\b')
		case 'c':
			return b.String(), true
		case 'e':
			b.WriteByte(0x1b)
		case 'f':
			b.WriteByte('\f')
		case 'n':
			b.WriteByte('\n')
		case 'r':
			b.WriteByte('\r')
		case 't':
			b.WriteByte('\t')
		case 'v':
			b.WriteByte('\v')
		case '\\':
			b.WriteByte('\\')
		case '0', '1', '2', '3', '4', '5', '6', '7':
			n, width := 0, 3
			if s[i] == '0' {
				width = 4
			}
			for j := 0; j < width && i < len(s) && s[i] >= '0' && s[i] <= '7'; j++ {
				n = n*8 + int(s[i]-'0')
				i++
			}
			i--
			b.WriteByte(byte(n))
		default:
			b.WriteByte('\\')
			b.WriteByte(s[i])
		}
	}
	return b.String(), false
}
