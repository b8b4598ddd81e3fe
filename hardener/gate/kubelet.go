//go:build linux

// Package gate owns the proof that a component of a node took its new
// configuration and is healthy with it: what has to hold before a restart, the
// restart, what has to hold after it, and for how long.
//
// It leaves to others what is written (package txn), and what happens when a
// proof fails (package hardener).
package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// KubeletGate restarts the kubelet of a node and proves that it runs, is heard
// by the cluster, and has what its configuration file says.
type KubeletGate struct {
	FS       fs.FS            // the node's tree, proc included
	Systemd  *systemd.Manager // the node's
	Kubelet  node.Component
	NodeName string

	// AdminConf is the path of a kubeconfig with every right, on a control
	// plane node; empty elsewhere. The kubelet's own serves for all but configz.
	AdminConf string

	Stable time.Duration // how long one process must run without a restart; 0: 30 s
	Limit  time.Duration // within which everything must be proven; 0: 3 min
	Note   func(string)  // hears what could not be asked, once; may be nil

	noted map[string]bool
}

// KubeletSnapshot is what Before saw.
type KubeletSnapshot struct {
	unit       systemd.Unit
	seen       kubeletSeen
	containers map[string]int // running ones by pod UID
	pods       map[string]kubeletPod
	version    string // of the kubelet, "v1.35.4"
	mute       bool   // it cannot be asked for its configuration from here
}

// The defaults of KubeletGate. 30 s are three of the unit's RestartSec=10s: a
// kubelet that exits on start is started again at least twice in them.
const (
	kubeletStable = 30 * time.Second
	kubeletLimit  = 3 * time.Minute
	kubeletPoll   = time.Second
)

func (g *KubeletGate) unit() string {
	if g.Kubelet.Unit != "" {
		return path.Base(g.Kubelet.Unit)
	}
	return "kubelet.service"
}

func (g *KubeletGate) note(format string, args ...any) {
	text := "kubelet: " + fmt.Sprintf(format, args...)
	if g.Note == nil || g.noted[text] {
		return
	}
	if g.noted == nil {
		g.noted = map[string]bool{}
	}
	g.noted[text] = true
	g.Note(text)
}

// Before refuses a kubelet that is not healthy now, or that would not come up
// again whatever its configuration says, and takes down how things are. It
// changes nothing, and comes before the edit.
func (g *KubeletGate) Before(ctx context.Context) (KubeletSnapshot, error) {
	s, err := g.before(ctx)
	if err != nil {
		return s, fmt.Errorf("kubelet: before the restart: %w", err)
	}
	return s, nil
}

func (g *KubeletGate) before(ctx context.Context) (s KubeletSnapshot, err error) {
	if s.unit, err = g.Systemd.Unit(ctx, g.unit()); err != nil {
		return s, err
	}
	if !s.unit.Running() {
		return s, fmt.Errorf("%s is %s (%s) %s", g.unit(), s.unit.ActiveState, s.unit.SubState, s.unit.Failure())
	}
	if err := g.healthz(ctx); err != nil {
		return s, err
	}
	api, err := g.api()
	if err != nil {
		return s, err
	}
	if s.seen, err = g.see(ctx, api); err != nil {
		return s, fmt.Errorf("this kubelet reaches no API server: %w", err)
	}
	if s.seen.ready != "True" {
		return s, fmt.Errorf("node %s is not ready: %s", g.NodeName, s.seen.readyText)
	}
	s.version = s.seen.version
	if problems := g.preflight(s.version, time.Now()); len(problems) > 0 {
		return s, fmt.Errorf("it would not start again: %s", strings.Join(problems, "; "))
	}
	if s.containers, err = kubeletContainers(g.FS); err != nil {
		return s, err
	}
	if s.pods, err = g.pods(ctx, api); err != nil {
		return s, err
	}
	if _, err := g.configz(ctx, api); err != nil {
		s.mute = true
		why := err.Error()
		if plainForbidden(err) {
			why = kubeletNoRights
		}
		g.note("which configuration it has cannot be asked: %s", why)
	}
	return s, nil
}

