package images

import (
	"encoding/json"
	"fmt"
	"io"
	"path"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Annotations of the manifests that an archive names.
const (
	refName       = "org.opencontainers.image.ref.name" // OCI image layout: what skopeo and podman select by
	containerName = "io.containerd.image.name"          // the name that containerd gives the image
)

// Save writes the image as an OCI layout in a tar archive, the same bytes for
// the same image and name. The name is a repository with a tag.
//
// containerd (ctr images import) gets the image under that name and under the
// repository and the digest as well, as if it had been pulled: a pod that pins
// the digest then runs without a registry. With a single platform the archive
// also has docker's manifest.json; with several, docker would take any of them.
func (i *Image) Save(w io.Writer, as string) error {
	tag, err := ParseName(as)
	if err != nil {
		return err
	}
	content, err := i.blobs()
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	index, err := i.layoutIndex(tag)
	if err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	files := []file{
		{"oci-layout", 0o644, []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{"index.json", 0o644, index},
	}
	if len(i.sizes) == 1 {
		manifest, err := i.dockerManifest(tag)
		if err != nil {
			return fmt.Errorf("archive: %w", err)
		}
		files = append(files, file{"manifest.json", 0o644, manifest})
	}
	for digest, data := range content {
		files = append(files, file{blobPath(digest), 0o644, data})
	}
	if err := writeTar(w, time.Unix(0, 0), nil, files); err != nil {
		return fmt.Errorf("archive: %w", err)
	}
	return nil
}

func blobPath(h v1.Hash) string { return path.Join("blobs", h.Algorithm, h.Hex) }

// blobs are all that the index refers to, and the index.
func (i *Image) blobs() (map[v1.Hash][]byte, error) {
	all := map[v1.Hash][]byte{}
	raw, err := i.index.RawManifest()
	if err != nil {
		return nil, err
	}
	all[i.digest] = raw
	list, err := i.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, entry := range list.Manifests {
		image, err := i.index.Image(entry.Digest)
		if err != nil {
			return nil, err
		}
		if all[entry.Digest], err = image.RawManifest(); err != nil {
			return nil, err
		}
		manifest, err := image.Manifest()
		if err != nil {
			return nil, err
		}
		if all[manifest.Config.Digest], err = image.RawConfigFile(); err != nil {
			return nil, err
		}
		layers, err := image.Layers()
		if err != nil {
			return nil, err
		}
		for _, layer := range layers {
			digest, err := layer.Digest()
			if err != nil {
				return nil, err
			}
			if all[digest], err = compressed(layer); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func compressed(layer v1.Layer) ([]byte, error) {
	r, err := layer.Compressed()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

// layoutIndex is index.json: the image under its tag and under its digest.
func (i *Image) layoutIndex(tag name.Tag) ([]byte, error) {
	size, err := i.index.Size()
	if err != nil {
		return nil, err
	}
	entry := func(annotations map[string]string) v1.Descriptor {
		return v1.Descriptor{MediaType: types.OCIImageIndex, Size: size, Digest: i.digest, Annotations: annotations}
	}
	repository := fullName(tag.Context())
	return json.Marshal(v1.IndexManifest{
		SchemaVersion: 2,
		MediaType:     types.OCIImageIndex,
		Manifests: []v1.Descriptor{
			entry(map[string]string{refName: tag.TagStr(), containerName: repository + ":" + tag.TagStr()}),
			entry(map[string]string{containerName: repository + "@" + i.digest.String()}),
		},
	})
}

// dockerManifest is what docker load reads.
func (i *Image) dockerManifest(tag name.Tag) ([]byte, error) {
	list, err := i.index.IndexManifest()
	if err != nil {
		return nil, err
	}
	image, err := i.index.Image(list.Manifests[0].Digest)
	if err != nil {
		return nil, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	entry := struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{Config: blobPath(manifest.Config.Digest), RepoTags: []string{fullName(tag.Context()) + ":" + tag.TagStr()}}
	for _, layer := range manifest.Layers {
		entry.Layers = append(entry.Layers, blobPath(layer.Digest))
	}
	return json.Marshal([]any{entry})
}
