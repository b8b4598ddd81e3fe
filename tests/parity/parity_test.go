// Package parity compares hardener's raw verdicts with those of the real
// kube-bench: both programs run in the same namespaces on the same generated
// node, with real files and real processes, and everything that they print
// must be equal.
//
// What is not compared: the columns of ps that change by themselves (C, STIME
// and TIME) and the lines of the two programs themselves; the wording of "reason" where an audit failed, which quotes Go's
// and the shell's messages; and, of the section policies, what depends on
// kubectl, which no cell has.
package parity

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/specimen"
)

var (
	nodes    = flag.Int("parity.nodes", 2, "generated nodes for each profile")
	base     = flag.Uint64("parity.base", 1, "the seeds of a run follow from this number")
	seed     = flag.Uint64("parity.seed", 0, "compare on the one node with this seed")
	profiles = flag.String("parity.profiles", strings.Join(cis, ","), "profiles to compare")
	self     = flag.Bool("parity.self", false, "compare kube-bench with itself: shows what of its output is not stable")
	keep     = flag.String("parity.keep", "", "with -parity.seed: leave the node's tree and both outputs in this new folder")
)

// cis are kube-bench's profiles for upstream Kubernetes.
var cis = []string{"cis-1.5", "cis-1.6", "cis-1.20", "cis-1.23", "cis-1.24", "cis-1.7", "cis-1.8", "cis-1.9", "cis-1.10", "cis-1.11", "cis-1.12"}

// targets are the sections of every profile in cis.
const targets = "master,controlplane,etcd,node,policies"

// programs are what a comparison needs.
type programs struct {
	kubeBench oracle.KubeBench
	hardener  string
	inmate    string
}

func buildPrograms(t *testing.T) programs {
	t.Helper()
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var p programs
	dir := t.TempDir()
	if p.inmate, err = oracle.BuildInmate(t.Context(), repo, dir); err != nil {
		t.Fatal(err)
	}
	if *self {
		p.hardener = p.inmate
	} else if p.hardener, err = oracle.BuildHardener(t.Context(), repo, dir); err != nil {
		t.Fatal(err)
	}
	if p.kubeBench, err = oracle.BuildKubeBench(t.Context(), repo); err != nil {
		t.Fatal(err)
	}
	return p
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts processes in new namespaces")
	}
}

func TestParity(t *testing.T) {
	needRoot(t)
	p := buildPrograms(t)
	for i, profile := range strings.Split(*profiles, ",") {
		t.Run(profile, func(t *testing.T) {
			seeds := []uint64{*seed}
			if *seed == 0 {
				seeds = nil
				for n := range *nodes {
					seeds = append(seeds, *base*1_000_000+uint64(i)*1_000+uint64(n))
				}
			}
			compareNodes(t, p, profile, seeds)
		})
	}
}

// compareNodes compares on all nodes, two at a time.
func compareNodes(t *testing.T, p programs, profile string, seeds []uint64) {
	var (
		mu                  sync.Mutex
		wait                sync.WaitGroup
		checks, differences int
		refused             int // nodes that both programs give up on
		slots               = make(chan struct{}, 2)
	)
	for _, seed := range seeds {
		wait.Add(1)
		slots <- struct{}{}
		go func() {
			defer func() { <-slots; wait.Done() }()
			c, diffs, err := compareNode(t.Context(), t.TempDir(), p, profile, seed)
			mu.Lock()
			defer mu.Unlock()
			checks += c
			if c == 0 {
				refused++
			}
			differences += len(diffs)
			again := fmt.Sprintf("go test ./tests/parity -run TestParity -parity.profiles=%s -parity.seed=%d", profile, seed)
			if err != nil {
				t.Errorf("seed %d: %v\nagain: %s", seed, err, again)
			}
			if len(diffs) > 0 {
				t.Errorf("seed %d: %d differences (-kube-bench +hardener)\n%s\nagain: %s", seed, len(diffs), strings.Join(diffs, "\n"), again)
			}
		}()
	}
	wait.Wait()
	fmt.Printf("parity: profile %s: %d nodes, %d of them refused by both, %d checks compared, %d differences\n", profile, len(seeds), refused, checks, differences)
	if checks == 0 {
		t.Error("nothing was compared")
	}
}

// compareNode builds the node of a seed below dir and runs both programs there.
func compareNode(ctx context.Context, dir string, p programs, profile string, seed uint64) (checks int, diffs []string, err error) {
	if *keep != "" {
		if err := os.Mkdir(*keep, 0o755); err != nil {
			return 0, nil, err
		}
		dir = *keep
	}
	node := specimen.Random(seed)
	root := filepath.Join(dir, "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		return 0, nil, err
	}
	if err := node.Build(root); err != nil {
		return 0, nil, err
	}
	path, err := cell.Tools(root)
	if err != nil {
		return 0, nil, err
	}
	kubeBench := []string{cell.Private + "/kube-bench", "--benchmark", profile, "--json", "--config-dir", cell.Private + "/cfg"}
	hardener := []string{cell.Private + "/hardener", "check", "--raw", "--benchmark", profile, "-o", "json"}
	if seed%4 != 3 {
		// All sections whatever runs here. Both programs see themselves and the
		// word etcd of these arguments in the process table. The other nodes
		// leave the choice of sections to the programs.
		kubeBench = slices.Insert(kubeBench, 1, "run", "--targets", targets)
		hardener = append(hardener, "--targets", targets)
	}
	if *self {
		p.hardener, hardener = p.kubeBench.Program, kubeBench
	}
	env := append([]string{"PATH=" + path}, node.Env...)
	outputs, err := cell.Run(ctx, p.inmate, cell.Spec{
		Root: root,
		Binds: []cell.Bind{
			{Source: p.kubeBench.Program, Target: cell.Private + "/kube-bench"},
			{Source: p.kubeBench.Cfg, Target: cell.Private + "/cfg"},
			{Source: p.hardener, Target: cell.Private + "/hardener"},
		},
		Processes: node.Processes,
		Commands: []cell.Command{
			{Argv: kubeBench, Env: env},
			{Argv: hardener, Env: env},
		},
	})
	if err != nil {
		return 0, nil, err
	}
	theirs, ours := outputs[0], outputs[1]
	if *keep != "" {
		for name, o := range map[string]cell.Output{"kube-bench": theirs, "hardener": ours} {
			if err := os.WriteFile(filepath.Join(dir, name+".json"), o.Stdout, 0o644); err != nil {
				return 0, nil, err
			}
		}
	}
	if theirs.Exit != 0 {
		if !strings.Contains(string(theirs.Stderr), "too many levels of symbolic links") {
			return 0, nil, fmt.Errorf("kube-bench: exit %d: %s", theirs.Exit, theirs.Stderr)
		}
		if ours.Exit != 2 && ours.Exit != 3 || len(ours.Stdout) > 0 {
			diffs = append(diffs, fmt.Sprintf("kube-bench gave up: %s\nhardener: exit %d, %d bytes of output", theirs.Stderr, ours.Exit, len(ours.Stdout)))
		}
		return 0, diffs, nil
	}
	if ours.Exit != 0 && ours.Exit != 1 {
		return 0, nil, fmt.Errorf("hardener: exit %d: %s", ours.Exit, ours.Stderr)
	}
	return compare(theirs.Stdout, ours.Stdout)
}
