//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// hardener is the program under test, built from this repository.
var hardener string

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "e2e: error:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "e2e-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	repo, err := oracle.Repository(ctx)
	if err != nil {
		return 1, err
	}
	if hardener, err = oracle.BuildHardener(ctx, repo, dir); err != nil {
		return 1, err
	}
	code = m.Run()
	names, err := lab.Close()
	if err != nil {
		return 1, err
	}
	for _, name := range names {
		if err := leftovers(name); err != nil {
			return 1, err
		}
	}
	return code, nil
}

// leftovers tells what a lab of that name has left on this machine, beside which
// others may be up.
func leftovers(name string) error {
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	folder := filepath.Join(cache, "kubespray-hardener", "lab", name)
	var found []string
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(mounts), "\n") {
		if strings.Contains(line, folder+"/") || strings.Contains(line, "/run/nodes") {
			found = append(found, "mount "+line)
		}
	}
	for pattern, what := range map[string]string{
		"/sys/fs/cgroup/*/kubespray-hardener." + name + ".*": "cgroup",
		"/sys/class/net/" + machine.Bridge:                   "bridge",
		"/sys/class/net/vb-*":                                "bridge port",
		"/sys/block/loop*/loop/backing_file":                 "loop device",
		folder:                                               "folder",
	} {
		paths, err := filepath.Glob(pattern)
		if err != nil {
			return err
		}
		for _, p := range paths {
			if what == "loop device" {
				if text, err := os.ReadFile(p); err != nil || !strings.HasPrefix(string(text), folder+"/") {
					continue
				}
			}
			found = append(found, what+" "+p)
		}
	}
	processes, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return err
	}
	for _, p := range processes {
		if text, err := os.ReadFile(p); err == nil && strings.Contains(string(text), "/kubespray-hardener."+name+".") {
			found = append(found, "process "+filepath.Base(filepath.Dir(p)))
		}
	}
	if len(found) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(found, "; "))
	}
	fmt.Printf("e2e: lab %s has left behind 0 processes, mounts, bridges, loop devices, cgroups and folders\n", name)
	return nil
}

// install puts the program under test on a node.
func install(t *testing.T, n *machine.Node) {
	t.Helper()
	f, err := os.Open(hardener)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const command = "cat > /usr/local/bin/.hardener && chmod 0755 /usr/local/bin/.hardener && mv /usr/local/bin/.hardener /usr/local/bin/hardener"
	if _, err := n.Feed(t.Context(), f, "sh", "-c", command); err != nil {
		t.Fatal(err)
	}
}

// must runs a command in a node and returns its output.
func must(t *testing.T, n *machine.Node, name string, args ...string) string {
	t.Helper()
	out, err := n.Run(t.Context(), name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// until waits for something that the cluster is to do by itself.
func until(t *testing.T, limit time.Duration, what string, holds func() (bool, string)) {
	t.Helper()
	var said string
	for began := time.Now(); time.Since(began) < limit; time.Sleep(time.Second) {
		var ok bool
		if ok, said = holds(); ok {
			return
		}
	}
	t.Fatalf("%s: not within %s: %s", what, limit, said)
}
