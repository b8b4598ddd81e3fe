package gate

import (
	"cmp"
	"errors"
	"io/fs"
	"net"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// place is where a node's components are reached.
type place struct {
	facts   node.Facts
	address string // of the node, as its kubelet reports it; empty when nothing on it says so
	server  string // address and port of this node's own API server; empty when it has none
}

// locate finds out from the node's files. pod is the address that the API gave
// the node's pods, when that is known.
func (g *Gates) locate(facts node.Facts, pod string) place {
	p := place{facts: facts}
	server := facts.Components[node.APIServer].Configured
	if server == nil {
		server = facts.Components[node.APIServer].Argv
	}
	nodeIP, _ := node.FlagValue(facts.Components[node.Kubelet].Flags(), "node-ip")
	nodeIP, _, _ = strings.Cut(nodeIP, ",") // of a dual-stack node
	advertised, _ := node.FlagValue(server, "advertise-address")
	for _, a := range []string{pod, nodeIP, advertised} {
		if ip := net.ParseIP(a); ip != nil && !ip.IsUnspecified() {
			p.address = a
			break
		}
	}
	if server == nil {
		return p
	}
	port := "6443" // kube-apiserver's default
	if v, ok := node.FlagValue(server, "secure-port"); ok {
		port = v
	}
	bound, _ := node.FlagValue(server, "bind-address")
	if ip := net.ParseIP(bound); ip == nil || ip.IsUnspecified() {
		bound = cmp.Or(p.address, advertised, "127.0.0.1")
	}
	p.server = net.JoinHostPort(bound, port)
	return p
}

func join(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// admin is the API with the rights of admin.conf: through this node's own API
// server when it has one, else through the server that the file names.
func (g *Gates) admin(p place) (*api, error) {
	if p.facts.KubeConfigDir == "" {
		return nil, errors.New("admin.conf: the node has no configuration directory")
	}
	config, err := kubeconfig(g.FS, path.Join(p.facts.KubeConfigDir, "admin.conf"))
	if err != nil {
		return nil, err
	}
	return newAPI(config, p.server, g.Limits.Request)
}

// own is the API as the kubelet reaches it, with its credentials: they are enough
// for its own Node, Lease and pods.
func (g *Gates) own(facts node.Facts) (*api, error) {
	file := facts.Components[node.Kubelet].Kubeconfig
	if file == "" {
		return nil, errors.New("the kubelet has no kubeconfig")
	}
	config, err := kubeconfig(g.FS, file)
	if err != nil {
		return nil, err
	}
	return newAPI(config, "", g.Limits.Request)
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

// fileCheck is how often the kubelet goes over its manifests; what cannot be
// read is left to its default.
func (g *Gates) fileCheck(facts node.Facts) time.Duration {
	if g.Limits.FileCheck > 0 {
		return g.Limits.FileCheck
	}
	set, _ := readSettings(g.FS, facts.Components[node.Kubelet])
	if d, err := time.ParseDuration(set.text("fileCheckFrequency", "")); err == nil && d > 0 {
		return d
	}
	return 20 * time.Second
}

// open is the place of a node, its pod and its container runtime.
func (g *Gates) open(component string, before Snapshot) (place, staticPod, *runtime, error) {
	facts, err := g.Detect()
	if err != nil {
		return place{}, staticPod{}, nil, err
	}
	file, address := facts.Components[component].Manifest, ""
	if before.Pod != nil {
		// A manifest that cannot be understood is no component any more.
		file, address = cmp.Or(file, before.Pod.Manifest), before.Pod.Address
	}
	if file == "" {
		return place{}, staticPod{}, nil, errors.New("it has no manifest on this node")
	}
	p, err := readPod(g.FS, component, file, facts.NodeName)
	if err != nil {
		return place{}, staticPod{}, nil, err
	}
	r, err := g.connect(facts)
	return g.locate(facts, address), p, r, err
}
