package rollout

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/labels"
)

// Node is what a plan needs to know of a Node.
type Node struct {
	Name         string
	Labels       map[string]string
	Addresses    []string // of all types
	Ready        bool
	NotReady     string // what the cluster says of a node that is not Ready
	Cordoned     bool   // spec.unschedulable
	ControlPlane bool   // by its label, or by an API server's mirror pod
	APIServer    bool   // by its mirror pod
}

// Cluster is what a plan rests on.
type Cluster struct {
	Nodes []Node

	// Etcd are the addresses of etcd's members as the API servers are told them
	// (--etcd-servers), without ports. A name that is no address is compared with
	// names and addresses of nodes as it is.
	Etcd []string

	Images []string // of API servers, each once
}

// Choice says which nodes are wanted and how many at a time.
type Choice struct {
	Nodes    []string // only these, by name; empty: all
	Selector string   // and only those whose labels fit; empty: all

	// MaxParallel is how many workers are under way at the same time: a number,
	// or a part of the workers such as "10%", rounded up.
	MaxParallel string

	// Disruptive is set for what may restart components.
	Disruptive bool
}

// DefaultParallel is a tenth of the workers, so that a mistake which each node's
// own gates do not see meets few of them.
const DefaultParallel = "10%"

// Plan is an order of nodes. Each chosen node is in exactly one of Workers,
// Serial and Skipped.
type Plan struct {
	// Workers come first: the first of them alone, then Parallel at a time.
	Workers []string `json:"workers,omitempty"`
	// Serial are strictly one at a time: nodes with an etcd member alone, then
	// those of the control plane.
	Serial []string `json:"serial,omitempty"`
	// Control are those of Serial that an API server runs on.
	Control []string `json:"control,omitempty"`
	// Parallel is how many of the Workers are under way at the same time, at
	// least 1.
	Parallel int       `json:"parallel"`
	Skipped  []Skipped `json:"skipped,omitempty"`
	// EtcdOnly are the addresses of etcd members that are on no Node: no Job can
	// reach those hosts.
	EtcdOnly []string `json:"etcd_only,omitempty"`
	// Elsewhere are the addresses of API servers that are on no Node, looked at for
	// steps across nodes only.
	Elsewhere []string `json:"elsewhere,omitempty"`
}

// Skipped is a chosen node which is left alone.
type Skipped struct {
	Node   string `json:"node"`
	Reason string `json:"reason"`
}

// Order lists the nodes that get a Job, in their order.
func (p Plan) Order() []string { return slices.Concat(p.Workers, p.Serial) }

// NewPlan orders the chosen nodes of a cluster. An error is a mistake in the
// choice.
func NewPlan(c Cluster, choice Choice) (Plan, error) {
	chosen, err := choose(c.Nodes, choice)
	if err != nil {
		return Plan{}, err
	}
	members, etcdOnly := place(c, c.Etcd)
	p := Plan{EtcdOnly: etcdOnly}
	unfit := ""
	if choice.Disruptive {
		unfit = unfitControlPlane(c.Nodes, members)
	}
	var etcd, control []string
	for _, n := range chosen {
		serial := n.ControlPlane || members[n.Name]
		switch reason := skip(n); {
		case reason != "":
			p.Skipped = append(p.Skipped, Skipped{n.Name, reason})
		case serial && unfit != "":
			p.Skipped = append(p.Skipped, Skipped{n.Name, "the control plane is not whole: " + unfit})
		case n.ControlPlane:
			control = append(control, n.Name)
			if n.APIServer {
				p.Control = append(p.Control, n.Name)
			}
		case serial:
			etcd = append(etcd, n.Name)
		default:
			p.Workers = append(p.Workers, n.Name)
		}
	}
	p.Serial = slices.Concat(etcd, control)
	p.Parallel, err = parallel(choice.MaxParallel, len(p.Workers))
	return p, err
}

// choose gives the nodes that are wanted, by name.
func choose(nodes []Node, choice Choice) ([]Node, error) {
	selector, err := labels.Parse(choice.Selector)
	if err != nil {
		return nil, fmt.Errorf("selector %q: %w", choice.Selector, err)
	}
	known := map[string]bool{}
	var chosen []Node
	for _, n := range nodes {
		known[n.Name] = true
		if (len(choice.Nodes) == 0 || slices.Contains(choice.Nodes, n.Name)) && selector.Matches(labels.Set(n.Labels)) {
			chosen = append(chosen, n)
		}
	}
	for _, name := range choice.Nodes {
		if !known[name] {
			return nil, fmt.Errorf("node %q: the cluster has none of this name", name)
		}
	}
	if len(chosen) == 0 {
		return nil, errors.New("no node is chosen")
	}
	slices.SortFunc(chosen, func(a, b Node) int { return cmp.Compare(a.Name, b.Name) })
	return chosen, nil
}

// skip says why a node is left alone, "" if it is not. A Job on a node that is
// down would only wait, and who has cordoned one is at work on it.
func skip(n Node) string {
	switch os := n.Labels["kubernetes.io/os"]; {
	case os != "" && os != "linux":
		return "it runs " + os
	case !n.Ready:
		return down(n)
	case n.Cordoned:
		return "it is cordoned"
	}
	return ""
}

func down(n Node) string {
	if n.NotReady == "" {
		return "it is not Ready"
	}
	return "it is not Ready: " + n.NotReady
}

// unfitControlPlane says which node of the control plane is down or about to be:
// taking another one away for the time of a restart could cost etcd its quorum.
// A cordon is the earlier sign of the two.
func unfitControlPlane(nodes []Node, members map[string]bool) string {
	var all []string
	for _, n := range nodes {
		switch {
		case !n.ControlPlane && !members[n.Name]:
		case !n.Ready:
			all = append(all, n.Name+": "+down(n))
		case n.Cordoned:
			all = append(all, n.Name+": it is cordoned")
		}
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// place finds the nodes that some addresses, such as those of etcd's members, are
// of, and the addresses that are of none.
func place(c Cluster, addresses []string) (nodes map[string]bool, elsewhere []string) {
	at := map[string]string{}
	for _, n := range c.Nodes {
		at[n.Name] = n.Name
		for _, address := range n.Addresses {
			at[canonical(address)] = n.Name
		}
	}
	nodes = map[string]bool{}
	missing := map[string]bool{}
	for _, member := range addresses {
		address, err := netip.ParseAddr(member)
		name, ok := at[canonical(member)]
		switch {
		case ok:
			nodes[name] = true
		case member == "localhost" || err == nil && address.IsLoopback(): // of the API server's own node
		default:
			missing[member] = true
		}
	}
	return nodes, slices.Sorted(maps.Keys(missing))
}

// canonical makes two spellings of one IP address the same.
func canonical(address string) string {
	if ip, err := netip.ParseAddr(address); err == nil {
		return ip.Unmap().String()
	}
	return address
}

// parallel reads Choice.MaxParallel for a number of workers.
func parallel(limit string, workers int) (int, error) {
	if limit == "" {
		limit = DefaultParallel
	}
	number, percent := strings.CutSuffix(limit, "%")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || percent && n > 100 {
		return 0, fmt.Errorf("max-parallel %q: want a number from 1, or a part of the workers such as 10%%", limit)
	}
	if percent {
		n = (workers*n + 99) / 100
	}
	return max(1, min(n, workers)), nil
}
