package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

func invoke(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	code = run(t.Context(), args, streams{out: &o, err: &e})
	return code, o.String(), e.String()
}

// A mistake on the command line is told in one line, before anything is
// compiled.
func TestUsage(t *testing.T) {
	for args, want := range map[string]string{
		"bild":                              `unknown command "bild"`,
		"build x":                           "hardener-image build takes no arguments, not 1 arguments",
		"save":                              "hardener-image save takes FILE, not 0 arguments",
		"build --platform linux/riscv64":    `--platform "linux/riscv64": must be of linux/amd64, linux/arm64`,
		"build --output yaml":               `--output "yaml": must be one of text, json, digest`,
		"build --nonsense":                  "unknown flag: --nonsense",
		"build --source /":                  "not in a checkout of kubespray-hardener",
		"save x --name ghcr.io/a/b:v1":      `--name "ghcr.io/a/b:v1": has a tag`,
		"save x --name ghcr.io/A":           "repository can only contain",
		"push ghcr.io/a/b@sha256:abc":       "the digest follows from the image",
		"push ghcr.io/a/b:v1 --release 'x'": `--release "'x'": has spaces or quotes`,
	} {
		code, out, errs := invoke(t, strings.Fields(args)...)
		first, _, _ := strings.Cut(errs, "\n")
		if code != exitInput || out != "" || !strings.HasPrefix(first, "hardener-image: error: ") || !strings.Contains(first, want) {
			t.Errorf("%s: exit code %d, %q, want %q", args, code, errs, want)
		}
		for line := range strings.Lines(errs) {
			if line != first+"\n" && !strings.HasPrefix(line, "hardener-image: hint: ") {
				t.Errorf("%s: more than one line: %q", args, errs)
			}
		}
	}
}

// save and push make one image of this checkout: one digest, and below 20 MB for
// each platform. What cannot be written or reached is one line, and leaves nothing.
func TestSaveAndPush(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the program for two platforms")
	}
	dir := t.TempDir()
	archive := filepath.Join(dir, "image.tar")
	code, out, errs := invoke(t, "save", archive, "--tag", "t", "--output", "json")
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, errs)
	}
	var saved result
	if err := json.Unmarshal([]byte(out), &saved); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if saved.Name != images.DefaultName+":t" || len(saved.Platforms) != 2 {
		t.Errorf("saved %+v", saved)
	}
	for _, p := range saved.Platforms {
		t.Logf("%s: %s", p.Platform, megabytes(p.Bytes))
		if p.Bytes <= 1e6 || p.Bytes >= 20e6 {
			t.Errorf("%s: %s, want below 20 MB", p.Platform, megabytes(p.Bytes))
		}
	}
	info, err := os.Stat(archive)
	if err != nil || info.Size() != saved.Bytes || info.Mode().Perm() != 0o644 {
		t.Errorf("archive: %v, %v, want %d bytes", info, err, saved.Bytes)
	}
	if bill, err := os.ReadFile(saved.SBOM); err != nil || !bytes.Contains(bill, []byte("pkg:golang/github.com/aquasecurity/kube-bench@")) {
		t.Errorf("bill of materials: %v", err)
	}

	registry := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	defer registry.Close()
	ref := strings.TrimPrefix(registry.URL, "http://") + "/hardener:t"
	if code, out, errs := invoke(t, "push", ref, "--output", "digest"); code != exitOK || out != saved.Digest+"\n" {
		t.Errorf("push: exit code %d, %q, want %s: %s", code, out, saved.Digest, errs)
	}

	missing := filepath.Join(dir, "no", "such", "folder", "image.tar")
	if code, _, errs := invoke(t, "save", missing); code != exitFailed || !strings.Contains(errs, "error: write "+missing+": ") {
		t.Errorf("save into no folder: exit code %d: %s", code, errs)
	}
	registry.Close()
	if code, _, errs := invoke(t, "push", ref); code != exitFailed || !strings.Contains(errs, "error: push "+ref+": ") {
		t.Errorf("push to nobody: exit code %d: %s", code, errs)
	}
}
