//go:build linux

package watch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/tests/ordinaryuser"
)

// patience is how long a test waits for what has to come.
const patience = time.Minute

// fences is a followed directory in which a test makes something new after
// everything else: the kernel tells changes in their order, so that what has not
// come by then never comes.
const fences = "/fences"

// quick settles at once.
var quick = Times{Quiet: time.Millisecond, Longest: time.Second}

// ground is a temporary tree, watched.
type ground struct {
	testing.TB
	root  string
	w     *Watcher
	paths []string // followed
	built int      // fences
}

func watched(t testing.TB, times Times, files map[string]string, paths ...string) *ground {
	t.Helper()
	root := t.TempDir()
	plant(t, root, files)
	plant(t, root, map[string]string{fences: "/"})
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	g := &ground{TB: t, root: root, w: New(tree, times), paths: append(paths, fences)}
	t.Cleanup(func() {
		if err := g.w.Close(); err != nil {
			t.Error(err)
		}
	})
	if grown, err := g.w.Follow(g.paths); !grown || err != nil {
		t.Fatalf("Follow: grown %v, %v", grown, err)
	}
	return g
}

func (g *ground) at(p string) string { return filepath.Join(g.root, p) }

func (g *ground) must(err error) {
	g.Helper()
	if err != nil {
		g.Fatal(err)
	}
}

func (g *ground) write(p, content string) {
	g.Helper()
	g.must(os.WriteFile(g.at(p), []byte(content), 0o644))
}

func (g *ground) rename(from, to string) {
	g.Helper()
	g.must(os.Rename(g.at(from), g.at(to)))
}

func (g *ground) mkdir(p string) {
	g.Helper()
	g.must(os.MkdirAll(g.at(p), 0o755))
}

func (g *ground) link(target, p string) {
	g.Helper()
	g.must(os.Symlink(target, g.at(p)))
}

// next is the next change. There has to be one.
func (g *ground) next() Change {
	g.Helper()
	c, ok, err := g.w.Wait(g.Context(), patience)
	if err != nil || !ok {
		g.Fatalf("no change within %v: %v", patience, err)
	}
	return c
}

// fence makes one.
func (g *ground) fence() string {
	g.Helper()
	g.built++
	p := fmt.Sprintf("%s/%d", fences, g.built)
	g.must(os.Mkdir(g.at(p), 0o755)) // one event; a write can be two
	return p
}

// changed are the files that have changed by now.
func (g *ground) changed() (files map[string][]string, lost bool) {
	g.Helper()
	files = map[string][]string{}
	for fence := g.fence(); ; {
		c := g.next()
		maps.Copy(files, c.Files)
		if files[fence] != nil {
			maps.DeleteFunc(files, func(p string, _ []string) bool { return path.Dir(p) == fences })
			return files, lost || c.Lost
		}
		if c.Lost { // with it, maybe
			lost, fence = true, g.fence()
		}
	}
}

func (g *ground) wants(reason string, want map[string][]string) {
	g.Helper()
	got, lost := g.changed()
	if want == nil {
		want = map[string][]string{}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		g.Errorf("%s (-want +got):\n%s", reason, diff)
	}
	if lost {
		g.Errorf("%s: events were lost", reason)
	}
}

// follow does what a caller does after a change.
func (g *ground) follow() {
	g.Helper()
	g.w.Refresh()
	for range 4 {
		grown, err := g.w.Follow(g.paths)
		g.must(err)
		if !grown {
			break
		}
	}
	if now, want := kernelWatches(g), len(g.w.Directories()); now != want {
		g.Errorf("%d watches in the kernel for %d directories: %v", now, want, g.w.Directories())
	}
}

// inotifies are the open inotify instances of this process, by what the kernel
// says of them.
func inotifies(t testing.TB) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, fd := range fds {
		if l, _ := os.Readlink("/proc/self/fd/" + fd.Name()); !strings.Contains(l, "inotify") {
			continue
		}
		info, err := os.ReadFile("/proc/self/fdinfo/" + fd.Name())
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(info))
	}
	return all
}

// kernelWatches is how many watches the kernel keeps for this process.
func kernelWatches(t testing.TB) int {
	t.Helper()
	return strings.Count(strings.Join(inotifies(t), ""), "inotify wd:")
}

