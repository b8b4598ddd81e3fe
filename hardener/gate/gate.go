package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// Options say which node is proven, and how patiently.
type Options struct {
	Root   string                     // directory in which the host's tree is mounted, "/" or "/host"; sockets are dialled below it
	FS     fs.FS                      // the same tree, for reading, proc included; a *host.FS on a real node
	Detect func() (node.Facts, error) // looks at the node again
	Log    func(string)               // takes one line of progress; may be nil
	Limits Limits                     // the zero value stands for DefaultLimits

	// Systemd connects to the node's, when a component that it runs is asked for.
	Systemd func(context.Context) (*systemd.Manager, error)
}

// Limits are how long a gate waits. What follows from a manifest or from the
// kubelet's configuration, such as the time of a startup probe, is not here.
type Limits struct {
	Poll    time.Duration // between two looks
	Request time.Duration // for one request that brings no timeout of its own
	Margin  time.Duration // on top of every limit that is derived: for a slow machine
	Refused time.Duration // a probe that is answered 401, 403 or 404 for so long is a failure
	Serve   time.Duration // from the first success of the probes until the component does its work
	BackOff time.Duration // the kubelet's longest wait before it starts a container again
	Kubelet time.Duration // until the kubelet's own view agrees, beyond the startup probe's period

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
// Its back-off is MaxCrashLoopBackOff of pkg/kubelet/kubelet.go.
func DefaultLimits() Limits {
	return Limits{
		Poll: 500 * time.Millisecond, Request: 10 * time.Second, Margin: time.Minute,
		Refused: time.Minute, Serve: 90 * time.Second, BackOff: 5 * time.Minute, Kubelet: 4 * time.Minute,
	}
}

// Gates prove the components of one node, for one goroutine at a time.
type Gates struct {
	Options
	runtime  *runtime         // made when first needed
	services *systemd.Manager // likewise
}

// New makes the gates of a node. It looks at nothing yet.
func New(o Options) (*Gates, error) {
	if o.FS == nil || o.Detect == nil || o.Root == "" {
		return nil, errors.New("gate: Root, FS and Detect are needed")
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

// Snapshot is how a component ran at a moment. It holds no secrets; that of a
// static pod can be kept as JSON.
type Snapshot struct {
	Component string       `json:"component"`
	At        time.Time    `json:"at"`
	Pod       *PodSnapshot `json:"pod,omitempty"` // of a static pod

	kubelet KubeletSnapshot
	etcd    EtcdSnapshot
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

// Take waits until a component runs what its files on disk say, whichever those
// are, and proves it healthy; so it serves after a change as well as after the
// files were put back. before is from before the change. Without one (the zero
// Snapshot) it cannot tell a new container from the old one, and cannot demand
// that what worked before works again.
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
