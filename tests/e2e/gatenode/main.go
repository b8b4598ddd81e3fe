// Command gatenode runs on a node of a lab and takes the kubelet or etcd through
// its gate: Before, a shell command that edits files, Restart, Prove, Watch. It
// prints one line of JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/gate"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// outcome is what the tests read.
type outcome struct {
	Stage   string             `json:"stage"` // the last one
	Error   string             `json:"error"`
	Notes   []string           `json:"notes"`
	Seconds map[string]float64 `json:"seconds"` // by stage
}

func main() {
	component := flag.String("component", "kubelet", "kubelet or etcd")
	edit := flag.String("edit", "true", "shell command between Before and Restart")
	watch := flag.Duration("watch", 0, "how long to watch afterwards")
	skipBefore := flag.Bool("back", false, "the component is down: edit, restart and prove without looking before")
	flag.Parse()
	o := outcome{Seconds: map[string]float64{}}
	if err := o.run(context.Background(), *component, *edit, *watch, *skipBefore); err != nil {
		o.Error = err.Error()
	}
	json.NewEncoder(os.Stdout).Encode(o)
}

func (o *outcome) stage(name string, do func() error) error {
	o.Stage = name
	began := time.Now()
	err := do()
	o.Seconds[name] = time.Since(began).Seconds()
	return err
}

func (o *outcome) run(ctx context.Context, component, edit string, watch time.Duration, skipBefore bool) error {
	tree, err := host.Open("/")
	if err != nil {
		return err
	}
	procs, err := node.ReadProcesses(tree)
	if err != nil {
		return err
	}
	users, err := node.ReadUsers(tree)
	if err != nil {
		return err
	}
	facts, err := node.Detect(tree, procs, users)
	if err != nil {
		return err
	}
	m, err := systemd.Open(ctx, tree)
	if err != nil {
		return err
	}
	defer m.Close()
	admin := ""
	if _, err := tree.Stat("etc/kubernetes/admin.conf"); err == nil {
		admin = "/etc/kubernetes/admin.conf"
	}
	note := func(text string) { o.Notes = append(o.Notes, text) }
	change := func() error {
		if out, err := exec.Command("sh", "-c", edit).CombinedOutput(); err != nil {
			return fmt.Errorf("edit: %w: %s", err, out)
		}
		return nil
	}
	var before, restart, prove, look func() error
	switch component {
	case "kubelet":
		g := &gate.KubeletGate{FS: tree, Systemd: m, Kubelet: facts.Components[node.Kubelet], NodeName: facts.NodeName, AdminConf: admin, Note: note}
		var s gate.KubeletSnapshot
		before = func() (err error) { s, err = g.Before(ctx); return err }
		restart = func() error { return g.Restart(ctx) }
		prove = func() error { return g.Prove(ctx, s) }
		look = func() error { return g.Watch(ctx, watch) }
	case "etcd":
		g := &gate.EtcdGate{FS: tree, Systemd: m, Etcd: facts.Components[node.Etcd], AdminConf: admin, Note: note}
		if c, ok := facts.Components[node.APIServer]; ok {
			g.APIServer = &c
		}
		var s gate.EtcdSnapshot
		before = func() (err error) { s, err = g.Before(ctx); return err }
		restart = func() error { return g.Restart(ctx) }
		prove = func() error {
			if skipBefore {
				s.State.Members = 1 // of the small topology
			}
			return g.Prove(ctx, s)
		}
		look = func() error { return g.Watch(ctx, watch) }
	default:
		return fmt.Errorf("no gate for %q", component)
	}
	if skipBefore {
		before = func() error { return nil }
	}
	for _, s := range []struct {
		name string
		do   func() error
	}{{"before", before}, {"edit", change}, {"restart", restart}, {"prove", prove}, {"watch", look}} {
		if err := o.stage(s.name, s.do); err != nil {
			return err
		}
	}
	return nil
}
