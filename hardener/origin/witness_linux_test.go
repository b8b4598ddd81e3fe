package origin

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func witness(t *testing.T, dirs ...string) *Witness {
	t.Helper()
	w, err := NewWitness()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("%v: the kernel tells only CAP_SYS_ADMIN who acted", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	if err := w.Watch(dirs); err != nil {
		t.Fatal(err)
	}
	return w
}

// await waits until a condition holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not after 10 seconds", what)
		}
	}
}

// shell runs a script in a shell that stays until the test is over, and gives
// its PID when the script is through.
func shell(t *testing.T, script string) int {
	t.Helper()
	c := exec.Command("sh", "-c", script+"\necho through; read end")
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = c.Wait() })
	if _, err := out.Read(make([]byte, 7)); err != nil {
		t.Fatal(err)
	}
	return c.Process.Pid
}

func TestWitness(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	w := witness(t, dir, filepath.Join(dir, "missing"))
	for _, tt := range []struct{ name, script string }{
		{"create", `echo a > %[1]s`},
		{"append", `echo b >> %[1]s`},
		{"a shell with the file open", `exec 3>> %[1]s; echo c >&3`},
		{"umask and truncate", `: > %[1]s`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			pid := shell(t, fmt.Sprintf(tt.script, file))
			await(t, "see the shell", func() bool { a, _ := w.Seen(file); return a.PID == pid })
			a, _ := w.Seen(file)
			if a.Comm != "sh" || len(a.Parents) == 0 || a.Parents[0] != "origin.test" || time.Since(a.At) > time.Minute {
				t.Errorf("got %+v, want sh, a child of origin.test", a)
			}
		})
	}
	// The programs are gone before they can be asked for more, but not their PIDs.
	for _, tt := range []struct{ name, program, path string }{
		{"chmod", "chmod 600 %[1]s", file},
		{"chown", "chown 1:1 %[1]s", file},
		{"chmod the directory", "chmod 750 %[2]s", dir},
		{"rename over", "mv %[1]s.new %[1]s", file},
		{"rename away", "mv %[1]s %[1]s.away", file},
		{"arrive by rename", "true", file + ".away"},
		{"delete", "rm %[1]s.away", file + ".away"},
		{"make a directory", "mkdir %[2]s/sub", filepath.Join(dir, "sub")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "rename over" {
				if err := os.WriteFile(file+".new", nil, 0o600); err != nil { // by this process: not seen
					t.Fatal(err)
				}
				if a, ok := w.Seen(file + ".new"); ok {
					t.Errorf("got %+v for the own process", a)
				}
			}
			before, _ := w.Seen(tt.path)
			if tt.program == "true" {
				if before.PID == 0 {
					t.Error("the new name was not seen")
				}
				return
			}
			c := exec.Command("sh", "-c", "exec "+fmt.Sprintf(tt.program, file, dir))
			if err := c.Run(); err != nil {
				t.Fatal(err)
			}
			await(t, "see "+tt.program, func() bool { a, _ := w.Seen(tt.path); return a.PID == c.Process.Pid })
		})
	}
}

// TestWitnessSet changes what is watched, and puts another directory where one
// was.
func TestWitnessSet(t *testing.T) {
	top := t.TempDir()
	a, b := filepath.Join(top, "a"), filepath.Join(top, "b")
	for _, dir := range []string{a, b} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	w := witness(t, a)
	touch := func(file string) int { return shell(t, "echo x >> "+file) }
	seen := func(file string, pid int) func() bool {
		return func() bool { actor, _ := w.Seen(file); return actor.PID == pid }
	}
	watch := func(dirs ...string) {
		if err := w.Watch(dirs); err != nil {
			t.Fatal(err)
		}
	}
	watch(a, a+"/", b)
	await(t, "see a", seen(a+"/f", touch(a+"/f")))
	await(t, "see b", seen(b+"/f", touch(b+"/f")))
	watch(b)
	touch(a + "/g")
	await(t, "see b once more", seen(b+"/f", touch(b+"/f")))
	if actor, ok := w.Seen(a + "/g"); ok {
		t.Errorf("saw %+v in a directory that is not watched", actor)
	}
	if err := os.Rename(b, a+"/old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(b, 0o700); err != nil {
		t.Fatal(err)
	}
	watch(b)
	await(t, "see the new b", seen(b+"/f", touch(b+"/f")))
	if err := w.Watch([]string{b, b + "/f"}); err == nil || !strings.Contains(err.Error(), b+"/f") {
		t.Errorf("got error %v for what is no directory, want one that names it", err)
	}
	await(t, "still see b", seen(b+"/f", touch(b+"/f")))
}

