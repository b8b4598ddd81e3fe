package images

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/url"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/uuid"
)

// sbomType is the media type of CycloneDX as JSON (IANA).
const sbomType = "application/vnd.cyclonedx+json"

// sbom is the bill of materials of an index: the image, its programs, their
// modules, and who needs whom. Like the image, it has no clock and no chance in
// it: its serial number is derived from the digest.
func (c Content) sbom(index v1.Hash) ([]byte, error) {
	image := cdx.Component{
		BOMRef:      "image",
		Type:        cdx.ComponentTypeContainer,
		Name:        Title,
		Version:     c.Version,
		Description: Description,
		// purl-spec, types/oci: the version is the digest.
		PackageURL:         "pkg:oci/" + Title + "@" + strings.Replace(index.String(), ":", "%3A", 1),
		Hashes:             &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: index.Hex}},
		Licenses:           &cdx.Licenses{{License: &cdx.License{ID: Licenses}}},
		ExternalReferences: &[]cdx.ExternalReference{{Type: cdx.ERTypeVCS, URL: Source}},
	}
	components := map[string]cdx.Component{}
	needs := map[string][]string{}
	for _, p := range c.Programs {
		info, err := p.info()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Platform, err)
		}
		sum := sha256.Sum256(p.Binary)
		ref := Title + " " + p.Platform
		components[ref] = cdx.Component{
			BOMRef:     ref,
			Type:       cdx.ComponentTypeApplication,
			Name:       info.Path,
			Version:    c.Version,
			Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}},
			Licenses:   &cdx.Licenses{{License: &cdx.License{ID: Licenses}}},
			Properties: &[]cdx.Property{{Name: "kubespray-hardener:platform", Value: p.Platform}},
		}
		needs[image.BOMRef] = append(needs[image.BOMRef], ref)
		modules := []Module{{Path: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}}
		for _, dep := range info.Deps {
			modules = append(modules, linked(dep))
		}
		for _, m := range slices.Concat(modules, c.Embedded) {
			component, err := m.component()
			if err != nil {
				return nil, err
			}
			if slices.Contains(c.Embedded, m) {
				component.Type = cdx.ComponentTypeData
			}
			components[component.BOMRef] = component
			needs[ref] = append(needs[ref], component.BOMRef)
		}
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = uuid.NewSHA1(uuid.NameSpaceOID, []byte(index.String())).URN()
	bom.Metadata = &cdx.Metadata{Timestamp: c.Created.UTC().Format(time.RFC3339), Component: &image}
	all := []cdx.Component{}
	for _, ref := range slices.Sorted(maps.Keys(components)) {
		all = append(all, components[ref])
	}
	bom.Components = &all
	dependencies := []cdx.Dependency{}
	for _, ref := range slices.Sorted(maps.Keys(needs)) {
		on := slices.Compact(slices.Sorted(slices.Values(needs[ref])))
		dependencies = append(dependencies, cdx.Dependency{Ref: ref, Dependencies: &on})
	}
	bom.Dependencies = &dependencies
	var b bytes.Buffer
	if err := cdx.NewBOMEncoder(&b, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false).EncodeVersion(bom, cdx.SpecVersion1_6); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// linked is the module whose code is in a program: the replacement if there is
// one.
func linked(m *debug.Module) Module {
	if m.Replace != nil {
		m = m.Replace
	}
	return Module{Path: m.Path, Version: m.Version, Sum: m.Sum}
}

// component is a module under its package URL (purl-spec, types/golang). As
// cyclonedx-gomod does, it gives the go.sum hash as the module's SHA-256, which
// it is: of a list of the module's files and their SHA-256
// (golang.org/x/mod/sumdb/dirhash).
func (m Module) component() (cdx.Component, error) {
	purl := "pkg:golang/" + m.Path
	if m.Version != "" {
		purl += "@" + url.QueryEscape(m.Version)
	}
	c := cdx.Component{BOMRef: purl, PackageURL: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version}
	if m.Sum == "" { // the standard library, a replacement by a folder
		return c, nil
	}
	sum, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:"))
	if err != nil || len(sum) != sha256.Size {
		return c, fmt.Errorf("module %s: not a go.sum hash: %q", m.Path, m.Sum)
	}
	c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum)}}
	return c, nil
}