// api is the API server as the kubelet itself reaches it, with its credentials:
// they are enough for its own Node, Lease and pods.
func (g *KubeletGate) api() (*plainAPI, error) {
	if g.Kubelet.Kubeconfig == "" {
		return nil, errors.New("it has no kubeconfig")
	}
	return openPlainAPI(g.FS, g.Kubelet.Kubeconfig, "")
}

// Restart makes systemd read the unit again if its files have changed, and
// restarts it. That a Type=simple unit was started proves nothing: Prove does.
func (g *KubeletGate) Restart(ctx context.Context) error {
	u, err := g.Systemd.Unit(ctx, g.unit())
	if err == nil && u.NeedDaemonReload {
		err = g.Systemd.Reload(ctx)
	}
	if err == nil {
		err = g.Systemd.Restart(ctx, g.unit())
	}
	if err != nil {
		return fmt.Errorf("kubelet: %w", err)
	}
	return nil
}

// Prove waits until the restarted kubelet is proven, and fails as soon as it
// cannot be any more: it exits again and again, does not have a value of its
// configuration file, or has turned a pod away. It tells what is missing when
// the limit has passed.
func (g *KubeletGate) Prove(ctx context.Context, before KubeletSnapshot) error {
	if err := g.prove(ctx, before); err != nil {
		return fmt.Errorf("kubelet: after the restart: %w", err)
	}
	return nil
}

func (g *KubeletGate) prove(ctx context.Context, before KubeletSnapshot) error {
	api, err := g.api()
	if err != nil {
		return err
	}
	stable, limit := g.Stable, g.Limit
	if stable == 0 {
		stable = kubeletStable
	}
	if limit == 0 {
		limit = kubeletLimit
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	p := kubeletProof{g: g, api: api, before: before, stable: stable}
	tick := time.NewTicker(kubeletPoll)
	defer tick.Stop()
	for {
		missing, err := p.look(ctx)
		if err != nil {
			return err
		}
		if missing == "" {
			return nil
		}
		p.missing = missing
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("not proven within %s: %s", limit, p.missing)
		}
	}
}

// kubeletProof is what Prove has found so far.
type kubeletProof struct {
	g       *KubeletGate
	api     *plainAPI
	before  KubeletSnapshot
	stable  time.Duration
	missing string

	unit      systemd.Unit // the process that is being watched
	since     time.Time    // it has been
	exits     int          // of processes before it
	lastExit  int          // PID of the last one
	lease     string       // renewTime as first seen after the restart
	advanced  bool
	configzOK bool
}

// look does one round. It returns what is still missing, or an error when the
// proof has failed for good.
func (p *kubeletProof) look(ctx context.Context) (missing string, err error) {
	u, err := p.g.Systemd.Unit(ctx, p.g.unit())
	if err != nil {
		if ctx.Err() != nil {
			return "", fmt.Errorf("not proven: %s: %w", p.missing, context.Cause(ctx))
		}
		return "", err
	}
	if !u.Running() {
		if u.ExecMainPID != p.lastExit && u.ExecMainCode != 0 {
			p.lastExit = u.ExecMainPID
			p.exits++
		}
		// One exit may have a reason that passes; the second has none.
		if u.ActiveState == "failed" || u.Down() || p.exits > 1 {
			return "", fmt.Errorf("%s does not stay up: %s%s", p.g.unit(), u.Failure(), kubeletLastWords(p.g.FS, p.lastExit))
		}
		p.since = time.Time{}
		return fmt.Sprintf("%s is %s (%s): %s", p.g.unit(), u.ActiveState, u.SubState, u.Failure()), nil
	}
	if p.since.IsZero() || u.MainPID != p.unit.MainPID || u.NRestarts != p.unit.NRestarts {
		if !p.since.IsZero() {
			p.exits++
			p.lastExit = p.unit.MainPID
		}
		if p.exits > 1 {
			return "", fmt.Errorf("%s does not stay up: %s%s", p.g.unit(), u.Failure(), kubeletLastWords(p.g.FS, p.lastExit))
		}
		p.unit, p.since, p.lease, p.advanced, p.configzOK = u, time.Now(), "", false, false
	}
	if err := p.g.healthz(ctx); err != nil {
		return err.Error(), nil
	}
	if missing, err := p.configured(ctx); missing != "" || err != nil {
		return missing, err
	}
	if missing := p.heard(ctx); missing != "" {
		return missing, nil
	}
	if missing, err := p.complete(ctx); missing != "" || err != nil {
		return missing, err
	}
	if up := time.Since(p.since); up < p.stable {
		return fmt.Sprintf("up for %s, %s are asked for", up.Round(time.Second), p.stable), nil
	}
	return "", nil
}