func TestNoWitness(t *testing.T) {
	var w *Witness
	if _, ok := w.Seen("/etc/passwd"); ok || w.Watch([]string{"/etc"}) != nil || w.Close() != nil {
		t.Error("a nil Witness saw something")
	}
}

// TestWitnessForgets gives it more entries, and older ones, than it keeps.
func TestWitnessForgets(t *testing.T) {
	w := witness(t)
	now := time.Now()
	w.now = func() time.Time { return now }
	w.dirs = map[string]handle{"/d": "h"}
	for i := range 3 * maxEntries {
		w.saw(unix.FAN_MODIFY, 1, entry{"h", fmt.Sprint(i % (2 * maxEntries))})
	}
	if len(w.entries) != maxEntries || w.order.Len() != maxEntries {
		t.Errorf("%d entries in order of %d, want %d", len(w.entries), w.order.Len(), maxEntries)
	}
	w.saw(unix.FAN_MODIFY, 1, entry{"h", "f"})
	w.saw(unix.FAN_CLOSE_WRITE, 2, entry{"h", "f"})
	if a, _ := w.Seen("/d/f"); a.PID != 1 {
		t.Errorf("a close alone made %d the one who changed the file", a.PID)
	}
	now = now.Add(maxAge + time.Second)
	if a, ok := w.Seen("/d/f"); ok {
		t.Errorf("got %+v after its time", a)
	}
	w.saw(unix.FAN_CREATE, 1, entry{"h", "new"})
	if len(w.entries) != 1 {
		t.Errorf("%d entries, want the new one alone", len(w.entries))
	}
}

// TestWitnessShortLived tells how much can be known of programs that end at
// once, and what many events cost.
func TestWitnessShortLived(t *testing.T) {
	dir := t.TempDir()
	const n = 200
	w := witness(t, dir)
	var script strings.Builder
	for i := range n {
		file := fmt.Sprintf("%s/%d", dir, i)
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&script, "chmod 640 %s\n", file)
	}
	shell(t, script.String())
	comm, parent := 0, 0
	for i := range n {
		var a Actor
		await(t, "see each chmod", func() bool { a, _ = w.Seen(fmt.Sprintf("%s/%d", dir, i)); return a.PID > 0 })
		if a.Comm != "" {
			comm++
		}
		if slices.Contains(a.Parents, "sh") {
			parent++
		}
	}
	t.Logf("of %d chmod run by sh: %d had a name, %d their parent", n, comm, parent)

	if testing.Short() {
		return
	}
	var before, after syscall.Rusage
	var mem [2]runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&mem[0])
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	shell(t, fmt.Sprintf("i=0; while [ $i -lt 50000 ]; do echo > %s/f$i; i=$((i+1)); done", dir))
	// The queue may have run over, so more events follow until one gets through.
	await(t, "see beyond many", func() bool {
		shell(t, "echo > "+dir+"/last")
		_, ok := w.Seen(dir + "/last")
		return ok
	})
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	runtime.GC()
	runtime.ReadMemStats(&mem[1])
	spent := time.Duration(after.Utime.Nano() + after.Stime.Nano() - before.Utime.Nano() - before.Stime.Nano())
	t.Logf("50,000 files made and written: %v of CPU, %d KiB of heap more", spent, (int64(mem[1].HeapAlloc)-int64(mem[0].HeapAlloc))>>10)
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.entries) > maxEntries {
		t.Errorf("%d entries, want at most %d", len(w.entries), maxEntries)
	}
}
