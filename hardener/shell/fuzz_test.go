package shell

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// FuzzScript runs any text as an audit. Nothing may panic, change the tree or
// outlive the limits.
func FuzzScript(f *testing.F) {
	for _, tc := range diffCases() {
		f.Add(strings.ReplaceAll(tc.script, "$T", "/etc"))
	}
	if _, err := profiles.FS(); err == nil {
		seen := map[string]bool{}
		for _, a := range audits(f, func(profile, _ string) bool { return strings.HasPrefix(profile, "cis-1.") }) {
			if !seen[a.script] {
				seen[a.script] = true
				f.Add(a.script)
			}
		}
	}
	f.Fuzz(func(t *testing.T, script string) {
		dir := t.TempDir()
		check(t, os.MkdirAll(filepath.Join(dir, "etc/kubernetes/pki"), 0o755))
		check(t, os.WriteFile(filepath.Join(dir, "etc/kubernetes/pki/ca.crt"), []byte("x\n"), 0o644))
		before := tree(t, dir)
		r := &Runner{FS: os.DirFS(dir), Processes: components(), MaxOutput: 1 << 16, Timeout: time.Second}
		start := time.Now()
		res := r.Run(t.Context(), script)
		if took := time.Since(start); took > 20*time.Second {
			t.Errorf("took %v", took)
		}
		if len(res.Output) > 1<<16 {
			t.Errorf("%d bytes of output", len(res.Output))
		}
		if after := tree(t, dir); strings.Join(before, "") != strings.Join(after, "") {
			t.Errorf("the tree changed: %v", after)
		}
		var exit *ExitError
		var unknown *UnknownCommandError
		var limit *LimitError
		if res.Err != nil && !errors.As(res.Err, &exit) && !errors.As(res.Err, &unknown) && !errors.As(res.Err, &limit) &&
			strings.Contains(res.Err.Error(), "interpreter failed") {
			t.Error(res.Err)
		}
	})
}
