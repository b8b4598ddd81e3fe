package images

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// instruction is one line of a Dockerfile, continuations joined.
type instruction struct{ word, rest string }

// dockerfile reads the instructions of the stages of the Dockerfile. It knows
// what ours uses and refuses the rest, so that nothing is compared by halves.
func dockerfile(t *testing.T) (stages [][]instruction) {
	t.Helper()
	data, err := os.ReadFile("../Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			text.WriteString(line)
		}
	}
	joined := strings.ReplaceAll(text.String(), "\\\n", " ")
	known := []string{"FROM", "WORKDIR", "COPY", "ARG", "ENV", "RUN", "LABEL", "USER", "ENTRYPOINT"}
	for line := range strings.Lines(joined) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if word == "" {
			continue
		}
		if !slices.Contains(known, word) {
			t.Fatalf("Dockerfile: %s: teach this test what it declares", word)
		}
		if word == "FROM" {
			stages = append(stages, nil)
		}
		if len(stages) == 0 {
			t.Fatalf("Dockerfile: %s before FROM", word)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], instruction{word, strings.TrimSpace(rest)})
	}
	if len(stages) != 2 {
		t.Fatalf("Dockerfile: %d stages, want 2", len(stages))
	}
	return stages
}

var label = regexp.MustCompile(`([^\s=]+)="([^"]*)"`)

// The Dockerfile declares what the builder declares: file for file, label for
// label.
func TestDockerfileDeclaresTheSame(t *testing.T) {
	stages := dockerfile(t)
	content := made(t)
	image, err := New(content)
	if err != nil {
		t.Fatal(err)
	}
	config, files := opened(t, image, "linux/amd64")
	declared := v1.Config{Labels: map[string]string{}}
	values := map[string]string{
		"$VERSION": content.Version, "$REVISION": content.Revision, "$CREATED": content.labels()["org.opencontainers.image.created"],
	}
	var copied []string
	for _, in := range stages[1] {
		switch in.word {
		case "FROM":
			if in.rest != "scratch" {
				t.Errorf("FROM %s: want scratch", in.rest)
			}
		case "COPY":
			copied = append(copied, in.rest)
		case "LABEL":
			for _, pair := range label.FindAllStringSubmatch(in.rest, -1) {
				value := pair[2]
				if known, ok := values[value]; ok {
					value = known
				}
				declared.Labels[pair[1]] = value
			}
		case "ENV":
			declared.Env = append(declared.Env, in.rest)
		case "WORKDIR":
			declared.WorkingDir = in.rest
		case "USER":
			declared.User = in.rest
		case "ENTRYPOINT":
			if err := json.Unmarshal([]byte(in.rest), &declared.Entrypoint); err != nil {
				t.Errorf("ENTRYPOINT %s: %v", in.rest, err)
			}
		case "RUN":
			t.Errorf("RUN %s: nothing runs in an image from scratch", in.rest)
		}
	}
	if diff := cmp.Diff(declared, config.Config); diff != "" {
		t.Errorf("declared (-Dockerfile +builder):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"--from=build /image/ /"}, copied); diff != "" {
		t.Errorf("copied (-want +Dockerfile):\n%s", diff)
	}
	// What the first stage leaves in /image.
	laid := map[string]int64{}
	for _, in := range stages[0] {
		if in.word != "RUN" {
			continue
		}
		for _, command := range strings.Split(in.rest, " && ") {
			words := strings.Fields(command)
			switch last := words[len(words)-1]; {
			case words[0] == "mkdir" && slices.Contains(words, "1777"):
				laid[strings.TrimPrefix(last, "/image/")] = 0o1777
			case words[0] == "mkdir":
				laid[strings.TrimPrefix(last, "/image/")] = 0o755
			case words[0] == "cp":
				for _, name := range words[1 : len(words)-1] {
					laid[path.Join(strings.TrimPrefix(last, "/image/"), name)] = 0o644
				}
			case slices.Contains(words, "-o"):
				laid[strings.TrimPrefix(words[slices.Index(words, "-o")+1], "/image/")] = 0o755
			}
		}
	}
	if diff := cmp.Diff(laid, files); diff != "" {
		t.Errorf("files and modes (-Dockerfile +builder):\n%s", diff)
	}
}

// The Dockerfile compiles with an exact release of the Go that go.mod asks for.
func TestDockerfilePinsGo(t *testing.T) {
	module, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	asked := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindSubmatch(module)
	from := dockerfile(t)[0][0].rest
	pinned := regexp.MustCompile(`golang:(\d+\.\d+)\.\d+ AS build$`).FindStringSubmatch(from)
	if asked == nil || pinned == nil || string(asked[1]) != pinned[1] {
		t.Errorf("FROM %s: want an exact release of Go %s", from, asked)
	}
}

// opened is a platform's configuration and its files with their modes.
func opened(t *testing.T, i *Image, platform string) (*v1.ConfigFile, map[string]int64) {
	t.Helper()
	list, err := i.index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range list.Manifests {
		if entry.Platform.String() != platform {
			continue
		}
		image, err := i.index.Image(entry.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		layers, err := image.Layers()
		if err != nil {
			t.Fatal(err)
		}
		files := map[string]int64{}
		for _, layer := range layers {
			maps.Copy(files, unpacked(t, layer))
		}
		return config, files
	}
	t.Fatalf("no image for %s", platform)
	return nil, nil
}

func unpacked(t *testing.T, layer v1.Layer) map[string]int64 {
	t.Helper()
	r, err := layer.Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	files := map[string]int64{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.Uid != 0 || header.Gid != 0 {
			t.Errorf("%s: belongs to %d:%d, want root", header.Name, header.Uid, header.Gid)
		}
		files[strings.TrimSuffix(header.Name, "/")] = header.Mode
	}
}
