//go:build linux

package watch

import (
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// inNamespace runs the calling test again in a user and mount namespace of its own,
// where it may set limits and mount, and reports whether this was the outer run.
func inNamespace(t *testing.T) bool {
	t.Helper()
	const mark = "WATCH_TEST_NAMESPACE"
	if os.Getenv(mark) != "" {
		return false
	}
	c := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	c.Env = append(os.Environ(), mark+"=1", "TMPDIR="+t.TempDir())
	c.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("needs user namespaces: %v", err)
	case err != nil:
		t.Errorf("in a namespace: %v\n%s", err, out)
	case strings.Contains(string(out), "--- SKIP"):
		t.Skipf("in a namespace:\n%s", out)
	case !strings.Contains(string(out), "--- PASS: "+t.Name()):
		t.Errorf("the test did not run in the namespace:\n%s", out)
	}
	return true
}

func setLimit(t *testing.T, name string, n int) {
	t.Helper()
	err := os.WriteFile("/proc/sys/user/"+name, []byte(strconv.Itoa(n)), 0o644)
	if errors.Is(err, os.ErrPermission) || errors.Is(err, unix.EROFS) || errors.Is(err, os.ErrNotExist) {
		t.Skipf("limits cannot be set: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestTooFewWatches(t *testing.T) {
	if inNamespace(t) {
		return
	}
	setLimit(t, "max_inotify_watches", 1000)
	files := []string{"/a/file", "/b/file", "/c/file", "/d/file", "/e/file"}
	g := watched(t, quick, map[string]string{"a/file": "", "b/file": "", "c/file": "", "d/file": "", "e/file": ""})
	all := len(g.w.Directories()) + len(files)
	g.paths = append(g.paths, files...)

	setLimit(t, "max_inotify_watches", all-2)
	grown, err := g.w.Follow(g.paths)
	var limit *LimitError
	if !grown || !errors.As(err, &limit) || limit.Dirs != 2 || limit.Sysctl != "fs.inotify.max_user_watches" || !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("grown %v, %v", grown, err)
	}
	const text = "2 directories cannot be watched: no space left on device: raise the sysctl fs.inotify.max_user_watches"
	if err.Error() != text {
		t.Errorf("%v; want %s", err, text)
	}
	if n := len(g.w.Directories()); n != all-2 || kernelWatches(t) != n {
		t.Errorf("%d directories of %d are watched, %d in the kernel", n, all, kernelWatches(t))
	}
	g.write("/a/file", "x")
	g.wants("a directory that is watched", map[string][]string{"/a/file": {"/a/file"}})
	g.must(os.RemoveAll(g.at("/b")))
	g.mkdir("/b")
	g.changed()
	g.w.Refresh()
	if _, err := g.w.Follow(g.paths); !errors.As(err, &limit) || limit.Dirs != 2 {
		t.Errorf("once more, with a directory replaced: %v", err)
	}

	setLimit(t, "max_inotify_watches", all)
	if grown, err := g.w.Follow(g.paths); !grown || err != nil {
		t.Errorf("with room again: grown %v, %v", grown, err)
	}
	for _, p := range files {
		g.write(p, "y")
		g.wants("with room again", map[string][]string{p: {p}})
	}
	if grown, err := g.w.Follow(g.paths); grown || err != nil {
		t.Errorf("and again: grown %v, %v", grown, err)
	}
}

func TestNoInstance(t *testing.T) {
	if inNamespace(t) {
		return
	}
	tree, err := host.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	w := New(tree, quick)
	setLimit(t, "max_inotify_instances", 0)
	grown, err := w.Follow([]string{"/file"})
	var limit *LimitError
	if grown || !errors.As(err, &limit) || limit.Sysctl != "fs.inotify.max_user_instances" || !errors.Is(err, syscall.EMFILE) {
		t.Errorf("grown %v, %v", grown, err)
	}
	const text = "no directory can be watched: couldn't initialize inotify: too many open files: raise the sysctl fs.inotify.max_user_instances"
	if err != nil && err.Error() != text {
		t.Errorf("%v; want %s", err, text)
	}
	w.Refresh()
	if all := w.Directories(); len(all) != 0 {
		t.Errorf("watched: %v", all)
	}
	setLimit(t, "max_inotify_instances", 1)
	if grown, err := w.Follow([]string{"/file"}); !grown || err != nil {
		t.Errorf("with room again: grown %v, %v", grown, err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

// TestBindMounts follows two paths of one directory, which inotify has one watch
// for.
func TestBindMounts(t *testing.T) {
	if inNamespace(t) {
		return
	}
	g := watched(t, quick, map[string]string{"p/file": "", "p/only": "", "q/file": "", "q/hidden": ""}, "/p/file", "/p/only", "/q/file")
	mount := func() {
		t.Helper()
		if err := unix.Mount(g.at("/p"), g.at("/q"), "", unix.MS_BIND, ""); err != nil {
			t.Skipf("cannot mount: %v", err)
		}
	}
	both := map[string][]string{"/p/file": {"/p/file"}, "/q/file": {"/q/file"}}
	follow := func(paths ...string) (grown bool) {
		t.Helper()
		g.w.Refresh()
		grown, err := g.w.Follow(append(paths, fences))
		g.must(err)
		return grown
	}
	mount()
	t.Cleanup(func() { unix.Unmount(g.at("/q"), unix.MNT_DETACH) })
	follow(g.paths...)
	g.write("/q/file", "x")
	g.wants("through the mount", both)
	g.write("/p/file", "x")
	g.wants("through the directory", both)
	g.write("/p/only", "x")
	g.wants("a file followed by one of its names", map[string][]string{"/p/only": {"/p/only"}})
	g.must(os.Chmod(g.at("/q"), 0o700))
	g.wants("the directory itself", map[string][]string{"/p": {"/p/file", "/p/only"}, "/q": {"/q/file"}})

	if !follow("/q/file") {
		t.Error("the watch that went with /p was the one of /q, and nobody is told")
	}
	g.write("/p/file", "y")
	g.wants("followed by the mount alone", map[string][]string{"/q/file": {"/q/file"}})
	follow("/p/file")
	g.write("/q/file", "y")
	g.wants("followed by the directory alone", map[string][]string{"/p/file": {"/p/file"}})

	follow(g.paths...)
	g.must(unix.Unmount(g.at("/q"), 0))
	follow(g.paths...)
	g.write("/q/file", "z")
	g.wants("below what was mounted", map[string][]string{"/q/file": {"/q/file"}})
	g.write("/p/file", "z")
	g.wants("the other", map[string][]string{"/p/file": {"/p/file"}})

	mount()
	g.w.Refresh()
	follow("/p/file") // fsnotify panics here where its table of paths is not kept clean
	g.write("/p/file", "a")
	g.wants("mounted and given up", map[string][]string{"/p/file": {"/p/file"}})
	if now, want := kernelWatches(t), len(g.w.Directories()); now != want {
		t.Errorf("%d watches for %d directories", now, want)
	}
}
