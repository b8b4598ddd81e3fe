//go:build e2e

package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

var most = flag.Int("nodes", 60, "how many nodes the largest cluster has")

const image = "registry.local/hardener@sha256:1111111111111111111111111111111111111111111111111111111111111111"

// figures are what a rollout over a cluster cost.
type figures struct {
	nodes      int
	took       time.Duration
	peak       int64   // of the rollout, in bytes
	report     int     // bytes of the merged report
	read       float64 // bytes per node that the rollout received
	work, wait float64 // calls per node: what has to be done, and to wait for it
	programs   float64 // calls per node of the programs on the nodes
}

// TestScale rolls out over clusters of several sizes. Each node costs as many calls
// in a large one as in a small one, and memory stays far below what the rollout's own
// Job may take.
func TestScale(t *testing.T) {
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hardener := filepath.Join(t.TempDir(), "hardener")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", hardener, "./cmd/hardener")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	control, worker := found(t, hardener, "master,etcd,controlplane,node"), found(t, hardener, "node")
	limit := memory(t) / 4

	small := max(20, *most/10)
	sizes := slices.Compact(slices.Sorted(slices.Values([]int{small, max(small, *most*3/10), max(small, *most)})))
	var all []figures
	for _, nodes := range sizes {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) {
			c := newCluster(t, repo, nodes, control, worker)
			all = append(all, measure(t, c, hardener))
			if nodes == sizes[len(sizes)-1] && nodes >= 100 { // smaller ones are for make e2e, in a minute
				goOn(t, c, hardener)
			}
		})
	}
	if t.Failed() {
		return
	}
	for _, f := range all {
		fmt.Printf("scale: %5d nodes: %6.1f s, peak memory %.1f MiB, merged report %4.0f KiB; per node %.1f KiB received, %.2f calls to work and %.2f to wait, %.2f of its own program\n",
			f.nodes, f.took.Seconds(), float64(f.peak)/(1<<20), float64(f.report)/(1<<10), f.read/(1<<10), f.work, f.wait, f.programs)
	}
	for _, f := range all {
		// What is asked once for the whole cluster weighs more in a small one.
		if f.work > all[0].work+0.5 {
			t.Errorf("%d nodes: %.2f calls per node, with %d nodes %.2f: they grow with the cluster", f.nodes, f.work, all[0].nodes, all[0].work)
		}
		// A look more while one waits is some KiB; a list of all nodes for each is all of it.
		if f.read > 1.5*all[0].read {
			t.Errorf("%d nodes: %.0f bytes per node received, with %d nodes %.0f: they grow with the cluster", f.nodes, f.read, all[0].nodes, all[0].read)
		}
		if f.peak > limit {
			t.Errorf("%d nodes: peak memory %d bytes, want at most %d, a quarter of what manifests/rollout.yaml allows", f.nodes, f.peak, limit)
		}
	}
}

// rolloutArgs are those of a rollout of check or fix.
func rolloutArgs(command string) []string {
	return []string{"rollout", command, "--image", image, "-o", "json", fmt.Sprintf("--max-parallel=%d", parallel)}
}

// account is an environment with the rights of a rollout inside the cluster.
func (c *cluster) account() string {
	token := c.Kubectl(nil, "-n", rollout.Namespace, "create", "token", "rollout", "--duration=10h")
	return "KUBECONFIG=" + c.Kubeconfig(strings.TrimSpace(token))
}

