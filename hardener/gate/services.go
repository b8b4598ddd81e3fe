package gate

import (
	"context"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// service is the gate of a component that systemd runs: it has to be told to take
// a new configuration, where a static pod's kubelet sees it by itself.
type service interface {
	// before refuses a component that is not healthy now, and takes down how
	// things are.
	before(ctx context.Context, s *Snapshot) error
	restart(ctx context.Context) error
	// prove waits until the restarted component is proven, and fails as soon as
	// it cannot be any more.
	prove(ctx context.Context, before Snapshot) error
	// watch looks on for a time.
	watch(ctx context.Context, d time.Duration) error
}

// serviceOf is the gate of a component that systemd runs on this node, nil for
// every other.
func (g *Gates) serviceOf(ctx context.Context, component string) (service, error) {
	if component != node.Kubelet && component != node.Etcd && component != node.EtcdEvents {
		return nil, nil
	}
	facts, err := g.Detect()
	if err != nil {
		return nil, err
	}
	d := daemon{Gates: g, name: component, at: g.locate(facts, ""), component: facts.Components[component], unit: component + ".service"}
	if d.component.Unit != "" {
		d.unit = path.Base(d.component.Unit)
	}
	if d.manager, err = g.manager(ctx); err != nil {
		return nil, err
	}
	if component == node.Kubelet {
		return &kubelet{daemon: d}, nil
	}
	return &etcd{daemon: d}, nil
}

// manager is the node's systemd, connected to when first needed.
func (g *Gates) manager(ctx context.Context) (*systemd.Manager, error) {
	if g.Systemd == nil {
		return nil, systemd.ErrNone
	}
	if g.services == nil {
		m, err := g.Systemd(ctx)
		if err != nil {
			return nil, err
		}
		g.services = m
	}
	return g.services, nil
}

// serviceBefore completes a Snapshot of a component that systemd runs.
func (g *Gates) serviceBefore(ctx context.Context, component string, s *Snapshot) error {
	of, err := g.serviceOf(ctx, component)
	if err != nil {
		return err
	}
	if of == nil {
		return errors.New("no gate for this component")
	}
	return of.before(ctx, s)
}

// takeService restarts a component that systemd runs, and proves it.
func (g *Gates) takeService(ctx context.Context, component string, before Snapshot) error {
	of, err := g.serviceOf(ctx, component)
	if err != nil {
		return err
	}
	if of == nil {
		return errors.New("no gate for this component")
	}
	if err := of.restart(ctx); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	if err := of.prove(ctx, before); err != nil {
		return fmt.Errorf("after the restart: %w", err)
	}
	return nil
}

// watchServices watches those of the components that systemd runs, each in a
// goroutine of its own, until the first fault or the end of the time.
func (g *Gates) watchServices(ctx context.Context, components []string, d time.Duration) (faults <-chan error, n int, err error) {
	found := make(chan error, len(components))
	for _, name := range components {
		of, err := g.serviceOf(ctx, name)
		if err != nil {
			return nil, 0, fmt.Errorf("%s: %w", name, err)
		}
		if of == nil {
			continue
		}
		n++
		go func() {
			err := of.watch(ctx, d)
			if err != nil {
				err = fmt.Errorf("%s: watched for %s: %w", name, d, err)
			}
			found <- err
		}()
	}
	return found, n, nil
}
