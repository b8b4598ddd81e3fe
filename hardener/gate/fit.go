package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Fit tells why a node must not be touched now: it is asked before the first
// edit that restarts one of these components, because a fault that is there
// already would surface with our restart and be blamed on it. nil means that
// nothing speaks against it; otherwise all reasons are joined. It changes
// nothing.
func (g *Gates) Fit(ctx context.Context, components []string) error {
	facts, err := g.Detect()
	if err != nil {
		return fmt.Errorf("fit: %w", err)
	}
	f := fitness{Gates: g, at: g.locate(facts, ""), components: components}
	_, kubelet := facts.Components[node.Kubelet] // a host of etcd alone has none
	admin := g.adminConf(facts) != ""            // a worker may not ask about others
	if !admin {
		g.log("fit: no admin.conf on this node: the rest of the cluster is not looked at")
	}
	var reasons []error
	for _, c := range []struct {
		what    string
		applies bool
		check   func(context.Context) error
	}{
		{"kubelet", kubelet, f.kubeletHealthy},
		{"components", true, f.componentsSettled},
		{"kubelet's API server", kubelet, f.kubeletReachesAPI},
		{"other API servers", admin, f.otherServersReady},
		{"nodes", admin, f.otherNodesReady},
		{"etcd", true, f.etcdHealthy},
		{"certificates", true, f.certificatesValid},
		{"disk", true, f.diskFree},
		{"images", kubelet, f.imagesPresent},
		{"other runs", true, f.nobodyElseAtWork},
		{"certificate renewal", true, f.renewalNotDue},
		{"manifests", kubelet, f.podsNamedOnce},
	} {
		if !c.applies {
			continue
		}
		if err := c.check(ctx); err != nil {
			reasons = append(reasons, fmt.Errorf("%s: %w", c.what, err))
		}
	}
	if reasons != nil {
		return fmt.Errorf("the node is not fit for a restart: %w", errors.Join(reasons...))
	}
	return nil
}

// fitness is what the preconditions ask about.
type fitness struct {
	*Gates
	at         place
	components []string
}

func (f *fitness) kubeletHealthy(ctx context.Context) error {
	return f.kubeletHealthz(ctx, f.at.facts.Components[node.Kubelet])
}

// calm is how long ago a container must have started at least: a shorter life
// may be one of many.
const calm = 20 * time.Second

// componentsSettled looks at the static pods in question: each runs what its
// manifest says, since a while, answers its probes, and is ready.
func (f *fitness) componentsSettled(ctx context.Context) error {
	var errs []error
	for _, name := range staticPods(f.components) {
		if err := f.settled(ctx, name); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", program(name), err))
		}
	}
	return errors.Join(errs...)
}

func (f *fitness) settled(ctx context.Context, component string) error {
	at, p, r, err := f.open(component, Snapshot{})
	if err != nil {
		return err
	}
	s, err := r.look(ctx, p)
	if err != nil {
		return err
	}
	box, c, err := s.current(p)
	if err != nil {
		return err
	}
	argv, err := f.argv(ctx, r, p, c)
	if err != nil {
		return err
	}
	if err := sameArgv(argv, p.argv()); err != nil {
		return fmt.Errorf("a restart would change more than is asked for: %w", err)
	}
	d, err := r.details(ctx, c.id)
	if err != nil {
		return err
	}
	if age := time.Since(d.started); age < calm {
		f.log("fit: %s was started only %s ago: waiting until it has run for %s", program(component), age.Round(time.Second), calm)
		if err := sleep(ctx, calm-age); err != nil {
			return err
		}
		if s, err = r.look(ctx, p); err != nil {
			return err
		}
		if _, now, err := s.current(p); err != nil {
			return err
		} else if now.id != c.id {
			return errors.New("it restarts again and again")
		}
	}
	t := &taking{Gates: f.Gates, p: p, at: at, runtime: r, box: box, c: c}
	if err := t.probe(ctx); err != nil {
		return err
	}
	return t.ready(ctx)
}

// kubeletReachesAPI asks for this node with the kubelet's own credentials at the
// kubelet's own server. A kubelet that has not heard from an API server since it
// began deletes no pod, so that an old static pod would keep its port
// (pkg/kubelet/kubelet.go, sourcesReady). The answer also tells how the node is.
func (f *fitness) kubeletReachesAPI(ctx context.Context) error {
	a, err := f.own(f.at.facts)
	if err != nil {
		return err
	}
	n, err := a.node(ctx, f.at.facts.NodeName)
	if err != nil {
		return err
	}
	if ready, why := n.ready(); !ready {
		return fmt.Errorf("node %s is not ready: %s", n.Metadata.Name, why)
	}
	// Short of disk, which may be before diskFree takes it for that, a kubelet deletes
	// every image that no container has: a static pod whose old container has just
	// gone does not come back without a registry
	// (pkg/kubelet/eviction/helpers.go, buildSignalToNodeReclaimFuncs).
	if c, ok := conditionOf(n.Status.Conditions, "DiskPressure"); ok && c.Status == "True" {
		return fmt.Errorf("node %s is short of disk, and its kubelet deletes images that nothing runs from: %s", n.Metadata.Name, short(c.Message))
	}
	return nil
}

// otherServersReady asks every other API server, on its own address, whether it
// is ready: while ours restarts they are all there is. A server that is down is
// still known by its mirror pod, one that is no static pod by its endpoint.
func (f *fitness) otherServersReady(ctx context.Context) error {
	own, err := f.admin(f.at)
	if err != nil {
		return err
	}
	pods, err := own.pods(ctx, "labelSelector", "component=kube-apiserver")
	if err != nil {
		return err
	}
	addresses, err := own.serverAddresses(ctx)
	if err != nil {
		return err
	}
	for _, p := range pods {
		port := "6443"
		if ip := p.Status.PodIP; ip != "" && len(p.Spec.Containers) > 0 {
			if v, ok := node.FlagValue(slices.Concat(p.Spec.Containers[0].Command, p.Spec.Containers[0].Args), "secure-port"); ok {
				port = v
			}
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	config, err := kubeconfig(f.FS, f.adminConf(f.at.facts))
	if err != nil {
		return err
	}
	slices.Sort(addresses)
	var errs []error
	for _, address := range slices.Compact(addresses) {
		host, _, _ := net.SplitHostPort(address)
		if address == f.at.server || host == f.at.address {
			continue
		}
		a, err := newAPI(config, address, f.Limits.Request)
		if err == nil {
			err = a.readyz(ctx)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// otherNodesReady wants every node but this one to be ready: with a second one
// away, a restart here may take away what is left of a workload.
func (f *fitness) otherNodesReady(ctx context.Context) error {
	a, err := f.admin(f.at)
	if err != nil {
		return err
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, n := range nodes {
		if ready, why := n.ready(); !ready && !strings.EqualFold(n.Metadata.Name, f.at.facts.NodeName) {
			errs = append(errs, fmt.Errorf("node %s is not ready: %s", n.Metadata.Name, why))
		}
	}
	return errors.Join(errs...)
}

// etcdHealthy asks the etcd of this node about all its members, and the one for
// Events about its own: they are two clusters. An API server whose etcd is
// elsewhere says how that is when it is asked whether it is ready.
func (f *fitness) etcdHealthy(ctx context.Context) error {
	var errs []error
	for _, name := range []string{node.Etcd, node.EtcdEvents} {
		c, here := f.at.facts.Components[name]
		if !here {
			continue
		}
		if _, err := f.etcdHealth(ctx, c); err != nil {
			if name == node.EtcdEvents {
				err = fmt.Errorf("%s: %w", name, err)
			}
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
