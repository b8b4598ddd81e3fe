// Package profiles owns kube-bench's benchmark profiles as embedded files: the
// cfg folder of the kube-bench module that profiles/kube-bench/go.mod pins.
// Nothing of it is committed; profiles/generate copies it out of the module,
// verified by go.sum, into a folder that git ignores.
//
// It leaves to others what the files mean (package profile).
package profiles

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"
)

//go:generate go run ./generate

//go:embed all:cfg
var embedded embed.FS

// Stamp is the name of the file that the generator writes last into cfg: the
// module's path, version and go.sum hash, then a digest of the copied files.
const Stamp = ".stamp"

// ErrNone says that the program was built without profiles.
var ErrNone = errors.New("profiles: none embedded: run make profiles")

// FS is kube-bench's cfg folder: config.yaml and one folder per benchmark. The
// error is ErrNone when the program was built before the profiles were
// generated.
func FS() (fs.FS, error) {
	if _, err := fs.Stat(embedded, "cfg/"+Stamp); err != nil {
		return nil, ErrNone
	}
	cfg, err := fs.Sub(embedded, "cfg")
	if err != nil {
		return nil, fmt.Errorf("profiles: %w", err)
	}
	return cfg, nil
}

// Version is the version of the kube-bench module that the embedded profiles
// come from, such as "v0.15.6", or empty without profiles.
func Version() string {
	stamp, err := embedded.ReadFile("cfg/" + Stamp)
	if err != nil {
		return ""
	}
	if words := strings.Fields(string(stamp)); len(words) > 1 {
		return words[1]
	}
	return ""
}
