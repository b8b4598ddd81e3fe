package gate

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// Why a service exits stands nowhere but in the journal. This reads what lies
// open at the end of its files; it is no reader of journals: what is compressed
// (messages above 512 bytes), or in a file that it does not find, is not quoted,
// and nothing depends on it.

// journalEnd is how much of a journal's end is searched, in bytes.
const journalEnd = 4 << 20

// journalWords quotes the last messages that pick gives a text for.
func journalWords(fsys fs.FS, pick func(message string) string) string {
	var files, lines []string
	for _, pattern := range []string{"var/log/journal/*/system.journal", "run/log/journal/*/system.journal"} {
		found, _ := fs.Glob(fsys, pattern)
		files = append(files, found...)
	}
	for _, file := range files {
		b, err := journalTail(fsys, file)
		if err != nil {
			continue
		}
		for _, message := range journalMessages(b) {
			if text := pick(message); text != "" {
				lines = append(lines, text)
			}
		}
	}
	if said := lastLines(lines); said != "" {
		return ": it logged: " + said
	}
	return ""
}

// journalTail reads the end of what is in use of a journal file: its header
// holds, at 136, the offset of the last object
// (https://systemd.io/JOURNAL_FILE_FORMAT/).
func journalTail(fsys fs.FS, file string) ([]byte, error) {
	f, err := fsys.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	at, ok := f.(io.ReaderAt)
	if !ok {
		return nil, fmt.Errorf("%s: %w", file, fs.ErrInvalid)
	}
	head := make([]byte, 144)
	if _, err := at.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(head, []byte("LPKSHHRH")) {
		return nil, fmt.Errorf("%s: %w", file, fs.ErrInvalid)
	}
	end := int64(binary.LittleEndian.Uint64(head[136:])&(1<<40-1)) + 64<<10
	from := max(0, end-journalEnd)
	b := make([]byte, end-from)
	n, err := at.ReadAt(b, from)
	if err == io.EOF {
		err = nil
	}
	return b[:n], err
}

var journalMessage = []byte("MESSAGE=")

// journalMessages finds the messages in a part of a journal, in their order. In
// front of each is the header of its object: 64 bytes, or 72 in compact files,
// with type 1 at its begin, flags at 1 and the object's size at 8.
func journalMessages(b []byte) []string {
	var all []string
	for at := 0; ; {
		i := bytes.Index(b[at:], journalMessage)
		if i < 0 {
			return all
		}
		at += i + len(journalMessage)
		for _, head := range []int{64, 72} {
			begin := at - len(journalMessage) - head
			if begin < 0 || b[begin] != 1 || b[begin+1] != 0 {
				continue
			}
			size := binary.LittleEndian.Uint64(b[begin+8:])
			if end := begin + int(size&(1<<30-1)); size < 1<<20 && end > at && end <= len(b) {
				all = append(all, strings.ToValidUTF8(string(b[at:end]), "?"))
				break
			}
		}
	}
}
