package hardener_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// testNode is the sample node in a folder of its own, opened for a run.
type testNode struct {
	dir     string
	options hardener.Options
	fix     hardener.FixOptions
	store   *txn.Store
}

func newNode(t *testing.T) testNode {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	if err := sample.Write(dir); err != nil {
		t.Fatal(err)
	}
	tree := openTree(t, dir)
	owners, err := sample.OpenOwners(dir)
	if err != nil {
		t.Fatal(err)
	}
	store, err := txn.Open(tree)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { store.Close() })
	cfg, err := profiles.FS()
	if err != nil {
		t.Fatal(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n := testNode{
		dir:     dir,
		options: hardener.Options{FS: owners.View(tree), Catalog: catalog, Benchmark: sample.Benchmark},
		fix:     hardener.FixOptions{MaxRisk: fix.RiskRestart, Store: func() (*txn.Store, error) { return store, nil }},
		store:   store,
	}
	if owners.Recorded() {
		n.fix.OnDisk = func(c txn.Change) (txn.Change, error) {
			err := owners.Chown(c.Path, c.UID, c.GID)
			c.UID, c.GID = os.Getuid(), os.Getgid()
			c.Expect.UID, c.Expect.GID = c.UID, c.GID
			return c, err
		}
	}
	return n
}

func openTree(t testing.TB, dir string) *host.FS {
	t.Helper()
	tree, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tree.Close() })
	return tree
}

