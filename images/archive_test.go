package images

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"path"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func mustRead(t *testing.T, r io.Reader) string {
	t.Helper()
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func saved(t *testing.T, i *Image, as string) ([]byte, map[string]string) {
	t.Helper()
	var b bytes.Buffer
	if err := i.Save(&b, as); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for archive := tar.NewReader(bytes.NewReader(b.Bytes())); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return b.Bytes(), files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Typeflag == tar.TypeReg {
			files[header.Name] = mustRead(t, archive)
		}
	}
}

// The archive has every blob under its own digest, and the image under the names
// that containerd gives a pulled one.
func TestSave(t *testing.T) {
	image := mustNew(t, made(t))
	archive, files := saved(t, image, "hardener:v1")
	if again, _ := saved(t, image, "hardener:v1"); !bytes.Equal(archive, again) {
		t.Error("another archive for the same image")
	}
	blobs := 0
	for file, content := range files {
		if strings.HasPrefix(file, "blobs/") {
			blobs++
			if sum := sha256.Sum256([]byte(content)); path.Base(file) != hex.EncodeToString(sum[:]) {
				t.Errorf("%s has another digest", file)
			}
		}
	}
	if blobs != 7 { // the index, and for each platform a manifest, a configuration and a layer
		t.Errorf("%d blobs, want 7", blobs)
	}
	var index v1.IndexManifest
	if err := json.Unmarshal([]byte(files["index.json"]), &index); err != nil {
		t.Fatal(err)
	}
	var got []map[string]string
	for _, m := range index.Manifests {
		if m.Digest.String() != image.Digest() {
			t.Errorf("names %s, want %s", m.Digest, image.Digest())
		}
		got = append(got, m.Annotations)
	}
	want := []map[string]string{
		{"org.opencontainers.image.ref.name": "v1", "io.containerd.image.name": "docker.io/library/hardener:v1"},
		{"io.containerd.image.name": "docker.io/library/hardener@" + image.Digest()},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	if _, ok := files["manifest.json"]; ok {
		t.Error("docker would take any of the platforms")
	}
}

// An archive of one platform is one that docker loads as well.
func TestSaveForDocker(t *testing.T) {
	c := made(t)
	c.Programs = c.Programs[:1]
	image := mustNew(t, c)
	archive, _ := saved(t, image, "registry.local:5000/a/hardener:v1")
	tag, err := name.NewTag("registry.local:5000/a/hardener:v1")
	if err != nil {
		t.Fatal(err)
	}
	loaded, err := tarball.Image(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive)), nil }, &tag)
	if err != nil {
		t.Fatal(err)
	}
	config, err := loaded.ConfigFile() // docker recomputes the rest
	if err != nil {
		t.Fatal(err)
	}
	made, files := opened(t, image, "linux/amd64")
	if diff := cmp.Diff(made, config); diff != "" {
		t.Errorf("configuration (-made +loaded):\n%s", diff)
	}
	layers, err := loaded.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	if diff := cmp.Diff(files, unpacked(t, layers[0])); diff != "" {
		t.Errorf("files (-made +loaded):\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	for name, fails := range map[string]string{
		"hardener:v1":                      "",
		"localhost:5000/hardener:v1":       "",
		"localhost:5000/hardener":          "no tag",
		"ghcr.io/a/b:v1@sha256:0123456789": "the digest follows from the image",
		"ghcr.io/A/b:v1":                   "repository can only contain",
		"ghcr.io/a/b:v/1":                  "no tag",
	} {
		_, err := ParseName(name)
		if (err == nil) != (fails == "") || err != nil && !strings.Contains(err.Error(), fails) {
			t.Errorf("%s: %v, want %q", name, err, fails)
		}
	}
	for version, want := range map[string]string{"v1.2.3-4-gabc": "v1.2.3-4-gabc", "v1+meta": "v1-meta", ".-": "latest", strings.Repeat("a", 200): strings.Repeat("a", 128)} {
		if got := Tag(version); got != want {
			t.Errorf("%s: tag %s, want %s", version, got, want)
		}
	}
}
