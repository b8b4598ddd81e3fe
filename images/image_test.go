package images

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// programs are small programs, for those of the real ones see images/source.
var programs []Program

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "images-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	main := filepath.Join(dir, "main.go")
	if err := os.WriteFile(main, []byte("package main\n\nfunc main() {}\n"), 0o600); err != nil {
		return 1, err
	}
	for _, platform := range Platforms() {
		system, arch, _ := strings.Cut(platform, "/")
		out := filepath.Join(dir, arch)
		build := exec.Command("go", "build", "-o", out, main)
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+system, "GOARCH="+arch)
		if text, err := build.CombinedOutput(); err != nil {
			return 1, fmt.Errorf("%w: %s", err, text)
		}
		binary, err := os.ReadFile(out)
		if err != nil {
			return 1, err
		}
		programs = append(programs, Program{platform, binary})
	}
	return m.Run(), nil
}

// made is the content of an image.
func made(t *testing.T) Content {
	t.Helper()
	return Content{
		Programs: slices.Clone(programs),
		License:  []byte("licence"),
		Notice:   []byte("notice"),
		Version:  "v1.2.3-4-gabc",
		Revision: "0123456789abcdef0123456789abcdef01234567",
		Created:  time.Unix(1700000000, 0),
		Embedded: []Module{{Path: "github.com/aquasecurity/kube-bench", Version: "v0.15.6", Sum: "h1:r1p/dGN8IxGowV+hfTw5Lk2IaRV79dZcq0xd6MincJ8="}},
	}
}

func mustNew(t *testing.T, c Content) *Image {
	t.Helper()
	image, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

func TestPlatforms(t *testing.T) {
	image := mustNew(t, made(t))
	if len(image.Sizes()) != 2 || image.Sizes()[0].Platform != "linux/amd64" || image.Sizes()[1].Platform != "linux/arm64" {
		t.Errorf("platforms: %+v", image.Sizes())
	}
}

// Everything that is put in counts, and nothing else: not the order of the
// platforms, a fraction of a second or a time zone.
func TestDigestFollowsContent(t *testing.T) {
	digest := mustNew(t, made(t)).Digest()
	for _, same := range []func(*Content){
		func(c *Content) { slices.Reverse(c.Programs) },
		func(c *Content) { c.Created = c.Created.Add(time.Millisecond).In(time.FixedZone("east", 3600)) },
	} {
		c := made(t)
		same(&c)
		if got := mustNew(t, c).Digest(); got != digest {
			t.Errorf("%s, want %s", got, digest)
		}
	}
	for name, other := range map[string]func(*Content){
		"version":  func(c *Content) { c.Version = "v2" },
		"revision": func(c *Content) { c.Revision = "" },
		"created":  func(c *Content) { c.Created = c.Created.Add(time.Second) },
		"license":  func(c *Content) { c.License = []byte("x") },
		"platform": func(c *Content) { c.Programs = c.Programs[:1] },
	} {
		c := made(t)
		other(&c)
		if mustNew(t, c).Digest() == digest {
			t.Errorf("another %s gives the same digest", name)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*Content){
		"image: no platform":                            func(c *Content) { c.Programs = nil },
		"image: linux/amd64: program is for EM_AARCH64": func(c *Content) { c.Programs[0].Binary = c.Programs[1].Binary },
		"image: linux/amd64: no ELF program":            func(c *Content) { c.Programs[0].Binary = []byte("#!/bin/sh") },
		"image: linux/riscv64: unknown platform":        func(c *Content) { c.Programs[0].Platform = "linux/riscv64" },
		"image: linux/amd64: given twice":               func(c *Content) { c.Programs[1] = c.Programs[0] },
		"image: no LICENSE or NOTICE":                   func(c *Content) { c.Notice = nil },
		"not a go.sum hash":                             func(c *Content) { c.Embedded[0].Sum = "h1:AAAA" },
	} {
		c := made(t)
		spoil(&c)
		if _, err := New(c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
}

// A program that needs a dynamic linker cannot run in the image.
func TestNewRefusesADynamicProgram(t *testing.T) {
	binary, err := os.ReadFile("/bin/sh")
	if err != nil || !bytes.HasPrefix(binary, []byte("\x7fELF")) {
		t.Skip("no /bin/sh to take for a dynamic program")
	}
	c := made(t)
	refused := 0
	for n := range c.Programs { // this machine's architecture is one of them
		c := made(t)
		c.Programs[n].Binary = binary
		if _, err := New(c); err != nil && strings.Contains(err.Error(), "linked dynamically") {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("refused as dynamic on %d platforms, want 1 of %d", refused, len(c.Programs))
	}
}
