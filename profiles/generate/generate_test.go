package main

import (
	"archive/zip"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

func TestStampIsTheOneThatIsEmbedded(t *testing.T) {
	if stamp != profiles.Stamp {
		t.Errorf("stamp %q, embedded as %q", stamp, profiles.Stamp)
	}
}

// moduleZip writes a module's zip and returns the pin that fits it.
func moduleZip(t *testing.T, files map[string]string) (string, pin) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "m.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := zip.NewWriter(f)
	for _, path := range slices.Sorted(maps.Keys(files)) {
		out, err := w.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(files[path])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := zip.OpenReader(name)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	hash, err := hash1(&r.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return name, pin{path: "example.com/m", version: "v1.0.0", hash: hash}
}

// TestHash1 has the hash of golang.org/x/mod/sumdb/dirhash for a zip of two
// files: sha256 over "<sha256 of a>  a\n<sha256 of b>  b\n", in base64.
func TestHash1(t *testing.T) {
	_, p := moduleZip(t, map[string]string{"b": "2", "a": "1"})
	if want := "h1:aMKRn0MF5QgACCq38R6xfZbHgy9ZFU6XsdNzpReaY+o="; p.hash != want {
		t.Errorf("%s, want %s", p.hash, want)
	}
}

func TestReplace(t *testing.T) {
	dir := t.TempDir()
	cfg := filepath.Join(dir, "cfg")
	if err := os.Mkdir(cfg, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(cfg, placeholder), "*\n")
	zipName, p := moduleZip(t, map[string]string{
		"example.com/m@v1.0.0/cfg/config.yaml": "a: 1\n", "example.com/m@v1.0.0/cfg/b/master.yaml": "b: 2\n",
		"example.com/m@v1.0.0/main.go": "package main\n",
	})
	if upToDate(cfg, p) {
		t.Error("a placeholder is up to date")
	}
	n, err := replace(cfg, zipName, p)
	if err != nil || n != 2 || !upToDate(cfg, p) {
		t.Fatalf("%d files, %v, up to date %v", n, err, upToDate(cfg, p))
	}
	for name, want := range map[string]string{"config.yaml": "a: 1\n", "b/master.yaml": "b: 2\n", placeholder: "*\n"} {
		if got, err := os.ReadFile(filepath.Join(cfg, name)); err != nil || string(got) != want {
			t.Errorf("%s: %q %v", name, got, err)
		}
	}
	if _, err := os.Stat(filepath.Join(cfg, "main.go")); err == nil {
		t.Error("a file outside cfg was copied")
	}
	newer := p
	newer.version = "v1.0.1"
	if upToDate(cfg, newer) {
		t.Error("another pin is up to date")
	}
	put(t, filepath.Join(cfg, "b", "master.yaml"), "b: 3\n")
	if upToDate(cfg, p) {
		t.Error("a folder with a changed file is up to date")
	}
	if _, err := replace(cfg, zipName, p); err != nil || !upToDate(cfg, p) {
		t.Errorf("again: %v", err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".cfg-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

func TestReplaceRefuses(t *testing.T) {
	for reason, tt := range map[string]struct {
		files map[string]string
		hash  string
		want  string
	}{
		"another hash":    {map[string]string{"example.com/m@v1.0.0/cfg/config.yaml": ""}, "h1:x", "checksum mismatch"},
		"no profiles":     {map[string]string{"example.com/m@v1.0.0/main.go": ""}, "", "no files below"},
		"a way out":       {map[string]string{"example.com/m@v1.0.0/cfg/../x": ""}, "", "unexpected file"},
		"a foreign stamp": {map[string]string{"example.com/m@v1.0.0/cfg/" + stamp: ""}, "", "unexpected file"},
	} {
		cfg := filepath.Join(t.TempDir(), "cfg")
		if err := os.Mkdir(cfg, 0o755); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Join(cfg, "old"), "kept")
		zipName, p := moduleZip(t, tt.files)
		if tt.hash != "" {
			p.hash = tt.hash
		}
		if _, err := replace(cfg, zipName, p); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", reason, err)
		}
		if _, err := os.Stat(filepath.Join(cfg, "old")); err != nil {
			t.Errorf("%s: the old folder is gone: %v", reason, err)
		}
	}
}

func TestReadPin(t *testing.T) {
	p, err := readPin("../kube-bench")
	if err != nil || !strings.HasPrefix(p.version, "v") || !strings.HasPrefix(p.hash, "h1:") {
		t.Errorf("%+v %v", p, err)
	}
	dir := t.TempDir()
	put(t, filepath.Join(dir, "go.mod"), "module x\n\nrequire "+modulePath+" v9.9.9\n")
	put(t, filepath.Join(dir, "go.sum"), modulePath+" v9.9.8 h1:a=\n"+modulePath+" v9.9.9/go.mod h1:b=\n")
	if _, err := readPin(dir); err == nil || !strings.Contains(err.Error(), "no hash of") {
		t.Errorf("a version without a hash: %v", err)
	}
	put(t, filepath.Join(dir, "go.mod"), "module x\n")
	if _, err := readPin(dir); err == nil || !strings.Contains(err.Error(), "no requirement") {
		t.Errorf("no version: %v", err)
	}
}

func put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}
