package kubespray

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"regexp"
	"strconv"
	"time"
)

// Role is a bit mask of the inventory groups that a node is in.
type Role uint8

// The inventory groups kube_control_plane, etcd and kube_node.
const (
	ControlPlane Role = 1 << iota
	Etcd
	Worker
)

// Has reports whether r contains any role of of.
func (r Role) Has(of Role) bool { return r&of != 0 }

// Node is a machine of the inventory. Its name is its host name, its inventory
// name and its name in the cluster.
type Node struct {
	Name    string
	Address netip.Addr   // IPv4, where the other nodes reach it
	Roles   Role         // not zero
	PodCIDR netip.Prefix // of its own pods; unused without a kubelet
}

// Kubelet reports whether the node runs a kubelet and with it containerd: the
// hosts that Kubespray groups as k8s_cluster.
func (n Node) Kubelet() bool { return n.Roles.Has(ControlPlane | Worker) }

// Fixed properties of every cluster: the defaults of roles/kubespray_defaults.
const (
	podSubnet      = "10.233.64.0/18"
	ServiceSubnet  = "10.233.0.0/18"
	apiServiceIP   = "10.233.0.1"
	dnsServiceIP   = "10.233.0.3"
	nodeLocalDNS   = "169.254.25.10"
	clusterDomain  = "cluster.local"
	upstreamDNS    = "192.0.2.53" // TEST-NET-1: no route, so that a query fails at once
	etcdCertFolder = "/etc/ssl/etcd/ssl"
)

// Cluster is an inventory with the secrets that a first run generates.
type Cluster struct {
	Kubernetes string // with the leading v
	Nodes      []Node // in inventory order, which is also the order within each group

	created        time.Time // end of the imagined first run, names its backups
	token          string    // bootstrap token, id.secret
	certificateKey string    // 32 bytes in hex, seals the control plane's certificates for those that join
	etcd           pki
}

var version = regexp.MustCompile(`^v1\.(\d+)\.\d+$`)

// minor returns y of v1.y.z.
func minor(kubernetes string) (int, error) {
	m := version.FindStringSubmatch(kubernetes)
	if m == nil {
		return 0, fmt.Errorf("kubespray: Kubernetes version %q is not of the form v1.35.4", kubernetes)
	}
	n, err := strconv.Atoi(m[1])
	if err != nil {
		return 0, fmt.Errorf("kubespray: Kubernetes version %q: %w", kubernetes, err)
	}
	return n, nil
}

// New generates a cluster's secrets: etcd's certificates, a bootstrap token and
// a certificate key. The version must be v1.31.0 or newer, where kubeadm accepts
// v1beta4 configuration, and needs at least one control plane and one etcd node.
func New(kubernetes string, nodes []Node) (*Cluster, error) {
	switch m, err := minor(kubernetes); {
	case err != nil:
		return nil, err
	case m < 31:
		return nil, fmt.Errorf("kubespray: Kubernetes %s: kubeadm.k8s.io/v1beta4 needs v1.31 or newer", kubernetes)
	}
	c := &Cluster{Kubernetes: kubernetes, Nodes: nodes, created: time.Now().UTC().Truncate(time.Second)}
	names := map[string]bool{}
	for _, n := range nodes {
		switch {
		case n.Name == "" || names[n.Name]:
			return nil, fmt.Errorf("kubespray: node name %q is empty or twice in the inventory", n.Name)
		case !n.Address.Is4():
			return nil, fmt.Errorf("kubespray: node %s: address %s is not IPv4", n.Name, n.Address)
		case n.Roles == 0:
			return nil, fmt.Errorf("kubespray: node %s is in no group", n.Name)
		case n.Kubelet() && !n.PodCIDR.IsValid():
			return nil, fmt.Errorf("kubespray: node %s has a kubelet and no pod CIDR", n.Name)
		}
		names[n.Name] = true
	}
	if len(c.group(ControlPlane)) == 0 || len(c.group(Etcd)) == 0 {
		return nil, fmt.Errorf("kubespray: an inventory needs a control plane and an etcd node")
	}
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("kubespray: certificate key: %w", err)
	}
	c.certificateKey = hex.EncodeToString(key)
	token := make([]byte, 11)
	if _, err := rand.Read(token); err != nil {
		return nil, fmt.Errorf("kubespray: bootstrap token: %w", err)
	}
	// Hex digits are within a token's alphabet of digits and small letters.
	digits := hex.EncodeToString(token)
	c.token = digits[:6] + "." + digits[6:]
	var err error
	if c.etcd, err = newEtcdPKI(c); err != nil {
		return nil, err
	}
	return c, nil
}

// group returns the nodes of an inventory group, in inventory order.
func (c *Cluster) group(role Role) []Node {
	var out []Node
	for _, n := range c.Nodes {
		if n.Roles.Has(role) {
			out = append(out, n)
		}
	}
	return out
}

func (c *Cluster) node(name string) (Node, error) {
	for _, n := range c.Nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return Node{}, fmt.Errorf("kubespray: no node %q in the inventory", name)
}

// stamp is the time in the names of backups that Kubespray itself makes.
func (c *Cluster) stamp(layout string) string { return c.created.Format(layout) }
