//go:build linux

package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// service is a component that systemd runs: it has to be told to take a new
// configuration, where a static pod's kubelet sees it by itself.
type service interface {
	restart(ctx context.Context) error
	prove(ctx context.Context, before Snapshot) error
	Watch(ctx context.Context, d time.Duration) error
}

// serviceOf is the gate of a component that systemd runs on this node, nil for a
// static pod.
func (g *Gates) serviceOf(ctx context.Context, component string) (service, error) {
	switch component {
	case node.Kubelet:
		return g.kubelet(ctx)
	case node.Etcd:
		return g.etcd(ctx)
	}
	return nil, nil
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

func (g *Gates) kubelet(ctx context.Context) (*kubeletService, error) {
	facts, err := g.Detect()
	if err != nil {
		return nil, err
	}
	m, err := g.manager(ctx)
	if err != nil {
		return nil, err
	}
	return &kubeletService{KubeletGate{
		FS: g.FS, Systemd: m, Kubelet: facts.Components[node.Kubelet], NodeName: facts.NodeName,
		AdminConf: g.adminConf(facts), Note: func(line string) { g.log("%s", line) },
	}}, nil
}

func (g *Gates) etcd(ctx context.Context) (*etcdService, error) {
	facts, err := g.Detect()
	if err != nil {
		return nil, err
	}
	m, err := g.manager(ctx)
	if err != nil {
		return nil, err
	}
	s := &etcdService{EtcdGate{
		FS: g.FS, Systemd: m, Etcd: facts.Components[node.Etcd], AdminConf: g.adminConf(facts),
		Note: func(line string) { g.log("%s", line) },
	}}
	if server, ok := facts.Components[node.APIServer]; ok {
		s.APIServer = &server
	}
	return s, nil
}

// adminConf is the path of the node's kubeconfig with every right, empty where
// there is none, as on a worker.
func (g *Gates) adminConf(facts node.Facts) string {
	if facts.KubeConfigDir == "" {
		return ""
	}
	file := path.Join(facts.KubeConfigDir, "admin.conf")
	if _, err := fs.Stat(g.FS, node.Name(file)); err != nil {
		return ""
	}
	return file
}

// serviceBefore completes a Snapshot of a component that systemd runs.
func (g *Gates) serviceBefore(ctx context.Context, component string, s *Snapshot) error {
	of, err := g.serviceOf(ctx, component)
	if err != nil {
		return err
	}
	switch of := of.(type) {
	case *kubeletService:
		s.kubelet, err = of.Before(ctx)
	case *etcdService:
		s.etcd, err = of.Before(ctx)
	default:
		err = errors.New("no gate for this component")
	}
	return err
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
		return err
	}
	return of.prove(ctx, before)
}

type kubeletService struct{ KubeletGate }

func (s *kubeletService) restart(ctx context.Context) error { return s.Restart(ctx) }
func (s *kubeletService) prove(ctx context.Context, before Snapshot) error {
	return s.Prove(ctx, before.kubelet)
}

type etcdService struct{ EtcdGate }

func (s *etcdService) restart(ctx context.Context) error { return s.Restart(ctx) }
func (s *etcdService) prove(ctx context.Context, before Snapshot) error {
	return s.Prove(ctx, before.etcd)
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
		go func() { found <- of.Watch(ctx, d) }()
	}
	return found, n, nil
}
