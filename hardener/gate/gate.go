package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// Options say which node is proven, and how patiently.
type Options struct {
	Root   string                     // directory in which the host's tree is mounted, "/" or "/host"; sockets are dialled below it
	FS     fs.FS                      // the same tree, for reading, proc included; a *host.FS on a real node
	Detect func() (node.Facts, error) // looks at the node again
	Space  Space                      // of the disks of that tree
	Log    func(string)               // takes one line of progress; may be nil
	Limits Limits                     // the zero value stands for DefaultLimits

	// StartedBy is the process that had us started, in a way that does not make us
	// its descendant: "BOOT-ID/PID", "" for none. It may be one of another machine.
	StartedBy string

	// Systemd connects to the node's, when a component that it runs is asked for.
	Systemd func(context.Context) (*systemd.Manager, error)
}

// Space tells what the file system that holds a directory of the host has free
// for unprivileged programs, and its size, in bytes. Its error for a directory
// that does not exist is fs.ErrNotExist.
type Space func(dir string) (free, size uint64, err error)

// Limits are how long a gate waits. What follows from a manifest or from the
// kubelet's configuration, such as the time of a startup probe, is not here.
type Limits struct {
	Poll    time.Duration // between two looks; a service is looked at after two, and every ten when it is only watched
	Request time.Duration // for one request that brings no timeout of its own
	Margin  time.Duration // on top of every limit that is derived: for a slow machine
	Refused time.Duration // a probe that is answered 401, 403 or 404 for so long is a failure
	Serve   time.Duration // from the first success of the probes until the component does its work
	BackOff time.Duration // the kubelet's longest wait before it starts a container again
	Kubelet time.Duration // until the kubelet's own view agrees, beyond the startup probe's period
	Service time.Duration // within which a restarted service of systemd must be proven
	Stable  time.Duration // how long one kubelet must run without a restart; an etcd, which is up when it has joined, for half of it
	CatchUp time.Duration // for an etcd member to get to where another was; a cluster in use never has all at the same index

	// FileCheck is the kubelet's fileCheckFrequency; 0 takes it from its
	// configuration, or 20 s, its default (pkg/kubelet/apis/config/v1beta1/defaults.go).
	FileCheck time.Duration
}

// DefaultLimits are for a live node. An API server on a small machine takes 40
// seconds from its end to its first answer; a minute of 403 is more than the
// bootstrap of RBAC takes, and a quarter of what kubeadm's startup probe allows.
// A kubelet whose only API server was away for some minutes takes up to a minute
// and a half to show the container that runs: its watch of pods has backed off,
// and until it sees its old mirror pod gone it sends no status of the new one.
// Its back-off is MaxCrashLoopBackOff of pkg/kubelet/kubelet.go. Half a minute are
// three of the kubelet unit's RestartSec=10s: one that exits on start is started
// again at least twice in it.
func DefaultLimits() Limits {
	return Limits{
		Poll: 500 * time.Millisecond, Request: 10 * time.Second, Margin: time.Minute,
		Refused: time.Minute, Serve: 90 * time.Second, BackOff: 5 * time.Minute, Kubelet: 4 * time.Minute,
		Service: 3 * time.Minute, Stable: 30 * time.Second, CatchUp: 10 * time.Second,
	}
}

// Gates prove the components of one node, for one goroutine at a time.
type Gates struct {
	Options
	runtime  *runtime         // made when first needed
	services *systemd.Manager // likewise

	mu   sync.Mutex // several components are watched at once
	said map[string]bool
}

// New makes the gates of a node. It looks at nothing yet.
func New(o Options) (*Gates, error) {
	if o.FS == nil || o.Detect == nil || o.Space == nil || o.Root == "" {
		return nil, errors.New("gate: Root, FS, Detect and Space are needed")
	}
	if o.Limits == (Limits{}) {
		o.Limits = DefaultLimits()
	}
	return &Gates{Options: o}, nil
}

// Close ends the connections to the container runtime and to systemd.
func (g *Gates) Close() error {
	if g.services != nil {
		g.services.Close()
		g.services = nil
	}
	if g.runtime == nil {
		return nil
	}
	err := g.runtime.conn.Close()
	g.runtime = nil
	return err
}

// Snapshot is how a component ran at a moment. It holds no secrets and can be
// kept as JSON. What a component has none of is zero.
type Snapshot struct {
	Component string           `json:"component"`
	At        time.Time        `json:"at"`
	Pod       *PodSnapshot     `json:"pod,omitempty"` // of a static pod
	Kubelet   *KubeletSnapshot `json:"kubelet,omitempty"`
	Members   int              `json:"members,omitempty"` // of the etcd cluster
}

// Before looks at how a component runs now; it is called before the component's
// files change. It fails when the component does not run what its files say:
// then nobody could tell afterwards what broke it.
func (g *Gates) Before(ctx context.Context, component string) (Snapshot, error) {
	s := Snapshot{Component: component, At: time.Now()}
	var err error
	switch component {
	case node.APIServer, node.ControllerManager, node.Scheduler:
		s.Pod, err = g.podBefore(ctx, component)
	default:
		err = g.serviceBefore(ctx, component, &s)
	}
	if err != nil {
		return Snapshot{}, fmt.Errorf("%s: before the change: %w", component, err)
	}
	return s, nil
}

// Take has a component run what its files on disk say, whichever those are, and
// proves it healthy; so it serves after a change as well as after the files were
// put back. A service of systemd it restarts, for a static pod it waits. before is
// from before the change. Without one (the zero Snapshot) it cannot tell a new
// container from the old one, and cannot demand that what worked before works
// again.
//
// A static pod that was put back may take up to Limits.BackOff, five minutes, to
// start. The kubelet makes a static pod's UID from its content and the name of its
// file (pkg/kubelet/config/common.go), so that the old bytes are the old pod, and
// it remembers by that UID how often containers have ended
// (pkg/kubelet/kuberuntime, doBackOff): a scheduler on a single control plane
// ended each time the API server was away. Take waits for it and says so. Nothing
// safe would shorten that: another annotation makes another UID, and files that
// are not those of before; another file name does too; a restart of the kubelet
// forgets the back-off, and puts another component at risk for it; and to remove
// the ended containers from the runtime is to take them, with their logs, from
// under the kubelet.
func (g *Gates) Take(ctx context.Context, component string, before Snapshot) error {
	if before.Component != "" && before.Component != component {
		return fmt.Errorf("%s: the snapshot is of %s", component, before.Component)
	}
	var err error
	switch component {
	case node.APIServer, node.ControllerManager, node.Scheduler:
		err = g.takePod(ctx, component, before)
	default:
		err = g.takeService(ctx, component, before)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", component, err)
	}
	return nil
}

func (g *Gates) log(format string, args ...any) {
	if g.Log != nil {
		g.Log(fmt.Sprintf(format, args...))
	}
}

// once logs a line that would otherwise come with every look.
func (g *Gates) once(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	g.mu.Lock()
	if g.said[line] {
		g.mu.Unlock()
		return
	}
	if g.said == nil {
		g.said = map[string]bool{}
	}
	g.said[line] = true
	g.mu.Unlock()
	g.log("%s", line)
}

// sleep waits between two looks; the error is that of the context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}
