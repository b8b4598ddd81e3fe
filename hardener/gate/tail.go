package gate

import (
	"errors"
	"io"
	"io/fs"
	"regexp"
)

// secret finds what no error may repeat. Components do not log credentials on
// purpose; a bad value of a flag may hold one.
var secret = regexp.MustCompile(`(?i)(bearer|token|password|secret|authorization|private key)\S*[ =:"]+\S+`)

// tail reads the last bytes of a file; a log may be too long for all of it.
func tail(f fs.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	at, ok := f.(io.ReaderAt)
	if !ok {
		data, err := io.ReadAll(f)
		return data[max(0, int64(len(data))-most):], err
	}
	from := max(0, info.Size()-most)
	data := make([]byte, info.Size()-from)
	n, err := at.ReadAt(data, from)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return data[:n], err
}
