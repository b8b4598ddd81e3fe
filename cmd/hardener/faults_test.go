package main

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
)

// TestDiskFaults runs fix on a node whose file system is full or read-only: one
// clear line, exit code 3, and not a byte of the node changed.
func TestDiskFaults(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts file systems")
	}
	tests := map[string]struct {
		breakIt func(t *testing.T, dir string)
		want    string
	}{
		"full": {fill, "no space left on device"},
		"read-only": {func(t *testing.T, dir string) {
			if err := syscall.Mount("", dir, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
				t.Fatal(err)
			}
		}, "read-only file system"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			mount := filepath.Join(t.TempDir(), "disk")
			if err := os.Mkdir(mount, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := syscall.Mount("tmpfs", mount, "tmpfs", 0, "size=4m"); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { syscall.Unmount(mount, syscall.MNT_DETACH) })
			dir := filepath.Join(mount, "node")
			if err := sample.Write(dir); err != nil {
				t.Fatal(err)
			}
			tt.breakIt(t, mount)
			before, err := fingerprint(dir)
			if err != nil {
				t.Fatal(err)
			}
			var errs strings.Builder
			code := run(t.Context(), []string{"fix", "--root", dir, "--benchmark", sample.Benchmark}, streams{in: strings.NewReader(""), out: io.Discard, err: &errs})
			if code != exitFailed || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), tt.want) {
				t.Errorf("exit code %d, stderr %q; want %d and one line with %q", code, errs.String(), exitFailed, tt.want)
			}
			if after, err := fingerprint(dir); err != nil || after != before {
				t.Errorf("the node is not as before (%v)", err)
			}
		})
	}
}

// fill leaves a file system without a free block.
func fill(t *testing.T, dir string) {
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, size := range []int{1 << 16, 1 << 12, 1} {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}
