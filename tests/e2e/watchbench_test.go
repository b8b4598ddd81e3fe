//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

var (
	watchChanges = flag.Int("watch.changes", 500, "how many changes TestWatchBench wants to be noticed")
	watchRepairs = flag.Int("watch.repairs", 200, "how many it wants to be repaired")
	watchIdle    = flag.Duration("watch.idle", 10*time.Minute, "how long it measures what watching costs while nothing happens")
	watchSlack   = flag.Float64("watch.slack", 1, "how many times its targets may be missed by, on a machine that is busy otherwise")
)

// The targets of TestWatchBench.
const (
	maxVerdict = 100.0  // ms until the log tells of a change, p99
	maxEvent   = 1000.0 // ms until the API server does, p99
	maxRepair  = 250.0  // ms until a mode or an owner is right again, p99
	maxIdleRSS = 40.0   // MiB, while nothing happens
	maxIdleCPU = 0.1    // percent of a core, likewise
	maxGrowth  = 2.0    // MiB that a burst of events may leave behind
)

// How soon hardener watch tells of a change and repairs it, on a live control plane
// and as a user has it: the DaemonSet, from our image. Beside it what it costs to find
// such a change by running kube-bench or a playbook again. And what watching costs,
// while nothing happens and when very much does.
func TestWatchBench(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	b := watchBench{Cluster: c, cp: c.Node("cp1"), image: importImage(t, c.Node("cp1"), c.Node("worker1"))}
	lay(t, "drifter", b.cp)
	t.Cleanup(func() {
		b.cp.Run(context.Background(), "kubectl", "delete", "namespace", rollout.Namespace, "--ignore-not-found", "--wait")
	})
	b.watch(t)
	t.Run("idle", b.idle)
	t.Run("bursts", b.bursts)
	t.Run("changes", b.changes)
	t.Run("repairs", b.repairs)
}

type watchBench struct {
	*lab.Cluster
	cp    *machine.Node
	image savedImage
	p50   float64 // ms until the log tells of a change
}

