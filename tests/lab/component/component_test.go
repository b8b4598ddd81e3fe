package component

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func TestBuildRefusesAnUnknownVersion(t *testing.T) {
	_, err := Build(t.Context(), "v1.2.3", io.Discard)
	if err == nil || !strings.Contains(err.Error(), "v1.2.3") || !strings.Contains(err.Error(), Kubernetes[0]) {
		t.Errorf("got %v, want an error that names the version and what there is", err)
	}
}

// TestPins wants a folder for every component, and every folder named after what
// it pins.
func TestPins(t *testing.T) {
	pins := []string{etcd, containerd, cni, coreDNS}
	for _, version := range Kubernetes {
		pins = append(pins, "kubernetes-"+version)
	}
	folders, err := os.ReadDir(filepath.Join("..", "components"))
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		pins = append(pins, folder.Name())
	}
	for _, pin := range pins {
		content, err := os.ReadFile(filepath.Join("..", "components", pin, "go.mod"))
		if err != nil {
			t.Error(err)
			continue
		}
		_, version, _ := strings.Cut(pin, "-")
		if !strings.Contains(string(content), " "+version+"\n") && !strings.Contains(string(content), " "+version+" // indirect\n") {
			t.Errorf("%s: its go.mod pins no module at %s", pin, version)
		}
	}
}

func TestKubernetesLdflags(t *testing.T) {
	flags := strings.Fields(kubernetesLdflags("v1.35.4"))
	for _, want := range []string{
		"k8s.io/component-base/version.gitVersion=v1.35.4",
		"k8s.io/component-base/version.gitMajor=1",
		"k8s.io/component-base/version.gitMinor=35",
		"k8s.io/client-go/pkg/version.gitVersion=v1.35.4",
	} {
		if !slices.Contains(flags, want) {
			t.Errorf("%s is not in %s", want, flags)
		}
	}
}

func TestLinkAll(t *testing.T) {
	source, target := t.TempDir(), filepath.Join(t.TempDir(), "opt", "bin")
	for file, mode := range map[string]fs.FileMode{"program": 0o755, "private": 0o700, "folder/text": 0o400} {
		path := filepath.Join(source, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(file), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := linkAll(source, target); err != nil {
		t.Fatal(err)
	}
	if err := linkAll(filepath.Join(source, "program"), filepath.Join(target, "renamed")); err != nil {
		t.Fatal(err)
	}
	got := map[string]fs.FileMode{}
	err := filepath.WalkDir(target, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		relative, _ := filepath.Rel(target, path)
		got[relative] = info.Mode()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]fs.FileMode{
		".": fs.ModeDir | 0o755, "program": 0o755, "renamed": 0o755, "private": 0o755,
		"folder": fs.ModeDir | 0o755, "folder/text": 0o644,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("modes (-want +got):\n%s", diff)
	}
}

func TestImage(t *testing.T) {
	built, err := image{
		entrypoint: []string{"/program"},
		user:       "1:1",
		files: layer{
			"usr/bin/program": {mode: 0o755, content: "program"},
			"bin":             {target: "usr/bin"},
			"tmp":             {mode: fs.ModeDir | fs.ModeSticky | 0o777},
		},
	}.build()
	if err != nil {
		t.Fatal(err)
	}
	const title = "docker.io/library/busybox:lab"
	tag, err := name.NewTag(title)
	if err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "images.tar")
	if err := tarball.MultiRefWriteToFile(archive, map[name.Reference]v1.Image{tag: built}); err != nil {
		t.Fatal(err)
	}
	manifest, err := tarball.LoadManifest(func() (io.ReadCloser, error) { return os.Open(archive) })
	if err != nil {
		t.Fatal(err)
	}
	// The name must be the one that a pod gives, with its registry.
	if got := manifest[0].RepoTags; len(got) != 1 || got[0] != title {
		t.Errorf("names %q, want %q", got, title)
	}
	content, err := layer{"a/b": {mode: 0o644, content: "x"}, "a-": {mode: 0o644}}.tar()
	if err != nil {
		t.Fatal(err)
	}
	again, err := layer{"a-": {mode: 0o644}, "a/b": {mode: 0o644, content: "x"}}.tar()
	if err != nil {
		t.Fatal(err)
	}
	if string(content) != string(again) {
		t.Error("the same files give another archive")
	}
	config, err := built.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.OS != "linux" || config.Config.User != "1:1" || len(config.RootFS.DiffIDs) != 1 {
		t.Errorf("config %+v", config)
	}
}

func TestImagesHaveDistinctNames(t *testing.T) {
	controlPlane, node := Images("v1.35.4")
	all := slices.Concat(controlPlane, node)
	slices.Sort(all)
	if unique := slices.Compact(slices.Clone(all)); len(unique) != len(all) {
		t.Errorf("a name twice in %q", all)
	}
	for _, want := range []string{"registry.k8s.io/kube-apiserver:v1.35.4", "registry.k8s.io/kube-proxy:v1.35.4", "registry.k8s.io/pause:3.10.1"} {
		if !slices.Contains(all, want) {
			t.Errorf("no %s in %q", want, all)
		}
	}
}

func TestWithLibrariesNamesWhatIsMissing(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tree := t.TempDir()
	if err := linkAll(self, filepath.Join(tree, "bin", "program")); err != nil {
		t.Fatal(err)
	}
	if _, err := withLibraries([]string{"usr/bin/absent"}, []string{tree}); err == nil || !strings.Contains(err.Error(), "usr/bin/absent") {
		t.Errorf("got %v, want an error that names the program", err)
	}
	needed, err := neededBy(self)
	if err != nil {
		t.Fatal(err)
	}
	// As unpacked packages have it: beside usr, wanted below it.
	files, err := withLibraries([]string{"usr/bin/program"}, []string{tree})
	if len(needed) > 0 {
		if err == nil || !strings.Contains(err.Error(), needed[0]) {
			t.Errorf("got %v, want an error that names %s", err, needed[0])
		}
		return
	}
	if want := map[string]string{"usr/bin/program": filepath.Join(tree, "bin", "program")}; err != nil || !cmp.Equal(files, want) {
		t.Errorf("got %v, %v, want %v", files, err, want)
	}
}
