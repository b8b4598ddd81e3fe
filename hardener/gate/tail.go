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

// lastLines joins the last three lines, without credentials, as far as they fit
// into 300 bytes. The last one says most: an unknown flag comes after a page of
// usage.
func lastLines(lines []string) string {
	var said string
	for n := len(lines) - 1; n >= max(0, len(lines)-3); n-- {
		line := secret.ReplaceAllString(lines[n], "$1 [hidden]")
		if said == "" {
			said = short(line)
		} else if longer := line + " | " + said; len(longer) <= most {
			said = longer
		} else {
			break
		}
	}
	return said
}
