package sample_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// TestArticle runs the checks of the article on the sample, as kube-bench would
// with all its targets, and compares each row. As an ordinary user it does so
// with recorded owners.
func TestArticle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	if err := sample.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := sample.RenderProcesses(dir); err != nil {
		t.Fatal(err)
	}
	owners, err := sample.OpenOwners(dir)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	verdicts := rawVerdicts(t, owners.View(tree))

	var rows, differences, notes int
	for _, row := range sample.Article() {
		rows++
		if row.Note != "" {
			notes++
			t.Logf("note on %s: article %s, kube-bench v0.15.6 %s: %s", row.ID, row.Outcome, row.Verdict, row.Note)
		}
		got, ok := verdicts[row.Target+"/"+row.Check]
		switch {
		case !ok:
			differences++
			t.Errorf("%s: profile %s has no check %s in %s", row.ID, sample.Benchmark, row.Check, row.Target)
		case string(got.State) != row.Verdict:
			differences++
			t.Errorf("%s (%s): %s, want %s; actual value %q, reason %q", row.ID, row.Text, got.State, row.Verdict, got.Actual, got.Reason)
		}
	}
	t.Logf("article: %d rows compared, %d differences, %d notes", rows, differences, notes)
}

// rawVerdicts are kube-bench's verdicts on a node, by target and number.
func rawVerdicts(t *testing.T, fsys fs.FS) map[string]check.Result {
	t.Helper()
	cfg, err := profiles.FS()
	if errors.Is(err, profiles.ErrNone) {
		t.Skip("needs the embedded profiles: run make profiles")
	}
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	targets, err := catalog.Targets(sample.Benchmark)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := node.ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	users, err := node.ReadUsers(fsys)
	if err != nil {
		t.Fatal(err)
	}
	runner := &shell.Runner{FS: fsys, Processes: procs, Users: users}
	audit := func(ctx context.Context, script string) (string, error) {
		r := runner.Run(ctx, script)
		return r.Output, r.Err
	}
	verdicts := map[string]check.Result{}
	for _, target := range targets {
		vars, err := catalog.Variables(sample.Benchmark, target, lookup(fsys, procs))
		if err != nil {
			t.Fatal(err)
		}
		controls, err := catalog.Controls(sample.Benchmark, target, vars)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range controls.Groups {
			for i := range g.Checks {
				verdicts[target+"/"+g.Checks[i].ID] = check.Run(t.Context(), &g.Checks[i], audit)
			}
		}
	}
	return verdicts
}

func lookup(fsys fs.FS, procs node.Processes) profile.Lookup {
	return profile.Lookup{
		Exists: func(p string) (bool, error) {
			_, err := fs.Stat(fsys, strings.TrimPrefix(p, "/"))
			if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
				return false, nil
			}
			return err == nil, err
		},
		Commands: func(name string) []string {
			var lines []string
			for _, p := range procs.Named(name) {
				lines = append(lines, p.Command())
			}
			return lines
		},
	}
}
