package main

import (
	"encoding/json"
	"fmt"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

// result is what a command has done, as JSON with --output json.
type result struct {
	Digest    string     `json:"digest"`
	Version   string     `json:"version"`
	Go        string     `json:"go"`
	Platforms []platform `json:"platforms"`
	Name      string     `json:"name,omitempty"`   // of save and push
	Pinned    string     `json:"pinned,omitempty"` // of push: name and digest
	Archive   string     `json:"archive,omitempty"`
	Bytes     int64      `json:"bytes,omitempty"` // of the archive
	SBOM      string     `json:"sbom,omitempty"`  // file
}

type platform struct {
	Platform string `json:"platform"`
	Digest   string `json:"digest"`
	Bytes    int64  `json:"bytes"` // compressed
}

// tell prints the result.
func (f *buildFlags) tell(s streams, image *images.Image, r result) error {
	r.Digest, r.Go = image.Digest(), image.GoVersion()
	for _, size := range image.Sizes() {
		r.Platforms = append(r.Platforms, platform{size.Platform, size.Digest, size.Bytes})
	}
	switch f.output {
	case "json":
		return json.NewEncoder(s.out).Encode(r)
	case "digest":
		_, err := fmt.Fprintln(s.out, r.Digest)
		return err
	}
	line := func(name, value string) {
		if value != "" {
			fmt.Fprintf(s.out, "%-12s %s\n", name, value)
		}
	}
	line("Digest", r.Digest)
	line("Name", r.Name)
	line("Version", r.Version+", "+r.Go)
	for _, p := range r.Platforms {
		line(p.Platform, p.Digest+"  "+megabytes(p.Bytes))
	}
	if r.Archive != "" {
		line("Archive", r.Archive+"  "+megabytes(r.Bytes))
	}
	line("SBOM", r.SBOM)
	line("Pin it as", r.Pinned)
	return nil
}

func megabytes(n int64) string { return fmt.Sprintf("%.1f MB", float64(n)/1e6) }
