// Package cache keeps what the tests build and reuse: the programs that nested
// modules pin with tool directives, and other folders that take minutes to make.
// All of it lies in kubespray-hardener below the user's cache directory and may
// be deleted at any time.
//
// It leaves to others what is built, and what the folders are used for.
package cache

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Entry returns the absolute path of the cached folder that make fills. recipe
// is whatever determines the content besides name, which is only for people to
// read: another recipe is another entry. Two processes do not make the same entry at the
// same time, and an entry is there as a whole or not at all. Whoever uses it
// must not change it.
func Entry(ctx context.Context, name string, recipe []string, make func(dir string) error) (string, error) {
	root, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	root = filepath.Join(root, "kubespray-hardener")
	sum := sha256.Sum256([]byte(strings.Join(recipe, "\x00")))
	entry := filepath.Join(root, fmt.Sprintf("%s-%x", name, sum[:4]))
	if there, err := exists(entry); there || err != nil {
		return entry, err
	}
	locks := filepath.Join(root, ".locks")
	if err := os.MkdirAll(locks, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	unlock, err := lock(ctx, filepath.Join(locks, filepath.Base(entry)))
	if err != nil {
		return "", err
	}
	defer unlock()
	if there, err := exists(entry); there || err != nil {
		return entry, err
	}
	// The lock is ours, so what lies there is of a process that was killed.
	part := entry + ".part"
	if err := os.RemoveAll(part); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	if err := os.Mkdir(part, 0o755); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	defer os.RemoveAll(part)
	if err := make(part); err != nil {
		return "", fmt.Errorf("cache: %s: %w", name, err)
	}
	if err := os.Rename(part, entry); err != nil {
		return "", fmt.Errorf("cache: %w", err)
	}
	return entry, nil
}

// Module is a Go module that pins programs with tool directives.
type Module struct {
	Name    string // of the programs, with their version, such as "etcd-v3.6.5"
	Dir     string // the folder of its go.mod
	Tags    string // build tags, comma-separated
	Ldflags string // for the linker, besides -s -w
}

// Programs builds the tools of a module, static and without cgo, and returns the
// cached folder that holds them under the names that go build gives them. They
// are built once per version, platform, Go release, flags and go.sum.
func Programs(ctx context.Context, m Module) (string, error) {
	args := []string{"build", "-trimpath", "-tags", m.Tags, "-ldflags", strings.TrimSpace("-s -w " + m.Ldflags)}
	recipe := args
	for _, file := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(m.Dir, file))
		if err != nil {
			return "", fmt.Errorf("cache: %w", err)
		}
		recipe = append(recipe, string(content))
	}
	name := strings.Join([]string{m.Name, runtime.GOOS, runtime.GOARCH, runtime.Version()}, "-")
	return Entry(ctx, name, recipe, func(dir string) error {
		build := exec.CommandContext(ctx, "go", append(args, "-o", dir+"/", "tool")...)
		build.Dir = m.Dir
		build.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := build.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w: %s", err, strings.TrimSpace(string(out)))
		}
		return nil
	})
}

func exists(path string) (bool, error) {
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("cache: %w", err)
	}
	return true, nil
}

// lock waits until the lock of that file is ours. The file stays: removing it
// would let a third process lock another file of the same name.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("cache: lock %s: %w", path, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("cache: lock %s: %w", path, context.Cause(ctx))
		case <-time.After(200 * time.Millisecond):
		}
	}
}
