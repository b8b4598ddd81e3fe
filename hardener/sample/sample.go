// Package sample owns the node that `hardener demo` and many tests work on: a
// control-plane node with etcd, as Kubespray 2.13 installed Kubernetes 1.17 in
// 2020, with the settings that a published list of kube-bench findings shows.
//
// The node is a file tree. Write puts it below a directory; nothing of it is a
// real key or certificate, and nothing of it runs. Article says, check by
// check, what that published list printed, so that a test can hold the tree
// against it.
//
// Two things of a node cannot be had from a plain directory, and both are made
// up here, in the open:
//
//   - Owners. Only root can give files away. When Write may not, it records the
//     owners in the file Sidecar at the top of the tree, and Owners.View shows
//     the tree with them. Whoever changes an owner in such a tree has to tell
//     Owners.Chown, and whoever reads the tree without the view sees the owner
//     of the files on disk. Written by root, the tree has real owners and the
//     view changes nothing.
//   - Processes. RenderProcesses writes the files of /proc for what the tree's
//     own manifests, units and environment files would start. Calling it again
//     after a change stands in for the restart by the kubelet or systemd. It
//     cannot show that a component would start with its new settings.
//
// The package writes, but only below a directory that it made itself: never to
// a node. Writing to nodes is package txn's alone.
package sample

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// Benchmark is the profile that the published list was made with.
const Benchmark = "cis-1.5"

//go:embed all:node
var content embed.FS

//go:embed tree.txt
var table string

// ErrNotEmpty is returned by Write for a directory that already has something
// in it.
var ErrNotEmpty = errors.New("directory is not empty")

// Write writes the sample node below dir, which it creates when it does not
// exist and which must be empty when it does. Run by root it sets the owners;
// when that is not permitted it records them beside the tree, see Owners.
// The node's processes are not part of it: RenderProcesses writes those.
func Write(dir string) error { return write(dir, os.Lchown) }

func write(dir string, chown func(name string, uid, gid int) error) error {
	entries, err := parseTree(table)
	if err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	if err := emptyDir(dir); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	owners := &Owners{dir: dir, recorded: map[string]owner{}}
	w := writer{dir: dir, chown: chown, owners: owners}
	for _, e := range entries {
		if err := w.entry(e); err != nil {
			return fmt.Errorf("sample: write %s: %w", e.path, err)
		}
	}
	// Directories last, deepest first, so that a mode never locks the writer out.
	sort.Slice(w.dirs, func(i, j int) bool { return w.dirs[i].path > w.dirs[j].path })
	for _, e := range w.dirs {
		if err := w.attributes(e); err != nil {
			return fmt.Errorf("sample: write %s: %w", e.path, err)
		}
	}
	if err := owners.save(); err != nil {
		return fmt.Errorf("sample: %w", err)
	}
	return nil
}

// emptyDir makes dir, or checks that it has nothing in it.
func emptyDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%s: %w", dir, ErrNotEmpty)
	}
	return nil
}

// writer carries what the entries of one Write share.
type writer struct {
	dir    string
	chown  func(name string, uid, gid int) error
	owners *Owners
	dirs   []entry
}

func (w *writer) host(p string) string { return filepath.Join(w.dir, filepath.FromSlash(p)) }

func (w *writer) entry(e entry) error {
	if err := w.parents(e.path); err != nil {
		return err
	}
	switch e.kind {
	case kindDir:
		w.dirs = append(w.dirs, e)
		if err := os.Mkdir(w.host(e.path), 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		return nil
	case kindLink:
		if err := os.Symlink(e.target, w.host(e.path)); err != nil {
			return err
		}
		return w.own(e)
	case kindHard:
		if err := os.Link(w.host(e.target), w.host(e.path)); err != nil {
			return err
		}
		// On disk both names have one owner already; on record each needs its own.
		if o, ok := w.owners.recorded[e.target]; ok {
			w.owners.recorded[e.path] = o
		}
		return nil
	}
	data := []byte(dummy(e.path))
	if e.kind == kindFile {
		var err error
		if data, err = content.ReadFile("node" + e.path); err != nil {
			return err
		}
	}
	if err := os.WriteFile(w.host(e.path), data, 0o600); err != nil {
		return err
	}
	return w.attributes(e)
}

// parents makes the directories above p, root:root 0755 unless tree.txt has
// more to say about them later.
func (w *writer) parents(p string) error {
	var missing []string
	for d := path.Dir(p); d != "/"; d = path.Dir(d) {
		if _, err := os.Lstat(w.host(d)); err == nil {
			break
		}
		missing = append(missing, d)
	}
	for i := len(missing) - 1; i >= 0; i-- {
		if err := os.Mkdir(w.host(missing[i]), 0o755); err != nil {
			return err
		}
		w.dirs = append(w.dirs, entry{kind: kindDir, mode: 0o755, path: missing[i]})
	}
	return nil
}

// attributes sets owner and then mode: a chown clears mode bits.
func (w *writer) attributes(e entry) error {
	if err := w.own(e); err != nil {
		return err
	}
	return os.Chmod(w.host(e.path), e.mode)
}

// own gives a path its owner, on disk when that is permitted, else on record.
func (w *writer) own(e entry) error {
	if w.chown != nil {
		err := w.chown(w.host(e.path), e.uid, e.gid)
		if err == nil {
			return nil
		}
		if !notPermitted(err) {
			return err
		}
		w.chown = nil // from here on, and for what came before, the record counts
	}
	w.owners.recorded[e.path] = owner{UID: e.uid, GID: e.gid}
	return nil
}

// dummy is the content of a file that only stands in for a real one.
func dummy(p string) string {
	return fmt.Sprintf("sample data: stands in for %s of a real node\n", strings.TrimPrefix(p, "/"))
}
