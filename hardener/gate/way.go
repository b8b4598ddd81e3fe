package gate

import (
	"context"
	"fmt"
	"net/url"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The ways by which a control plane itself reaches the API: a load balancer, a
// virtual address, a proxy on localhost.

// ways are the kubeconfigs of the kubelet and of the administrator, as far as they
// name another server than the address of this node's own API server.
func (g *Gates) ways(at place) []string {
	var all []string
	for _, file := range []string{at.facts.Components[node.Kubelet].Kubeconfig, g.adminConf(at.facts)} {
		if file == "" {
			continue
		}
		config, err := kubeconfig(g.FS, file)
		if err != nil {
			g.once("%s: %v: the way that it names is not looked at", node.APIServer, err)
			continue
		}
		if u, err := url.Parse(config.Host); err != nil || u.Host != at.server {
			all = append(all, file)
		}
	}
	return all
}

// goes holds when an API server is ready, and reads from etcd, by the way and with
// the credentials of a kubeconfig. Behind a load balancer that may be any of them:
// it is the way that is proven, the instance has been on its own address. What is
// read is the one object that a kubelet may always read, its Node.
func (g *Gates) goes(ctx context.Context, at place, file string) error {
	config, err := kubeconfig(g.FS, file)
	if err != nil {
		return err
	}
	a, err := newAPI(config, "", g.Limits.Request)
	if err != nil {
		return err
	}
	if err := a.readyz(ctx); err != nil {
		return fmt.Errorf("through %s of %s: %w", a.base, file, err)
	}
	if _, err := a.node(ctx, at.facts.NodeName); err != nil {
		return fmt.Errorf("through %s of %s: read: %w", a.base, file, err)
	}
	return nil
}
