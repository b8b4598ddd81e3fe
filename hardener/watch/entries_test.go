//go:build linux

package watch

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

func TestEntries(t *testing.T) {
	outside := t.TempDir()
	root := filepath.Join(outside, "root")
	plant(t, outside, map[string]string{"secret/file": ""})
	plant(t, root, map[string]string{
		"etc/kubernetes/ssl/ca.crt": "",
		"etc/kubernetes/pki":        "->/etc/kubernetes/ssl",
		"etc/kubernetes/rel":        "->ssl/ca.crt",
		"etc/kubernetes/up":         "->../kubernetes/ssl",
		"etc/slash":                 "->/etc/kubernetes/ssl/",
		"etc/dot":                   "->kubernetes/.",
		"etc/back":                  "->kubernetes/ssl/..",
		"root":                      "->/",
		"chain":                     "->etc/kubernetes/up/../rel",
		"over":                      "->../../../../etc/kubernetes",
		"loop":                      "->loop2",
		"loop2":                     "->/loop",
		"self":                      "->self/x",
		"here":                      "->.",
		"dangling":                  "->nowhere/at/all",
		"missing":                   "->nowhere/../etc",
		"through":                   "->file/../etc",
		"out":                       "->" + filepath.Join(outside, "secret"),
		"file":                      "",
		"new\nline/bad\xff":         "",
		"...":                       "/",
	})
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	for _, tt := range []struct {
		reason, path string
		want         []string // entries as "directory name"
	}{
		{"a file", "/etc/kubernetes/ssl/ca.crt", []string{"/ etc", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes/ssl ca.crt"}},
		{"a directory, with all that is in it", "/etc/kubernetes", []string{"/ etc", "/etc kubernetes", "/etc/kubernetes *"}},
		{"the root", "/", []string{"/ *"}},
		{"an absolute link on the way starts at the root of the tree", "/etc/kubernetes/pki/ca.crt", []string{
			"/ etc", "/etc kubernetes", "/etc/kubernetes pki", "/ etc", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes/ssl ca.crt",
		}},
		{"a link to a directory", "/etc/kubernetes/pki", []string{
			"/ etc", "/etc kubernetes", "/etc/kubernetes pki", "/ etc", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes/ssl *",
		}},
		{"a relative link to a file", "/etc/kubernetes/rel", []string{
			"/ etc", "/etc kubernetes", "/etc/kubernetes rel", "/etc/kubernetes ssl", "/etc/kubernetes/ssl ca.crt",
		}},
		{"a link upwards", "/etc/kubernetes/up", []string{
			"/ etc", "/etc kubernetes", "/etc/kubernetes up", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes/ssl *",
		}},
		{"a link to a directory with a slash", "/etc/slash", []string{
			"/ etc", "/etc slash", "/ etc", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes/ssl *",
		}},
		{"a link to a directory with a dot", "/etc/dot", []string{"/ etc", "/etc dot", "/etc kubernetes", "/etc/kubernetes *"}},
		{"a link to a directory with two dots", "/etc/back", []string{
			"/ etc", "/etc back", "/etc kubernetes", "/etc/kubernetes ssl", "/etc/kubernetes *",
		}},
		{"a link to the root", "/root", []string{"/ root", "/ *"}},
		{"a link to itself as a directory", "/here", []string{"/ here", "/ *"}},
		{"links by links, with dots behind the directory that they lead to", "/chain", []string{
			"/ chain", "/ etc", "/etc kubernetes", "/etc/kubernetes up", "/etc kubernetes", "/etc/kubernetes ssl",
			"/etc/kubernetes rel", "/etc/kubernetes ssl", "/etc/kubernetes/ssl ca.crt",
		}},
		{"more dots than there are directories", "/over", []string{"/ over", "/ etc", "/etc kubernetes", "/etc/kubernetes *"}},
		{"a missing file", "/etc/none", []string{"/ etc", "/etc none"}},
		{"a missing directory", "/etc/none/at/all", []string{"/ etc", "/etc none"}},
		{"a dangling link", "/dangling", []string{"/ dangling", "/ nowhere"}},
		{"dots do not lead back from what is missing", "/missing", []string{"/ missing", "/ nowhere"}},
		{"dots do not lead back from a file", "/through", []string{"/ through", "/ file"}},
		{"something below a file", "/file/below", []string{"/ file"}},
		{"a path of the machine that the tree does not have", "/out/file", []string{
			"/ out", "/ " + strings.Split(outside, "/")[1],
		}},
		{"a newline, and bytes that are not UTF-8", "/new\nline/bad\xff", []string{"/ new\nline", "/new\nline bad\xff"}},
		{"a name of dots", "/...", []string{"/ ...", "/... *"}},
		{"a path that is not clean", "//etc/./kubernetes/../none/", []string{"/ etc", "/etc none"}},
	} {
		var got []string
		for _, e := range entriesOf(looker{tree, map[string]kind{}}, tt.path) {
			got = append(got, e.dir+" "+e.name)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %s (-want +got):\n%s", tt.reason, tt.path, diff)
		}
	}

	for path, want := range map[string][]entry{
		"/loop": {{"/", "loop"}, {"/", "loop2"}},
		"/self": {{"/", "self"}},
	} {
		got := entriesOf(looker{tree, map[string]kind{}}, path)
		if len(got) != maxLinks+1 {
			t.Errorf("%s, a loop, rests on %d entries", path, len(got))
		}
		for _, e := range got {
			if !slices.Contains(want, e) {
				t.Errorf("%s rests on %v", path, e)
			}
		}
	}
}

// TestAsManyLinks wants a path through as many links as the kernel allows to be
// followed to its end.
func TestAsManyLinks(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"0": "the end"})
	for i := range maxLinks + 1 {
		if err := os.Symlink(string(rune('0'+i)), filepath.Join(root, string(rune('0'+i+1)))); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	for links := maxLinks; links <= maxLinks+1; links++ {
		name := string(rune('0' + links))
		_, err := fs.ReadFile(tree, name)
		got := entriesOf(looker{tree, map[string]kind{}}, "/"+name)
		if reached := got[len(got)-1] == (entry{"/", "0"}); reached != (err == nil) {
			t.Errorf("%d links: the end is reached: %v; reading: %v", links, reached, err)
		}
	}
}

// counted counts what is asked of a tree.
type counted struct {
	*host.FS
	asked int
}

func (c *counted) Lstat(name string) (fs.FileInfo, error) {
	c.asked++
	return c.FS.Lstat(name)
}

func TestLookedAtOnce(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{"a/b/file": "", "a/b/other": ""})
	tree, err := host.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	c := &counted{FS: tree}
	l := looker{c, map[string]kind{}}
	for range 3 {
		entriesOf(l, "/a/b/file")
		entriesOf(l, "/a/b/other")
		entriesOf(l, "/none")
	}
	if c.asked != 5 {
		t.Errorf("5 paths were looked at %d times", c.asked)
	}
}

func TestPseudo(t *testing.T) {
	for dir, want := range map[string]bool{
		"/": false, "/proc": true, "/proc/1": true, "/sys/fs": true, "/dev": true,
		"/process": false, "/etc/proc": false, "/developer": false,
	} {
		if got := pseudo(dir); got != want {
			t.Errorf("pseudo(%s) = %v", dir, got)
		}
	}
}

// plant makes files below dir: a value that starts with "->" is a link, one
// that is "/" a directory.
func plant(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, p)
		} else if content == "/" {
			err = os.MkdirAll(p, 0o755)
		} else {
			err = os.WriteFile(p, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
