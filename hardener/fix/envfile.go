package fix

import (
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Editing of systemd environment files (systemd.exec EnvironmentFile=): in place,
// within the value, so that quotes, continuation lines and comments stay.

// envFile is an environment file of a unit that is being edited.
type envFile struct {
	path string
	was  []byte
	data []byte
}

func openEnvFiles(tx *workspace, comp node.Component) (env []envFile, units string, err error) {
	for _, f := range comp.EnvFiles {
		real, err := tx.resolve(f)
		if err != nil {
			return nil, "", err
		}
		data, err := tx.read(real)
		if errors.Is(err, fs.ErrNotExist) {
			continue // EnvironmentFile=-FILE may be missing
		}
		if err != nil {
			return nil, "", err
		}
		env = append(env, envFile{real, data, data})
	}
	for _, f := range slices.Concat([]string{comp.Unit}, comp.DropIns) {
		if f == "" {
			continue
		}
		data, err := tx.read(f)
		if err != nil {
			return nil, "", fmt.Errorf("unit: %w", err)
		}
		units += string(data) + "\n"
	}
	return env, units, nil
}

// comment reports a line that systemd ignores.
func comment(line string) bool {
	line = strings.TrimSpace(line)
	return line == "" || line[0] == '#' || line[0] == ';'
}

// flagInText finds --NAME, --NAME=VALUE and --NAME VALUE in a line. Sub-matches:
// what stands before, the name with its dashes, the separator, the value.
func flagInText(name string) *regexp.Regexp {
	pattern := strings.ReplaceAll(regexp.QuoteMeta(name), "-", "[-_]")
	return regexp.MustCompile(`(^|[\s"'=])(--` + pattern + `)(?:(=)([^\s"'\\]*)|(\s+)([^-\s"'\\][^\s"'\\]*))?($|[\s"'\\])`)
}

// envFlag is the value of a command line flag inside an environment file; the
// last use wins, a bare flag is true.
func envFlag(data []byte, name string) (value string, set bool) {
	re := flagInText(name)
	for _, line := range strings.Split(string(data), "\n") {
		if comment(line) {
			continue
		}
		for rest := line; ; {
			m := re.FindStringSubmatchIndex(rest)
			if m == nil {
				break
			}
			value, set = flagValue(rest, m), true
			rest = rest[m[5]:]
		}
	}
	return value, set
}

func flagValue(line string, m []int) string {
	switch {
	case m[8] >= 0:
		return line[m[8]:m[9]]
	case m[12] >= 0:
		return line[m[12]:m[13]]
	}
	return "true"
}

// envValue is what may be written unquoted inside any kind of quotes.
var envValue = regexp.MustCompile(`^[A-Za-z0-9_./:,=@%+-]+$`)

// setEnvFlag replaces the value of every use of a flag.
func setEnvFlag(data []byte, name, value string) ([]byte, error) {
	if !envValue.MatchString(value) {
		return nil, fmt.Errorf("cannot write %q into an environment file", value)
	}
	re := flagInText(name)
	lines := strings.Split(string(data), "\n")
	found := false
	for i, line := range lines {
		if comment(line) {
			continue
		}
		done := ""
		for {
			m := re.FindStringSubmatchIndex(line)
			if m == nil {
				break
			}
			end := m[5]
			for _, e := range []int{m[9], m[13]} {
				end = max(end, e)
			}
			done += line[:m[5]] + "=" + value
			line, found = line[end:], true
		}
		lines[i] = done + line
	}
	if !found {
		return nil, errors.New("the flag is not there")
	}
	return []byte(strings.Join(lines, "\n")), nil
}

// envVariable is a variable's value; as systemd has it the last assignment wins
// and an empty value is none.
func envVariable(data []byte, name string) (value string, set bool) {
	for _, line := range strings.Split(string(data), "\n") {
		if comment(line) {
			continue
		}
		if k, v, ok := strings.Cut(line, "="); ok && strings.TrimSpace(k) == name {
			value = strings.Trim(strings.TrimSpace(v), `"'`)
			set = value != ""
		}
	}
	return value, set
}

// setEnvVariable sets a variable: in the line that assigns it, or in a new line
// behind that of the variable it belongs to, or at the end. Double assignments
// and values over several lines are refused.
func setEnvVariable(data []byte, name, value, behind string) ([]byte, error) {
	if !envValue.MatchString(value) {
		return nil, fmt.Errorf("cannot write %q into an environment file", value)
	}
	if strings.ContainsAny(string(data), "\r\x00") {
		return nil, errors.New("not a plain text file")
	}
	lines := strings.Split(string(data), "\n")
	at, after := -1, -1
	for i, line := range lines {
		k, _, ok := strings.Cut(line, "=")
		switch k = strings.TrimSpace(k); {
		case comment(line) || !ok:
		case strings.HasSuffix(line, `\`) && (k == name || k == behind):
			return nil, fmt.Errorf("line %d: value over several lines", i+1)
		case k == name && at >= 0:
			return nil, fmt.Errorf("line %d: %s is assigned twice", i+1, name)
		case k == name:
			at = i
		case k == behind:
			after = i
		}
	}
	switch {
	case at >= 0:
		quote := ""
		if _, v, _ := strings.Cut(lines[at], "="); len(strings.TrimSpace(v)) > 1 && strings.ContainsAny(strings.TrimSpace(v)[:1], `"'`) {
			quote = strings.TrimSpace(v)[:1]
		}
		lines[at] = name + "=" + quote + value + quote
	case after >= 0:
		lines = append(lines[:after+1], append([]string{name + "=" + value}, lines[after+1:]...)...)
	case lines[len(lines)-1] == "":
		lines = append(lines[:len(lines)-1], name+"="+value, "")
	default:
		lines = append(lines, name+"="+value)
	}
	return []byte(strings.Join(lines, "\n")), nil
}
