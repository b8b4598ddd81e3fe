package images

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Content is all that the image is made of. The same content gives the same
// image.
type Content struct {
	Programs []Program
	License  []byte
	Notice   []byte

	Version  string    // of the program, such as "v0.3.0"
	Revision string    // of the source, a commit; may be empty
	Created  time.Time // of the source: a reproducible image has no time of its own

	// Embedded are modules whose files are in the programs as data, of which the
	// Go toolchain records nothing.
	Embedded []Module
}

// Module is a Go module with its go.sum hash, "h1:" and base64.
type Module struct{ Path, Version, Sum string }

// Image is an OCI image index with one image per platform.
type Image struct {
	index   v1.ImageIndex
	digest  v1.Hash
	sizes   []Size
	sbom    []byte
	goVer   string
	version string
}

// Size is what one platform's image comes to.
type Size struct {
	Platform string
	Digest   string // of the platform's own manifest
	Bytes    int64  // to be transferred: manifest, configuration and layers, compressed
}

// New makes the image.
func New(c Content) (*Image, error) {
	if len(c.Programs) == 0 {
		return nil, errors.New("image: no platform")
	}
	if len(c.License) == 0 || len(c.Notice) == 0 {
		return nil, errors.New("image: no LICENSE or NOTICE")
	}
	programs := slices.SortedFunc(slices.Values(c.Programs), func(a, b Program) int { return strings.Compare(a.Platform, b.Platform) })
	c.Programs = programs
	made := &Image{version: c.Version}
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for n, p := range programs {
		if n > 0 && p.Platform == programs[n-1].Platform {
			return nil, fmt.Errorf("image: %s: given twice", p.Platform)
		}
		info, err := p.info()
		if err != nil {
			return nil, fmt.Errorf("image: %s: %w", p.Platform, err)
		}
		made.goVer = info.GoVersion
		platform, err := v1.ParsePlatform(p.Platform)
		if err != nil {
			return nil, fmt.Errorf("image: %w", err)
		}
		image, err := c.image(p, *platform)
		if err != nil {
			return nil, fmt.Errorf("image: %s: %w", p.Platform, err)
		}
		size, err := sizeOf(image)
		if err != nil {
			return nil, fmt.Errorf("image: %s: %w", p.Platform, err)
		}
		size.Platform = p.Platform
		made.sizes = append(made.sizes, size)
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{Platform: platform}})
	}
	made.index = mutate.Annotations(index, c.labels()).(v1.ImageIndex)
	var err error
	if made.digest, err = made.index.Digest(); err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if made.sbom, err = c.sbom(made.digest); err != nil {
		return nil, fmt.Errorf("image: bill of materials: %w", err)
	}
	return made, nil
}

// image is the image for one platform.
func (c Content) image(p Program, platform v1.Platform) (v1.Image, error) {
	layer, err := c.layer(p.Binary)
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: c.Created.UTC().Truncate(time.Second)}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.Append(base, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: created, CreatedBy: "hardener-image"},
	})
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = platform.OS, platform.Architecture
	config.Created = created
	config.Config = v1.Config{
		Entrypoint: Entrypoint(),
		Env:        Env(),
		User:       User,
		WorkingDir: "/",
		Labels:     c.labels(),
	}
	if image, err = mutate.ConfigFile(image, config); err != nil {
		return nil, err
	}
	return mutate.Annotations(image, c.labels()).(v1.Image), nil
}

func sizeOf(image v1.Image) (Size, error) {
	digest, err := image.Digest()
	if err != nil {
		return Size{}, err
	}
	bytes, err := image.Size()
	if err != nil {
		return Size{}, err
	}
	manifest, err := image.Manifest()
	if err != nil {
		return Size{}, err
	}
	bytes += manifest.Config.Size
	for _, layer := range manifest.Layers {
		bytes += layer.Size
	}
	return Size{Digest: digest.String(), Bytes: bytes}, nil
}

// Digest is that of the index, "sha256:" and hexadecimal: what a pod pins.
func (i *Image) Digest() string { return i.digest.String() }

// Sizes are the images of the index, in order of their platforms.
func (i *Image) Sizes() []Size { return slices.Clone(i.sizes) }

// GoVersion is the toolchain that compiled the programs, such as "go1.26.8".
// Another one gives another image.
func (i *Image) GoVersion() string { return i.goVer }

// SBOM is the image's bill of materials, CycloneDX 1.6 as JSON: every Go module
// of every program, from what the toolchain recorded in the program itself.
func (i *Image) SBOM() []byte { return slices.Clone(i.sbom) }
