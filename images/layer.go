package images

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// file is one regular file of an archive.
type file struct {
	path    string // without a leading slash
	mode    int64
	content []byte
}

// layer is the image's only layer.
func (c Content) layer(program []byte) (v1.Layer, error) {
	var b bytes.Buffer
	err := writeTar(&b, c.Created, map[string]int64{tempPath: 0o1777}, []file{
		{binaryPath, 0o755, program},
		{licensePath, 0o644, c.License},
		{noticePath, 0o644, c.Notice},
	})
	if err != nil {
		return nil, err
	}
	// gzip, as old nodes read no zstd. Its header has neither a name nor a time.
	return tarball.LayerFromOpener(
		func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer),
		tarball.WithCompressionLevel(gzip.BestCompression),
		tarball.WithCompressedCaching,
	)
}

// writeTar writes files, root's, in order of their paths, each folder before
// what it holds. Folders have mode 0755 unless dirs, which also names empty
// ones, says otherwise.
func writeTar(w io.Writer, at time.Time, dirs map[string]int64, files []file) error {
	entries := map[string]tar.Header{}
	content := map[string][]byte{}
	folder := func(name string, mode int64) {
		entries[name] = tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode}
	}
	for name, mode := range dirs {
		folder(name, mode)
	}
	for _, f := range files {
		for dir := path.Dir(f.path); dir != "."; dir = path.Dir(dir) {
			if _, ok := entries[dir]; !ok {
				folder(dir, 0o755)
			}
		}
		entries[f.path] = tar.Header{Typeflag: tar.TypeReg, Name: f.path, Mode: f.mode, Size: int64(len(f.content))}
		content[f.path] = f.content
	}
	names := make([]string, 0, len(entries))
	for name := range entries {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return strings.Compare(entries[a].Name, entries[b].Name) })
	t := tar.NewWriter(w)
	for _, name := range names {
		header := entries[name]
		// Whole seconds keep the header in the oldest format, which all tools read.
		header.ModTime = at.UTC().Truncate(time.Second)
		if err := t.WriteHeader(&header); err != nil {
			return err
		}
		if _, err := t.Write(content[name]); err != nil {
			return err
		}
	}
	return t.Close()
}
