//go:build e2e

package faults

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

var (
	trials = flag.Int("trials", 12, "how many fixes are broken")
	labs   = flag.Int("labs", 2, "how many clusters they are broken on at a time")
	seed   = flag.Uint64("seed", 0, "of the random moments; 0 takes another one each time")
	only   = flag.String("fault", "", "only these faults, separated by commas")
	at     = flag.String("at", "", "only at moments that contain this")
)

// Whatever goes wrong while a control plane is fixed, it ends in the old or the
// new state, component by component, and healthy.
func TestFaults(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	fmt.Printf("faults: seed %d\n", *seed)
	program := build(t)
	group, ctx := errgroup.WithContext(t.Context())
	first := bringUp(t, 0)
	known, main, rest := learn(t, first, program)
	if *at != "" {
		elsewhere := func(m moment) bool { return !strings.Contains(m.String(), *at) }
		main, rest = slices.DeleteFunc(append(main, rest...), elsewhere), nil
		if len(main) == 0 {
			t.Fatalf("no moment %q", *at)
		}
	}
	plan, err := plan(rand.New(rand.NewPCG(*seed, 0)), main, rest)
	if err != nil {
		t.Fatal(err)
	}
	clusters := []*lab.Cluster{first}
	for i := 1; i < min(*labs, len(plan)); i++ {
		clusters = append(clusters, bringUp(t, i))
	}
	todo := make(chan trial, len(plan))
	for _, one := range plan {
		todo <- one
	}
	close(todo)
	var done atomic.Int32
	for _, c := range clusters {
		group.Go(func() error {
			for one := range todo {
				one.cluster, one.node = c, c.Node("cp1")
				if err := fresh(ctx, c, program); err != nil {
					return err
				}
				out, err := one.run(ctx, known)
				if err != nil {
					t.Errorf("%s: %v", one, err)
					continue
				}
				fmt.Printf("faults: %d of %d: %s: state %s, whole after %.0f s: %.200s\n", done.Add(1), len(plan), one, out.state, out.settled.Seconds(), out.said)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if !t.Failed() {
		fmt.Printf("faults: %d trials, no node left broken\n", len(plan))
	}
}

// plan chooses the trials: each of the other faults once in 25 and at least once;
// what is left goes to kills and power cuts, evenly over the moments of a fix, those
// that matter most before all others.
func plan(random *rand.Rand, main, rest []moment) ([]trial, error) {
	spread := func(f fault, moments []moment, n int) (all []trial) {
		if len(moments) == 0 {
			return nil
		}
		begin := random.IntN(len(moments))
		for i := range n {
			all = append(all, trial{fault: f, moment: moments[(begin+i*len(moments)/max(n, 1))%len(moments)]})
		}
		return all
	}
	var all []trial
	for range max(1, *trials/25) {
		for _, f := range others {
			one := trial{fault: f, moment: moment{step: f.step}, lasts: time.Duration(random.IntN(60)) * time.Second}
			if f.strike != nil && f.step == "" {
				one.moment = main[random.IntN(len(main))]
			}
			all = append(all, one)
		}
	}
	left := max(2, *trials-len(all))
	for i, f := range []fault{killed, powerCut} {
		n := (left + i) / 2
		most := min(n, len(main))
		all = append(all, spread(f, main, most)...)
		all = append(all, spread(f, rest, n-most)...)
	}
	if *only != "" {
		names := strings.Split(*only, ",")
		all = slices.DeleteFunc(all, func(t trial) bool { return !slices.Contains(names, t.name) })
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no fault %q", *only)
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all, nil
}

// build builds the program under test, which can also make mistakes.
func build(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "hardener")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-tags", "faults", "-o", path, "../../cmd/hardener")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// bringUp brings the i-th cluster up. LAB_NAME is for runs beside others.
func bringUp(t *testing.T, i int) *lab.Cluster {
	t.Helper()
	c, err := lab.Up(t.Context(), lab.Options{Name: fmt.Sprint(cmp.Or(os.Getenv("LAB_NAME"), "faults"), i), Topology: lab.Small, Kubernetes: lab.Version(), Tied: true}, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// fresh puts a cluster back to how it came up, with the program on its control
// plane.
func fresh(ctx context.Context, c *lab.Cluster, program string) error {
	if err := c.Restore(ctx); err != nil {
		return err
	}
	return install(ctx, c.Node("cp1"), program)
}

func install(ctx context.Context, n *machine.Node, program string) error {
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close()
	// A power cut loses what is not synced.
	_, err = n.Feed(ctx, f, "sh", "-c", "cat > /usr/local/bin/hardener && chmod 0755 /usr/local/bin/hardener && sync /usr/local/bin/hardener")
	return err
}

// learn fixes a control plane once without a fault: the files before and after,
// and the moments at which it can be broken.
func learn(t *testing.T, c *lab.Cluster, program string) (known states, main, rest []moment) {
	t.Helper()
	n := c.Node("cp1")
	if err := install(t.Context(), n, program); err != nil {
		t.Fatal(err)
	}
	var err error
	if known.before, err = digests(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	main, rest, takes, err := recordSteps(t.Context(), n)
	if err != nil {
		t.Fatal(err)
	}
	if known.after, err = digests(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if state, err := (trial{cluster: c, node: n}).whole(t.Context(), known); err != nil || state != "new" {
		t.Fatalf("after a fix that nothing broke: state %q, %v", state, err)
	}
	fmt.Printf("faults: a fix that nothing breaks takes %.0f s and has %d moments, of which %d matter most\n", takes.Seconds(), len(main)+len(rest), len(main))
	return known, main, rest
}
