// Command drifter makes a lab's control plane worse in every way that hardener watch
// is to notice, one change at a time, and measures how long that takes. It runs on
// the node and prints a JSON line for each figure; what it changes it puts back,
// also when it fails or is told to stop.
//
//	drifter changes   until the log and an Event tell of a change (-n, -restarts)
//	drifter repairs   until a mode or owner is put right (-n)
//	drifter idle      what watching costs while nothing happens (-for)
//	drifter bursts    what many events cost, and whether one of them is missed (-events, -files)
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// missed is after how long a change counts as missed.
const missed = 30 * time.Second

var (
	kubeconfig = flag.String("kubeconfig", "/etc/kubernetes/admin.conf", "with whose rights Events are watched")
	logs       = flag.String("log", "/var/log/pods/kubespray-hardener_watch-*/watch/*.log", "the watcher's log")
	n          = flag.Int("n", 500, "how many changes")
	restarts   = flag.Int("restarts", 10, "how many of them restart the kubelet with other flags")
	only       = flag.String("only", "", "only this kind of change")
	idleFor    = flag.Duration("for", 10*time.Minute, "how long idle watches")
	events     = flag.Int("events", 100000, "how many events come in one burst")
	files      = flag.Int("files", 10000, "how many files are made in another")
)

func main() {
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, flag.Arg(0)); err != nil {
		fmt.Fprintln(os.Stderr, "drifter: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, what string) error {
	if what == "idle" { // without watching Events, which is work for the node
		return idle(ctx)
	}
	e, err := listen(ctx, *logs, *kubeconfig)
	if err != nil {
		return err
	}
	switch what {
	case "changes":
		return changes(ctx, e)
	case "repairs":
		return repairs(ctx, e)
	case "bursts":
		return bursts(ctx, e)
	}
	return fmt.Errorf("no such measurement: %q", what)
}

// print prints a figure.
func print(figure any) error { return json.NewEncoder(os.Stdout).Encode(figure) }

// pause lets the watcher come to rest, so that each change is measured alone.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
