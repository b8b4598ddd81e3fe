package profiles

import (
	"io/fs"
	"os"
	"strings"
	"testing"
)

func TestFSIsTheModuleThatIsPinned(t *testing.T) {
	cfg, err := FS()
	if err != nil {
		t.Skip(err)
	}
	if _, err := fs.Stat(cfg, "config.yaml"); err != nil {
		t.Error(err)
	}
	mod, err := os.ReadFile("kube-bench/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	if v := Version(); !strings.HasPrefix(v, "v") || !strings.Contains(string(mod), "kube-bench "+v+"\n") {
		t.Errorf("embedded are the profiles of %q, go.mod pins another version: run make profiles", v)
	}
}
