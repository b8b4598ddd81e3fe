//go:build e2e

package faults

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// A moment of a fix is just before one of its steps, or some time later.
type moment struct {
	step  string // as the program under test names it, see cmd/hardener/steps.go
	later time.Duration
}

func (m moment) String() string {
	if m.later > 0 {
		return fmt.Sprintf("%.0f s into %s", m.later.Seconds(), m.step)
	}
	return "before " + m.step
}

// firstEdit is the first step of a fix of a control plane after which a component
// runs with something else.
const firstEdit = "rename /etc/kubernetes/.kubelet-config.yaml.hardener-X -> /etc/kubernetes/kubelet-config.yaml#1"

// stoppedFile and soak are as in cmd/hardener/steps.go, and short: what is soaked
// is broken on purpose here, or not at all.
const (
	stoppedFile = "/run/hardener.stopped"
	stepsFile   = "/run/hardener.steps"
	soak        = "--soak=10s"
)

// recordSteps fixes a node without a fault, and returns the moments of the fix at
// which one may strike, those that matter most and all others: the records of the
// journal becoming durable, the node's own files and those of the dead-man switch
// taking their places, the gates, and the middle of what takes longest matter
// most.
func recordSteps(ctx context.Context, n *machine.Node) (main, rest []moment, takes time.Duration, err error) {
	began := time.Now()
	_, err = n.Run(ctx, "env", "HARDENER_STEPS="+stepsFile, "hardener", "fix", soak, "--benchmark=cis-1.12", "--kubeconfig=/root/.kube/config")
	takes = time.Since(began)
	var exit *exec.ExitError
	if err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) { // 1: what no fix mends is left
		return nil, nil, takes, err
	}
	text, err := n.Run(ctx, "cat", stepsFile)
	if err != nil {
		return nil, nil, takes, err
	}
	main, rest, err = moments(text)
	return main, rest, takes, err
}

// halfWay is how long nothing new must have begun for the middle of it to be a
// moment.
const halfWay = 5 * time.Second

func moments(steps string) (main, rest []moment, err error) {
	var last string
	var lastAt float64
	for line := range strings.Lines(steps) {
		stamp, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), " ")
		at, err := strconv.ParseFloat(stamp, 64)
		if err != nil || name == "" {
			return nil, nil, fmt.Errorf("step %q", line)
		}
		if gap := time.Duration((at - lastAt) * float64(time.Second)); gap > halfWay && last != "" {
			main = append(main, moment{last, gap / 2})
		}
		last, lastAt = name, at
		op, path, isFile := strings.Cut(name, " ")
		switch {
		case strings.Contains(path, "/lock#"), strings.Contains(path, "/.report.json"), path == "/var/lib#1":
			// No state of the node: who works on it, and what is told of it. Before the
			// first of them there is nothing that could stop.
		case !isFile, strings.HasPrefix(path, "/") && (op == "rename" || op == "unlink" || op == "symlink"),
			op == "fsync" && strings.Contains(path, "/journal#"), !strings.HasPrefix(path, "/"):
			main = append(main, moment{step: name})
		default:
			rest = append(rest, moment{step: name})
		}
	}
	if len(main) == 0 {
		return nil, nil, errors.New("the fix noted no step")
	}
	return main, rest, nil
}
