//go:build linux

package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestLinks(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, map[string]string{"secret": "outside"})
	root := filepath.Join(outside, "root")
	plant(t, root, map[string]string{
		"etc/kubernetes/ssl/ca.crt": "ca",
		"etc/kubernetes/pki":        "->/etc/kubernetes/ssl",
		"secret":                    "inside",
		"up":                        "->../../../../../../secret",
		"a/b/up":                    "->../../../../../../secret",
		"a/dir":                     "->/etc",
		"host":                      "->" + filepath.Join(outside, "secret"),
		"chain":                     "->a/b/up",
		"loop":                      "->loop2",
		"loop2":                     "->/loop",
		"self":                      "->self/x",
		"dangling":                  "->nowhere",
		"root":                      "->/",
		"dots":                      "->..",
		"new\nline and blank":       "odd",
		"bad\xff":                   "not UTF-8",
		"notdir":                    "->secret/x",
	})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		for _, tt := range []struct {
			reason, name, want string
			err                error
		}{
			{"a plain file", "secret", "inside", nil},
			{"an absolute link in the directory part", "etc/kubernetes/pki/ca.crt", "ca", nil},
			{"more dots than there are directories", "up", "inside", nil},
			{"the same from further down", "a/b/up", "inside", nil},
			{"links to links", "chain", "inside", nil},
			{"a link to the root", "root/secret", "inside", nil},
			{"a link above the root", "dots/dots/secret", "inside", nil},
			{"a link and back up through it", "a/dir/kubernetes/pki/ca.crt", "ca", nil},
			{"a path of the machine that the tree does not have", "host", "", fs.ErrNotExist},
			{"a loop", "loop", "", syscall.ELOOP},
			{"a link through itself", "self", "", syscall.ELOOP},
			{"a dangling link", "dangling", "", fs.ErrNotExist},
			{"a link through a file", "notdir", "", syscall.ENOTDIR},
			{"a newline and blanks", "new\nline and blank", "odd", nil},
			{"bytes that are not UTF-8", "bad\xff", "not UTF-8", nil},
			{"dots in the name", "../secret", "", fs.ErrInvalid},
			{"an absolute name", "/secret", "", fs.ErrInvalid},
			{"an empty name", "", "", fs.ErrInvalid},
			{"a NUL byte", "secret\x00", "", fs.ErrInvalid},
			{"a directory", "etc", "", syscall.EISDIR},
		} {
			got, err := f.ReadFile(tt.name)
			if string(got) != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s: ReadFile(%q) = %q, %v; want %q, %v", tt.reason, tt.name, got, err, tt.want, tt.err)
			}
			_, err = f.Stat(tt.name)
			if want := tt.err; want != syscall.EISDIR && !errors.Is(err, want) {
				t.Errorf("%s: Stat(%q): %v; want %v", tt.reason, tt.name, err, want)
			}
		}
	})
}

func TestLstatAndReadLink(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{
		"etc/kubernetes/ssl/ca.crt":   "ca",
		"etc/kubernetes/ssl/link.crt": "->/etc/kubernetes/ssl/ca.crt",
		"etc/kubernetes/pki":          "->/etc/kubernetes/ssl",
		"loop":                        "->loop",
		"long":                        "->" + strings.Repeat("x/", 1000) + "end",
	})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		for _, tt := range []struct {
			reason, name, target string
			err                  error
		}{
			{"the link itself", "etc/kubernetes/pki", "/etc/kubernetes/ssl", nil},
			{"a link below a link", "etc/kubernetes/pki/link.crt", "/etc/kubernetes/ssl/ca.crt", nil},
			{"a loop can be looked at", "loop", "loop", nil},
			{"a long target", "long", strings.Repeat("x/", 1000) + "end", nil},
			{"a file", "etc/kubernetes/pki/ca.crt", "", syscall.EINVAL},
			{"a directory", ".", "", syscall.EINVAL},
			{"nothing", "nothing", "", fs.ErrNotExist},
		} {
			target, err := f.ReadLink(tt.name)
			if target != tt.target || !errors.Is(err, tt.err) {
				t.Errorf("%s: ReadLink(%q) = %q, %v; want %q, %v", tt.reason, tt.name, target, err, tt.target, tt.err)
			}
			i, err := f.Lstat(tt.name)
			if errors.Is(tt.err, fs.ErrNotExist) {
				if !errors.Is(err, fs.ErrNotExist) {
					t.Errorf("%s: Lstat(%q): %v", tt.reason, tt.name, err)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s: Lstat(%q): %v", tt.reason, tt.name, err)
			} else if isLink := i.Mode()&fs.ModeSymlink != 0; isLink != (tt.err == nil) {
				t.Errorf("%s: Lstat(%q) has mode %v", tt.reason, tt.name, i.Mode())
			}
		}
	})
}

