// Package source reads a checkout of this repository: its version, its licence
// and the program, compiled for a platform so that the same checkout and the
// same Go give the same bytes on any machine.
//
// It owns running go and git, and keeping the user's Go settings out of the
// program. It leaves to others what an image is (package images).
package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Checkout is the root folder of a checkout.
type Checkout struct{ Dir string }

// State is what is known about a checkout.
type State struct {
	Version  string    // git describe, or "dev"
	Revision string    // the commit, with "-dirty" if files differ from it; empty outside git
	Created  time.Time // SOURCE_DATE_EPOCH, else the commit's time, else 1970
}

// Open finds the checkout that a folder belongs to: the nearest one upwards that
// has the program.
func Open(dir string) (Checkout, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Checkout{}, fmt.Errorf("source: %w", err)
	}
	for at := abs; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "cmd", "hardener", "main.go")); err == nil {
			return Checkout{Dir: at}, nil
		}
		if at == filepath.Dir(at) {
			return Checkout{}, fmt.Errorf("source: %s: not in a checkout of kubespray-hardener", dir)
		}
	}
}

// State asks git, and the environment for SOURCE_DATE_EPOCH
// (reproducible-builds.org).
func (c Checkout) State(ctx context.Context) (State, error) {
	s := State{Version: "dev", Created: time.Unix(0, 0).UTC()}
	if commit, err := c.git(ctx, "rev-parse", "HEAD"); err == nil { // an unpacked archive has no history
		if s.Version, err = c.git(ctx, "describe", "--tags", "--always", "--dirty"); err != nil {
			return State{}, err
		}
		s.Revision = commit
		if strings.HasSuffix(s.Version, "-dirty") {
			s.Revision += "-dirty"
		}
		at, err := c.git(ctx, "log", "-1", "--format=%ct")
		if err != nil {
			return State{}, err
		}
		if s.Created, err = epoch(at); err != nil {
			return State{}, fmt.Errorf("source: commit time: %w", err)
		}
	}
	if at := os.Getenv("SOURCE_DATE_EPOCH"); at != "" {
		var err error
		if s.Created, err = epoch(at); err != nil {
			return State{}, fmt.Errorf("source: SOURCE_DATE_EPOCH: %w", err)
		}
	}
	return s, nil
}

func epoch(seconds string) (time.Time, error) {
	n, err := strconv.ParseInt(seconds, 10, 64)
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(n, 0).UTC(), nil
}

// Licence returns the checkout's LICENSE and NOTICE.
func (c Checkout) Licence() (license, notice []byte, err error) {
	if license, err = os.ReadFile(filepath.Join(c.Dir, "LICENSE")); err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	if notice, err = os.ReadFile(filepath.Join(c.Dir, "NOTICE")); err != nil {
		return nil, nil, fmt.Errorf("source: %w", err)
	}
	return license, notice, nil
}

// Profiles brings the embedded profiles up to date and returns the module that
// they come from: path, version and go.sum hash, the first line of their stamp
// (package profiles).
func (c Checkout) Profiles(ctx context.Context) (path, version, sum string, err error) {
	if _, err := c.run(ctx, environment(os.Environ()), "go", "run", "./profiles/generate"); err != nil {
		return "", "", "", fmt.Errorf("source: profiles: %w", err)
	}
	stamp, err := os.ReadFile(filepath.Join(c.Dir, "profiles", "cfg", ".stamp"))
	if err != nil {
		return "", "", "", fmt.Errorf("source: profiles: %w", err)
	}
	words := strings.Fields(string(stamp))
	if len(words) < 3 {
		return "", "", "", errors.New("source: profiles: their stamp names no module")
	}
	return words[0], words[1], words[2], nil
}

// BuildFlags are the flags of go build for a version, which the Dockerfile uses
// too. They leave out what differs between machines: paths, the state of git,
// and the name of the build.
func BuildFlags(version string) []string {
	return []string{"-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid= -X main.version=" + version}
}

// Program compiles the program for a platform, such as "linux/amd64".
func (c Checkout) Program(ctx context.Context, platform, version string) ([]byte, error) {
	system, arch, _ := strings.Cut(platform, "/")
	dir, err := os.MkdirTemp("", "hardener-image-")
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "hardener")
	env := append(environment(os.Environ()), "GOOS="+system, "GOARCH="+arch)
	args := slices.Concat([]string{"build"}, BuildFlags(version), []string{"-o", out, "./cmd/hardener"})
	if _, err := c.run(ctx, env, "go", args...); err != nil {
		return nil, fmt.Errorf("source: compile for %s: %w", platform, err)
	}
	binary, err := os.ReadFile(out)
	if err != nil {
		return nil, fmt.Errorf("source: %w", err)
	}
	return binary, nil
}

// environment is the caller's, without what would change the program. GOFLAGS
// is not left empty, as go then takes it from the user's own settings (go env
// -w); where modules come from stays the user's business.
func environment(env []string) []string {
	fixed := []string{
		"CGO_ENABLED=0", "GOFLAGS=-mod=readonly", "GOWORK=off",
		"GOAMD64=v1", "GOARM64=v8.0", "GOFIPS140=off", "GOEXPERIMENT=",
	}
	kept := slices.DeleteFunc(slices.Clone(env), func(v string) bool {
		key, _, _ := strings.Cut(v, "=")
		return key == "GOOS" || key == "GOARCH" ||
			slices.ContainsFunc(fixed, func(f string) bool { return strings.HasPrefix(f, key+"=") })
	})
	return append(kept, fixed...)
}

func (c Checkout) git(ctx context.Context, args ...string) (string, error) {
	out, err := c.run(ctx, os.Environ(), "git", args...)
	if err != nil {
		return "", fmt.Errorf("source: %w", err)
	}
	return strings.TrimSpace(out), nil
}

// run runs a command in the checkout. What it says goes into the error.
func (c Checkout) run(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, said bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, env, &out, &said
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		if text := strings.TrimSpace(said.String()); text != "" {
			return "", fmt.Errorf("%s %s: %s", name, args[0], text)
		}
		return "", fmt.Errorf("%s %s: %w", name, args[0], err)
	}
	return out.String(), nil
}
