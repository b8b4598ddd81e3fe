package fix

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// workspace is the node's files as the plan so far would leave them. Each
// finding works on a clone, which replaces the workspace only when everything
// the finding needs could be done.
type workspace struct {
	fsys  fs.FS
	edits map[string]edit // by real path
	known *memory
}

// edit is what happens to one path.
type edit struct {
	kind      ChangeKind
	component string // whose configuration the content is; empty for modes and owners
	before    *File
	after     File
	secret    bool     // content never goes into a diff
	notes     []string // what changes, for secret files
	checks    []string
}

func (w *workspace) clone() *workspace {
	return &workspace{fsys: w.fsys, edits: maps.Clone(w.edits), known: w.known}
}

const maxLinks = 40

// resolve follows every link of an absolute path, inside the host's root, to the
// real path. What does not exist resolves to itself below its real parent.
func (w *workspace) resolve(p string) (string, error) {
	rest := strings.Split(strings.TrimPrefix(path.Clean("/"+p), "/"), "/")
	real, links := "/", 0
	for len(rest) > 0 {
		part := rest[0]
		rest = rest[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			real = path.Dir(real)
			continue
		}
		next := path.Join(real, part)
		info, err := fs.Lstat(w.fsys, node.Name(next))
		if err != nil || info.Mode()&fs.ModeSymlink == 0 {
			real = next // missing ones are the caller's to notice
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: too many links", p)
		}
		target, err := fs.ReadLink(w.fsys, node.Name(next))
		if err != nil {
			return "", err
		}
		if path.IsAbs(target) {
			real = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return real, nil
}

// isLink reports that the last element of a path is a symbolic link.
func (w *workspace) isLink(p string) bool {
	info, err := fs.Lstat(w.fsys, node.Name(p))
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// entry is a file or directory as the plan leaves it.
type entry struct {
	File
	real  string
	dir   bool
	nlink uint64
	size  int64
	owned bool // uid and gid are known
}

const modeBits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky

func (w *workspace) stat(p string) (entry, error) {
	real, err := w.resolve(p)
	if err != nil {
		return entry{}, err
	}
	e := entry{real: real}
	info, err := fs.Lstat(w.fsys, node.Name(real))
	planned, ok := w.edits[real]
	switch {
	case err != nil && !ok:
		return e, err
	case err == nil:
		if !info.Mode().IsRegular() && !info.IsDir() {
			return e, fmt.Errorf("%s: neither a file nor a directory", real)
		}
		e.dir, e.Mode, e.size = info.IsDir(), info.Mode()&modeBits, info.Size()
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			e.UID, e.GID, e.nlink, e.owned = int(st.Uid), int(st.Gid), uint64(st.Nlink), true
		}
	}
	if ok {
		e.dir = e.dir || planned.kind == MkdirK
		e.Mode, e.UID, e.GID = planned.after.Mode, planned.after.UID, planned.after.GID
		e.owned = e.owned || err != nil
	}
	return e, nil
}

func (w *workspace) exists(p string) bool {
	_, err := w.stat(p)
	return err == nil
}

// read is the content of a file as the plan leaves it.
func (w *workspace) read(p string) ([]byte, error) {
	real, err := w.resolve(p)
	if err != nil {
		return nil, err
	}
	if e, ok := w.edits[real]; ok && e.kind == Write {
		return e.after.Content, nil
	}
	e, err := w.stat(real)
	switch {
	case err != nil:
		return nil, err
	case e.dir:
		return nil, fmt.Errorf("%s: is a directory", real)
	case e.size > maxFile:
		return nil, fmt.Errorf("%s: larger than %d bytes", real, maxFile)
	}
	return fs.ReadFile(w.fsys, node.Name(real))
}

// write plans new content: of an existing file with its mode and owner kept, or
// of a new one of root with the given mode.
func (w *workspace) write(p string, content []byte, component string, mode fs.FileMode, secret bool, note string) error {
	st, err := w.stat(p)
	e := edit{kind: Write, component: component, after: File{Content: content, Mode: mode}, secret: secret}
	if old, ok := w.edits[st.real]; ok {
		e.before, e.notes, e.checks = old.before, slices.Clone(old.notes), old.checks
		e.after.Mode, e.after.UID, e.after.GID = old.after.Mode, old.after.UID, old.after.GID
	} else {
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case st.dir:
			return fmt.Errorf("%s: is a directory", st.real)
		default:
			e.before = &File{Mode: st.Mode, UID: st.UID, GID: st.GID}
			e.after.Mode, e.after.UID, e.after.GID = st.Mode, st.UID, st.GID
		}
	}
	if e.before != nil && e.before.Content == nil {
		was, err := fs.ReadFile(w.fsys, node.Name(st.real))
		if err != nil {
			return err
		}
		e.before = &File{Content: was, Mode: e.before.Mode, UID: e.before.UID, GID: e.before.GID}
	}
	if note != "" {
		e.notes = append(e.notes, note)
	}
	w.edits[st.real] = e
	return nil
}

// mkdir plans a directory of root, with the parents that it lacks (0755).
func (w *workspace) mkdir(p, component string, mode fs.FileMode) error {
	st, err := w.stat(p)
	switch {
	case err == nil && st.dir:
		return nil
	case err == nil:
		return fmt.Errorf("%s: not a directory", st.real)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	case st.real == "/":
		return err
	}
	if err := w.mkdir(path.Dir(st.real), component, 0o755); err != nil {
		return err
	}
	w.edits[st.real] = edit{kind: MkdirK, component: component, after: File{Mode: mode}}
	return nil
}

// chmeta plans mode and owner of an existing path.
func (w *workspace) chmeta(st entry, mode fs.FileMode, uid, gid int) {
	e, ok := w.edits[st.real]
	if !ok {
		e = edit{kind: Meta, before: &File{Mode: st.Mode, UID: st.UID, GID: st.GID}, after: File{Mode: st.Mode, UID: st.UID, GID: st.GID}}
	}
	e.after.Mode, e.after.UID, e.after.GID = mode, uid, gid
	w.edits[st.real] = e
}

// changed lists the paths that differ from an earlier state of the plan.
func (w *workspace) changed(from *workspace) []string {
	var out []string
	for _, p := range sortedKeys(w.edits) {
		if old, ok := from.edits[p]; !ok || !sameFile(old.after, w.edits[p].after) {
			out = append(out, p)
		}
	}
	return out
}

func sameFile(a, b File) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID && bytes.Equal(a.Content, b.Content)
}
