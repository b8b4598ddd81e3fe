// Package specimen makes up nodes: trees of files and process tables that look
// like a Kubernetes node, with everything about them that a check may look at
// varied at random from a seed, or like one well-defined Kubespray node.
//
// It leaves to others how a node comes to life (package cell).
package specimen

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
)

// Node is a node that can be built: files in order, and processes.
type Node struct {
	Seed      uint64 // 0 for a node that is not random
	Files     []File
	Processes []cell.Process
	Env       []string // environment of the programs that look at the node, without PATH
}

// File is one entry of a node's tree. Folders above it that are not entries
// themselves belong to root and have mode 0755.
type File struct {
	Path     string // absolute
	Type     Type
	Content  string // of a regular file, or the target of a link
	Mode     uint32 // permission bits with setuid, setgid and sticky, as chmod takes them
	UID, GID int
}

// Type is the type of a File.
type Type int

// The types of File.
const (
	Regular Type = iota
	Folder
	Link
)

// Build writes the node's tree below root, which must exist. An entry whose
// parent is not a folder, or that is there already, is left out: random nodes
// may name a path twice.
func (n Node) Build(root string) error {
	for _, f := range n.Files {
		err := f.build(root)
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, syscall.ENOTDIR) && !errors.Is(err, syscall.ELOOP) {
			return fmt.Errorf("specimen: %s: %w", f.Path, err)
		}
	}
	return nil
}

// build never follows a link out of the tree: the folders of a node's files are
// created before the links that lead to them, so a link in the way
// means that the path is there already.
func (f File) build(root string) error {
	path := root + cell.Locate(f.Path)
	if err := makeParents(root, filepath.Dir(path)); err != nil {
		return err
	}
	switch f.Type {
	case Link:
		if err := os.Symlink(f.Content, path); err != nil {
			return err
		}
		return os.Lchown(path, f.UID, f.GID)
	case Folder:
		if err := os.Mkdir(path, 0o755); err != nil {
			return err
		}
	case Regular:
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = file.WriteString(f.Content)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	}
	// Changing the owner clears setuid, so the mode comes last.
	if err := os.Lchown(path, f.UID, f.GID); err != nil {
		return err
	}
	return syscall.Chmod(path, f.Mode)
}

func makeParents(root, dir string) error {
	rel := strings.TrimPrefix(dir, root)
	at := root
	for _, name := range strings.Split(strings.Trim(rel, "/"), "/") {
		if name == "" {
			continue
		}
		at += "/" + name
		info, err := os.Lstat(at)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if err := os.Mkdir(at, 0o755); err != nil {
				return err
			}
			// Whatever umask the test runs under.
			if err := os.Chmod(at, 0o755); err != nil {
				return err
			}
		case err != nil:
			return err
		case !info.IsDir():
			return fs.ErrExist
		}
	}
	return nil
}
