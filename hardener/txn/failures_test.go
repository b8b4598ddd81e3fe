//go:build linux

package txn

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestFailures(t *testing.T) {
	root := tempDir(t)
	s := openStore(t, root)
	recall := func() []string {
		t.Helper()
		all, err := Failures(s.root)
		if err != nil {
			t.Fatal(err)
		}
		var digests []string
		for _, f := range all {
			if f.Time.IsZero() {
				t.Errorf("%s: no time", f.Digest)
			}
			digests = append(digests, f.Digest+" "+f.Reason)
		}
		return digests
	}
	if got := recall(); got != nil {
		t.Errorf("a new node remembers %v", got)
	}
	for _, f := range []Failure{{Digest: "1", Reason: "a"}, {Digest: "2", Reason: "b"}, {Digest: "1", Reason: "c"}} {
		if err := s.Remember(f); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"2 b", "1 c"}, recall()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
	for i := range keepFailures + 5 {
		if err := s.Remember(Failure{Digest: fmt.Sprint("n", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if got := recall(); len(got) != keepFailures || got[0] != "n5 " {
		t.Errorf("%d are remembered, the first %q", len(got), got[0])
	}

}

// TestUnreadableFailures: what cannot be read is one clear line, and hides no
// later failure.
func TestUnreadableFailures(t *testing.T) {
	text := func(content string) func(string) error {
		return func(file string) error { return os.WriteFile(file, []byte(content), 0o600) }
	}
	for name, spoil := range map[string]func(file string) error{
		"torn":       text(`[{"digest": "1`),
		"empty":      text(""),
		"zeros":      text(strings.Repeat("\x00", 4096)),
		"other JSON": text(`{"digest": "1"}`),
		"two lines":  text("[]\n[]\n"),
		"a link":     func(file string) error { return os.Symlink("/etc/passwd", file) },
		"a FIFO":     func(file string) error { return unix.Mkfifo(file, 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			root := tempDir(t)
			s := openStore(t, root)
			if err := spoil(filepath.Join(root, StateDir, failuresName)); err != nil {
				t.Fatal(err)
			}
			_, err := Failures(s.root)
			if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), StateDir+"/"+failuresName+": ") {
				t.Errorf("error %v, want one line that names the file", err)
			}
			if err := s.Remember(Failure{Digest: "new"}); err != nil {
				t.Fatal(err)
			}
			if all, err := Failures(s.root); err != nil || len(all) != 1 || all[0].Digest != "new" {
				t.Errorf("afterwards it remembers %v, %v", all, err)
			}
		})
	}
}
