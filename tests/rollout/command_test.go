//go:build e2e

package rollout

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// TestCommand is the story of a user with a kubeconfig.
func TestCommand(t *testing.T) {
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	hardener := filepath.Join(dir, "hardener")
	build := exec.Command("go", "build", "-o", hardener, "./cmd/hardener")
	build.Dir = repo
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	c := newCluster(t, "cp1", "w1", "w2")
	kubeconfig := c.Kubeconfig(c.Admin().BearerToken)
	run := func(want int, args ...string) (stdout, stderr string) {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), hardener, append([]string{"rollout"}, args...)...)
		cmd.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
		var out, errs bytes.Buffer
		cmd.Stdout, cmd.Stderr = &out, &errs
		err := cmd.Run()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if got := cmd.ProcessState.ExitCode(); got != want {
			t.Fatalf("%q: exit code %d, want %d: %s%s", args, got, want, &out, &errs)
		}
		return out.String(), errs.String()
	}

	if out, _ := run(0, "fix", "--plan"); out != "  1  w1  (alone)\n  2  w2  (alone)\n  3  cp1  (alone; the control plane whole before and after)\n  -  etcd member 10.9.9.9  (on no Node: out of a Job's reach)\n" {
		t.Errorf("plan:\n%s", out)
	}
	if _, errs := run(3, "report"); !strings.Contains(errs, "there has been no rollout") {
		t.Errorf("report before any rollout: %s", errs)
	}
	run(2, "fix", "--image", image, "--nodes", "w9")

	out, errs := run(1, "fix", "--image", image, "--max-risk", "files", "--check", "1.1.1,1.1.2", "-o", "json")
	var merged report.Cluster
	if err := json.Unmarshal([]byte(out), &merged); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(merged.Nodes) != 3 || strings.Join(merged.Rollout.Args, " ") != "--check=1.1.1,1.1.2 --max-risk=files" {
		t.Errorf("report: %+v", merged)
	}
	for _, want := range []string{"hardener: [1/3] w1: done: 1 PASS, 1 FAIL, 0 WARN\n", "hardener: [3/3] cp1: done"} {
		if !strings.Contains(errs, want) {
			t.Errorf("no %q in:\n%s", want, errs)
		}
	}
	if out, _ := run(0, "report"); !strings.Contains(out, "Rollout "+merged.Rollout.ID+": fix on 3 nodes") || !strings.Contains(out, "on         cp1, w1, w2") {
		t.Errorf("report:\n%s", out)
	}
	if out, _ := run(0, "check", "--image", image, "--nodes", "w1", "--accept-findings"); !strings.Contains(out, "check on 1 node") {
		t.Errorf("check:\n%s", out)
	}
	bad := passing("w1")
	bad.outcome.Exit, bad.outcome.Error = 3, "fix: it is broken"
	c.on("w1", bad)
	if _, errs := run(3, "fix", "--image", image); !strings.Contains(errs, "hardener: error: rollout: stopped: node w1: fix: it is broken; not begun: w2, cp1") {
		t.Errorf("a node that fails:\n%s", errs)
	}

	// Told to stop, it says so in its own exit code, and the same command goes on.
	slow := passing("w1")
	slow.lasts = 20 * time.Second
	c.on("w1", slow)
	told := exec.CommandContext(t.Context(), hardener, "rollout", "fix", "--image", image, "--restart")
	told.Env = append(os.Environ(), "KUBECONFIG="+kubeconfig)
	stderr, err := told.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := told.Start(); err != nil {
		t.Fatal(err)
	}
	var said []string
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		said = append(said, lines.Text())
		if strings.Contains(lines.Text(), "w1: running") {
			if err := told.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := told.Wait(); told.ProcessState.ExitCode() != 143 {
		t.Errorf("told to stop: %v, want exit code 143: %q", err, said)
	}
	if len(said) == 0 || said[len(said)-1] != "hardener: hint: the same command goes on where it stopped" {
		t.Errorf("told to stop, it says %q", said)
	}
	_, job, _ := strings.Cut(strings.Join(said, "\n"), "w1: running: Job ")
	job, _, _ = strings.Cut(job, "\n")
	if _, errs := run(1, "fix", "--image", image); !strings.Contains(errs, "w1: running: Job "+job+"\n") || !strings.Contains(errs, "[3/3]") {
		t.Errorf("after it was told to stop, with %s under way:\n%s", job, errs)
	}

	// What it prints, and the plain files, pass the API server's strict eyes.
	printed, _ := run(0, "fix", "--image", image, "--print")
	c.Apply([]byte(printed))
	c.must("DELETE", jobs+"/rollout?propagationPolicy=Background", nil, nil)
	c.Apply(manifests.Rollout())
	c.Apply([]byte(strings.ReplaceAll(string(manifests.Node()), "node-name", "w2")))
}
