package rollout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/rest"
)

// pageSize keeps large clusters out of memory: a Node lists its images and is
// some ten KiB of JSON.
const pageSize = 250

// controlPlaneLabel is kubeadm's, and so Kubespray's.
const controlPlaneLabel = "node-role.kubernetes.io/control-plane"

// look reads what a plan rests on. uids are those of the Nodes by name.
func (a *API) look(ctx context.Context) (c Cluster, uids map[string]string, err error) {
	uids = map[string]string{}
	for next := ""; ; {
		var list corev1.NodeList
		if err := a.get(ctx, fmt.Sprintf("/api/v1/nodes?limit=%d&continue=%s", pageSize, url.QueryEscape(next)), &list); err != nil {
			return c, nil, fmt.Errorf("nodes: %w", err)
		}
		for i := range list.Items {
			c.Nodes = append(c.Nodes, newNode(&list.Items[i]))
			uids[list.Items[i].Name] = string(list.Items[i].UID)
		}
		if next = list.Continue; next == "" {
			break
		}
	}
	var pods corev1.PodList
	if err := a.get(ctx, "/api/v1/namespaces/kube-system/pods?labelSelector=component%3Dkube-apiserver", &pods); err != nil {
		return c, nil, fmt.Errorf("pods of API servers: %w", err)
	}
	for _, p := range pods.Items {
		for i := range c.Nodes {
			if c.Nodes[i].Name == p.Spec.NodeName {
				c.Nodes[i].ControlPlane, c.Nodes[i].APIServer = true, true
			}
		}
		for _, container := range p.Spec.Containers {
			c.Images = append(c.Images, container.Image)
			c.Etcd = append(c.Etcd, etcdServers(slices.Concat(container.Command, container.Args))...)
		}
	}
	slices.Sort(c.Etcd)
	c.Etcd = slices.Compact(c.Etcd)
	slices.Sort(c.Images)
	c.Images = slices.Compact(c.Images)
	return c, uids, nil
}

func newNode(n *corev1.Node) Node {
	_, control := n.Labels[controlPlaneLabel]
	node := Node{Name: n.Name, Labels: n.Labels, Cordoned: n.Spec.Unschedulable, ControlPlane: control}
	for _, address := range n.Status.Addresses {
		node.Addresses = append(node.Addresses, address.Address)
	}
	for _, c := range n.Status.Conditions {
		if c.Type == corev1.NodeReady {
			node.Ready = c.Status == corev1.ConditionTrue
			if !node.Ready {
				node.NotReady = c.Message
			}
		}
	}
	return node
}

// etcdServers are the hosts in an API server's --etcd-servers.
func etcdServers(argv []string) (hosts []string) {
	for i, arg := range argv {
		value, ok := strings.CutPrefix(arg, "--etcd-servers=")
		if !ok && arg == "--etcd-servers" && i+1 < len(argv) {
			value, ok = argv[i+1], true
		}
		if !ok {
			continue
		}
		for server := range strings.SplitSeq(value, ",") {
			if u, err := url.Parse(strings.TrimSpace(server)); err == nil && u.Hostname() != "" {
				hosts = append(hosts, u.Hostname())
			}
		}
	}
	return hosts
}

// servers are the addresses ("10.0.0.1:6443") that API servers have registered.
func (a *API) servers(ctx context.Context) ([]string, error) {
	var list discoveryv1.EndpointSliceList
	if err := a.get(ctx, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Dkubernetes", &list); err != nil {
		return nil, fmt.Errorf("addresses of API servers: %w", err)
	}
	var all []string
	for _, slice := range list.Items {
		for _, p := range slice.Ports {
			for _, e := range slice.Endpoints {
				for _, address := range e.Addresses {
					if p.Port != nil {
						all = append(all, net.JoinHostPort(address, strconv.Itoa(int(*p.Port))))
					}
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, errors.New("addresses of API servers: none is registered (EndpointSlice of the Service kubernetes)")
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// at is the API server at an address of its own, with the same credentials. The
// name in its certificate must still be the one that the kubeconfig goes by.
// Each request has a connection of its own: a kept one may lead to a server that
// is about to end.
func (a *API) at(address string) (*API, error) {
	config := rest.CopyConfig(a.config)
	u, err := url.Parse(a.base)
	if err != nil {
		return nil, err
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, err
	}
	transport, err := rest.HTTPWrappersForConfig(config, &http.Transport{
		TLSClientConfig: tls, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
	})
	if err != nil {
		return nil, err
	}
	return &API{http: &http.Client{Transport: transport, Timeout: requestTime}, base: u.Scheme + "://" + address, config: config}, nil
}

// readyz asks the API server at an address how it feels, its etcd included.
func (a *API) readyz(ctx context.Context, address string) error {
	one, err := a.at(address)
	if err != nil {
		return fmt.Errorf("API server %s: %w", address, err)
	}
	var text []byte
	err = one.once(ctx, http.MethodGet, "/readyz?verbose", "", nil, &text)
	a.calls.Add(1)
	switch {
	case err != nil:
		return fmt.Errorf("API server %s: %w", address, err)
	case !strings.Contains(string(text), "[+]etcd ok"):
		return fmt.Errorf("API server %s: it does not say that etcd is ok", address)
	}
	return nil
}

// ready tells whether a node is Ready, and what the cluster says if not.
func (a *API) ready(ctx context.Context, name string) error {
	var n corev1.Node
	err := a.get(ctx, "/api/v1/nodes/"+name, &n)
	if notFound(err) {
		return fmt.Errorf("node %s: it is gone", name)
	}
	if err != nil {
		return fmt.Errorf("node %s: %w", name, err)
	}
	if node := newNode(&n); !node.Ready {
		return fmt.Errorf("node %s: %s", name, down(node))
	}
	return nil
}

// whole tells whether each of these API servers answers on its own address with
// its etcd, and all of these nodes are Ready. Nodes that have left the cluster
// are not missed.
func (a *API) whole(ctx context.Context, servers []string, nodes map[string]bool) error {
	var all []error
	for _, address := range servers {
		all = append(all, a.readyz(ctx, address))
	}
	c, _, err := a.look(ctx)
	all = append(all, err)
	for _, n := range c.Nodes {
		if nodes[n.Name] && !n.Ready {
			all = append(all, fmt.Errorf("node %s: %s", n.Name, down(n)))
		}
	}
	return errors.Join(all...)
}

// until repeats a question every two seconds until it has no error any more, or
// the time is over; then it returns the last error.
func until(ctx context.Context, limit time.Duration, ask func(context.Context) error) error {
	for end := time.Now().Add(limit); ; {
		err := ask(ctx)
		if err == nil || time.Now().After(end) {
			return err
		}
		if sleep(ctx, 2*time.Second) != nil {
			return err
		}
	}
}
