//go:build linux

package watch

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestBurst wants many writes to come as few changes, the last state to be seen
// after the last of them, and no writer that never rests to keep the others back.
func TestBurst(t *testing.T) {
	t.Run("that ends", func(t *testing.T) {
		const writes = 1000
		g := watched(t, Times{Quiet: 50 * time.Millisecond, Longest: patience}, map[string]string{"file": ""}, "/file")
		for i := range writes {
			g.write("/file", strconv.Itoa(i))
		}
		changes := 0
		for seen := ""; seen != strconv.Itoa(writes-1); changes++ {
			if c := g.next(); len(c.Files) != 1 || c.Files["/file"] == nil || c.Lost {
				t.Errorf("%+v", c)
			}
			b, err := os.ReadFile(g.at("/file"))
			g.must(err)
			seen = string(b)
		}
		t.Logf("%d writes: %d changes", writes, changes)
		if changes > writes/10 {
			t.Errorf("%d changes for %d writes", changes, writes)
		}
	})
	t.Run("that never ends", func(t *testing.T) {
		const longest = 50 * time.Millisecond
		g := watched(t, Times{Quiet: 10 * patience, Longest: longest}, map[string]string{"file": ""}, "/file")
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
					os.WriteFile(g.at("/file"), []byte(strconv.Itoa(i)), 0o644)
				}
			}
		}()
		defer func() { close(stop); <-stopped }()
		for range 3 {
			if c := g.next(); time.Since(c.Since) < longest {
				t.Errorf("a burst was over after %v", time.Since(c.Since))
			}
		}
	})
}

// TestOverflow fills the kernel's queue while nothing is taken from it.
func TestOverflow(t *testing.T) {
	b, err := os.ReadFile("/proc/sys/fs/inotify/max_queued_events")
	if err != nil {
		t.Fatal(err)
	}
	queue, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	if queue > 200_000 {
		t.Skipf("fs.inotify.max_queued_events is %d: filling it takes too long", queue)
	}
	g := watched(t, quick, map[string]string{"a": "", "b": "", "c": ""}, "/a", "/b", "/c")
	g.w.mu.Lock()
	for i := range queue + 5000 { // what the reader of the queue holds comes on top
		g.must(os.Chmod(g.at([]string{"/a", "/b"}[i%2]), 0o600)) // the same event twice on end is one
	}
	g.must(os.Chmod(g.at("/c"), 0o600))
	g.w.mu.Unlock()
	for lost := false; !lost; {
		lost = g.next().Lost
	}
	g.follow0()
	g.changed()
	g.write("/c", "x")
	g.wants("a change after that", map[string][]string{"/c": {"/c"}})
}

// TestManyFiles wants every file of a burst, or that it is told that there are
// more.
func TestManyFiles(t *testing.T) {
	for _, files := range []int{maxFiles / 2, maxFiles, 10_000} {
		g := watched(t, Times{Quiet: 50 * time.Millisecond, Longest: patience}, map[string]string{"dir": "/"}, "/dir")
		for i := range files {
			g.write(fmt.Sprintf("/dir/%d", i), "")
		}
		all, lost := map[string]bool{}, false
		for len(all) < files && !lost {
			c := g.next()
			lost = lost || c.Lost
			for name := range c.Files {
				all[name] = true
			}
			if len(c.Files) > maxFiles {
				t.Errorf("%d files: %d are told", files, len(c.Files))
			}
		}
		t.Logf("%d files: %d told, lost: %v", files, len(all), lost)
		if files <= maxFiles && lost {
			t.Errorf("%d files are too many", files)
		}
		g.changed()
		g.write("/dir/0", "x")
		g.wants("a change after that", map[string][]string{"/dir/0": {"/dir"}})
	}
}

// TestNoGrowth wants nothing to be left of events.
func TestNoGrowth(t *testing.T) {
	g := watched(t, quick, map[string]string{"dir/followed": "", "dir/neighbour": ""}, "/dir/followed")
	flood := func(events int) (changes int) {
		done := make(chan error, 1)
		go func() {
			for i := range events {
				if err := os.Chmod(g.at([]string{"/dir/followed", "/dir/neighbour"}[i%2]), 0o600); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
		for {
			select {
			case err := <-done:
				g.must(err)
				g.changed()
				return changes
			default:
				if _, ok, err := g.w.Wait(t.Context(), time.Millisecond); err != nil {
					t.Fatal(err)
				} else if ok {
					changes++
				}
			}
		}
	}
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const events = 100_000
	flood(events / 10)
	before, goroutines := heap(), runtime.NumGoroutine()
	begin := time.Now()
	changes := flood(events)
	took := time.Since(begin)
	after := heap()
	t.Logf("%d events in %v: %d changes; heap %d KiB before, %d KiB after; %d goroutines", events, took, changes, before>>10, after>>10, goroutines)
	if after > before+1<<20 {
		t.Errorf("heap of %d bytes before, %d after", before, after)
	}
	eventually(t, "as many goroutines as before", func() (string, bool) {
		now := runtime.NumGoroutine()
		return fmt.Sprintf("%d, %d before", now, goroutines), now <= goroutines
	})
}