func TestMagicLinks(t *testing.T) {
	f := open(t, "/")
	if f.root.noOpenat2 {
		t.Skip("needs openat2 (Linux 5.6)")
	}
	p := fmt.Sprintf("proc/%d/", os.Getpid())
	for _, name := range []string{p + "root/etc/passwd", p + "cwd/fs.go", p + "exe"} {
		if _, err := f.ReadFile(name); !errors.Is(err, syscall.ELOOP) {
			t.Errorf("ReadFile(%s): %v; want %v", name, err, syscall.ELOOP)
		}
	}
	if l, err := f.ReadLink(p + "exe"); l == "" || err != nil {
		t.Errorf("ReadLink(%sexe) = %q, %v", p, l, err)
	}
}

func TestParents(t *testing.T) {
	root := t.TempDir()
	plant(t, root, map[string]string{
		"etc/kubernetes/ssl/ca.crt": "ca",
		"etc/kubernetes/ssl/l":      "->ca.crt",
		"etc/kubernetes/pki":        "->/etc/kubernetes/ssl",
		"out":                       "->/../../..",
		"file":                      "",
	})
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		for _, tt := range []struct {
			reason, path, want string
			err                error
		}{
			{"a link in the directory part", "/etc/kubernetes/pki/ca.crt", "/etc/kubernetes/ssl/ca.crt", nil},
			{"an io/fs name", "etc/kubernetes/pki/ca.crt", "/etc/kubernetes/ssl/ca.crt", nil},
			{"the link itself", "/etc/kubernetes/pki", "/etc/kubernetes/pki", nil},
			{"a link as the last part", "/etc/kubernetes/pki/l", "/etc/kubernetes/ssl/l", nil},
			{"a file not made yet", "/etc/kubernetes/pki/new", "/etc/kubernetes/ssl/new", nil},
			{"in the root", "/new", "/new", nil},
			{"a link above the root", "/out/etc/new", "/etc/new", nil},
			{"no such directory", "/no/new", "", fs.ErrNotExist},
			{"a file as directory", "/file/new", "", syscall.ENOTDIR},
			{"the root", "/", "", fs.ErrInvalid},
			{"dots", "/etc/../new", "", fs.ErrInvalid},
		} {
			got, err := f.RealPath(tt.path)
			if got != tt.want || !errors.Is(err, tt.err) {
				t.Errorf("%s: RealPath(%s) = %q, %v; want %q, %v", tt.reason, tt.path, got, err, tt.want, tt.err)
			}
			dir, base, err := f.OpenParent(tt.path)
			if !errors.Is(err, tt.err) {
				t.Errorf("%s: OpenParent(%s): %v; want %v", tt.reason, tt.path, err, tt.err)
			}
			if err != nil {
				continue
			}
			if base != filepath.Base(tt.path) {
				t.Errorf("%s: OpenParent(%s) names %q", tt.reason, tt.path, base)
			}
			want, _ := os.Stat(filepath.Join(root, filepath.Dir(tt.want)))
			if have, err := dir.Stat(); err != nil || !os.SameFile(have, want) {
				t.Errorf("%s: OpenParent(%s) is another directory than %s", tt.reason, tt.path, want.Name())
			}
			if err := dir.Sync(); err != nil {
				t.Errorf("%s: OpenParent(%s): %v", tt.reason, tt.path, err)
			}
			dir.Close()
		}
	})
}

// TestSwappedLink reads through a directory that is being replaced by a link
// out of the tree all the while. What is outside must never be seen.
func TestSwappedLink(t *testing.T) {
	outside := t.TempDir()
	plant(t, outside, map[string]string{"secret": "outside", "root/dir/secret": "inside", "root/evil": "->" + outside, "root/evil2": "->../../../../.." + outside})
	root := filepath.Join(outside, "root")
	both(t, func(t *testing.T, opts ...Option) {
		f := open(t, root, opts...)
		done := make(chan struct{})
		var swap sync.WaitGroup
		swap.Go(func() {
			dir, err := os.Open(root)
			if err != nil {
				t.Error(err)
				return
			}
			defer dir.Close()
			fd := int(dir.Fd())
			for i := 0; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				evil := []string{"evil", "evil2"}[i%2]
				unix.Renameat2(fd, "dir", fd, evil, unix.RENAME_EXCHANGE)
				unix.Renameat2(fd, "dir", fd, evil, unix.RENAME_EXCHANGE)
			}
		})
		inside := 0
		for i := 0; i < 3000 || inside == 0 && i < 300000; i++ {
			b, err := f.ReadFile("dir/secret")
			switch {
			case string(b) == "inside":
				inside++
			case err == nil || len(b) > 0:
				t.Fatalf("read %q", b)
			}
			if i, err := f.Lstat("dir/secret"); err == nil && i.Size() != int64(len("inside")) {
				t.Fatalf("Lstat sees a file of %d bytes", i.Size())
			}
			if d, _, err := f.OpenParent("/dir/secret"); err == nil {
				if p, err := f.pathOf(d); err == nil && p != "/dir" && !strings.HasPrefix(p, "/evil") {
					t.Fatalf("OpenParent leads to %s", p)
				}
				d.Close()
			}
		}
		close(done)
		swap.Wait()
		if inside == 0 {
			t.Error("the file was never read: the race was not exercised")
		}
	})
}
