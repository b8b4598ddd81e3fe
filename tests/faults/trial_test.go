//go:build e2e

package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
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
	// strike does it to a node whose fix waits before a step, and returns what ends
	// it, nil for what ends by itself.
	strike func(ctx context.Context, n *machine.Node) (undo func(context.Context) error, err error)
	// step is where it strikes; "" for another moment each time.
	step string
	// stays says that it ends only after the fix has.
	stays bool
	// fails wants the fix to say so; else it may succeed, when it was done before
	// the fault struck.
	fails bool
}

// The process killed and the power cut: those are tried at every moment.
var (
	killed = fault{name: "killed", strike: func(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
		return nil, n.KillProcess(ctx, "hardener")
	}}
	powerCut = fault{name: "power cut", strike: func(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
		if err := n.CutPower(ctx); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error { return n.Start(ctx, nil) }, nil
	}}
)

// others are what else goes wrong.
var others = []fault{
	{name: "unknown flag", inject: "unknown-flag", fails: true},
	{name: "disk full", strike: func(_ context.Context, n *machine.Node) (func(context.Context) error, error) {
		undo, err := n.Fill(0)
		if errors.Is(err, unix.ENOSPC) {
			err = nil
		}
		return func(context.Context) error { return undo() }, err
	}},
	{name: "API unreachable from the first edit on", strike: cutAPI, step: firstEdit, stays: true, fails: true},
	{name: "never ready", inject: "never-ready", fails: true},
	{name: "no kubelet", inject: "no-kubelet", fails: true},
	{name: "no etcd", inject: "no-etcd", fails: true,
		prepare: "sed -i s/ETCD_CLIENT_CERT_AUTH=true/ETCD_CLIENT_CERT_AUTH=false/ /etc/etcd.env && systemctl restart etcd"},
	{name: "API unreachable for a while", strike: cutAPI},
	{name: "power cut twice", strike: func(ctx context.Context, n *machine.Node) (func(context.Context) error, error) {
		if err := n.CutPower(ctx); err != nil {
			return nil, err
		}
		return func(ctx context.Context) error {
			if err := n.Start(ctx, nil); err != nil {
				return err
			}
			if err := n.CutPower(ctx); err != nil {
				return err
			}
			return n.Start(ctx, nil)
		}, nil
	}},
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
	moment  moment        // when it strikes, if it does
	lasts   time.Duration // until it ends
}

func (t trial) String() string {
	if t.strike == nil {
		return t.name
	}
	text := t.name + " " + t.moment.String()
	if t.lasts > 0 && !t.stays {
		text += fmt.Sprintf(" for %.0f s", t.lasts.Seconds())
	}
	return text
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

// fixLimit is within which a fix has to end that can still do so: without an API
// server every proof takes its longest, with the new files and with the old.
const fixLimit = 30 * time.Minute

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
	fix := t.node.Command(ctx, "env", "HARDENER_INJECT="+t.inject, "HARDENER_STOP="+t.moment.step,
		"hardener", "fix", soak, "--benchmark=cis-1.12", "--kubeconfig=/root/.kube/config")
	var said strings.Builder
	fix.Stderr = &said
	if err := fix.Start(); err != nil {
		return o, err
	}
	ended := make(chan error, 1)
	go func() { ended <- fix.Wait() }()
	undo := func(context.Context) error { return nil }
	if t.strike != nil {
		end, err := t.atMoment(ctx, ended)
		if err != nil {
			return o, fmt.Errorf("the fault itself: %w; the fix said: %s", err, lastLine(said.String()))
		}
		if end != nil {
			undo = end
		}
	}
	if !t.stays {
		time.Sleep(t.lasts)
		if err := undo(ctx); err != nil {
			return o, fmt.Errorf("the end of the fault: %w", err)
		}
	}
	var fixErr error
	began := time.Now()
	select {
	case fixErr = <-ended:
	case <-time.After(fixLimit):
		return o, fmt.Errorf("the fix does not end: %s", lastLine(said.String()))
	}
	if t.stays {
		if err := undo(ctx); err != nil {
			return o, fmt.Errorf("the end of the fault: %w", err)
		}
		began = time.Now()
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
	return o, fmt.Errorf("not whole within %s of the end of the fault: %w; the fix said: %s\n%s", settleLimit, err, o.said, t.evidence(ctx))
}

// evidence is what the node itself says about why it is not whole.
func (t trial) evidence(ctx context.Context) string {
	const ask = `ctr -n k8s.io containers list; ctr -n k8s.io images list -q | grep -v ^sha256; df -h /
journalctl --no-pager -n 2000 -u kubelet | grep -E '^[^ ]+ [^ ]+ [^ ]+ [^ ]+ kubelet[^ ]+ [EF]|emoving image|Error' | tail -n 25 | cut -c -600`
	out, err := t.node.Run(ctx, "sh", "-c", ask)
	if err != nil {
		return err.Error()
	}
	return out
}

// atMoment strikes when the fix is there, and returns what ends the fault.
func (t trial) atMoment(ctx context.Context, ended <-chan error) (func(context.Context) error, error) {
	root, err := t.node.Root()
	if err != nil {
		return nil, err
	}
	stopped := root + stoppedFile
	for _, err := os.Stat(stopped); err != nil; _, err = os.Stat(stopped) {
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the fix ended before it got there: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	goOn := func() error { return os.Remove(stopped) }
	if t.moment.later > 0 {
		if err := goOn(); err != nil {
			return nil, err
		}
		select {
		case err := <-ended:
			return nil, fmt.Errorf("the fix ended before it got there: %v", err)
		case <-time.After(t.moment.later):
		}
		return t.strike(ctx, t.node)
	}
	undo, err := t.strike(ctx, t.node)
	if err == nil && t.node.Running() {
		err = goOn()
	}
	return undo, err
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndex(text, "\n")+1:]
}
