package images

import (
	"encoding/json"
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// artifact is one file in a manifest without a configuration of an image, which
// mutate would always write.
type artifact struct {
	manifest []byte
	file     v1.Layer
	digest   v1.Hash
}

// emptyConfig is the content that the specification gives an empty configuration.
const emptyConfig = "{}"

func newArtifact(mediaType types.MediaType, content []byte, subject v1.Descriptor) (v1.Image, error) {
	file := static.NewLayer(content, mediaType)
	layer, err := partial.Descriptor(file)
	if err != nil {
		return nil, err
	}
	// The type of the configuration tells registries that know no artifactType.
	config, err := partial.Descriptor(static.NewLayer([]byte(emptyConfig), mediaType))
	if err != nil {
		return nil, err
	}
	manifest, err := json.Marshal(v1.Manifest{
		SchemaVersion: 2,
		MediaType:     types.OCIManifestSchema1,
		ArtifactType:  string(mediaType),
		Config:        *config,
		Layers:        []v1.Descriptor{*layer},
		Subject:       &subject,
	})
	if err != nil {
		return nil, err
	}
	return partial.CompressedToImage(artifact{manifest, file, layer.Digest})
}

func (a artifact) MediaType() (types.MediaType, error) { return types.OCIManifestSchema1, nil }
func (a artifact) RawManifest() ([]byte, error)        { return a.manifest, nil }
func (a artifact) RawConfigFile() ([]byte, error)      { return []byte(emptyConfig), nil }

func (a artifact) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h != a.digest {
		return nil, fmt.Errorf("artifact: no blob %s", h)
	}
	return a.file, nil
}
