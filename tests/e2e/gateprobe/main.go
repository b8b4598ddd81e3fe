// Command gateprobe calls the gates of package gate on the node on which it
// runs, for the end-to-end tests, and prints what came of it as JSON.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/gate"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// result is what is printed.
type result struct {
	Error    string         `json:"error,omitempty"`
	Seconds  float64        `json:"seconds"`
	Snapshot *gate.Snapshot `json:"snapshot,omitempty"`
}

func main() {
	components := flag.String("components", node.Scheduler, "components, separated by commas")
	before := flag.String("before", "", "a snapshot, as JSON")
	soak := flag.Duration("soak", time.Minute, "how long soak watches")
	flag.Parse()
	r, err := run(flag.Arg(0), strings.Split(*components, ","), *before, *soak)
	if err != nil {
		r.Error = err.Error()
	}
	if err := json.NewEncoder(os.Stdout).Encode(r); err != nil {
		fmt.Fprintln(os.Stderr, "gateprobe: error:", err)
		os.Exit(3)
	}
}

func run(what string, components []string, before string, soak time.Duration) (r result, err error) {
	tree, err := host.Open("/")
	if err != nil {
		return r, err
	}
	defer tree.Close()
	began := time.Now()
	g, err := gate.New(gate.Options{
		Root: "/", FS: tree, Space: tree.Space, Detect: func() (node.Facts, error) { return detect(tree) },
		Systemd: func(ctx context.Context) (*systemd.Manager, error) { return systemd.Open(ctx, tree) },
		Log:     func(line string) { fmt.Fprintf(os.Stderr, "%6.1f %s\n", time.Since(began).Seconds(), line) },
	})
	if err != nil {
		return r, err
	}
	defer func() {
		err = errors.Join(err, g.Close())
		r.Seconds = time.Since(began).Seconds()
	}()
	ctx := context.Background()
	switch what {
	case "fit":
		return r, g.Fit(ctx, components)
	case "before":
		s, err := g.Before(ctx, components[0])
		r.Snapshot = &s
		return r, err
	case "take":
		var s gate.Snapshot
		if before != "" {
			if err := json.Unmarshal([]byte(before), &s); err != nil {
				return r, err
			}
		}
		return r, g.Take(ctx, components[0], s)
	case "soak":
		return r, g.Soak(ctx, components, soak)
	}
	return r, fmt.Errorf("%q is none of fit, before, take, soak", what)
}

func detect(tree *host.FS) (node.Facts, error) {
	procs, err := node.ReadProcesses(tree)
	if err != nil {
		return node.Facts{}, err
	}
	users, err := node.ReadUsers(tree)
	if err != nil {
		return node.Facts{}, err
	}
	return node.Detect(tree, procs, users)
}