// watch has every node watched.
func (b *watchBench) watch(t *testing.T, args ...string) {
	t.Helper()
	print := exec.CommandContext(t.Context(), hardener, slices.Concat([]string{"watch", "--log=json", "--print", "--image=" + b.image.pinned()}, args)...)
	print.Stderr = os.Stderr
	manifests, err := print.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.cp.Feed(t.Context(), bytes.NewReader(manifests), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	must(t, b.cp, "kubectl", "-n", rollout.Namespace, "rollout", "status", "daemonset/watch", "--timeout=5m")
	until(t, time.Minute, "one pod on each node", func() (bool, string) {
		// The log of a pod that is gone would be taken for the watcher's.
		out := must(t, b.cp, "sh", "-c", "ls -d /var/log/pods/"+rollout.Namespace+"_watch-*")
		return strings.Count(out, "\n") == 1, out
	})
}

// drift runs drifter and returns the lines that it prints.
func (b *watchBench) drift(t *testing.T, args ...string) (lines []string) {
	t.Helper()
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("watch: %s, at a load average of %s\n", args[len(args)-1], strings.Join(strings.Fields(string(load))[:3], " "))
	out, err := b.cp.Run(t.Context(), "/root/drifter", args...)
	if err != nil {
		t.Errorf("%v", err)
	}
	return strings.Split(strings.TrimSpace(out), "\n")
}

// figure is one that drifter prints.
func figure[F any](t *testing.T, line string) (f F) {
	t.Helper()
	if err := json.Unmarshal([]byte(line), &f); err != nil {
		t.Fatalf("%v: %q", err, line)
	}
	return f
}

// target wants a figure to be no more than most.
func target(t *testing.T, what string, got, most float64) {
	t.Helper()
	if got > most**watchSlack {
		t.Errorf("%s: %.3g, the target is %.3g", what, got, most)
	}
}

func (b *watchBench) idle(t *testing.T) {
	f := figure[struct {
		Seconds, Resident, Peak, CPU, Percent float64
	}](t, b.drift(t, "-for="+watchIdle.String(), "idle")[0])
	fmt.Printf("watch: idle for %.0f s: %.1f MiB resident, at most %.1f; %.0f ms of CPU, %.3f %% of a core\n", f.Seconds, f.Resident, f.Peak, f.CPU, f.Percent)
	target(t, "MiB resident", f.Peak, maxIdleRSS)
	target(t, "percent of a core", f.Percent, maxIdleCPU)
}

func (b *watchBench) bursts(t *testing.T) {
	for _, line := range b.drift(t, "bursts") {
		f := figure[struct {
			What                                         string
			N                                            int
			Seconds, Before, Peak, After, Verdict, Event float64
		}](t, line)
		fmt.Printf("watch: %d %s in %.1f s: %.1f MiB of its own before, %.1f resident then, %.1f of its own after", f.N, f.What, f.Seconds, f.Before, f.Peak, f.After)
		if f.Verdict > 0 {
			fmt.Printf("; the one that is drift was told after %.0f ms, by an Event after %.0f ms", f.Verdict, f.Event)
		}
		fmt.Println()
		target(t, "MiB that "+f.What+" leave behind", f.After-f.Before, maxGrowth)
	}
}

// noticed is how long a change took, in milliseconds.
type noticed struct {
	Kind, Path, Missed string
	Verdict, Event     float64
}

// noticed has changes made and wants none to be missed.
func (b *watchBench) noticed(t *testing.T, args ...string) (all []noticed) {
	t.Helper()
	for _, line := range b.drift(t, args...) {
		seen := figure[noticed](t, line)
		if seen.Missed != "" {
			t.Errorf("%s %s: %s", seen.Kind, seen.Path, seen.Missed)
			continue
		}
		all = append(all, seen)
	}
	if len(all) == 0 {
		t.Fatal("nothing was noticed")
	}
	return all
}

func (b *watchBench) changes(t *testing.T) {
	all := b.noticed(t, fmt.Sprintf("-n=%d", *watchChanges), "changes")
	verdicts, events := func(n noticed) float64 { return n.Verdict }, func(n noticed) float64 { return n.Event }
	latencies(all, "verdict", verdicts)
	latencies(all, "Event", events)
	target(t, "ms until the log tells, p99", percentile(all, verdicts, 0.99), maxVerdict)
	target(t, "ms until the API server tells, p99", percentile(all, events, 0.99), maxEvent)
	p50 := percentile(all, verdicts, 0.5)
	kubeBench := median(t, func() *exec.Cmd {
		return b.cp.Command(t.Context(), "kube-bench", "--config-dir=/etc/kube-bench/cfg", "--config=/etc/kube-bench/cfg/config.yaml",
			"run", "--benchmark="+latestBenchmark(), "--targets=master,node,etcd,controlplane", "--json")
	})
	playbook := b.playbook(t)
	fmt.Printf("watch: to find one change otherwise: kube-bench %.2f s, %.0f times the verdict's p50; a playbook %.2f s, %.0f times\n",
		kubeBench.Seconds(), ms(kubeBench)/p50, playbook.Seconds(), ms(playbook)/p50)
}

func (b *watchBench) repairs(t *testing.T) {
	b.watch(t, "--repair=files", "--rounds=1000000")
	all := b.noticed(t, fmt.Sprintf("-n=%d", *watchRepairs), "repairs")
	repaired := func(n noticed) float64 { return n.Verdict }
	latencies(all, "repair", repaired)
	target(t, "ms until it is right again, p99", percentile(all, repaired, 0.99), maxRepair)
}

// playbook is how long a playbook takes that looks at the same files.
func (b *watchBench) playbook(t *testing.T) time.Duration {
	t.Helper()
	run, _ := ansible(t, b.Cluster)
	tasks, err := filepath.Abs("testdata/modes.yml") // the lab has a folder of its own
	if err != nil {
		t.Fatal(err)
	}
	return median(t, func() *exec.Cmd { return run("--check", "--limit=cp1", tasks) })
}

// median is that of how long three runs of a command take. Exit code 1 stands for
// findings.
func median(t *testing.T, command func() *exec.Cmd) time.Duration {
	t.Helper()
	var all []time.Duration
	for range 3 {
		cmd := command()
		began := time.Now()
		if out, err := cmd.CombinedOutput(); err != nil && cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("%v: %v: %s", cmd, err, out)
		}
		all = append(all, time.Since(began))
	}
	slices.Sort(all)
	return all[1]
}

// latencies prints how long changes took, each kind for itself and all.
func latencies(all []noticed, what string, figure func(noticed) float64) {
	kinds := map[string][]noticed{}
	for _, n := range all {
		kinds[n.Kind] = append(kinds[n.Kind], n)
	}
	line := func(kind string, some []noticed) {
		fmt.Printf("watch: %-8s %-10s %5d", what, kind, len(some))
		for _, p := range []float64{0.5, 0.9, 0.99, 1} {
			fmt.Printf(" %8.1f", percentile(some, figure, p))
		}
		fmt.Println()
	}
	fmt.Printf("watch: %-8s %-10s %5s %8s %8s %8s %8s\n", "ms until", "kind", "n", "p50", "p90", "p99", "max")
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		line(kind, kinds[kind])
	}
	line("all", all)
	slowest := slices.Clone(all)
	slices.SortFunc(slowest, func(a, b noticed) int { return cmp.Compare(figure(b), figure(a)) })
	for _, n := range slowest[:min(5, len(slowest))] {
		fmt.Printf("watch: %-8s slowest: %.1f ms, %s %s\n", what, figure(n), n.Kind, n.Path)
	}
}

// percentile is the nearest rank.
func percentile(all []noticed, figure func(noticed) float64, p float64) float64 {
	var figures []float64
	for _, n := range all {
		figures = append(figures, figure(n))
	}
	slices.Sort(figures)
	return figures[max(0, int(math.Ceil(p*float64(len(figures))))-1)]
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
