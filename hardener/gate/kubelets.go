package gate

import (
	"cmp"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The way from the API server of this node to every kubelet of the cluster, which
// its readyz says nothing about.

// kubeletsAtOnce is how many kubelets are asked at the same time.
const kubeletsAtOnce = 16

// addressTypes are the default of --kubelet-preferred-address-types
// (cmd/kube-apiserver/app/options, NewServerRunOptions).
const addressTypes = "Hostname,InternalDNS,InternalIP,ExternalDNS,ExternalIP"

// preferred is the address at which an API server reaches a node's kubelet: the
// first of the first type that the node has (pkg/util/node,
// GetPreferredNodeAddress).
func (n nodeObject) preferred(types string) string {
	for kind := range strings.SplitSeq(types, ",") {
		for _, a := range n.Status.Addresses {
			if a.Type == strings.TrimSpace(kind) {
				return a.Address
			}
		}
	}
	return ""
}

// KubeletsTrusted looks at the serving certificate of every kubelet of the cluster
// as the API server of this node will with --kubelet-certificate-authority: at the
// address that it chooses, by the name that it dials, signed by the authority that
// the flag names or, while it is not set, by that of its clients. Nodes that are
// down are no exception: their kubelets come back with what they had.
func (g *Gates) KubeletsTrusted(ctx context.Context) error {
	at, p, a, err := g.ownServer()
	if err != nil {
		return err
	}
	inside := p.flag("kubelet-certificate-authority", p.flag("client-ca-file", ""))
	file := p.hostFile(inside)
	if file == "" {
		return fmt.Errorf("authority %q of the API server is no file of this host", inside)
	}
	roots, err := authorities(g.FS, file)
	if err != nil {
		return fmt.Errorf("authority of the API server: %w", err)
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return err
	}
	if len(nodes) == 0 {
		return errors.New("the API server names no nodes")
	}
	types := p.flag("kubelet-preferred-address-types", addressTypes)
	faults := each(nodes, func(n nodeObject) error {
		address := n.preferred(types)
		if address == "" {
			return fmt.Errorf("node %s has no address of the types %s", n.Metadata.Name, types)
		}
		if err := g.trusted(ctx, join(address, cmp.Or(n.Status.DaemonEndpoints.KubeletEndpoint.Port, 10250)), address, roots); err != nil {
			return fmt.Errorf("node %s: %w", n.Metadata.Name, err)
		}
		return nil
	})
	if err := gather(faults); err != nil {
		return fmt.Errorf("not every kubelet has a serving certificate that the API server of %s would trust: %w", at.facts.NodeName, err)
	}
	return nil
}

// trusted looks at one kubelet.
func (g *Gates) trusted(ctx context.Context, address, name string, roots *x509.CertPool) error {
	chain, err := g.served(ctx, address)
	if err != nil {
		return err
	}
	if err := signed(chain, roots); err != nil {
		return fmt.Errorf("kubelet at %s: %w", address, err)
	}
	if err := chain[0].VerifyHostname(name); err != nil {
		return fmt.Errorf("kubelet at %s: %w", address, err)
	}
	return nil
}

// Reached are containers of the cluster, by node, whose log and whose exec work
// through the API server of this node.
type Reached map[string]reach

type reach struct {
	logs string // NAMESPACE/NAME
	exec string // NAMESPACE/POD/CONTAINER, "" where exec did not work either
}

// ReachKubelets finds on every node a pod of kube-system whose log can be read
// through the API server of this node, and where there is one a container that
// exec reaches. A node without is an error: nothing would show afterwards that its
// kubelet can still be reached.
func (g *Gates) ReachKubelets(ctx context.Context) (Reached, error) {
	_, p, a, err := g.ownServer()
	if err != nil {
		return nil, err
	}
	nodes, err := a.nodes(ctx)
	if err != nil {
		return nil, err
	}
	pods, err := a.systemPods(ctx)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	all := Reached{}
	faults := each(nodes, func(n nodeObject) error {
		r, err := a.reachNode(ctx, pods[n.Metadata.Name], p.name)
		if err != nil {
			return fmt.Errorf("node %s: %w", n.Metadata.Name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		all[n.Metadata.Name] = r
		return nil
	})
	if err := gather(faults); err != nil {
		return nil, fmt.Errorf("logs cannot be had of every node: %w", err)
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if all[name].exec == "" {
			g.log("apiserver: exec reaches no container of kube-system on node %s, so that only its logs are asked for afterwards", name)
		}
	}
	return all, nil
}

// systemPods are those of kube-system that run, by node.
func (a *api) systemPods(ctx context.Context) (map[string][]podObject, error) {
	pods, err := a.pods(ctx, "fieldSelector", "status.phase=Running,metadata.namespace=kube-system")
	if err != nil {
		return nil, err
	}
	by := map[string][]podObject{}
	for _, p := range pods {
		by[p.Spec.NodeName] = append(by[p.Spec.NodeName], p)
	}
	return by, nil
}

// reachNode tries some pods of a node, but one of them not at all.
func (a *api) reachNode(ctx context.Context, pods []podObject, not string) (r reach, err error) {
	err = errors.New("no pod of kube-system runs there whose log could be read")
	tried := 0
	for _, p := range pods {
		if p.Metadata.Name == not || len(p.Spec.Containers) != 1 || p.Metadata.DeletionTimestamp != nil || tried == 4 {
			continue
		}
		tried++
		if r.logs == "" {
			if err = a.logs(ctx, p.path()); err != nil {
				continue
			}
			r.logs = p.path()
		}
		if name := p.roomy(); name != "" && a.exec(ctx, p.path()+"/"+name) == nil {
			r.exec = p.path() + "/" + name
			return r, nil
		}
	}
	if r.logs != "" {
		err = nil
	}
	return r, err
}

// StillReach holds when the kubelet of every node can be reached through the API
// server of this node as it could before; a pod that is gone gives way to another
// of its node. It asks until that is so, or for Limits.Serve.
func (g *Gates) StillReach(ctx context.Context, before Reached) error {
	_, p, a, err := g.ownServer()
	if err != nil {
		return err
	}
	for end := time.Now().Add(g.Limits.Serve); ; {
		err := g.reachAgain(ctx, a, p.name, before)
		var sure certain
		if err == nil || errors.As(err, &sure) || time.Now().After(end) {
			return err
		}
		if sleep(ctx, 2*g.Limits.Poll) != nil {
			return err
		}
	}
}

func (g *Gates) reachAgain(ctx context.Context, a *api, not string, before Reached) error {
	pods, err := a.systemPods(ctx)
	if err != nil {
		return err
	}
	return gather(each(slices.Sorted(maps.Keys(before)), func(name string) error {
		was := before[name]
		err := a.logs(ctx, was.logs)
		if err == nil && was.exec != "" {
			err = a.exec(ctx, was.exec)
		}
		if err == nil {
			return nil
		}
		err = untrusted(err)
		if !errors.As(err, new(certain)) { // another pod may be there now, but not another kubelet
			now, other := a.reachNode(ctx, pods[name], not)
			if other == nil && (was.exec == "" || now.exec != "") {
				return nil
			}
		}
		return fmt.Errorf("node %s, whose logs and exec worked before: %w", name, err)
	}))
}

// ownServer is the API server of this node, asked with every right.
func (g *Gates) ownServer() (at place, p staticPod, a *api, err error) {
	facts, err := g.Detect()
	if err != nil {
		return at, p, nil, err
	}
	file := facts.Components[node.APIServer].Manifest
	if file == "" {
		return at, p, nil, errors.New("no API server with a manifest on this node")
	}
	if p, err = readPod(g.FS, node.APIServer, file, facts.NodeName); err != nil {
		return at, p, nil, err
	}
	if _, err := fs.Stat(g.FS, node.Name(file)); err != nil {
		return at, p, nil, err
	}
	at = g.locate(facts, "")
	a, err = g.admin(at)
	return at, p, a, err
}

// each asks about all things, some at a time, and gives an error for each.
func each[T any](all []T, ask func(T) error) []error {
	errs := make([]error, len(all))
	var under sync.WaitGroup
	places := make(chan struct{}, kubeletsAtOnce)
	for i, one := range all {
		places <- struct{}{}
		under.Go(func() {
			defer func() { <-places }()
			errs[i] = ask(one)
		})
	}
	under.Wait()
	return errs
}

// gather joins errors, of many only the first few.
func gather(errs []error) error {
	errs = slices.DeleteFunc(errs, func(err error) bool { return err == nil })
	const few = 5
	if len(errs) > few {
		errs = append(errs[:few:few], fmt.Errorf("and %d more", len(errs)-few))
	}
	return errors.Join(errs...)
}
