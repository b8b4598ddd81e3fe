// Command bench measures a full node check against kube-bench's, on the same
// node with real processes, in turn within one run. It fails when hardener does
// kube-bench's work (check --raw) less than 40 times faster, or takes 64 MiB of
// memory or more for it or for a default check, which does more: it judges every
// check a second time for the layout, and plans every fix.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/specimen"
)

// The floors: a change that misses one is a regression.
const (
	minRatio = 40 // on a quiet machine; -min-ratio lowers it for a noisy one
	maxRSS   = 64 << 20
)

// contender is one program of the comparison.
type contender struct {
	name string
	argv []string
	same bool // it does kube-bench's work, no more: the floor of minRatio holds
	wall []time.Duration
	rss  int64 // the largest of all rounds
}

func main() {
	rounds := flag.Int("rounds", 10, "measured rounds; one more comes first and is not counted")
	noise := flag.Int("noise", 100, "processes on the node besides Kubernetes' own and the kernel's")
	floor := flag.Float64("min-ratio", minRatio, "how many times faster than kube-bench hardener check --raw has to be")
	benchmark := flag.String("benchmark", "cis-1.12", "profile")
	flag.Parse()
	if *rounds < 1 || *noise < 0 || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "bench: usage: bench [-rounds N] [-noise N] [-benchmark NAME]")
		os.Exit(2)
	}
	if os.Geteuid() != 0 {
		fmt.Fprintln(os.Stderr, "bench: needs root: starts processes in new namespaces")
		os.Exit(3)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	contenders, err := measure(ctx, *rounds, *noise, *benchmark)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(3)
	}
	if !report(contenders, *rounds, *noise, *floor) {
		os.Exit(1)
	}
}

// measure runs all contenders in turn, the first one being kube-bench.
func measure(ctx context.Context, rounds, noise int, benchmark string) ([]contender, error) {
	dir, err := os.MkdirTemp("", "hardener-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	repo, err := oracle.Repository(ctx)
	if err != nil {
		return nil, err
	}
	kubeBench, err := oracle.BuildKubeBench(ctx, repo)
	if err != nil {
		return nil, err
	}
	hardener, err := oracle.BuildHardener(ctx, repo, dir)
	if err != nil {
		return nil, err
	}
	inmate, err := oracle.BuildInmate(ctx, repo, dir)
	if err != nil {
		return nil, err
	}
	node := specimen.ControlPlane(noise + kernelThreads())
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return nil, err
	}
	if err := node.Build(root); err != nil {
		return nil, err
	}
	path, err := cell.Tools(root)
	if err != nil {
		return nil, err
	}

	const targets = "master,node,etcd,controlplane"
	program := cell.Private + "/hardener"
	contenders := []contender{
		{name: "kube-bench run", argv: []string{cell.Private + "/kube-bench", "run", "--benchmark", benchmark, "--targets", targets, "--json", "--config-dir", cell.Private + "/cfg"}},
		{name: "hardener check --raw", same: true, argv: []string{program, "check", "--raw", "--benchmark", benchmark, "--targets", targets, "-o", "json"}},
		{name: "hardener check", argv: []string{program, "check", "--benchmark", benchmark, "--targets", targets, "-o", "json"}},
	}
	spec := cell.Spec{
		Root: root,
		Binds: []cell.Bind{
			{Source: kubeBench.Program, Target: cell.Private + "/kube-bench"},
			{Source: kubeBench.Cfg, Target: cell.Private + "/cfg"},
			{Source: hardener, Target: program},
		},
		Processes: node.Processes,
	}
	for range rounds + 1 {
		for _, c := range contenders {
			spec.Commands = append(spec.Commands, cell.Command{Argv: c.argv, Env: []string{"PATH=" + path}})
		}
	}
	outputs, err := cell.Run(ctx, inmate, spec)
	if err != nil {
		return nil, err
	}
	for i, o := range outputs {
		c := &contenders[i%len(contenders)]
		if o.Exit != 0 && o.Exit != 1 || len(o.Stdout) < 10_000 {
			return nil, fmt.Errorf("%s: exit %d, %d bytes of output: %s", c.name, o.Exit, len(o.Stdout), o.Stderr)
		}
		if i < len(contenders) {
			continue // reads everything into the page cache
		}
		c.wall = append(c.wall, o.Wall)
		c.rss = max(c.rss, o.MaxRSS)
	}
	return contenders, nil
}

// kernelThreads counts the kernel threads of this machine. ps lists them on every
// node, but a process namespace hides them, so that the node gets as many other
// processes instead.
func kernelThreads() int {
	const kthreadd = " 2 "
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0
	}
	n := 0
	for _, name := range stats {
		stat, err := os.ReadFile(name)
		if err != nil {
			continue // gone since
		}
		// pid (comm) state ppid: comm may hold anything, parentheses too.
		_, rest, _ := strings.Cut(string(stat[max(bytes.LastIndexByte(stat, ')'), 0):]), " ")
		if len(rest) > 1 && strings.HasPrefix(rest[1:], kthreadd) {
			n++
		}
	}
	return n
}

// report prints the figures and tells whether the floors hold.
func report(contenders []contender, rounds, noise int, minRatio float64) bool {
	fmt.Printf("bench: targets master,node,etcd,controlplane; %d processes besides Kubernetes' own, and %d for this machine's kernel threads; median of %d rounds in turn\n", noise, kernelThreads(), rounds)
	theirs := median(contenders[0].wall)
	ok := true
	for i, c := range contenders {
		ours := median(c.wall)
		fmt.Printf("%-22s %10s  (%s to %s)  peak memory %5.1f MiB", c.name, round(ours), round(slices.Min(c.wall)), round(slices.Max(c.wall)), float64(c.rss)/(1<<20))
		if i == 0 {
			fmt.Println()
			continue
		}
		ratio := float64(theirs) / float64(ours)
		fmt.Printf("  %.1f times faster\n", ratio)
		if c.same && ratio < minRatio {
			fmt.Fprintf(os.Stderr, "bench: %s: %.1f times faster, must be at least %.0f\n", c.name, ratio, minRatio)
			ok = false
		}
		if c.rss >= maxRSS {
			fmt.Fprintf(os.Stderr, "bench: %s: peak memory %d bytes, must be below %d\n", c.name, c.rss, maxRSS)
			ok = false
		}
	}
	return ok
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	if n := len(d); n%2 == 0 {
		return (d[n/2-1] + d[n/2]) / 2
	}
	return d[len(d)/2]
}

func round(d time.Duration) time.Duration {
	return d.Round(100 * time.Microsecond)
}
