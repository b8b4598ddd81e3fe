package hardener_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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
	tree    *host.FS
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
		tree:    tree,
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
// ones and nothing to prove them with, only modes and owners may be touched.
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
	after := n.contents(t)
	for path, content := range before {
		if strings.HasSuffix(path, ".yaml") && strings.Contains(path, "manifests") && after[path] != content {
			t.Errorf("%s of a running component changed", path)
		}
	}
}

// gate is a Gate that a test plays.
type gate struct {
	fit, soak error
	take      func(component string) error
	// at, when set, is told of each step as it is logged, those of the dead-man
	// switch too, and may fail it.
	at          func(step string) error
	cancellable bool // a context that is done fails a step, as in the real one
	log         *[]string
}

func (g gate) step(ctx context.Context, words ...string) error {
	step := strings.Join(words, " ")
	*g.log = append(*g.log, step)
	if g.at != nil {
		if err := g.at(step); err != nil {
			return err
		}
	}
	if g.cancellable {
		return ctx.Err()
	}
	return nil
}

func (g gate) Fit(ctx context.Context, components []string) error {
	if err := g.step(ctx, "fit", strings.Join(components, " ")); err != nil {
		return err
	}
	return g.fit
}

func (g gate) Before(ctx context.Context, component string) (func(context.Context) error, error) {
	err := g.step(ctx, "before", component)
	return func(ctx context.Context) error {
		if err := g.step(ctx, "take", component); err != nil || g.take == nil {
			return err
		}
		return g.take(component)
	}, err
}

func (g gate) Soak(ctx context.Context, components []string) error {
	if err := g.step(ctx, "soak", strings.Join(components, " ")); err != nil {
		return err
	}
	return g.soak
}

// longestFailure is how long the gate of a static pod can take to see it fail, and
// then to prove it with its old files: see gate.DefaultLimits.
const longestFailure = 44 * time.Minute

// deadMan is a dead-man switch of which the gate's log has what is done with it.
func (g gate) deadMan(t *testing.T, want string) func(*txn.Store, string) hardener.DeadMan {
	return func(_ *txn.Store, run string) hardener.DeadMan {
		return func(ctx context.Context, deadline time.Duration) (func(context.Context) error, error) {
			if deadline < longestFailure || run == "" || want != "" && run != want {
				t.Errorf("the dead-man switch of run %q fires after %s", run, deadline)
			}
			return func(ctx context.Context) error { return g.step(ctx, "disarm") }, g.step(ctx, "arm")
		}
	}
}

// gated is a node whose fixes pass the gate g; log has what was asked of it and
// of the dead-man switch.
func gated(t *testing.T, g gate) (n testNode, log *[]string) {
	n, log = newNode(t), &[]string{}
	g.log = log
	n.fix.Gate = g
	n.fix.DeadMan = g.deadMan(t, "")
	return n, log
}

const (
	kubeletConfig = "etc/kubernetes/kubelet-config.yaml"
	manifests     = "etc/kubernetes/manifests/"
)

// TestGates: every component is looked at before its files change, proven before
// the next is begun, and all are watched before anything is kept.
func TestGates(t *testing.T) {
	n, log := gated(t, gate{})
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	const all = "kubelet scheduler controllermanager apiserver"
	want := []string{"fit " + all, "arm"}
	for component := range strings.FieldsSeq(all) {
		want = append(want, "before "+component, "take "+component)
	}
	want = append(want, "soak "+all, "disarm")
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if count := states(fixed.After); count[fix.Undone] != 0 || count[fix.Refused] != 0 || fixed.After.Run.State != "committed" {
		t.Errorf("%v, state %q", count, fixed.After.Run.State)
	}
	*log = nil
	if _, err := hardener.Fix(t.Context(), n.options, n.fix); err != nil || *log != nil {
		t.Errorf("the second fix asks %v, %v", *log, err)
	}
}

// TestUnfitNodeIsLeftAlone: modes and owners are fixed all the same, and nothing
// is restarted.
func TestUnfitNodeIsLeftAlone(t *testing.T) {
	unfit := errors.New("another control plane is down")
	n, log := gated(t, gate{fit: unfit})
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, unfit) {
		t.Fatalf("error %v, want %v", err, unfit)
	}
	if len(*log) != 1 {
		t.Errorf("asked %v after a refusal", *log)
	}
	after := n.contents(t)
	for _, path := range []string{kubeletConfig, manifests + "kube-apiserver.yaml"} {
		if before[path] != after[path] {
			t.Errorf("%s changed", path)
		}
	}
	if count := states(fixed.After); count[fix.Applied] == 0 || count[fix.Refused] == 0 {
		t.Errorf("the report does not tell: %v", count)
	}
}

// TestNoSwitchNoRestart: without a dead-man switch nothing is restarted.
func TestNoSwitchNoRestart(t *testing.T) {
	n, log := gated(t, gate{})
	before := n.contents(t)
	broken := errors.New("no systemd")
	n.fix.DeadMan = func(*txn.Store, string) hardener.DeadMan {
		return func(context.Context, time.Duration) (func(context.Context) error, error) { return nil, broken }
	}
	if _, err := hardener.Fix(t.Context(), n.options, n.fix); !errors.Is(err, broken) {
		t.Fatalf("error %v, want %v", err, broken)
	}
	if after := n.contents(t); before[kubeletConfig] != after[kubeletConfig] || len(*log) != 1 {
		t.Errorf("something was restarted: %v", *log)
	}
}

