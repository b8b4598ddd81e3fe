//go:build linux

package txn

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

func TestMemory(t *testing.T) {
	dir := t.TempDir()
	root, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	if data, err := LoadMemory(root); data != nil || err != nil {
		t.Errorf("nothing was saved: %q, %v", data, err)
	}
	folder := filepath.Join(dir, memoryDir)
	left := filepath.Join(folder, tempPrefix(memoryName)+"left")
	for _, want := range []string{"one", "two"} {
		if err := SaveMemory(root, []byte(want)); err != nil {
			t.Fatal(err)
		}
		if got, err := LoadMemory(root); string(got) != want || err != nil {
			t.Errorf("loaded %q, %v, want %q", got, err, want)
		}
		if _, err := os.Stat(left); err == nil {
			t.Error("what a writer that died has left is still there")
		}
		if err := os.WriteFile(left, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{filepath.Dir(folder), folder} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v; want nobody else to get in", path, info.Mode(), err)
		}
	}
	if _, err := Report(root, "../watch"); !errors.Is(err, ErrNoRun) {
		t.Errorf("a report of no run: %v", err)
	}
	if data, err := Report(root, "20261130T112717Z-f1603c"); data != nil || err != nil {
		t.Errorf("a report that is not there: %q, %v", data, err)
	}
}
