package gate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// What a process said before it ended, for an error: three lines, 300 bytes, and
// nothing that looks like a credential.

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

// firstLines shortens a text that somebody else wrote: three lines, 300 bytes.
func firstLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return short(strings.Join(lines[:min(3, len(lines))], " | "))
}

// most is how much of somebody else's text an error repeats, in bytes.
const most = 300

func short(s string) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return s
}

// lastWords are the end of a container's log.
func (g *Gates) lastWords(d details) string {
	if d.log == "" {
		return ""
	}
	f, err := g.FS.Open(node.Name(d.log))
	if err != nil {
		return ""
	}
	defer f.Close()
	data, err := tail(f, 8<<10)
	if err != nil {
		return ""
	}
	var lines []string
	for line := range strings.Lines(string(data)) {
		// 2026-01-02T15:04:05.999999999Z stderr F text (CRI's log format)
		if parts := strings.SplitN(strings.TrimSpace(line), " ", 4); len(parts) == 4 && strings.TrimSpace(parts[3]) != "" {
			lines = append(lines, strings.TrimSpace(parts[3]))
		}
	}
	return lastLines(lines)
}

// klogError is an error or fatal line of klog; the second number is the process.
var klogError = regexp.MustCompile(`^[EF]\d{4} \d\d:\d\d:\d\d\.\d+ +(\d+) (.*)`)

// kubeletWords quotes the errors that a kubelet process logged, "" when there
// are none.
func kubeletWords(fsys fs.FS, pid int) string {
	return journalWords(fsys, func(message string) string {
		if m := klogError.FindStringSubmatch(message); m != nil && m[1] == fmt.Sprint(pid) {
			return m[2]
		}
		return ""
	})
}

// etcdWords quotes the errors that an etcd logged since a moment, which it
// does as JSON (go.uber.org/zap).
func etcdWords(fsys fs.FS, since time.Time) string {
	return journalWords(fsys, func(message string) string {
		var line struct{ Level, TS, Msg, Error string }
		if !strings.HasPrefix(message, `{"level":"`) || json.Unmarshal([]byte(message), &line) != nil {
			return ""
		}
		at, err := time.Parse("2006-01-02T15:04:05.999999Z0700", line.TS)
		// Its listeners are closed on the way out, which it calls an error too.
		if err != nil || at.Before(since) || line.Error == "" || strings.Contains(line.Error, "use of closed network connection") || line.Error == http.ErrServerClosed.Error() ||
			!slices.Contains([]string{"error", "fatal", "panic"}, line.Level) {
			return ""
		}
		return line.Msg + ": " + line.Error
	})
}