// measure rolls out over a cluster, and reads the report again.
func measure(t *testing.T, c *cluster, hardener string) figures {
	t.Helper()
	kubeconfig := c.account()
	r, err := run(t.Context(), hardener, rolloutArgs("check"), kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if r.code != 1 { // there are findings
		t.Fatalf("exit code %d: %s", r.code, tail(r.stderr))
	}
	calls, programs, err := c.audited()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("calls of the rollout %v, of the programs %v", calls, programs)
	c.whole(r.stdout)
	again, err := run(t.Context(), hardener, []string{"rollout", "report", "-o", "json"}, kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.stdout, r.stdout) {
		t.Error("what lies in the cluster is another report than what was told")
	}
	after, _, err := c.audited()
	if err != nil {
		t.Fatal(err)
	}
	read := after.all() - calls.all()
	t.Logf("the report again: %d calls, %s, peak memory %.1f MiB", read, again.took, float64(again.peak)/(1<<20))
	if read > 5+c.nodes/20 {
		t.Errorf("%d nodes: reading the report again took %d calls", c.nodes, read)
	}

	n := float64(c.nodes)
	wait := calls.sum("get jobs", "list pods", "get nodes", "get leases", "update leases")
	f := figures{nodes: c.nodes, took: r.took, peak: r.peak, report: len(r.stdout), read: float64(r.read) / n, programs: float64(programs.all()) / n,
		work: float64(calls.all()-wait) / n, wait: float64(wait) / n}
	// A look at each Job under way at least every five seconds, sooner in the
	// beginning; a look at its node every thirty; the Lease.
	under := r.took.Seconds() * min(parallel, n) / n // how long a Job was under way, at most
	if bound := 6 + under/5 + under/30 + r.took.Seconds()/10/n; f.wait > bound {
		t.Errorf("%d nodes: %.2f calls per node to wait, want at most %.2f for %.1f s", c.nodes, f.wait, bound, under)
	}
	if f.programs > 1.5 {
		t.Errorf("%d nodes: the programs made %.2f calls per node, want one", c.nodes, f.programs)
	}
	if events := calls["create events"]; events < 2*c.nodes {
		t.Errorf("%d Events on %d nodes and Jobs", events, c.nodes)
	}
	return f
}

// goOn stops a rollout of a fix half way and starts it again: it goes on, and no
// node's program runs twice.
func goOn(t *testing.T, c *cluster, hardener string) {
	t.Helper()
	kubeconfig := c.account()
	before := c.delivered.Load()
	asked, _, err := c.audited()
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	go func() {
		for ; ctx.Err() == nil; time.Sleep(100 * time.Millisecond) {
			if c.delivered.Load()-before >= int64(c.nodes/2) {
				stop()
			}
		}
	}()
	half, err := run(ctx, hardener, rolloutArgs("fix"), kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	var first report.Cluster
	if err := json.Unmarshal(half.stdout, &first); err != nil {
		t.Fatal(err)
	}
	if half.code != 143 || first.Count(report.NodeLeft) == 0 {
		t.Errorf("stopped half way: exit code %d, %d nodes not begun: %s", half.code, first.Count(report.NodeLeft), tail(half.stderr))
	}
	rest, err := run(t.Context(), hardener, rolloutArgs("fix"), kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	if rest.code != 1 {
		t.Fatalf("gone on: exit code %d: %s", rest.code, tail(rest.stderr))
	}
	c.whole(rest.stdout)
	if n := c.delivered.Load() - before; n != int64(c.nodes) {
		t.Errorf("%d reports were delivered, want %d: one for each node", n, c.nodes)
	}
	all, _, err := c.audited()
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("scale: %5d nodes: a fix stopped after %d in %.1f s, gone on for %.1f s, peak memory %.1f MiB; per node %.2f calls in all\n",
		c.nodes, first.Count(report.NodeDone), half.took.Seconds(), rest.took.Seconds(), float64(max(half.peak, rest.peak))/(1<<20), float64(all.all()-asked.all())/float64(c.nodes))
}

// whole wants a merged report to have all nodes, done, with what was found on each.
func (c *cluster) whole(text []byte) {
	c.t.Helper()
	var merged report.Cluster
	if err := json.Unmarshal(text, &merged); err != nil {
		c.t.Fatal(err)
	}
	if len(merged.Nodes) != c.nodes || merged.Count(report.NodeDone) != c.nodes {
		c.t.Errorf("the report has %d nodes, %d of them done, want %d", len(merged.Nodes), merged.Count(report.NodeDone), c.nodes)
	}
	fails := controlPlanes*c.control.Totals.Fail + (c.nodes-controlPlanes)*c.worker.Totals.Fail
	if merged.Totals.Fail != fails {
		c.t.Errorf("%d findings, want %d", merged.Totals.Fail, fails)
	}
	named := 0
	for _, one := range merged.Checks {
		for _, seen := range one.Nodes {
			if seen.Status == "FAIL" {
				named++
			}
		}
	}
	if named != fails {
		c.t.Errorf("%d findings are told by check and node, want %d", named, fails)
	}
}

// found is a real report: of the sample node.
func found(t *testing.T, hardener, targets string) report.Report {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "node")
	if err := sample.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := sample.RenderProcesses(dir); err != nil {
		t.Fatal(err)
	}
	r, err := run(t.Context(), hardener, []string{"check", "--root", dir, "--benchmark", sample.Benchmark, "--targets", targets, "-o", "json"})
	if err != nil {
		t.Fatal(err)
	}
	all, err := report.Decode(bytes.NewReader(r.stdout))
	if err != nil {
		t.Fatal(err)
	}
	if all.Totals.Fail == 0 {
		t.Fatalf("nothing fails on the sample node: %+v", all.Totals)
	}
	return all
}

// memory is what the Job of a rollout may take, in bytes.
func memory(t *testing.T) int64 {
	t.Helper()
	var job batchv1.Job
	if err := yaml.Unmarshal(manifests.Rollout(), &job); err != nil {
		t.Fatal(err)
	}
	limit := job.Spec.Template.Spec.Containers[0].Resources.Limits.Memory()
	if limit.IsZero() {
		t.Fatal("the Job of a rollout has no limit of memory")
	}
	return limit.Value()
}
