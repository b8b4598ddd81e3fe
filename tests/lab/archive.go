package lab

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/kubespray"
)

// archive is a tar archive of files, owners as numbers: a node's names are not
// this machine's.
func archive(files []kubespray.File, users []kubespray.User) (io.Reader, error) {
	uid, gid := map[string]int{"root": 0, "": 0}, map[string]int{"root": 0, "": 0}
	for _, u := range users {
		uid[u.Name], gid[u.Group] = u.UID, u.GID
	}
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	now := time.Now()
	for _, f := range files {
		owner, known := uid[f.Owner]
		group, knownGroup := gid[f.Group]
		if !known || !knownGroup {
			return nil, fmt.Errorf("lab: %s: no user %q or group %q", f.Path, f.Owner, f.Group)
		}
		h := &tar.Header{Name: strings.TrimPrefix(f.Path, "/"), Mode: int64(f.Mode.Perm()), Uid: owner, Gid: group, ModTime: now, Typeflag: tar.TypeReg, Size: int64(len(f.Content))}
		switch {
		case f.Mode&fs.ModeDir != 0:
			h.Typeflag, h.Name, h.Size = tar.TypeDir, h.Name+"/", 0
		case f.Mode&fs.ModeSymlink != 0:
			h.Typeflag, h.Linkname, h.Size = tar.TypeSymlink, f.Target, 0
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("lab: %s: %w", f.Path, err)
		}
		if h.Size > 0 {
			if _, err := w.Write(f.Content); err != nil {
				return nil, fmt.Errorf("lab: %s: %w", f.Path, err)
			}
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("lab: archive: %w", err)
	}
	return &out, nil
}

// accountFiles are the account files of the operating system with users added.
func accountFiles(os_ string, users []kubespray.User) ([]kubespray.File, error) {
	var files []kubespray.File
	for _, f := range []struct {
		path string
		mode fs.FileMode
		line func(kubespray.User) string
	}{
		{"/etc/passwd", 0o644, kubespray.User.Passwd},
		{"/etc/shadow", 0o600, kubespray.User.Shadow},
		{"/etc/group", 0o644, kubespray.User.GroupLine},
		{"/etc/gshadow", 0o600, kubespray.User.GShadow},
	} {
		text, err := os.ReadFile(filepath.Join(os_, f.path))
		if err != nil {
			return nil, fmt.Errorf("lab: accounts: %w", err)
		}
		for _, u := range users {
			text = append(text, f.line(u)...)
		}
		files = append(files, kubespray.File{Path: f.path, Mode: f.mode, Owner: "root", Group: "root", Content: text})
	}
	return files, nil
}

// keyPair is an SSH key: PEM, and a line of authorized_keys.
type keyPair struct{ private, public []byte }

func newKey() (keyPair, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPair{}, fmt.Errorf("lab: SSH key: %w", err)
	}
	block, err := ssh.MarshalPrivateKey(private, "lab")
	if err != nil {
		return keyPair{}, fmt.Errorf("lab: SSH key: %w", err)
	}
	line, err := ssh.NewPublicKey(public)
	if err != nil {
		return keyPair{}, fmt.Errorf("lab: SSH key: %w", err)
	}
	return keyPair{pem.EncodeToMemory(block), ssh.MarshalAuthorizedKey(line)}, nil
}