// TestFailedGateUndoesItsGroup: what came before stays and is watched, what
// failed is restored, nothing after it is begun, and it is not tried again until
// what it rests on changes.
func TestFailedGateUndoesItsGroup(t *testing.T) {
	boom := errors.New("the scheduler is not healthy")
	failed := false
	n, log := gated(t, gate{take: func(component string) error {
		if component == "scheduler" && !failed {
			failed = true
			return boom
		}
		return nil
	}})
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want the gate's", err)
	}
	want := []string{
		"fit kubelet scheduler controllermanager apiserver", "arm", "before kubelet", "take kubelet",
		"before scheduler", "take scheduler", "take scheduler", "soak kubelet", "disarm",
	}
	if diff := cmp.Diff(want, *log); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	after := n.contents(t)
	for _, path := range []string{"kube-scheduler.yaml", "kube-controller-manager.yaml", "kube-apiserver.yaml"} {
		if before[manifests+path] != after[manifests+path] {
			t.Errorf("%s is not as before", path)
		}
	}
	if before[kubeletConfig] == after[kubeletConfig] {
		t.Errorf("%s: the group before the failed one was taken back", kubeletConfig)
	}
	count := states(fixed.After)
	if count[fix.Undone] == 0 || count[fix.Applied] == 0 || fixed.After.Run.State != "stopped" {
		t.Errorf("the report does not tell: %v, state %q", count, fixed.After.Run.State)
	}

	*log = nil
	if n.fix.Failed, err = txn.Failures(n.tree); err != nil || len(n.fix.Failed) != 1 {
		t.Fatalf("remembered: %v, %v", n.fix.Failed, err)
	}
	fixed, err = hardener.Fix(t.Context(), n.options, n.fix)
	if err != nil {
		t.Fatal(err)
	}
	if (*log)[0] != "fit controllermanager apiserver" || states(fixed.After)[fix.Refused] == 0 {
		t.Errorf("the next fix asks %v; %v", *log, states(fixed.After))
	}
	*log, n.fix.Retry = nil, true
	if _, err = hardener.Fix(t.Context(), n.options, n.fix); err != nil || (*log)[0] != "fit scheduler" {
		t.Errorf("a retry asks %v, %v", *log, err)
	}
}

// TestFailedSoakUndoesAll: what is not healthy for long takes everything back
// that was restarted, newest first, each component with its old files before the
// next.
func TestFailedSoakUndoesAll(t *testing.T) {
	boom := errors.New("the API server was killed")
	n, log := gated(t, gate{soak: boom})
	before := n.contents(t)
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if !errors.Is(err, boom) {
		t.Fatalf("error %v, want the gate's", err)
	}
	want := []string{"soak kubelet scheduler controllermanager apiserver"}
	for _, component := range []string{"apiserver", "controllermanager", "scheduler", "kubelet"} {
		want = append(want, "before "+component, "take "+component)
	}
	want = append(want, "disarm")
	if diff := cmp.Diff(want, (*log)[len(*log)-len(want):]); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	after := n.contents(t)
	for _, path := range []string{kubeletConfig, manifests + "kube-scheduler.yaml", manifests + "kube-apiserver.yaml"} {
		if before[path] != after[path] {
			t.Errorf("%s is not as before", path)
		}
	}
	if count := states(fixed.After); count[fix.Undone] == 0 || count[fix.Applied] == 0 {
		t.Errorf("the report does not tell: %v", count)
	}
}

// TestRegressionUndoesItsGroup: a change after which something fails that passed
// before does not stay. The gate stands in for whatever broke it.
func TestRegressionUndoesItsGroup(t *testing.T) {
	dir := ""
	n, _ := gated(t, gate{take: func(component string) error {
		if component == "scheduler" {
			return os.Chmod(filepath.Join(dir, "etc/kubernetes/scheduler.conf"), 0o666)
		}
		return nil
	}})
	dir = n.dir
	fixed, err := hardener.Fix(t.Context(), n.options, n.fix)
	if err == nil || !strings.Contains(err.Error(), "master/1.1.15 passed before") {
		t.Fatalf("error %v, want it to name master/1.1.15", err)
	}
	if states(fixed.After)[fix.Undone] == 0 {
		t.Errorf("nothing is reported as taken back: %v", states(fixed.After))
	}
}

// TestCancelledFixLeavesGroupsWhole: a run that is interrupted undoes what it
// was at, and may try it again.
func TestCancelledFixLeavesGroupsWhole(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	n, log := gated(t, gate{take: func(string) error { cancel(); return nil }})
	before := n.contents(t)
	_, err := hardener.Fix(ctx, n.options, n.fix)
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v, want %v", err, context.Canceled)
	}
	after := n.contents(t)
	for _, path := range []string{kubeletConfig, manifests + "kube-apiserver.yaml"} {
		if before[path] != after[path] {
			t.Errorf("%s is not as before", path)
		}
	}
	if last := (*log)[len(*log)-1]; last != "disarm" {
		t.Errorf("the switch stays armed: %v", *log)
	}
	if remembered, err := txn.Failures(n.tree); err != nil || remembered != nil {
		t.Errorf("an interrupted change is remembered: %v, %v", remembered, err)
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