// contents are all regular files of the node, but for the state directory.
func (n testNode) contents(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(n.dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if path == "var/lib/kubespray-hardener" || path == "proc" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err != nil || !info.Mode().IsRegular() || path == sample.Sidecar {
			return err
		}
		data, err := os.ReadFile(filepath.Join(n.dir, path))
		files[path] = info.Mode().String() + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func states(r report.Report) map[fix.State]int {
	count := map[fix.State]int{}
	for _, result := range r.Results() {
		if result.Fix != nil {
			count[result.Fix.State]++
		}
	}
	return count
}

func TestFixIsIdempotent(t *testing.T) {
	n := newNode(t)
	first, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if len(first.After.Run.Changes) == 0 || states(first.After)[fix.Applied] == 0 {
		t.Fatalf("the first fix changed nothing: %+v", states(first.After))
	}
	before := n.contents(t)
	second, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if len(second.After.Run.Changes) != 0 || second.After.Run.ID != "" {
		t.Errorf("the second fix made run %q with changes %+v", second.After.Run.ID, second.After.Run.Changes)
	}
	for path, content := range n.contents(t) {
		if before[path] != content {
			t.Errorf("%s was written again", path)
		}
	}
	runs, err := n.store.Runs()
	if err != nil || len(runs) != 1 {
		t.Errorf("want one run on record, have %+v, %v", runs, err)
	}
}

func TestDryRunWritesNothing(t *testing.T) {
	n := newNode(t)
	before := n.contents(t)
	n.fix.DryRun = true
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if states(fixed.After)[fix.Planned] == 0 || len(fixed.After.Run.Changes) == 0 {
		t.Errorf("nothing planned: %+v", states(fixed.After))
	}
	after := n.contents(t)
	if len(after) != len(before) {
		t.Errorf("%d files became %d", len(before), len(after))
	}
	for path, content := range after {
		if before[path] != content {
			t.Errorf("%s changed", path)
		}
	}
}

// TestRunningComponentsAreRefused: with the sample's processes taken for live
// ones, only modes and owners may be touched.
func TestRunningComponentsAreRefused(t *testing.T) {
	n := newNode(t)
	if err := sample.RenderProcesses(n.dir); err != nil {
		t.Fatal(err)
	}
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if states(fixed.After)[fix.Refused] == 0 {
		t.Errorf("nothing was refused: %+v", states(fixed.After))
	}
	for _, change := range fixed.After.Run.Changes {
		if change.Component != fix.FilesGroup || change.Kind != fix.Meta {
			t.Errorf("made on a live node: %+v", change)
		}
	}
	for _, result := range fixed.After.Results() {
		if result.Fix != nil && result.Fix.State == fix.Refused && (result.Fix.Diff == "" || result.Fix.Reason == "") {
			t.Errorf("%s: refused without diff or reason: %+v", result.ID, result.Fix)
		}
	}
	n.fix.DryRun = true
	planned, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	shown := 0
	for _, change := range planned.After.Run.Changes {
		if change.Refused != "" {
			shown++
		}
	}
	if shown == 0 {
		t.Errorf("a dry run shows no refused change: %+v", planned.After.Run.Changes)
	}
	after := n.contents(t)
	for path, content := range before {
		if strings.HasSuffix(path, ".yaml") && strings.Contains(path, "manifests") && after[path] != content {
			t.Errorf("%s of a running component changed", path)
		}
	}
}

// TestFailedGateUndoesItsGroup: what came before stays, what failed is restored,
// and nothing after it is begun.
func TestFailedGateUndoesItsGroup(t *testing.T) {
	n := newNode(t)
	before := n.contents(t)
	boom := errors.New("the scheduler is not healthy")
	asked := map[string]int{}
	n.fix.Gate = func(_ context.Context, component string) error {
		asked[component]++
		if component == "scheduler" && asked[component] == 1 {
			return boom
		}
		return nil
	}
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want the gate's", err)
	}
	if asked["kubelet"] != 1 || asked["scheduler"] != 2 || asked["controllermanager"] != 0 || asked["apiserver"] != 0 {
		t.Errorf("gates asked: %v; want the kubelet once, the scheduler again after the undo, nothing later", asked)
	}
	after := n.contents(t)
	for _, path := range []string{"kube-scheduler.yaml", "kube-controller-manager.yaml", "kube-apiserver.yaml"} {
		path = "etc/kubernetes/manifests/" + path
		if before[path] != after[path] {
			t.Errorf("%s is not as before", path)
		}
	}
	if kubelet := "etc/kubernetes/kubelet-config.yaml"; before[kubelet] == after[kubelet] {
		t.Errorf("%s: the group before the failed one was taken back", kubelet)
	}
	count := states(fixed.After)
	if count[fix.Undone] == 0 || count[fix.Applied] == 0 || fixed.After.Run.State != "stopped" {
		t.Errorf("the report does not tell: %v, state %q", count, fixed.After.Run.State)
	}
}

// TestRegressionUndoesItsGroup: a change after which something fails that passed
// before does not stay. The gate stands in for whatever broke it.
func TestRegressionUndoesItsGroup(t *testing.T) {
	n := newNode(t)
	conf := filepath.Join(n.dir, "etc/kubernetes/scheduler.conf")
	n.fix.Gate = func(_ context.Context, component string) error {
		if component == "scheduler" {
			return os.Chmod(conf, 0o666)
		}
		return nil
	}
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err == nil || !strings.Contains(err.Error(), "master/1.1.15 passed before") {
		t.Fatalf("error %v, want it to name master/1.1.15", err)
	}
	if states(fixed.After)[fix.Undone] == 0 {
		t.Errorf("nothing is reported as taken back: %v", states(fixed.After))
	}
}

// TestCancelledFixLeavesGroupsWhole: a run that is interrupted undoes what it
// was at.
func TestCancelledFixLeavesGroupsWhole(t *testing.T) {
	n := newNode(t)
	before := n.contents(t)
	ctx, cancel := context.WithCancel(t.Context())
	n.fix.Gate = func(context.Context, string) error {
		cancel()
		return nil
	}
	_, err := hardener.Fix(ctx, n.options, n.fix)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	after := n.contents(t)
	for _, path := range []string{"etc/kubernetes/kubelet-config.yaml", "etc/kubernetes/manifests/kube-apiserver.yaml"} {
		if before[path] != after[path] {
			t.Errorf("%s is not as before", path)
		}
	}
}

func TestRawFixIsRefused(t *testing.T) {
	n := newNode(t)
	n.options.Raw = true
	var input *hardener.InputError
	if _, err := hardener.Fix(t.Context(), n.options, n.fix); !errors.As(err, &input) {
		t.Errorf("error %v, want an InputError", err)
	}
}

// TestUnknownCommandWarns: an audit that needs a command we lack is WARN and
// names it, scored or not, also where its status is thrown away.
func TestUnknownCommandWarns(t *testing.T) {
	n := newNode(t)
	cfg := os.DirFS("testdata/unknown-command")
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.options.Catalog, n.options.Benchmark, n.options.Targets = catalog, "mine", []string{"master"}
	for _, raw := range []bool{true, false} {
		n.options.Raw = raw
		r, err := hardener.Check(t.Context(), n.options)
		if err != nil {
			t.Fatal(err)
		}
		for _, result := range r.Results() {
			if result.Status != check.Warn || !strings.Contains(result.Reason, "frobnicate") {
				t.Errorf("raw %v, %s: %s, reason %q", raw, result.ID, result.Status, result.Reason)
			}
		}
	}
}
