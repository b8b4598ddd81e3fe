package host

import (
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Recording is a file tree that remembers which names it was asked for, so that
// whoever wants to know when an answer changes need not list them. What lies in
// proc is left out: nothing tells when that changes. It may be used concurrently.
type Recording struct {
	fsys  fs.FS
	mu    sync.Mutex
	names map[string]struct{}
}

var (
	_ fs.StatFS     = (*Recording)(nil)
	_ fs.ReadDirFS  = (*Recording)(nil)
	_ fs.ReadFileFS = (*Recording)(nil)
	_ fs.ReadLinkFS = (*Recording)(nil)
)

// Record returns a view of a tree that remembers what it is asked for.
func Record(fsys fs.FS) *Recording {
	return &Recording{fsys: fsys, names: map[string]struct{}{}}
}

// Paths are the absolute paths that were asked for since Record, sorted, whether
// or not there was anything.
func (r *Recording) Paths() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Sorted(maps.Keys(r.names))
}

func (r *Recording) note(name string) {
	if name == "proc" || strings.HasPrefix(name, "proc/") {
		return
	}
	path := "/" + name
	if name == "." {
		path = "/"
	}
	r.mu.Lock()
	r.names[path] = struct{}{}
	r.mu.Unlock()
}

// Open is fs.FS's. What is read of an open directory is not noted apart.
func (r *Recording) Open(name string) (fs.File, error) {
	r.note(name)
	return r.fsys.Open(name)
}

// Stat is fs.StatFS's.
func (r *Recording) Stat(name string) (fs.FileInfo, error) {
	r.note(name)
	return fs.Stat(r.fsys, name)
}

// Lstat is fs.ReadLinkFS's.
func (r *Recording) Lstat(name string) (fs.FileInfo, error) {
	r.note(name)
	return fs.Lstat(r.fsys, name)
}

// ReadLink is fs.ReadLinkFS's.
func (r *Recording) ReadLink(name string) (string, error) {
	r.note(name)
	return fs.ReadLink(r.fsys, name)
}

// ReadDir is fs.ReadDirFS's.
func (r *Recording) ReadDir(name string) ([]fs.DirEntry, error) {
	r.note(name)
	return fs.ReadDir(r.fsys, name)
}

// ReadFile is fs.ReadFileFS's.
func (r *Recording) ReadFile(name string) ([]byte, error) {
	r.note(name)
	return fs.ReadFile(r.fsys, name)
}
