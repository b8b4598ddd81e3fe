//go:build linux

package txn

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
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

	// What cannot be read hides no later failure.
	file := filepath.Join(root, StateDir, failuresName)
	if err := os.WriteFile(file, []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Failures(s.root); err == nil {
		t.Error("a torn file is read")
	}
	if err := s.Remember(Failure{Digest: "new"}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"new "}, recall()); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
