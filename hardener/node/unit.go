package node

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// unitDirs are where systemd looks for units, most important first
// (systemd.unit(5), table "Load path when running in system mode").
var unitDirs = [...]string{
	"etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system", "lib/systemd/system",
}

// Unit is a systemd unit with its drop-ins.
type Unit struct {
	Name    string   // "kubelet.service"
	Path    string   // absolute path of the unit file
	DropIns []string // absolute paths, in the order in which they apply

	settings []setting
}

type setting struct{ section, key, value string }

// ReadUnit reads the unit name the way systemd finds it, drop-ins included. The
// error is fs.ErrNotExist when there is no such unit or it is masked.
func ReadUnit(fsys fs.FS, name string) (Unit, error) {
	u := Unit{Name: name}
	for _, dir := range unitDirs {
		file := dir + "/" + name
		if target, err := fs.ReadLink(fsys, file); err == nil && target == "/dev/null" {
			return Unit{}, fmt.Errorf("read unit %s: masked by /%s: %w", name, file, fs.ErrNotExist)
		}
		data, err := fs.ReadFile(fsys, file)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Unit{}, fmt.Errorf("read unit %s: %w", name, err)
		}
		u.Path = "/" + file
		u.settings = parseUnit(data)
		break
	}
	if u.Path == "" {
		return Unit{}, fmt.Errorf("read unit %s: %w", name, fs.ErrNotExist)
	}
	for _, file := range dropIns(fsys, name) {
		data, err := fs.ReadFile(fsys, file)
		if err != nil {
			return u, fmt.Errorf("read unit %s: %w", name, err)
		}
		u.DropIns = append(u.DropIns, "/"+file)
		u.settings = append(u.settings, parseUnit(data)...)
	}
	return u, nil
}

// dropIns are the *.conf files that apply to a unit, those for all units of the
// type first, then by name. Of two with one name that in the more important
// directory counts, and a link to /dev/null hides the others.
func dropIns(fsys fs.FS, name string) []string {
	var all []string
	for _, group := range []string{path.Ext(name)[1:] + ".d", name + ".d"} {
		files := map[string]string{}
		for _, dir := range unitDirs {
			entries, err := fs.ReadDir(fsys, dir+"/"+group)
			if err != nil {
				continue
			}
			for _, e := range entries {
				if _, ok := files[e.Name()]; !ok && strings.HasSuffix(e.Name(), ".conf") {
					files[e.Name()] = dir + "/" + group + "/" + e.Name()
				}
			}
		}
		names := make([]string, 0, len(files))
		for n := range files {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			if target, err := fs.ReadLink(fsys, files[n]); err == nil && target == "/dev/null" {
				continue
			}
			all = append(all, files[n])
		}
	}
	return all
}

// parseUnit reads the syntax of unit files (systemd.syntax(7)): a backslash at
// the end of a line joins it to the next with a blank, comment lines in between
// are left out.
func parseUnit(data []byte) []setting {
	var (
		settings []setting
		section  string
		joined   string
		joining  bool
	)
	for line := range strings.Lines(string(data)) {
		line = strings.TrimRight(line, "\r\n")
		if t := strings.TrimLeft(line, " \t"); t != "" && (t[0] == '#' || t[0] == ';') {
			continue
		}
		if joining {
			line = joined + " " + strings.TrimLeft(line, " \t")
		}
		if joining = strings.HasSuffix(line, "\\"); joining {
			joined = strings.TrimSuffix(line, "\\")
			continue
		}
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok && strings.HasSuffix(name, "]") {
			section = strings.TrimSuffix(name, "]")
		} else if key, value, ok := strings.Cut(line, "="); ok {
			settings = append(settings, setting{section, strings.TrimSpace(key), strings.TrimSpace(value)})
		}
	}
	return settings
}