// kubernetes is what lies below /etc/kubernetes of a Kubespray node, in small.
func kubernetes() map[string]string {
	return map[string]string{
		"etc/kubernetes/ssl/ca.crt":            "ca",
		"etc/kubernetes/ssl/ca.key":            "key",
		"etc/kubernetes/pki":                   "->/etc/kubernetes/ssl",
		"etc/kubernetes/admin.conf":            "admin",
		"etc/kubernetes/manifests/api.yaml":    "api",
		"etc/kubernetes/kubelet":               "->admin.conf",
		"etc/kubernetes/kubeletneighbour.conf": "x",
	}
}

const (
	caCrt     = "/etc/kubernetes/pki/ca.crt"
	adminConf = "/etc/kubernetes/admin.conf"
	kubelet   = "/etc/kubernetes/kubelet"
	manifests = "/etc/kubernetes/manifests"
	later     = "/etc/kubernetes/later/on/file"
)

func TestChanges(t *testing.T) {
	for _, tt := range []struct {
		reason string
		do     func(*ground)
		want   map[string][]string
	}{
		{"nothing", func(*ground) {}, nil},
		{"edited in place", func(g *ground) {
			f, err := os.OpenFile(g.at(adminConf), os.O_WRONLY, 0)
			g.must(err)
			_, err = f.WriteAt([]byte("X"), 2)
			g.must(err)
			g.must(f.Close())
		}, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"truncated", func(g *ground) { g.must(os.Truncate(g.at(adminConf), 0)) }, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"replaced by a rename", func(g *ground) {
			g.write("/etc/kubernetes/.tmp", "new")
			g.rename("/etc/kubernetes/.tmp", adminConf)
		}, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"replaced from a directory that is not followed", func(g *ground) {
			g.mkdir("/other")
			g.write("/other/new", "new")
			g.rename("/other/new", adminConf)
		}, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"moved away", func(g *ground) { g.rename(adminConf, "/gone") }, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"removed", func(g *ground) { g.must(os.Remove(g.at(adminConf))) }, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"mode", func(g *ground) { g.must(os.Chmod(g.at(adminConf), 0o600)) }, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"owner", func(g *ground) {
			uid, gid := os.Getuid(), os.Getgid() // an ordinary user has no other; the kernel tells it all the same
			if uid == 0 {
				uid, gid = 1, 1
			}
			g.must(os.Chown(g.at(adminConf), uid, gid))
		}, map[string][]string{adminConf: {adminConf, kubelet}}},
		{"a file behind a linked directory", func(g *ground) { g.write("/etc/kubernetes/ssl/ca.crt", "X") },
			map[string][]string{"/etc/kubernetes/ssl/ca.crt": {caCrt}}},
		{"mode of a directory on the way", func(g *ground) { g.must(os.Chmod(g.at("/etc/kubernetes/ssl"), 0o700)) },
			map[string][]string{"/etc/kubernetes/ssl": {caCrt}}},
		{"mode of a followed directory", func(g *ground) { g.must(os.Chmod(g.at(manifests), 0o700)) },
			map[string][]string{manifests: {manifests}}},
		{"a new file in a followed directory", func(g *ground) { g.write(manifests+"/new.yaml", "x") },
			map[string][]string{manifests + "/new.yaml": {manifests}}},
		{"a file of a followed directory removed", func(g *ground) { g.must(os.Remove(g.at(manifests + "/api.yaml"))) },
			map[string][]string{manifests + "/api.yaml": {manifests}}},
		{"a file edited in a followed directory", func(g *ground) { g.write(manifests+"/api.yaml", "X") },
			map[string][]string{manifests + "/api.yaml": {manifests}}},
		{"a link led elsewhere by a rename", func(g *ground) {
			g.link("ssl2", "/etc/kubernetes/.pki")
			g.rename("/etc/kubernetes/.pki", "/etc/kubernetes/pki")
		}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
		{"a link made anew", func(g *ground) {
			g.must(os.Remove(g.at("/etc/kubernetes/pki")))
			g.link("ssl2", "/etc/kubernetes/pki")
		}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
		{"a link to a file led elsewhere", func(g *ground) {
			g.link("kubeletneighbour.conf", "/etc/kubernetes/.new")
			g.rename("/etc/kubernetes/.new", kubelet)
		}, map[string][]string{kubelet: {kubelet}}},
		{"the missing directory comes", func(g *ground) { g.mkdir("/etc/kubernetes/later") },
			map[string][]string{"/etc/kubernetes/later": {later}}},
		{"a neighbour", func(g *ground) {
			g.write("/etc/kubernetes/ssl/ca.key", "X")
			g.write("/etc/kubernetes/new", "x")
			g.must(os.Chmod(g.at("/etc/kubernetes/kubeletneighbour.conf"), 0o600))
			g.mkdir("/etc/kubernetes/latest")
			g.write("/etc/admin.conf", "x")
			g.must(os.Remove(g.at("/etc/kubernetes/ssl/ca.key")))
		}, nil},
		{"looking", func(g *ground) {
			for _, p := range g.paths {
				os.ReadFile(g.at(p))
				os.Stat(g.at(p))
				os.ReadDir(g.at(p))
			}
		}, nil},
	} {
		t.Run(tt.reason, func(t *testing.T) {
			g := watched(t, quick, kubernetes(), caCrt, adminConf, kubelet, manifests, later)
			tt.do(g)
			g.wants(tt.reason, tt.want)
		})
	}
}

// step is something that happens to a tree, and what comes of it.
type step struct {
	reason string
	do     func(*ground)
	want   map[string][]string
}

// TestCourses follows again after each change, as a caller does.
func TestCourses(t *testing.T) {
	const ssl = "/etc/kubernetes/ssl"
	ca := map[string][]string{ssl + "/ca.crt": {caCrt}}
	for name, steps := range map[string][]step{
		"a directory is replaced": {
			{"moved away, and another made", func(g *ground) {
				g.rename(ssl, "/etc/kubernetes/old")
				g.mkdir(ssl)
				g.write(ssl+"/ca.crt", "x")
			}, map[string][]string{ssl: {caCrt}}},
			{"a change in the new one", func(g *ground) { g.write(ssl+"/ca.crt", "y") }, ca},
			{"a change in the old one", func(g *ground) { g.write("/etc/kubernetes/old/ca.crt", "y") }, nil},
			{"the old one is exchanged for the new one", func(g *ground) {
				g.must(unix.Renameat2(unix.AT_FDCWD, g.at(ssl), unix.AT_FDCWD, g.at("/etc/kubernetes/old"), unix.RENAME_EXCHANGE))
			}, map[string][]string{ssl: {caCrt}}},
			{"a change in the old one, which is the new one", func(g *ground) { g.write(ssl+"/ca.crt", "z") }, ca},
			{"a change in the other one", func(g *ground) { g.write("/etc/kubernetes/old/ca.crt", "z") }, nil},
		},
		"a directory is moved away and back": {
			{"at once", func(g *ground) {
				g.rename(ssl, "/etc/kubernetes/old")
				g.rename("/etc/kubernetes/old", ssl)
			}, map[string][]string{ssl: {caCrt}}},
			{"a change in it", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
			{"moved away", func(g *ground) { g.rename(ssl, "/etc/kubernetes/old") }, map[string][]string{ssl: {caCrt}}},
			{"a change in it there", func(g *ground) { g.write("/etc/kubernetes/old/ca.crt", "x") }, nil},
			{"moved back", func(g *ground) { g.rename("/etc/kubernetes/old", ssl) }, map[string][]string{ssl: {caCrt}}},
			{"a change in it again", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
		},
		"a directory is removed and made anew": {
			{"removed", func(g *ground) { g.must(os.RemoveAll(g.at(ssl))) }, map[string][]string{ssl: {caCrt}, ssl + "/ca.crt": {caCrt}}},
			{"made", func(g *ground) { g.mkdir(ssl) }, map[string][]string{ssl: {caCrt}}},
			{"a file in it", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
			{"both at once", func(g *ground) {
				g.must(os.RemoveAll(g.at(ssl)))
				g.mkdir(ssl)
			}, map[string][]string{ssl: {caCrt}, ssl + "/ca.crt": {caCrt}}},
			{"a file in that", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
			{"moved away and removed", func(g *ground) {
				g.rename(ssl, "/old")
				g.must(os.RemoveAll(g.at("/old")))
				g.mkdir(ssl)
			}, nil}, // see below
		},
		"a directory above is replaced": {
			{"moved away, and another made", func(g *ground) {
				g.rename("/etc", "/old")
				g.mkdir(ssl)
				g.link("ssl", "/etc/kubernetes/pki")
			}, map[string][]string{"/etc": {caCrt}}},
			{"a change in the new one", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
			{"a change in the old one", func(g *ground) {
				g.write("/old/kubernetes/ssl/ca.crt", "x")
				g.mkdir("/old/kubernetes/pki2")
				g.must(os.Chmod(g.at("/old/kubernetes"), 0o700))
			}, nil},
			{"removed", func(g *ground) { g.rename("/etc", "/old2") }, map[string][]string{"/etc": {caCrt}}},
			{"the old one comes back", func(g *ground) { g.rename("/old", "/etc") }, map[string][]string{"/etc": {caCrt}}},
			{"a change in it", func(g *ground) { g.write(ssl+"/ca.crt", "y") }, ca},
		},
		"a link is led elsewhere": {
			{"ln -sfn", func(g *ground) {
				g.mkdir("/srv/new")
				g.link("/srv/new", "/etc/kubernetes/.new")
				g.rename("/etc/kubernetes/.new", "/etc/kubernetes/pki")
			}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
			{"behind the new target", func(g *ground) { g.write("/srv/new/ca.crt", "x") }, map[string][]string{"/srv/new/ca.crt": {caCrt}}},
			{"behind the old target", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, nil},
			{"removed and made", func(g *ground) {
				g.must(os.Remove(g.at("/etc/kubernetes/pki")))
				g.link("ssl/", "/etc/kubernetes/pki")
			}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
			{"behind the first target", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
			{"a directory takes the place of the link", func(g *ground) {
				g.must(os.Remove(g.at("/etc/kubernetes/pki")))
				g.mkdir("/etc/kubernetes/pki")
			}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
			{"a file in that directory", func(g *ground) { g.write(caCrt, "x") }, map[string][]string{caCrt: {caCrt}}},
			{"the link takes the place of the directory", func(g *ground) {
				g.rename("/etc/kubernetes/pki", "/old")
				g.link("ssl/", "/etc/kubernetes/pki")
			}, map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
			{"behind it", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
		},
		"what is missing comes step by step": {
			{"everything goes", func(g *ground) { g.rename("/etc", "/old") }, map[string][]string{"/etc": {caCrt}}},
			{"/etc", func(g *ground) { g.mkdir("/etc") }, map[string][]string{"/etc": {caCrt}}},
			{"/etc/kubernetes", func(g *ground) { g.mkdir("/etc/kubernetes") }, map[string][]string{"/etc/kubernetes": {caCrt}}},
			{"a link into nothing", func(g *ground) { g.link("/etc/kubernetes/ssl", "/etc/kubernetes/pki") },
				map[string][]string{"/etc/kubernetes/pki": {caCrt}}},
			{"its target", func(g *ground) { g.mkdir(ssl) }, map[string][]string{ssl: {caCrt}}},
			{"the file", func(g *ground) { g.write(ssl+"/ca.crt", "x") }, ca},
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := watched(t, quick, kubernetes(), caCrt)
			for _, s := range steps {
				s.do(g)
				if s.reason == "moved away and removed" { // whether the last event of the file comes depends on who is first
					got, lost := g.changed()
					if got[ssl] == nil || lost {
						t.Errorf("%s: %v, lost: %v", s.reason, got, lost)
					}
				} else {
					g.wants(s.reason, s.want)
				}
				g.follow()
			}
		})
	}
}

// TestSwapped wants the right names for directories that have changed places, all
// of which are followed.
func TestSwapped(t *testing.T) {
	g := watched(t, quick, map[string]string{"a/file": "", "b/file": "", "c/d/file": ""}, "/a/file", "/b/file", "/c/d/file", "/e/d/file")
	for round := range 6 {
		g.must(unix.Renameat2(unix.AT_FDCWD, g.at("/a"), unix.AT_FDCWD, g.at("/b"), unix.RENAME_EXCHANGE))
		from, to := "/c", "/e"
		if round%2 == 1 {
			from, to = to, from
		}
		g.rename(from, to)
		g.wants("swapped", map[string][]string{"/a": {"/a/file"}, "/b": {"/b/file"}, "/c": {"/c/d/file"}, "/e": {"/e/d/file"}})
		g.follow()
		for _, p := range []string{"/a/file", "/b/file", to + "/d/file"} {
			g.write(p, "x")
			g.wants(fmt.Sprintf("round %d, written %s", round, p), map[string][]string{p: {p}})
		}
	}
}

// TestSwappedBeforeEvents swaps directories and follows again before any event has
// been taken.
func TestSwappedBeforeEvents(t *testing.T) {
	g := watched(t, quick, map[string]string{"a/file": "", "b/file": ""}, "/a/file", "/b/file")
	for range 20 {
		g.w.mu.Lock() // the event of /a holds up the others
		g.must(os.Chmod(g.at("/a"), 0o755))
		g.rename("/a", "/tmp")
		g.rename("/b", "/a")
		g.rename("/tmp", "/b")
		g.w.mu.Unlock()
		g.follow0()
		g.changed()
		g.follow()
		for _, p := range []string{"/a/file", "/b/file"} {
			g.write(p, "x")
			g.wants("written "+p, map[string][]string{p: {p}})
		}
	}
}

// follow0 follows without a look at what the kernel keeps, which may be more as
// long as events are underway.
func (g *ground) follow0() {
	g.Helper()
	g.w.Refresh()
	if _, err := g.w.Follow(g.paths); err != nil {
		g.Fatal(err)
	}
}

// TestReplacedManyTimes wants no watch, descriptor or memory of a directory that
// has gone to be kept.
func TestReplacedManyTimes(t *testing.T) {
	g := watched(t, quick, kubernetes(), caCrt, manifests)
	before := kernelWatches(t)
	for i := range 200 {
		if i%2 == 0 {
			g.rename("/etc/kubernetes/ssl", fmt.Sprintf("/old%d", i))
			g.mkdir("/etc/kubernetes/ssl")
		} else { // the directories below are told nothing of it
			g.rename("/etc/kubernetes", fmt.Sprintf("/old%d", i))
			g.mkdir("/etc/kubernetes/ssl")
			g.mkdir(manifests)
			g.link("ssl", "/etc/kubernetes/pki")
		}
		g.next()
		g.follow0()
	}
	g.changed()
	g.follow()
	if now := kernelWatches(t); now != before {
		t.Errorf("%d watches, %d before", now, before)
	}
	if n := len(inotifies(t)); n != 1 {
		t.Errorf("%d inotify instances", n)
	}
	g.write(caCrt, "x")
	g.wants("a change after all that", map[string][]string{"/etc/kubernetes/ssl/ca.crt": {caCrt}})
}

// TestFollow wants only what is followed last to count, and grown to be told.
func TestFollow(t *testing.T) {
	g := watched(t, quick, map[string]string{"a/file": "", "b/file": "", "b/second": ""}, "/a/file")
	for _, tt := range []struct {
		reason string
		paths  []string
		grown  bool
		dirs   []string
		want   map[string][]string
	}{
		{"the same again", []string{"/a/file"}, false, []string{"", "/a", fences}, map[string][]string{"/a/file": {"/a/file"}}},
		{"another directory", []string{"/a/file", "/b/file"}, true, []string{"", "/a", "/b", fences},
			map[string][]string{"/a/file": {"/a/file"}, "/b/file": {"/b/file"}}},
		{"another file of it", []string{"/a/file", "/b/second"}, false, []string{"", "/a", "/b", fences},
			map[string][]string{"/a/file": {"/a/file"}, "/b/second": {"/b/second"}}},
		{"fewer", []string{"/b/second"}, false, []string{"", "/b", fences}, map[string][]string{"/b/second": {"/b/second"}}},
		{"a file and its directory", []string{"/b", "/b/file"}, false, []string{"", "/b", fences},
			map[string][]string{"/b/second": {"/b"}, "/b/file": {"/b", "/b/file"}}},
		{"what is no file", []string{"/proc/1/status", "/dev/null", "/sys/kernel"}, false, []string{"", fences}, nil},
	} {
		grown, err := g.w.Follow(append(tt.paths, fences))
		if grown != tt.grown || err != nil {
			t.Errorf("%s: grown %v, %v", tt.reason, grown, err)
		}
		var dirs []string
		for _, dir := range g.w.Directories() {
			dirs = append(dirs, strings.TrimPrefix(dir, g.root))
		}
		if diff := cmp.Diff(tt.dirs, dirs); diff != "" {
			t.Errorf("%s: directories (-want +got):\n%s", tt.reason, diff)
		}
		if now := kernelWatches(t); now != len(dirs) {
			t.Errorf("%s: %d watches in the kernel", tt.reason, now)
		}
		for _, p := range []string{"/a/file", "/b/file", "/b/second"} {
			g.write(p, tt.reason)
		}
		g.wants(tt.reason, tt.want)
	}
	if grown, err := g.w.Follow(nil); grown || err != nil || kernelWatches(t) != 0 {
		t.Errorf("nothing: grown %v, %v, %d watches", grown, err, kernelWatches(t))
	}
}

// TestGrownByReplacing wants a directory that came between looking and following to
// count as not watched before.
func TestGrownByReplacing(t *testing.T) {
	g := watched(t, quick, kubernetes(), caCrt)
	g.rename("/etc/kubernetes/ssl", "/old")
	g.mkdir("/etc/kubernetes/ssl")
	if grown, err := g.w.Follow(g.paths); !grown || err != nil {
		t.Errorf("grown %v, %v", grown, err)
	}
	if grown, err := g.w.Follow(g.paths); grown || err != nil {
		t.Errorf("grown once more: %v, %v", grown, err)
	}
}

// TestUnreadable wants one directory that may not be read to keep no other from
// being watched.
func TestUnreadable(t *testing.T) {
	if ordinaryuser.Again(t) {
		return
	}
	g := watched(t, quick, map[string]string{"a/file": "", "b/file": "", "c/file": ""})
	g.must(os.Chmod(g.at("/b"), 0o300))
	t.Cleanup(func() { os.Chmod(g.at("/b"), 0o700) })
	g.changed() // or the event is taken when it counts
	g.paths = append(g.paths, "/a/file", "/b/file", "/c/file")
	grown, err := g.w.Follow(g.paths)
	if !grown || !errors.Is(err, os.ErrPermission) || !strings.HasPrefix(err.Error(), "watch /b: ") {
		t.Errorf("grown %v, %v", grown, err)
	}
	for _, p := range []string{"/a/file", "/c/file"} {
		g.write(p, "x")
		g.wants("beside it", map[string][]string{p: {p}})
	}
	g.must(os.Chmod(g.at("/b"), 0o700))
	g.wants("its mode", map[string][]string{"/b": {"/b/file"}})
	if grown, err := g.w.Follow(g.paths); !grown || err != nil {
		t.Errorf("readable again: grown %v, %v", grown, err)
	}
	g.write("/b/file", "x")
	g.wants("in it", map[string][]string{"/b/file": {"/b/file"}})
}

func TestRootOfTree(t *testing.T) {
	g := watched(t, quick, map[string]string{"file": ""}, "/")
	g.write("/file", "x")
	g.wants("a file in the root", map[string][]string{"/file": {"/"}})
	g.must(os.Chmod(g.root, 0o750))
	g.wants("the root itself", map[string][]string{"/": {"/"}})
}

func TestWait(t *testing.T) {
	t.Run("nothing is followed", func(t *testing.T) {
		tree, err := host.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tree.Close() })
		w := New(tree, quick)
		w.Refresh()
		if c, ok, err := w.Wait(t.Context(), time.Millisecond); ok || err != nil {
			t.Errorf("%v, %v, %v", c, ok, err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	t.Run("nothing comes", func(t *testing.T) {
		g := watched(t, quick, nil)
		for _, limit := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, -1} {
			before := time.Now()
			c, ok, err := g.w.Wait(t.Context(), limit)
			if ok || err != nil {
				t.Errorf("%v: %v, %v, %v", limit, c, ok, err)
			}
			if took := time.Since(before); took < limit {
				t.Errorf("%v: returned after %v", limit, took)
			}
		}
	})
	t.Run("the context ends", func(t *testing.T) {
		g := watched(t, quick, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if c, ok, err := g.w.Wait(ctx, patience); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v, %v", c, ok, err)
		}
	})
	t.Run("the context ends in a burst", func(t *testing.T) {
		g := watched(t, Times{Quiet: patience, Longest: patience}, nil)
		g.fence()
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(5*time.Millisecond, cancel)
		if c, ok, err := g.w.Wait(ctx, patience); ok || !errors.Is(err, context.Canceled) {
			t.Errorf("%v, %v, %v", c, ok, err)
		}
	})
	t.Run("a change while waiting", func(t *testing.T) {
		g := watched(t, quick, nil)
		before := time.Now()
		time.AfterFunc(5*time.Millisecond, func() { os.Mkdir(g.at(fences+"/late"), 0o755) })
		c := g.next()
		if diff := cmp.Diff(map[string][]string{fences + "/late": {fences}}, c.Files); diff != "" {
			t.Error(diff)
		}
		if c.Since.Before(before) || c.Since.After(time.Now()) {
			t.Errorf("since %v, written after %v", c.Since, before)
		}
	})
	t.Run("a change before waiting", func(t *testing.T) {
		g := watched(t, quick, nil)
		g.fence()
		g.next()
		if c, ok, err := g.w.Wait(t.Context(), 0); ok || err != nil {
			t.Errorf("told twice: %v, %v, %v", c, ok, err)
		}
	})
}

// TestUndisturbed wants a look to be given up at once for a change, and no other
// look for that change.
func TestUndisturbed(t *testing.T) {
	g := watched(t, quick, nil)
	before, stop := g.w.Undisturbed(t.Context())
	defer stop()
	if err := before.Err(); err != nil {
		t.Fatalf("without a change: %v", err)
	}
	g.fence()
	select {
	case <-before.Done():
	case <-time.After(patience):
		t.Fatal("a change has not ended it")
	}
	while, stop := g.w.Undisturbed(t.Context())
	defer stop()
	if while.Err() == nil {
		t.Error("not ended although the change is not told yet")
	}
	g.next()
	after, stop := g.w.Undisturbed(t.Context())
	defer stop()
	if err := after.Err(); err != nil {
		t.Errorf("the change is told: %v", err)
	}
}

// TestClose wants nothing to be left of watchers.
func TestClose(t *testing.T) {
	fds, goroutines := openFiles(t), runtime.NumGoroutine()
	for range 20 {
		tree, err := host.Open(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		w := New(tree, quick)
		if _, err := w.Follow([]string{"/file"}); err != nil {
			t.Fatal(err)
		}
		if err := w.FollowProcesses([]int{os.Getpid()}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 { // nobody waits for these
			if err := os.WriteFile(filepath.Join(tree.Dir(), "file"), make([]byte, i), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		tree.Close()
	}
	eventually(t, "descriptors and goroutines as before", func() (string, bool) {
		f, g := openFiles(t), runtime.NumGoroutine()
		return fmt.Sprintf("%d descriptors, %d before; %d goroutines, %d before", f, fds, g, goroutines), f <= fds && g <= goroutines
	})
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() (state string, ok bool)) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		state, ok := is()
		if ok {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("not %s within %v: %s", what, patience, state)
		}
	}
}

func openFiles(t testing.TB) int {
	t.Helper()
	all, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(slices.DeleteFunc(all, func(d os.DirEntry) bool { // but not the directory itself
		l, err := os.Readlink("/proc/self/fd/" + d.Name())
		return err != nil || strings.HasPrefix(l, "/proc/")
	}))
}

// Begins is called once for each burst, before its change is told.
func TestBegins(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"etc/file": "x"})
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	defer tree.Close()
	w := New(tree, Times{Quiet: 300 * time.Millisecond, Longest: patience})
	defer w.Close()
	begun := make(chan struct{}, 100)
	w.Begins = func() { begun <- struct{}{} }
	if _, err := w.Follow([]string{"/etc/file"}); err != nil {
		t.Fatal(err)
	}
	bursts := 0
	for range 2 {
		for range 3 {
			if err := os.WriteFile(filepath.Join(root, "etc/file"), []byte("y"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		for limit := patience; ; limit = time.Second { // a slow machine may make more than one of it
			_, noticed, err := w.Wait(t.Context(), limit)
			if err != nil {
				t.Fatal(err)
			}
			if !noticed {
				break
			}
			select {
			case <-begun:
			default:
				t.Fatal("told of before it began")
			}
			bursts++
		}
	}
	if bursts < 2 || len(begun) > 0 {
		t.Errorf("%d bursts, and %d more begun", bursts, len(begun))
	}
}
