package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// noticed is how long a change took to be noticed, in milliseconds.
type noticed struct {
	Kind    string  `json:"kind"`
	Path    string  `json:"path"`
	Verdict float64 `json:"verdict"`
	Event   float64 `json:"event"`
	CPU     float64 `json:"cpu"`              // of the watcher, until this and the end of it was told
	Missed  string  `json:"missed,omitempty"` // what was not said in time
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// maxMissed is after how many missed changes there is nothing to measure.
const maxMissed = 5

// changes makes changes of all kinds in turn. Seeded, so that two runs make the same.
func changes(ctx context.Context, e *ear) error {
	all := kinds()
	restart := all["restarted"]
	delete(all, "restarted")
	if *only != "" {
		all, restart = map[string][]change{*only: kinds()[*only]}, nil
	}
	random := rand.New(rand.NewPCG(1, 2))
	names := slices.Sorted(maps.Keys(all))
	w, err := watcher()
	if err != nil {
		return err
	}
	missed := 0
	for i, made := 0, 0; i < *n; i++ {
		kind := all[names[i%len(names)]]
		c := kind[random.IntN(len(kind))]
		if len(restart) > 0 && made < *restarts && i*(*restarts) >= made*(*n) {
			c = restart[made%len(restart)]
			made++
		}
		seen := notice(ctx, e, w, c)
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := print(seen); err != nil {
			return err
		}
		if seen.Missed != "" {
			if missed++; missed == maxMissed {
				return fmt.Errorf("%d changes were missed", missed)
			}
		}
	}
	return nil
}

// notice makes one change, waits until it is told in the log and to the cluster, and
// undoes it, until that is told as well.
func notice(ctx context.Context, e *ear, w watched, c change) (seen noticed) {
	seen = noticed{Kind: c.kind, Path: c.path}
	var undone []func() error
	undo := func() (err error) {
		for _, u := range slices.Backward(undone) {
			err = errors.Join(err, u())
		}
		undone = nil
		return err
	}
	err := func() error {
		if c.prepare != nil {
			undone = append(undone, c.finish)
			if err := c.prepare(); err != nil {
				return err
			}
		}
		if err := w.rest(ctx); err != nil {
			return err
		}
		used := w.cpu()
		undone = append(undone, c.undo)
		since, err := c.make()
		if err != nil {
			return err
		}
		verdict, err := e.wait(ctx, since, c.kind+" "+c.path, func(h heard) bool { return h.line("drift: ", c.words) })
		if err != nil {
			return err
		}
		event, err := e.wait(ctx, since, "Event of "+c.path, func(h heard) bool { return h.event == "DriftDetected" && strings.Contains(h.text, c.words) })
		if err != nil {
			return err
		}
		seen.Verdict, seen.Event = ms(verdict.at.Sub(since)), ms(event.at.Sub(since))
		// A check that was not told yet would go without a word.
		opened := func() map[string]bool {
			return e.numbers(since, func(h heard) bool { return h.line("drift: ", "") })
		}
		if _, err = e.wait(ctx, since, "Events of all checks", func(heard) bool {
			return within(opened(), e.numbers(since, func(h heard) bool { return h.event == "DriftDetected" }))
		}); err != nil {
			return err
		}
		back := time.Now()
		if err := undo(); err != nil {
			return err
		}
		_, err = e.wait(ctx, since, "the end of "+c.kind+" "+c.path, func(heard) bool {
			return within(opened(), e.numbers(back, func(h heard) bool { return h.line("drift gone: ", "") }))
		})
		seen.CPU = ms(w.cpu() - used)
		return err
	}()
	if err = errors.Join(err, undo()); err != nil {
		seen.Missed = err.Error()
	}
	return seen
}

// within tells whether all of some are among others.
func within(some, others map[string]bool) bool {
	for id := range some {
		if !others[id] {
			return false
		}
	}
	return true
}

// repairs makes modes and owners bad and waits for them to be put right.
func repairs(ctx context.Context, e *ear) error {
	w, err := watcher()
	if err != nil {
		return err
	}
	for i := range *n {
		if err := w.rest(ctx); err != nil {
			return err
		}
		path := judged[i/2%len(judged)]
		before := stat(path)
		limit := fs.FileMode(0o600)
		if strings.HasSuffix(path, ".crt") {
			limit = 0o644
		}
		c := mode(path, 0o666)
		if i%2 == 1 {
			c = owner(path, 1000)
		}
		since, err := c.make()
		if err != nil {
			return err
		}
		seen := noticed{Kind: "repaired " + c.kind, Path: path}
		for {
			now := stat(path)
			if now.mode&^limit == 0 && now.uid == 0 && now.gid == 0 {
				seen.Verdict = ms(time.Since(since))
				break
			}
			if time.Since(since) > missed || ctx.Err() != nil {
				seen.Missed = fmt.Sprintf("mode %o, owner %d:%d after %s; heard: %s", now.mode, now.uid, now.gid, missed, e.last(since))
				break
			}
			time.Sleep(time.Millisecond)
		}
		if seen.Missed == "" {
			if _, err := e.wait(ctx, since, "repaired", func(h heard) bool { return h.line("drift repaired", "") }); err != nil {
				seen.Missed = err.Error()
			}
		}
		os.Chmod(path, before.mode)
		os.Lchown(path, before.uid, before.gid)
		if err := print(seen); err != nil {
			return err
		}
	}
	return nil
}

// idle measures what watching costs while nothing happens.
func idle(ctx context.Context) error {
	w, err := watcher()
	if err != nil {
		return err
	}
	if err := w.quiet(ctx, 10*time.Second); err != nil {
		return err
	}
	began, used, peak := time.Now(), w.cpu(), 0.0
	for time.Since(began) < *idleFor {
		peak = max(peak, w.rss())
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
	took, spent := time.Since(began), w.cpu()-used
	return print(map[string]any{
		"seconds": took.Seconds(), "resident": w.rss(), "peak": peak,
		"cpu": ms(spent), "percent": 100 * spent.Seconds() / took.Seconds(),
	})
}

// maxGrowth is what may be left of memory after a burst of events, in MiB.
const maxGrowth = 2

// bursts measures what many events leave behind, and whether one that matters is
// found among them.
func bursts(ctx context.Context, e *ear) error {
	w, err := watcher()
	if err != nil {
		return err
	}
	if err := w.quiet(ctx, 10*time.Second); err != nil {
		return err
	}
	before := w.own()
	neighbour, interesting := pki+"/.neighbour", "/etc/kubernetes/admin.conf"
	if err := lay(neighbour, file{mode: 0o600}); err != nil {
		return err
	}
	began, peak := time.Now(), 0.0
	for i := range *events {
		path := []string{neighbour, interesting}[i%2] // in turn: the kernel counts equal ones in a row as one
		if err := os.Chtimes(path, time.Time{}, time.Now()); err != nil {
			return err
		}
		if i%1000 == 0 {
			peak = max(peak, w.rss())
		}
	}
	took := time.Since(began)
	if err := os.Remove(neighbour); err != nil {
		return err
	}
	if err := w.shrink(ctx, before+maxGrowth); err != nil {
		return err
	}
	if err := print(map[string]any{
		"what": "events", "n": *events, "seconds": took.Seconds(), "before": before, "peak": peak, "after": w.own(),
	}); err != nil {
		return err
	}
	return burstOfFiles(ctx, e, w)
}

// burstOfFiles makes many files, one of which, in the middle, anybody may read.
func burstOfFiles(ctx context.Context, e *ear, w watched) (err error) {
	before := w.own()
	name := func(i int) string { return filepath.Join(pki, fmt.Sprintf("burst-%05d.key", i)) }
	remove := func() {
		for i := range *files {
			os.Remove(name(i))
		}
	}
	defer remove()
	began := time.Now()
	var since time.Time
	for i := range *files {
		f := file{mode: 0o600}
		if i == *files/2 {
			f.mode = 0o666
		}
		if err := lay(name(i), f); err != nil {
			return err
		}
		if i == *files/2 {
			since = time.Now()
		}
	}
	made := time.Now()
	verdict, err := e.wait(ctx, began, "the one file in a burst", func(h heard) bool { return h.line("drift: ", "1.1.21 ") })
	if err != nil {
		return err
	}
	event, err := e.wait(ctx, began, "Event of the one file in a burst", func(h heard) bool {
		return h.event == "DriftDetected" && strings.Contains(h.text, "1.1.21 ")
	})
	if err != nil {
		return err
	}
	peak := w.rss()
	undone := time.Now()
	remove()
	if _, err := e.wait(ctx, undone, "the end of a burst", func(h heard) bool { return h.line("drift gone: ", "1.1.21") }); err != nil {
		return err
	}
	if err := w.shrink(ctx, before+maxGrowth); err != nil {
		return err
	}
	return print(map[string]any{
		"what": "files", "n": *files, "seconds": made.Sub(began).Seconds(), "verdict": ms(verdict.at.Sub(since)), "event": ms(event.at.Sub(since)),
		"before": before, "peak": peak, "after": w.own(),
	})
}
