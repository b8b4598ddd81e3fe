//go:build e2e

package faults

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
)

// Whatever goes wrong while a control plane is fixed, it ends in the old or the
// new state, component by component, and healthy.
func TestFaults(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	fmt.Printf("faults: seed %d\n", *seed)
	program := build(t)
	todo := make(chan trial)
	random := rand.New(rand.NewPCG(*seed, 0))

	group, ctx := errgroup.WithContext(t.Context())
	var known states
	var takes time.Duration
	first := bringUp(t, 0)
	known, takes = learn(t, first, program)
	fmt.Printf("faults: a fix that nothing breaks takes %.0f s\n", takes.Seconds())
	clusters := []*lab.Cluster{first}
	for i := 1; i < min(*labs, *trials); i++ {
		clusters = append(clusters, bringUp(t, i))
	}
	for _, c := range clusters {
		group.Go(func() error {
			for one := range todo {
				one.cluster, one.node = c, c.Node("cp1")
				if err := fresh(ctx, c, program); err != nil {
					return err
				}
				out, err := one.run(ctx, known)
				if err != nil {
					t.Errorf("%s after %.1f s: %v", one.name, one.after.Seconds(), err)
					continue
				}
				fmt.Printf("faults: %s after %.1f s: state %s, whole after %.0f s: %.200s\n", one.name, one.after.Seconds(), out.state, out.settled.Seconds(), out.said)
			}
			return nil
		})
	}
	var chosen []fault
	for _, f := range faults {
		if *only == "" || slices.Contains(strings.Split(*only, ","), f.name) {
			chosen = append(chosen, f)
		}
	}
	if len(chosen) == 0 {
		t.Fatalf("no fault %q", *only)
	}
	group.Go(func() error {
		defer close(todo)
		for i := range *trials {
			f := chosen[i%len(chosen)]
			one := trial{fault: f, lasts: time.Duration(random.IntN(60)) * time.Second}
			if f.strike != nil {
				one.after = moment(random, takes)
			}
			select {
			case todo <- one:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if !t.Failed() {
		fmt.Printf("faults: %d trials, no node left broken\n", *trials)
	}
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
// and the time.
func learn(t *testing.T, c *lab.Cluster, program string) (known states, takes time.Duration) {
	t.Helper()
	n := c.Node("cp1")
	if err := install(t.Context(), n, program); err != nil {
		t.Fatal(err)
	}
	var err error
	if known.before, err = digests(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	_, err = n.Run(t.Context(), "hardener", "fix", "--soak=20s", "--benchmark=cis-1.12", "--kubeconfig=/root/.kube/config")
	takes = time.Since(began)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatal(err)
	}
	if known.after, err = digests(t.Context(), n); err != nil {
		t.Fatal(err)
	}
	if state, err := (trial{cluster: c, node: n}).whole(t.Context(), known); err != nil || state != "new" {
		t.Fatalf("after a fix that nothing broke: state %q, %v", state, err)
	}
	return known, takes
}
