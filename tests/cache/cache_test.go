package cache

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestEntry(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", root)
	made := 0
	fill := func(dir string) error {
		made++
		return os.WriteFile(filepath.Join(dir, "file"), nil, 0o644)
	}
	entry := func(recipe string) string {
		t.Helper()
		dir, err := Entry(t.Context(), "name-v1", []string{recipe}, fill)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
			t.Error(err)
		}
		return dir
	}
	first, again, other := entry("a"), entry("a"), entry("b")
	if first != again || first == other || made != 2 {
		t.Errorf("made %d times: %s, %s, %s", made, first, again, other)
	}
}

func TestEntryThatFailsLeavesNothing(t *testing.T) {
	root := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", root)
	broken := errors.New("broken")
	_, err := Entry(t.Context(), "name", nil, func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o644); err != nil {
			t.Fatal(err)
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	left, err := filepath.Glob(filepath.Join(root, "*", "name*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

func TestEntryWaitsForWhoMakesIt(t *testing.T) {
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	making, finish, done := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		_, err := Entry(context.Background(), "name", nil, func(string) error {
			close(making)
			<-finish
			return nil
		})
		done <- err
	}()
	<-making
	never := func(string) error { return errors.New("made twice") }
	short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Entry(short, "name", nil, never); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("while another makes it: got %v", err)
	}
	close(finish)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if _, err := Entry(t.Context(), "name", nil, never); err != nil {
		t.Error(err)
	}
}