// heard asks for the signs of life that the cluster goes by.
func (p *kubeletProof) heard(ctx context.Context) (missing string) {
	now, err := p.g.see(ctx, p.api)
	if err != nil {
		return err.Error()
	}
	switch {
	case p.lease == "":
		p.lease = now.renewed
	case p.lease != now.renewed:
		p.advanced = true
	}
	// The heartbeat is the kubelet's own clock, which is this node's, cut to
	// whole seconds.
	if now.ready != "True" || now.heartbeat.Before(p.unit.ExecMainStart.Truncate(time.Second)) {
		return fmt.Sprintf("node %s is not reported ready since the restart: %s", p.g.NodeName, now.readyText)
	}
	if !p.advanced {
		return fmt.Sprintf("the lease of node %s is not renewed since the restart", p.g.NodeName)
	}
	return ""
}

// Watch looks on for a time after the proof: the same process, healthy, the node
// ready. A fault that lasts for three looks is one.
func (g *KubeletGate) Watch(ctx context.Context, d time.Duration) error {
	if err := g.watch(ctx, d); err != nil {
		return fmt.Errorf("kubelet: watched for %s: %w", d, err)
	}
	return nil
}

func (g *KubeletGate) watch(ctx context.Context, d time.Duration) error {
	api, err := g.api()
	if err != nil {
		return err
	}
	first, err := g.Systemd.Unit(ctx, g.unit())
	if err != nil {
		return err
	}
	end := time.NewTimer(d)
	defer end.Stop()
	tick := time.NewTicker(5 * kubeletPoll)
	defer tick.Stop()
	for bad := 0; ; {
		fault := g.healthz(ctx)
		if fault == nil {
			var now kubeletSeen
			if now, fault = g.see(ctx, api); fault == nil && now.ready != "True" {
				fault = fmt.Errorf("node %s: %s", g.NodeName, now.readyText)
			}
		}
		u, err := g.Systemd.Unit(ctx, g.unit())
		if err != nil {
			return err
		}
		if u.MainPID != first.MainPID || u.NRestarts != first.NRestarts {
			return fmt.Errorf("%s was restarted: process %d, now %d %s", g.unit(), first.MainPID, u.MainPID, u.Failure())
		}
		if bad++; fault == nil {
			bad = 0
		} else if bad == 3 {
			return fault
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// healthz asks the kubelet about itself where its configuration says.
func (g *KubeletGate) healthz(ctx context.Context) error {
	set, err := g.settings()
	if err != nil {
		return err
	}
	port, address := set.text("healthzPort", "10248"), set.text("healthzBindAddress", "127.0.0.1")
	if port == "0" {
		g.note("its healthz is switched off")
		return nil
	}
	if slices.Contains([]string{"0.0.0.0", "::"}, address) {
		address = "localhost"
	}
	if strings.Contains(address, ":") {
		address = "[" + address + "]"
	}
	var said string
	if err := plainDo(ctx, kubeletHealthClient, http.MethodGet, "http://"+address+":"+port+"/healthz", nil, &said); err != nil {
		return err
	}
	if strings.TrimSpace(said) != "ok" {
		return fmt.Errorf("healthz says %.100q", said)
	}
	return nil
}

// kubeletHealthClient keeps no connection: one to the process before the restart
// would only fail. It knows no proxy.
var kubeletHealthClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
