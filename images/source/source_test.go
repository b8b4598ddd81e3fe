package source

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

// Two checkouts in different folders, with files of different ages, under
// different Go settings of the user and in different time zones, give one image,
// below 20 MB for each platform.
func TestReproducible(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the program twice for two platforms")
	}
	here, err := Open(".")
	if err != nil {
		t.Fatal(err)
	}
	var digests []string
	for n, settings := range []map[string]string{
		{"TZ": "UTC"},
		{"TZ": "Asia/Tokyo", "GOFLAGS": "-ldflags=-w -tags=netgo", "CGO_ENABLED": "1", "GOAMD64": "v3", "GOARCH": "arm64"},
	} {
		for key, value := range settings {
			t.Setenv(key, value)
		}
		// As deep as the number says, so that the lengths of paths differ too.
		dir := filepath.Join(t.TempDir(), strings.Repeat("deeper/", n*3), "checkout")
		copied(t, here, dir, time.Unix(1e9+int64(n)*1e8, 0))
		c := Checkout{Dir: dir}
		content := images.Content{Version: "v1.2.3", Created: time.Unix(1700000000, 0)}
		if content.License, content.Notice, err = c.Licence(); err != nil {
			t.Fatal(err)
		}
		var m images.Module
		if m.Path, m.Version, m.Sum, err = c.Profiles(t.Context()); err != nil {
			t.Fatal(err)
		}
		content.Embedded = []images.Module{m}
		for _, platform := range images.Platforms() {
			binary, err := c.Program(t.Context(), platform, content.Version)
			if err != nil {
				t.Fatal(err)
			}
			content.Programs = append(content.Programs, images.Program{Platform: platform, Binary: binary})
		}
		image, err := images.New(content)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range image.Sizes() {
			if size.Bytes <= 1e6 || size.Bytes >= 20e6 {
				t.Errorf("%s: %d bytes, want below 20 MB", size.Platform, size.Bytes)
			}
		}
		digests = append(digests, image.Digest())
	}
	if digests[0] != digests[1] {
		t.Errorf("digests differ: %v", digests)
	}
}

// copied copies the files of a checkout that belong to it, all of one age.
func copied(t *testing.T, from Checkout, to string, at time.Time) {
	t.Helper()
	list := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from.Dir
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		source, target := filepath.Join(from.Dir, name), filepath.Join(to, name)
		info, err := os.Lstat(source)
		if os.IsNotExist(err) { // deleted, and git not told yet
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if !info.Mode().IsRegular() {
			link, err := os.Readlink(source)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(link, target); err != nil {
				t.Fatal(err)
			}
			continue
		}
		data, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, data, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(target, at, at); err != nil {
			t.Fatal(err)
		}
	}
}

// The state is git's; SOURCE_DATE_EPOCH has the last word on the time; an
// unpacked archive has no version.
func TestState(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull)
	t.Setenv("SOURCE_DATE_EPOCH", "")
	c := Checkout{Dir: dir}
	state := func() State {
		t.Helper()
		s, err := c.State(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if got, want := state(), (State{Version: "dev", Created: time.Unix(0, 0).UTC()}); got != want {
		t.Errorf("outside git: %+v, want %+v", got, want)
	}
	git := func(args ...string) {
		t.Helper()
		cmd := exec.CommandContext(context.Background(), "git", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b", "GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b", "GIT_COMMITTER_DATE=1600000000 +0200")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("git %s: %v: %s", args[0], err, out)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	git("init", "-q")
	git("add", "file")
	git("commit", "-qm", "first")
	git("tag", "v0.1.0")
	clean := state()
	if clean.Version != "v0.1.0" || len(clean.Revision) != 40 || !clean.Created.Equal(time.Unix(1600000000, 0)) {
		t.Errorf("clean: %+v", clean)
	}
	if err := os.WriteFile(file, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if got, want := state(), (State{"v0.1.0-dirty", clean.Revision + "-dirty", time.Unix(1, 0).UTC()}); got != want {
		t.Errorf("dirty: %+v, want %+v", got, want)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := c.State(t.Context()); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("got %v, want an error that names SOURCE_DATE_EPOCH", err)
	}
}

func TestOpenRefusesAnotherFolder(t *testing.T) {
	if _, err := Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not in a checkout") {
		t.Errorf("got %v", err)
	}
}

// A compiler's complaint is told.
func TestProgramFails(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module m\n\ngo 1.26\n", "cmd/hardener/main.go": "package main\n\nfunc main() { missing() }\n"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Checkout{Dir: dir}.Program(t.Context(), "linux/arm64", "v1")
	if err == nil || !strings.Contains(err.Error(), "compile for linux/arm64: go build: ") || !strings.Contains(err.Error(), "undefined: missing") {
		t.Errorf("got %v", err)
	}
}

// The Dockerfile compiles with the same flags and settings.
func TestDockerfileCompilesTheSame(t *testing.T) {
	text, err := os.ReadFile("../../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	flags := BuildFlags("$VERSION")
	last := len(flags) - 1
	flags[last] = `"` + flags[last] + `"`
	if want := "go build " + strings.Join(flags, " ") + " -o "; !strings.Contains(string(text), want) {
		t.Errorf("the Dockerfile has no %q", want)
	}
	var fixed []string
	for _, setting := range environment(nil) {
		if !strings.HasSuffix(setting, "=") {
			fixed = append(fixed, setting)
		}
	}
	if want := "ENV " + strings.Join(fixed, " ") + "\n"; !slices.Contains(slices.Collect(strings.Lines(string(text))), want) {
		t.Errorf("the Dockerfile has no line %q", want)
	}
}
