package sample

import (
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// The kinds of entry in tree.txt.
const (
	kindDir   = "dir"
	kindFile  = "file"
	kindDummy = "dummy"
	kindLink  = "link"
	kindHard  = "hard"
)

// entry is one line of tree.txt.
type entry struct {
	kind     string
	mode     fs.FileMode
	uid, gid int
	path     string // absolute on the node
	target   string // of links; of a hard link absolute on the node
}

// parseTree reads tree.txt. Owner names are those of the sample's own passwd
// and group files, so that the tree cannot use a name that the node lacks.
func parseTree(text string) ([]entry, error) {
	uids, err := ids("node/etc/passwd")
	if err != nil {
		return nil, err
	}
	gids, err := ids("node/etc/group")
	if err != nil {
		return nil, err
	}
	var entries []entry
	seen := map[string]bool{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		e, err := parseEntry(strings.Fields(line), uids, gids)
		if err == nil && seen[e.path] {
			err = fmt.Errorf("%s is listed twice", e.path)
		}
		if err != nil {
			return nil, fmt.Errorf("tree.txt:%d: %w", i+1, err)
		}
		seen[e.path] = true
		entries = append(entries, e)
	}
	return entries, nil
}

func parseEntry(f []string, uids, gids map[string]int) (entry, error) {
	switch f[0] {
	case kindLink, kindHard:
		if len(f) != 4 || f[2] != "->" {
			return entry{}, fmt.Errorf("want %q PATH -> TARGET", f[0])
		}
		e := entry{kind: f[0], path: f[1], target: f[3]}
		return e, cleanPath(e.path)
	case kindDir, kindFile, kindDummy:
	default:
		return entry{}, fmt.Errorf("unknown kind %q", f[0])
	}
	if len(f) != 4 {
		return entry{}, fmt.Errorf("want %q MODE OWNER:GROUP PATH", f[0])
	}
	e := entry{kind: f[0], path: f[3]}
	bits, err := strconv.ParseUint(f[1], 8, 9)
	if err != nil {
		return entry{}, fmt.Errorf("mode: %w", err)
	}
	e.mode = fs.FileMode(bits)
	user, group, _ := strings.Cut(f[2], ":")
	var ok bool
	if e.uid, ok = uids[user]; !ok {
		return entry{}, fmt.Errorf("unknown user %q", user)
	}
	if e.gid, ok = gids[group]; !ok {
		return entry{}, fmt.Errorf("unknown group %q", group)
	}
	return e, cleanPath(e.path)
}

func cleanPath(p string) error {
	if !path.IsAbs(p) || path.Clean(p) != p || p == "/" {
		return fmt.Errorf("path %q is not absolute and clean", p)
	}
	return nil
}

// ids reads the names and numbers of a passwd or group file of the sample.
func ids(name string) (map[string]int, error) {
	data, err := content.ReadFile(name)
	if err != nil {
		return nil, err
	}
	m := map[string]int{}
	for _, line := range strings.Split(strings.TrimSpace(string(data)), "\n") {
		f := strings.Split(line, ":")
		if len(f) < 3 {
			return nil, fmt.Errorf("%s: %q has no id", name, line)
		}
		id, err := strconv.Atoi(f[2])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		m[f[0]] = id
	}
	return m, nil
}
