package gate

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestLastLines(t *testing.T) {
	long := strings.Repeat("x", 290)
	for _, c := range []struct {
		lines []string
		want  string
	}{
		{nil, ""},
		{[]string{"zero", "one", "two", "three"}, "one | two | three"},
		{[]string{"one", long, "three"}, long + " | three"},
		{[]string{"one", long, "password=three, and more than fits"}, "password [hidden] more than fits"},
		{[]string{"one", "two", long + long}, (long + long)[:297] + "..."},
	} {
		if got := lastLines(c.lines); got != c.want {
			t.Errorf("%q: %q", c.lines, got)
		}
	}
}

// journalFile is what a journal looks like around its messages.
func journalFile(head int, messages ...string) *fstest.MapFile {
	var b bytes.Buffer
	b.WriteString("LPKSHHRH")
	b.Write(make([]byte, 264))
	for _, m := range messages {
		object := make([]byte, head)
		object[0] = 1
		binary.LittleEndian.PutUint64(object[8:], uint64(head+len(m)))
		b.Write(object)
		b.WriteString(m)
		b.Write(make([]byte, 8-b.Len()%8))
	}
	data := b.Bytes()
	binary.LittleEndian.PutUint64(data[136:], uint64(len(data)))
	return &fstest.MapFile{Data: append(data, make([]byte, 4096)...)}
}

func TestJournalWords(t *testing.T) {
	for _, head := range []int{64, 72} {
		tree := fstest.MapFS{
			"run/log/journal/x/system.journal": journalFile(head,
				`MESSAGE=I1125 10:00:00.000000   77 server.go:1] "fine"`, "PRIORITY=6",
				`MESSAGE=E1125 10:00:00.000000   76 run.go:72] "an earlier one"`,
				`MESSAGE=E1125 10:00:00.000000   77 run.go:72] "command failed" err="no"`,
				`MESSAGE={"level":"error","ts":"2026-11-22T00:00:01.5Z","caller":"x","msg":"discovery failed","error":"unexpected TLS cipher suite"}`,
				`MESSAGE={"level":"warn","ts":"2026-11-22T00:00:01.5Z","msg":"m","error":"only a warning"}`,
				`MESSAGE={"level":"error","ts":"2026-11-21T00:00:01.5Z","msg":"m","error":"long ago"}`,
			),
			"run/log/journal/y/system.journal": {Data: []byte("LPKSHHRH")},
			"var/log/journal/z/system.journal": {Data: []byte("no journal, MESSAGE=E1125 10:00:00.000000 77 no")},
		}
		if got, want := kubeletWords(tree, 77), `: it logged: run.go:72] "command failed" err="no"`; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := etcdWords(tree, now), ": it logged: discovery failed: unexpected TLS cipher suite"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := kubeletWords(tree, 78); got != "" {
			t.Errorf("%q of a process that logged nothing", got)
		}
	}
}

// Bytes that only look like a journal must not make it fail.
func FuzzJournalMessages(f *testing.F) {
	data, err := fs.ReadFile(fstest.MapFS{"j": journalFile(64, "MESSAGE=x", "MESSAGE=")}, "j")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) { journalMessages(b) })
}
