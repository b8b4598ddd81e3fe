package machine

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// Fill takes all room on the node's disk but for leave bytes, until undo.
func (n *Node) Fill(leave int64) (undo func() error, err error) {
	disk, err := n.diskMount()
	if err != nil {
		return nil, err
	}
	return Fill(disk, leave)
}

// ReadOnly makes the node's disk read-only, as the kernel does after an I/O error,
// until the node is switched off and on.
func (n *Node) ReadOnly() error {
	disk, err := n.diskMount()
	if err != nil {
		return err
	}
	return ReadOnly(disk)
}

// Slow slows the node's disk down, until undo.
func (n *Node) Slow(limit Throttle) (undo func() error, err error) {
	disk, err := n.diskMount()
	if err != nil {
		return nil, err
	}
	return Slow(disk, limit, filepath.Join(cgroupRoot, "blkio", n.cgroup()))
}

// SetClock makes the node's wall clock wrong by offset, until undo; ShiftClock
// says what sees it.
func (n *Node) SetClock(offset time.Duration) (undo func() error, err error) {
	init, err := n.init()
	if err != nil {
		return nil, err
	}
	return ShiftClock(Processes(init.pid), offset)
}

// KillProcess ends the processes of a node that have that name, as the kernel
// does when memory runs out; at least one must be there.
func (n *Node) KillProcess(ctx context.Context, name string) error {
	_, err := n.Run(ctx, "pkill", "-KILL", "-x", name)
	return err
}

// CutPort makes a node drop whatever arrives for a TCP port from another node, as
// a firewall between them does: CutPort(6443) cuts its API server off. Undo lets
// it in again.
func (n *Node) CutPort(ctx context.Context, port int) (undo func(context.Context) error, err error) {
	rule := func(ctx context.Context, action string) error {
		_, err := n.Run(ctx, "iptables", "-w", action, "INPUT", "-i", "host0", "-p", "tcp", "--dport", fmt.Sprint(port), "-j", "DROP")
		return err
	}
	if err := rule(ctx, "-I"); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return rule(ctx, "-D") }, nil
}
