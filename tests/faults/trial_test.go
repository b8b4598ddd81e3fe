//go:build e2e

package faults

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// A fault is one way in which a fix goes wrong.
type fault struct {
	name string
	// inject is the mistake that the program under test makes by itself, see
	// cmd/hardener/inject.go.
	inject string
	// prepare makes room for it on a fresh node.
	prepare string
	// strike does it to a node whose fix has run for a while, and returns what
	// ends it, nil for what ends by itself.
	strike func(ctx context.Context, n *machine.Node) (undo func(context.Context) error, err error)
	// fails wants the fix to say so; else it may succeed, when it was done before
	// the fault struck.
	fails bool
}

// faults are all of them. Those that strike do so at a random moment of the fix.
var faults = []fault{
	{name: "killed", strike: func(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
		err := n.KillProcess(ctx, "hardener")
		if err != nil && strings.Contains(err.Error(), "exit status 1") {
			err = nil // it had ended
		}
		return nil, err
	}},
	{name: "power cut", strike: func(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
		if err := n.CutPower(ctx); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return n.Start(ctx, nil) }, nil
	}},
	{name: "API unreachable", strike: cutAPI},
	{name: "disk full", strike: func(_ context.Context, n *machine.Node) (func(context.Context) error, error) {
		undo, err := n.Fill(0)
		if errors.Is(err, unix.ENOSPC) {
			err = nil
		}
		return func(context.Context) error { return undo() }, err
	}},
	{name: "unknown flag", inject: "unknown-flag", fails: true},
	{name: "never ready", inject: "never-ready", fails: true},
	{name: "no kubelet", inject: "no-kubelet", fails: true},
	{name: "no etcd", inject: "no-etcd", fails: true,
		prepare: "sed -i s/ETCD_CLIENT_CERT_AUTH=true/ETCD_CLIENT_CERT_AUTH=false/ /etc/etcd.env && systemctl restart etcd"},
}

// cutAPI lets nobody on the node reach an API server, not the node's own either.
func cutAPI(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
	rule := func(ctx context.Context, action string) error {
		_, err := n.Run(ctx, "iptables", "-w", action, "OUTPUT", "-p", "tcp", "--dport", "6443", "-j", "REJECT", "--reject-with", "tcp-reset")
		return err
	}
	if err := rule(ctx, "-I"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return rule(ctx, "-D") }, nil
}

// trial is one fix that goes wrong.
type trial struct {
	fault
	cluster *lab.Cluster
	node    *machine.Node
	after   time.Duration // when it strikes
	lasts   time.Duration // until it ends
}

// outcome is what a trial came to.
type outcome struct {
	state   string        // of the node's files: old, new, or both by component
	settled time.Duration // from the end of the fault until the node was whole and healthy
	said    string        // the last words of the fix
}

// settleLimit is within which a node has to be healthy again after a fault has
// ended. The switch looks every half minute; a control plane that boots, or an API
// server that is restarted twice, takes two or three.
const settleLimit = 12 * time.Minute

// run does the trial on a cluster that is as it came up.
func (t trial) run(ctx context.Context, known states) (outcome, error) {
	if t.prepare != "" {
		if _, err := t.node.Run(ctx, "sh", "-c", t.prepare); err != nil {
			return outcome{}, err
		}
		if err := t.cluster.Ready(ctx, time.Time{}); err != nil {
			return outcome{}, err
		}
	}
	var o outcome
	fix := t.node.Command(ctx, "env", "HARDENER_INJECT="+t.inject, "hardener", "fix", "--soak=20s", "--benchmark=cis-1.12", "--kubeconfig=/root/.kube/config")
	var said strings.Builder
	fix.Stderr = &said
	if err := fix.Start(); err != nil {
		return o, err
	}
	ended := make(chan error, 1)
	go func() { ended <- fix.Wait() }()
	if t.strike != nil {
		time.Sleep(t.after)
		undo, err := t.strike(ctx, t.node)
		if err != nil {
			return o, fmt.Errorf("the fault itself: %w", err)
		}
		if undo != nil {
			time.Sleep(t.lasts)
			if err := undo(ctx); err != nil {
				return o, fmt.Errorf("the end of the fault: %w", err)
			}
		}
	}
	began := time.Now()
	var fixErr error
	select {
	case fixErr = <-ended:
	case <-time.After(settleLimit):
		return o, fmt.Errorf("the fix does not end: %s", lastLine(said.String()))
	}
	o.said = lastLine(said.String())
	if t.fails && fixErr == nil {
		return o, errors.New("the fix succeeded with a mistake in it")
	}
	if t.inject != "" && !strings.Contains(said.String(), "restored") {
		return o, fmt.Errorf("the fix does not say what it put back: %s", o.said)
	}
	var err error
	for time.Since(began) < settleLimit {
		if o.state, err = t.whole(ctx, known); err == nil {
			o.settled = time.Since(began)
			return o, nil
		}
		time.Sleep(time.Second)
	}
	return o, fmt.Errorf("not whole within %s of the end of the fault: %w; the fix said: %s", settleLimit, err, o.said)
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}

// moment is a random time within a fix that takes so long.
func moment(r *rand.Rand, fix time.Duration) time.Duration {
	return time.Duration(r.Int64N(int64(fix)))
}
