// Command victim runs on a node and does what a fix does up to the proof, which
// never comes: it arms the dead-man switch, changes a file, says so, and waits
// for what the test does to it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/deadman"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/txn"
)

func main() {
	within := flag.Duration("within", time.Hour, "deadline")
	again := flag.Duration("again", 0, "arm once more, with this deadline")
	file := flag.String("file", "/etc/etcd.env", "file to change")
	content := flag.String("content", "VALUE=new\n", "its new content")
	component := flag.String("component", "etcd", "component of the change")
	keep := flag.Bool("keep", false, "keep the group as proven")
	commit := flag.Bool("commit", false, "commit, disarm and end")
	program := flag.String("program", "/usr/local/bin/hardener", "program to leave on the node")
	flag.Parse()
	if err := run(context.Background(), *within, *again, *file, *content, *component, *program, *keep, *commit); err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, within, again time.Duration, file, content, component, program string, keep, commit bool) error {
	root, err := host.Open("/")
	if err != nil {
		return err
	}
	store, err := txn.Open(root)
	if err != nil {
		return err
	}
	defer store.Close()
	r, err := store.Begin(txn.RunInfo{Command: "victim"})
	if err != nil {
		return err
	}
	o := deadman.Options{Root: root, Store: store, Run: r.ID(), Within: within, Program: program}
	began := time.Now()
	disarm, err := deadman.Arm(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("armed in %s\n", time.Since(began).Round(time.Millisecond))
	if again > 0 {
		o.Within = again
		if disarm, err = deadman.Arm(ctx, o); err != nil {
			return err
		}
	}
	c := txn.Change{Kind: txn.Write, Path: file, Content: []byte(content), Mode: 0o644, Component: component, Expect: txn.State{Absent: true}}
	if old, err := root.ReadFile(file[1:]); err == nil {
		info, err := root.Stat(file[1:])
		if err != nil {
			return err
		}
		c.Mode, c.Expect = info.Mode(), txn.State{Mode: info.Mode(), Digest: txn.Digest(old)}
	}
	if err := r.Apply(ctx, []txn.Change{c}); err != nil {
		return err
	}
	if keep {
		if err := r.Keep(); err != nil {
			return err
		}
	}
	if commit {
		if err := r.Commit(); err != nil {
			return err
		}
		return disarm(ctx)
	}
	fmt.Println("changed")
	for { // deaf to SIGTERM too, when a test stops it
		time.Sleep(time.Hour)
	}
}
