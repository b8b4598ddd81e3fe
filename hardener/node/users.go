package node

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

// Users are the users and groups of a host, from its own passwd and group
// files.
type Users struct {
	users, groups map[int]string
	uids, gids    map[string]int
}

// ReadUsers reads etc/passwd and etc/group. Missing files give an empty Users,
// lines that make no sense are passed over, and of two lines for one name or
// one id the first counts, as in getpwnam(3).
func ReadUsers(fsys fs.FS) (Users, error) {
	var (
		u   Users
		err error
	)
	if u.users, u.uids, err = readNames(fsys, "etc/passwd"); err != nil {
		return Users{}, fmt.Errorf("read users: %w", err)
	}
	if u.groups, u.gids, err = readNames(fsys, "etc/group"); err != nil {
		return Users{}, fmt.Errorf("read groups: %w", err)
	}
	return u, nil
}

// readNames reads the name and the id, which are the first and the third field
// of both files (passwd(5), group(5)).
func readNames(fsys fs.FS, file string) (map[int]string, map[string]int, error) {
	names, ids := map[int]string{}, map[string]int{}
	b, err := fs.ReadFile(fsys, file)
	if errors.Is(err, fs.ErrNotExist) {
		return names, ids, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimLeft(line, " \t\v\f\r") // as glibc does
		f := strings.Split(strings.TrimRight(line, "\n"), ":")
		if len(f) < 3 || f[0] == "" || strings.ContainsAny(f[0][:1], "#+-") {
			continue // a comment, or a line for NIS
		}
		id, err := strconv.ParseUint(f[2], 10, 32)
		if err != nil {
			continue
		}
		if _, ok := names[int(id)]; !ok {
			names[int(id)] = f[0]
		}
		if _, ok := ids[f[0]]; !ok {
			ids[f[0]] = int(id)
		}
	}
	return names, ids, nil
}

// User is the name of a user id.
func (u Users) User(uid int) (string, bool) { n, ok := u.users[uid]; return n, ok }

// Group is the name of a group id.
func (u Users) Group(gid int) (string, bool) { n, ok := u.groups[gid]; return n, ok }

// UID is the id of a user name.
func (u Users) UID(name string) (int, bool) { n, ok := u.uids[name]; return n, ok }

// GID is the id of a group name.
func (u Users) GID(name string) (int, bool) { n, ok := u.gids[name]; return n, ok }
