package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/deadman"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/gate"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

// liveNode is what a fix or a rollback on a live node restarts components with.
type liveNode struct {
	gates *gate.Gates
	soak  time.Duration
	tree  *host.FS
}

// openLive makes the gates of a live node. Nothing is connected to before it is
// needed. Whoever calls it closes the result.
func openLive(at hostFlags, tree *host.FS, options hardener.Options, soak time.Duration, say func(string)) (*liveNode, error) {
	gates, err := gate.New(gate.Options{
		Root: at.root, FS: tree, Space: tree.Space, StartedBy: at.startedBy, Log: say,
		Detect:  func() (node.Facts, error) { return hardener.Detect(options) },
		Systemd: func(ctx context.Context) (*systemd.Manager, error) { return systemd.Open(ctx, tree) },
	})
	if err != nil {
		return nil, err
	}
	return &liveNode{gates: gates, soak: soak, tree: tree}, nil
}

func (n *liveNode) Close() error { return n.gates.Close() }

// Fit is the gate's.
func (n *liveNode) Fit(ctx context.Context, components []string) error {
	return n.gates.Fit(ctx, components)
}

// Before is the gate's. When it fails, what it returns can still tell whether the
// component runs what its files say, and is healthy.
func (n *liveNode) Before(ctx context.Context, component string) (func(context.Context) error, error) {
	before, err := n.gates.Before(ctx, component)
	return func(ctx context.Context) error { return n.gates.Take(ctx, component, before) }, err
}

// Soak is the gate's.
func (n *liveNode) Soak(ctx context.Context, components []string) error {
	return n.gates.Soak(ctx, components, n.soak)
}

// deadMan is the node's dead-man switch for a run of a store.
func (n *liveNode) deadMan(store *txn.Store, run string) hardener.DeadMan {
	return func(ctx context.Context, deadline time.Duration) (func(context.Context) error, error) {
		return deadman.Arm(ctx, deadman.Options{Root: n.tree, Store: store, Run: run, Within: deadline + n.soak})
	}
}

// unknownFlags tells which flags the program of a process does not know: whose
// name is nowhere in it, as that of every flag is that a program defines. A
// program that cannot be opened, because the process has ended, lacks none.
func unknownFlags(procDir string) func(pid int, names []string) ([]string, error) {
	return func(pid int, names []string) (unknown []string, err error) {
		for _, name := range names {
			program, err := os.Open(filepath.Join(procDir, strconv.Itoa(pid), "exe"))
			if errors.Is(err, os.ErrNotExist) {
				return nil, nil
			}
			if err != nil {
				return nil, err
			}
			found, err := contains(program, []byte(name))
			if err := errors.Join(err, program.Close()); err != nil {
				return nil, err
			}
			if !found {
				unknown = append(unknown, name)
			}
		}
		return unknown, nil
	}
}

// contains looks for a text in a file of any size.
func contains(r io.Reader, text []byte) (bool, error) {
	buf := make([]byte, 1<<20)
	kept := 0 // bytes at the start of buf that the text may begin in
	for {
		n, err := r.Read(buf[kept:])
		if bytes.Contains(buf[:kept+n], text) {
			return true, nil
		}
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		tail := min(len(text)-1, kept+n)
		copy(buf, buf[kept+n-tail:kept+n])
		kept = tail
	}
}
