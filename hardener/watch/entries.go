//go:build linux

package watch

import (
	"errors"
	"io/fs"
	"path"
	"strings"
	"syscall"
)

// entry is one name in one directory, both as they really lie in the tree.
type entry struct{ dir, name string }

// anyName stands for every name in a directory that was looked at itself: it may
// have been listed.
const anyName = "*"

// maxLinks is how many links a path may lead through (path_resolution(7)).
const maxLinks = 40

// entriesOf are the directory entries that decide what is found at an absolute
// path: each part of it, each part of what its links lead to, and, of a
// directory, everything in it. A path that ends nowhere rests on the last
// directory that is there: what is missing may come.
func entriesOf(tree looker, p string) []entry {
	var all []entry
	links := 0
	at, rest := "/", strings.Split(strings.Trim(path.Clean(p), "/"), "/")
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		all = append(all, entry{at, name})
		next := path.Join(at, name)
		there := tree.look(next)
		switch {
		case there.link != "":
			if links++; links > maxLinks {
				return all
			}
			if path.IsAbs(there.link) {
				at = "/"
			}
			rest = append(strings.Split(there.link, "/"), rest...)
		case there.dir:
			at = next
		default:
			return all // a file, or nothing; what is behind it leads nowhere
		}
	}
	// Every part was a directory, also where a link ends in "/" or "..".
	return append(all, entry{at, anyName})
}

// looker looks at each path of a tree once.
type looker struct {
	tree fs.FS
	seen map[string]kind
}

// kind is what lies at a path, in as far as it matters here: a directory, the
// target of a link, or neither.
type kind struct {
	dir   bool
	inode inode
	link  string
}

// inode tells directories apart that lie at the same path one after the other.
type inode struct{ dev, ino uint64 }

func (l looker) look(p string) kind {
	k, ok := l.seen[p]
	if ok {
		return k
	}
	name := strings.TrimPrefix(p, "/")
	if name == "" {
		name = "."
	}
	if info, err := fs.Lstat(l.tree, name); err == nil {
		k.dir = info.IsDir()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			k.inode = inode{st.Dev, st.Ino}
		}
		if info.Mode()&fs.ModeSymlink != 0 {
			k.link, _ = fs.ReadLink(l.tree, name)
		}
	}
	l.seen[p] = k
	return k
}

// pseudo are directories whose contents are no files: inotify says nothing about
// them.
func pseudo(dir string) bool {
	for _, top := range []string{"/proc", "/sys", "/dev"} {
		if dir == top || strings.HasPrefix(dir, top+"/") {
			return true
		}
	}
	return false
}

// missing tells whether an error says that there is nothing at a path.
func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
