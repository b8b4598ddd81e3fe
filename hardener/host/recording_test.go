//go:build linux

package host

import (
	"fmt"
	"io/fs"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// recorded is a tree with a file of every kind that matters to a Recording.
func recorded() fstest.MapFS {
	return fstest.MapFS{
		"etc/passwd":     {Data: []byte("root")},
		"etc/link":       {Data: []byte("passwd"), Mode: fs.ModeSymlink},
		"proc/1/cmdline": {Data: []byte("init")},
		"process":        {Data: []byte("no proc")},
	}
}

func TestRecording(t *testing.T) {
	for _, tt := range []struct {
		reason string
		ask    func(*Recording) error
		want   []string
		fails  bool
	}{
		{"nothing asked", func(*Recording) error { return nil }, nil, false},
		{"Open", func(r *Recording) error {
			f, err := r.Open("etc/passwd")
			if err == nil {
				err = f.Close()
			}
			return err
		}, []string{"/etc/passwd"}, false},
		{"Stat", func(r *Recording) error { _, err := r.Stat("etc/link"); return err }, []string{"/etc/link"}, false},
		{"Lstat", func(r *Recording) error { _, err := r.Lstat("etc/link"); return err }, []string{"/etc/link"}, false},
		{"ReadLink", func(r *Recording) error { _, err := r.ReadLink("etc/link"); return err }, []string{"/etc/link"}, false},
		{"ReadDir", func(r *Recording) error { _, err := r.ReadDir("etc"); return err }, []string{"/etc"}, false},
		{"ReadFile", func(r *Recording) error { _, err := r.ReadFile("etc/passwd"); return err }, []string{"/etc/passwd"}, false},
		{"the root", func(r *Recording) error { _, err := r.ReadDir("."); return err }, []string{"/"}, false},
		{"what is missing", func(r *Recording) error { _, err := r.Stat("etc/none"); return err }, []string{"/etc/none"}, true},
		{"a missing link", func(r *Recording) error { _, err := r.ReadLink("etc/none"); return err }, []string{"/etc/none"}, true},
		{"twice, sorted", func(r *Recording) error {
			r.Stat("process")
			r.Stat("etc")
			_, err := r.Lstat("process")
			return err
		}, []string{"/etc", "/process"}, false},
		{"processes", func(r *Recording) error {
			r.Open("proc/1/cmdline")
			r.Stat("proc/1")
			r.Lstat("proc")
			r.ReadDir("proc")
			r.ReadLink("proc/1/exe")
			_, err := r.ReadFile("proc/1/cmdline")
			return err
		}, nil, false},
		{"io/fs's own helpers", func(r *Recording) error {
			_, err := fs.Glob(r, "etc/p*")
			return err
		}, []string{"/etc"}, false},
		{"a walk", func(r *Recording) error {
			return fs.WalkDir(r, "etc", func(_ string, _ fs.DirEntry, err error) error { return err })
		}, []string{"/etc"}, false},
	} {
		r := Record(recorded())
		if err := tt.ask(r); (err != nil) != tt.fails {
			t.Errorf("%s: %v", tt.reason, err)
		}
		if diff := cmp.Diff(tt.want, r.Paths()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
	}
}

// TestRecordingIsTheTree wants the answers of the tree, unchanged.
func TestRecordingIsTheTree(t *testing.T) {
	if err := fstest.TestFS(Record(recorded()), "etc/passwd", "etc/link", "proc/1/cmdline", "process"); err != nil {
		t.Error(err)
	}
	root := t.TempDir()
	plant(t, root, map[string]string{"etc/passwd": "root", "etc/link": "->/etc/passwd"})
	r := Record(open(t, root))
	if err := fstest.TestFS(r, "etc/passwd", "etc/link"); err != nil {
		t.Error(err)
	}
	if b, err := r.ReadFile("etc/link"); string(b) != "root" || err != nil {
		t.Errorf("through an absolute link: %q, %v", b, err)
	}
}

func TestRecordingConcurrently(t *testing.T) {
	r := Record(recorded())
	const askers, names = 8, 20
	var all sync.WaitGroup
	for a := range askers {
		all.Go(func() {
			for i := range names {
				r.Stat(fmt.Sprintf("etc/%d", i))
				r.ReadFile(fmt.Sprintf("etc/%d/%d", a, i))
				r.Paths()
			}
		})
	}
	all.Wait()
	if n := len(r.Paths()); n != names+askers*names {
		t.Errorf("%d paths of %d", n, names+askers*names)
	}
}