// Value is the last assignment of a setting, "" when there is none.
func (u Unit) Value(section, key string) string {
	values := u.Values(section, key)
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// Values are the assignments of a setting that collects them, such as ExecStart
// or EnvironmentFile. An empty assignment forgets those before it.
func (u Unit) Values(section, key string) []string {
	var values []string
	for _, s := range u.settings {
		switch {
		case s.section != section || s.key != key:
		case s.value == "":
			values = nil
		default:
			values = append(values, s.value)
		}
	}
	return values
}

// Start is what a unit would start.
type Start struct {
	Argv     []string
	Env      map[string]string // Environment= and the environment files; systemd's own variables are not in it
	EnvFiles []string          // absolute paths of those that exist
}

// Start works out what ExecStart means with the environment files as they are
// now. An environment file that cannot be read, other than one that may be
// missing ("-"), is an error beside the result. Specifiers (%n) are left as
// they are.
func (u Unit) Start(fsys fs.FS) (Start, error) {
	s := Start{Env: map[string]string{}}
	for _, line := range u.Values("Service", "Environment") {
		for _, word := range splitWords(line) {
			if name, value, ok := strings.Cut(word, "="); ok && validEnvName(name) {
				s.Env[name] = value
			}
		}
	}
	var errs []error
	for _, file := range u.Values("Service", "EnvironmentFile") {
		file, optional := strings.CutPrefix(file, "-")
		if words := splitWords(file); len(words) > 0 {
			file = words[0]
		}
		data, err := fs.ReadFile(fsys, strings.TrimPrefix(path.Clean(file), "/"))
		if errors.Is(err, fs.ErrNotExist) && optional {
			continue
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("unit %s: environment file: %w", u.Name, err))
			continue
		}
		s.EnvFiles = append(s.EnvFiles, path.Clean(file))
		for name, value := range ParseEnvFile(data) {
			s.Env[name] = value
		}
	}
	commands := u.Values("Service", "ExecStart")
	if len(commands) > 0 {
		s.Argv = expandCommand(commands[len(commands)-1], s.Env)
	}
	return s, errors.Join(errs...)
}

// expandCommand turns an ExecStart line into an argv (systemd.service(5),
// "Command lines"): a word $NAME becomes as many words as the value has, and
// ${NAME} anywhere becomes text of the same word. The prefixes -, :, +, ! and |
// say how to run it; @ says that the second word is argv[0].
func expandCommand(line string, env map[string]string) []string {
	words := splitWords(line)
	if len(words) == 0 {
		return nil
	}
	command := strings.TrimLeft(words[0], "-:+!|@")
	prefix := words[0][:len(words[0])-len(command)]
	words[0] = command
	if strings.Contains(prefix, "@") && len(words) > 1 {
		words = words[1:]
	}
	if i := slices.Index(words, ";"); i > 0 {
		words = words[:i] // a second command
	}
	if strings.Contains(prefix, ":") {
		return words
	}
	argv := make([]string, 0, len(words))
	for _, w := range words {
		if name, ok := strings.CutPrefix(w, "$"); ok && validEnvName(name) {
			argv = append(argv, splitWords(env[name])...)
		} else {
			argv = append(argv, expandBraces(w, env))
		}
	}
	return argv
}

// expandBraces replaces ${NAME} and $$ in a word.
func expandBraces(w string, env map[string]string) string {
	var b strings.Builder
	for {
		text, rest, ok := strings.Cut(w, "$")
		b.WriteString(text)
		if !ok {
			return b.String()
		}
		name, after, closed := strings.Cut(strings.TrimPrefix(rest, "{"), "}")
		switch {
		case strings.HasPrefix(rest, "$"):
			b.WriteByte('$')
			rest = rest[1:]
		case strings.HasPrefix(rest, "{") && closed && validEnvName(name):
			b.WriteString(env[name])
			rest = after
		default:
			b.WriteByte('$')
		}
		w = rest
	}
}

// splitWords splits at blanks outside of quotes and resolves quotes and
// backslashes (systemd.syntax(7), "Quoting"). A quote opens only where a word
// begins or inside one, as systemd allows for lists and command lines.
func splitWords(s string) []string {
	var (
		words []string
		word  strings.Builder
		in    bool
		quote byte
	)
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && i+1 < len(s):
			i++
			in = true
			word.WriteString(unescape(s[i]))
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '"' || c == '\'':
			quote, in = c, true
		case strings.IndexByte(blanks, c) >= 0:
			if in {
				words = append(words, word.String())
				word.Reset()
				in = false
			}
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if in {
		words = append(words, word.String())
	}
	return words
}

// unescape is what a backslash and c mean. Numeric escapes do not occur in the
// files this is for and are left alone.
func unescape(c byte) string {
	if i := strings.IndexByte("abfnrtvs", c); i >= 0 {
		return "\a\b\f\n\r\t\v "[i : i+1]
	}
	if strings.IndexByte("\\\"'", c) >= 0 || strings.IndexByte(blanks, c) >= 0 {
		return string(c)
	}
	return "\\" + string(c)
}
