package sample

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// Sidecar is the file at the top of a sample's tree that marks the tree as one
// and, when Write was not permitted to give files away, holds their owners. No
// audit looks there.
const Sidecar = ".kubespray-hardener-sample"

// owner is who a path belongs to.
type owner struct {
	UID int `json:"uid"`
	GID int `json:"gid"`
}

// Owners are the owners of a sample's tree as far as they are only recorded.
type Owners struct {
	dir      string
	recorded map[string]owner // by path on the node, links resolved
}

// sidecar is the content of the file Sidecar.
type sidecar struct {
	Note   string           `json:"note"`
	Owners map[string]owner `json:"owners,omitempty"`
}

// notPermitted says whether a chown failed because of who asked: EPERM for an
// ordinary user, EINVAL where a user namespace does not map the id.
func notPermitted(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EINVAL)
}

// OpenOwners reads the owners recorded for the sample below dir. It fails when
// Write did not make dir.
func OpenOwners(dir string) (*Owners, error) {
	data, err := os.ReadFile(filepath.Join(dir, Sidecar))
	if err != nil {
		return nil, fmt.Errorf("sample: %s is not a sample node: %w", dir, err)
	}
	var s sidecar
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("sample: %s: %w", filepath.Join(dir, Sidecar), err)
	}
	if s.Owners == nil {
		s.Owners = map[string]owner{}
	}
	return &Owners{dir: dir, recorded: s.Owners}, nil
}

// Recorded says whether the owners of the tree are on record instead of on
// disk: whether View shows others than the disk has, and Chown is needed.
func (o *Owners) Recorded() bool { return len(o.recorded) > 0 }

// Chown records a new owner of the file at the absolute path p of the node and
// of its hard links; a file that is not there yet has it once it is made. It
// changes nothing on disk. Use it only when Recorded.
func (o *Owners) Chown(p string, uid, gid int) error {
	if err := cleanPath(p); err != nil {
		return fmt.Errorf("sample: chown: %w", err)
	}
	tree := os.DirFS(o.dir)
	resolved := resolve(tree, p[1:], false)
	o.recorded["/"+resolved] = owner{UID: uid, GID: gid}
	info, err := fs.Lstat(tree, resolved)
	if errors.Is(err, fs.ErrNotExist) {
		return o.save()
	}
	if err != nil {
		return fmt.Errorf("sample: chown: %w", err)
	}
	for name := range o.recorded {
		if other, err := fs.Lstat(tree, name[1:]); err == nil && os.SameFile(info, other) {
			o.recorded[name] = owner{UID: uid, GID: gid}
		}
	}
	return o.save()
}

// save writes the sidecar.
func (o *Owners) save() error {
	s := sidecar{Note: "A sample node of kubespray-hardener. Owners that could not be set are recorded here.", Owners: o.recorded}
	data, err := json.MarshalIndent(s, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(o.dir, Sidecar), append(data, '\n'), 0o600)
}

// View is base, the sample's tree, with the recorded owners: FileInfo.Sys() is
// a *syscall.Stat_t with their ids. Whatever has no record but belongs to the
// user who runs the program belongs to root in the view, as it would if root
// had written it. When nothing is recorded, View is base itself.
//
// A later Chown shows in the view.
func (o *Owners) View(base fs.FS) fs.FS {
	if !o.Recorded() {
		return base
	}
	return view{base: base, recorded: o.recorded, me: uint32(os.Getuid())}
}

// resolve follows the links of name inside fsys, the last element's only when
// follow is set, and returns the name of what it found. What does not exist
// stays as it is written.
func resolve(fsys fs.FS, name string, follow bool) string {
	done, rest := ".", name
	for range 255 { // elements and links; a loop ends here and fails in the caller's call
		if rest == "" {
			return done
		}
		elem, tail, _ := strings.Cut(rest, "/")
		switch elem {
		case "", ".":
			rest = tail
			continue
		case "..":
			done, rest = path.Dir(done), tail
			continue
		}
		next := path.Join(done, elem)
		if tail != "" || follow {
			if target, err := fs.ReadLink(fsys, next); err == nil {
				if path.IsAbs(target) {
					done = "."
				}
				rest = path.Join(target, tail)
				if path.IsAbs(rest) {
					rest = rest[1:]
				}
				continue
			}
		}
		done, rest = next, tail
	}
	return name
}
