package fix

import (
	"bytes"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/pmezard/go-difflib/difflib"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// secretLine matches a line that may give a secret by value: of a key that
// sounds like one, or of an environment variable in a manifest.
var secretLine = regexp.MustCompile(`(?i)(?:password|passwd|secret|token|api[-_]?key|credential|\bvalue)[a-z0-9_.-]*"?\s*[:=]\s*"?(\S.*)$`)

// notSecret matches values that are none: paths, switches, numbers, durations.
var notSecret = regexp.MustCompile(`(?i)^(/.*|true|false|[0-9]+(ms|s|m|h)?)"?$`)

// describe is what happens to a path, for people: a unified diff of the content,
// and a line for mode and owner. Content that may hold secrets is only told of.
func (known *memory) describe(p string, e edit, users node.Users) string {
	var b strings.Builder
	switch {
	case e.kind == MkdirK:
		fmt.Fprintf(&b, "new directory %s: mode %s, owner %s\n", p, octal(e.after.Mode), ownerName(users, e.after))
		return b.String()
	case e.before == nil:
		fmt.Fprintf(&b, "new file %s: mode %s, owner %s\n", p, octal(e.after.Mode), ownerName(users, e.after))
	default:
		if e.before.Mode != e.after.Mode {
			fmt.Fprintf(&b, "mode of %s: %s becomes %s\n", p, octal(e.before.Mode), octal(e.after.Mode))
		}
		if e.before.UID != e.after.UID || e.before.GID != e.after.GID {
			fmt.Fprintf(&b, "owner of %s: %s becomes %s\n", p, ownerName(users, *e.before), ownerName(users, e.after))
		}
	}
	switch {
	case e.kind != Write:
	case e.secret:
		for _, n := range e.notes {
			fmt.Fprintf(&b, "in %s: %s\n", p, n)
		}
	default:
		b.WriteString(known.unified(p, e.before, e.after))
	}
	return b.String()
}

// ownerName is user:group by the node's own names, or numbers where it has none.
func ownerName(users node.Users, f File) string {
	user, ok := users.User(f.UID)
	if !ok {
		user = strconv.Itoa(f.UID)
	}
	group, ok := users.Group(f.GID)
	if !ok {
		group = strconv.Itoa(f.GID)
	}
	return user + ":" + group
}

func (known *memory) unified(p string, before *File, after File) string {
	d := difflib.UnifiedDiff{FromFile: "a" + p, ToFile: "b" + p, B: known.diffLines(after.Content), Context: 3}
	if before == nil {
		d.FromFile = "/dev/null"
	} else {
		if bytes.Equal(before.Content, after.Content) {
			return ""
		}
		d.A = known.diffLines(before.Content)
	}
	text, err := difflib.GetUnifiedDiffString(d)
	if err != nil { // it writes to memory
		return ""
	}
	return text
}

// diffLines is the function of that name, remembered.
func (known *memory) diffLines(content []byte) []string {
	if known == nil {
		return diffLines(content)
	}
	lines, ok := known.lines[string(content)]
	if !ok {
		lines = diffLines(content)
		known.lines[string(content)] = lines
	}
	return lines
}

// diffLines splits content into lines with their ends, secrets taken out.
func diffLines(content []byte) []string {
	lines := strings.SplitAfter(string(content), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	for i, l := range lines {
		l = strings.TrimSuffix(l, "\n")
		if m := secretMatch(l); m != nil && !notSecret.MatchString(l[m[2]:m[3]]) {
			l = l[:m[2]] + "(not shown)"
		}
		lines[i] = l + "\n"
	}
	return lines
}

// secretMatch is secretLine's match in a line. Most lines have none of its
// words, and plans print many lines.
func secretMatch(line string) []int {
	lower := strings.ToLower(line)
	for _, word := range []string{"passw", "secret", "token", "api", "credential", "value"} {
		if strings.Contains(lower, word) {
			return secretLine.FindStringSubmatchIndex(line)
		}
	}
	return nil
}

// octal is a mode as stat -c %a prints it.
func octal(m fs.FileMode) string {
	n := uint32(m.Perm())
	for bit, value := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if m&bit != 0 {
			n |= value
		}
	}
	return fmt.Sprintf("%o", n)
}
