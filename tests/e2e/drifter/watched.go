package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// watched is the process of hardener watch on this node: its folder in /proc.
type watched string

func watcher() (watched, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return "", err
	}
	for _, dir := range all {
		text, _ := os.ReadFile(dir + "/cmdline")
		args := strings.Split(string(text), "\x00")
		if len(args) > 1 && filepath.Base(args[0]) == "hardener" && args[1] == "watch" {
			return watched(dir), nil
		}
	}
	return "", errors.New("hardener watch does not run")
}

// rss is the memory that is resident, in MiB; 0 when it has ended.
func (w watched) rss() float64 { return w.status("VmRSS:") }

// own is as much of it as holds no file's pages: those of its program come and go with
// what it does.
func (w watched) own() float64 { return w.status("RssAnon:") }

// status is a figure of proc_pid_status(5) in MiB.
func (w watched) status(name string) float64 {
	text, _ := os.ReadFile(string(w) + "/status")
	_, after, _ := strings.Cut(string(text), name)
	fields := strings.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseFloat(fields[0], 64)
	return kib / 1024
}

// cpu is the time that it has used, to the 10 ms of proc_pid_stat(5).
func (w watched) cpu() time.Duration {
	text, _ := os.ReadFile(string(w) + "/stat")
	_, after, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(after)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}

// settleLimit is how long it may take to come to rest.
const settleLimit = 3 * time.Minute

// quiet waits until it has done nothing for a while.
func (w watched) quiet(ctx context.Context, while time.Duration) error {
	since, used := time.Now(), w.cpu()
	for began := time.Now(); time.Since(began) < settleLimit && time.Since(since) < while; {
		if now := w.cpu(); now != used {
			since, used = time.Now(), now
		}
		if err := pause(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// rest waits until it is at rest, and a while longer, so that each change comes alone
// and at another moment of whatever the node does by itself.
func (w watched) rest(ctx context.Context) error {
	return w.quiet(ctx, 300*time.Millisecond+rand.N(300*time.Millisecond))
}

// shrink waits until it is at rest and has given back its own memory but for limit, in
// MiB, or will not.
func (w watched) shrink(ctx context.Context, limit float64) error {
	if err := w.quiet(ctx, 10*time.Second); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < settleLimit && w.own() > limit; {
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	return nil
}
