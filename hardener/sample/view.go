package sample

import (
	"io/fs"
	"path"
	"syscall"
)

// view is a tree with other owners.
type view struct {
	base     fs.FS
	recorded map[string]owner
	me       uint32 // the user whose files count as root's
}

var (
	_ fs.StatFS     = view{}
	_ fs.ReadDirFS  = view{}
	_ fs.ReadFileFS = view{}
	_ fs.ReadLinkFS = view{}
)

// Open opens a file whose Stat and ReadDir show the owners of the view.
func (v view) Open(name string) (fs.File, error) {
	f, err := v.base.Open(name)
	if err != nil {
		return nil, err
	}
	opened := viewFile{File: f, view: v, name: resolve(v.base, name, true)}
	if dir, ok := f.(fs.ReadDirFile); ok {
		return viewDir{viewFile: opened, dir: dir}, nil
	}
	return opened, nil
}

// ReadFile reads a file.
func (v view) ReadFile(name string) ([]byte, error) { return fs.ReadFile(v.base, name) }

// ReadLink is the target of a link.
func (v view) ReadLink(name string) (string, error) { return fs.ReadLink(v.base, name) }

// Stat describes what name leads to.
func (v view) Stat(name string) (fs.FileInfo, error) {
	info, err := fs.Stat(v.base, name)
	if err != nil {
		return nil, err
	}
	return v.info(resolve(v.base, name, true), info), nil
}

// Lstat describes name itself.
func (v view) Lstat(name string) (fs.FileInfo, error) {
	info, err := fs.Lstat(v.base, name)
	if err != nil {
		return nil, err
	}
	return v.info(resolve(v.base, name, false), info), nil
}

// ReadDir lists a directory.
func (v view) ReadDir(name string) ([]fs.DirEntry, error) {
	entries, err := fs.ReadDir(v.base, name)
	return v.entries(resolve(v.base, name, true), entries), err
}

// info gives the description of the file with the resolved name its owner.
func (v view) info(resolved string, info fs.FileInfo) fs.FileInfo {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info
	}
	shown := *stat
	if o, ok := v.recorded["/"+resolved]; ok {
		shown.Uid, shown.Gid = uint32(o.UID), uint32(o.GID)
	} else if stat.Uid == v.me {
		shown.Uid, shown.Gid = 0, 0
	}
	return viewInfo{FileInfo: info, stat: &shown}
}

func (v view) entries(dir string, entries []fs.DirEntry) []fs.DirEntry {
	shown := make([]fs.DirEntry, len(entries))
	for i, e := range entries {
		shown[i] = viewEntry{DirEntry: e, view: v, name: path.Join(dir, e.Name())}
	}
	return shown
}

type viewInfo struct {
	fs.FileInfo
	stat *syscall.Stat_t
}

func (i viewInfo) Sys() any { return i.stat }

type viewEntry struct {
	fs.DirEntry
	view view
	name string
}

func (e viewEntry) Info() (fs.FileInfo, error) {
	info, err := e.DirEntry.Info()
	if err != nil {
		return nil, err
	}
	return e.view.info(e.name, info), nil
}

type viewFile struct {
	fs.File
	view view
	name string
}

func (f viewFile) Stat() (fs.FileInfo, error) {
	info, err := f.File.Stat()
	if err != nil {
		return nil, err
	}
	return f.view.info(f.name, info), nil
}

type viewDir struct {
	viewFile
	dir fs.ReadDirFile
}

func (d viewDir) ReadDir(n int) ([]fs.DirEntry, error) {
	entries, err := d.dir.ReadDir(n)
	return d.view.entries(d.name, entries), err
}
