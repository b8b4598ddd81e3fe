// Package lab brings up a Kubespray-shaped cluster on this machine and puts it
// back to how it was: the end-to-end bench of the project.
//
// It decides in which order things happen and when a cluster is ready. What
// nodes are made of comes from package component, what Kubespray leaves on them
// from package kubespray, and what a node is from package machine, which also
// has the faults. Tests in tests/e2e say what they need with Need.
package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/component"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/kubespray"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// Topology is which nodes a cluster has.
type Topology string

// Small is one control plane with etcd and one worker. HA is three control
// planes, three etcd members of which one is on a host of its own without a
// kubelet, and a worker behind Kubespray's local API proxy.
const (
	Small Topology = "small"
	HA    Topology = "ha"
)

// Nodes are the nodes of a topology.
func (t Topology) Nodes() ([]kubespray.Node, error) {
	type roles = kubespray.Role
	const cp, etcd, worker = kubespray.ControlPlane, kubespray.Etcd, kubespray.Worker
	inventory := map[Topology][]struct {
		name  string
		roles roles
	}{
		Small: {{"cp1", cp | etcd}, {"worker1", worker}},
		HA:    {{"cp1", cp | etcd}, {"cp2", cp | etcd}, {"cp3", cp}, {"etcd1", etcd}, {"worker1", worker}},
	}[t]
	if inventory == nil {
		return nil, fmt.Errorf("lab: no topology %q: there are %s and %s", t, Small, HA)
	}
	var nodes []kubespray.Node
	for i, n := range inventory {
		nodes = append(nodes, kubespray.Node{
			Name: n.name, Roles: n.roles,
			Address: netip.AddrFrom4([4]byte{10, 90, 0, byte(11 + i)}),
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 233, byte(64 + i), 0}), 24),
		})
	}
	return nodes, nil
}

// Options say which lab to bring up.
type Options struct {
	Name       string // of the lab; several can be up side by side
	Topology   Topology
	Kubernetes string // one of component.Kubernetes
	Tied       bool   // the lab ends with this process
}

// Cluster is a lab that is up.
type Cluster struct {
	Options
	Specs   []machine.Spec
	Key     string // path of the private SSH key that root's account on each node accepts
	machine *machine.Lab
	log     io.Writer
	spoilt  bool // a test has changed it
}

// diskSize is what a node's disk can hold; it takes only what is written to it.
const diskSize = 12 << 30 // bytes

// folder is where a lab of that name keeps its disks.
func folder(name string) (string, error) {
	if err := machine.CheckName(name); err != nil {
		return "", err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("lab: cache directory: %w", err)
	}
	return filepath.Join(cache, "kubespray-hardener", "lab", name), nil
}

// Up brings a lab up: builds what the cache lacks, boots the nodes, lays out
// what Kubespray leaves, runs kubeadm, waits until every pod is ready, and saves
// the nodes. A line per stage, with its seconds, goes to log. What it has begun
// it takes down again when it fails.
func Up(ctx context.Context, o Options, log io.Writer) (_ *Cluster, err error) {
	nodes, err := o.Topology.Nodes()
	if err != nil {
		return nil, err
	}
	dir, err := folder(o.Name)
	if err != nil {
		return nil, err
	}
	if err := machine.Preflight(filepath.Dir(dir), len(nodes)); err != nil {
		return nil, err
	}
	swept, err := machine.SweepDead(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	for _, name := range swept {
		fmt.Fprintf(log, "lab: took away what lab %s had left\n", name)
	}
	set, err := component.Build(ctx, o.Kubernetes, log)
	if err != nil {
		return nil, err
	}
	stage := stages(log)
	layout, err := kubespray.New(o.Kubernetes, nodes)
	if err != nil {
		return nil, err
	}
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	bench, err := machine.Start(ctx, o.Name, dir, o.Tied)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, bench.Stop(context.WithoutCancel(ctx)))
		}
	}()
	c := &Cluster{Options: o, Key: filepath.Join(dir, "ssh-key"), machine: bench, log: log}
	if err := os.WriteFile(c.Key, key.private, 0o600); err != nil {
		return nil, fmt.Errorf("lab: %w", err)
	}
	for _, n := range nodes {
		c.Specs = append(c.Specs, spec(n, set, dir))
	}
	if err := c.remember(); err != nil {
		return nil, err
	}

	prepared := map[string]chan error{}
	for i, n := range nodes {
		prepared[n.Name] = make(chan error, 1)
		node := c.machine.Node(c.Specs[i])
		go func() { prepared[n.Name] <- prepare(ctx, layout, n, node, set, key) }()
	}
	for _, n := range nodes {
		if n.Roles.Has(kubespray.Etcd) {
			if err := receive(ctx, prepared[n.Name]); err != nil {
				return nil, err
			}
		}
	}
	stage("boot nodes, load images")
	if err := c.bootstrap(ctx, layout, prepared, stage); err != nil {
		return nil, err
	}
	addons, err := layout.Addons()
	if err != nil {
		return nil, err
	}
	if err := c.Apply(ctx, addons); err != nil {
		return nil, err
	}
	if err := c.Ready(ctx, time.Time{}); err != nil {
		return nil, err
	}
	stage("every pod ready")
	if err := c.Save(ctx); err != nil {
		return nil, err
	}
	stage("save nodes")
	return c, nil
}

// spec says what a node consists of.
func spec(n kubespray.Node, set component.Set, dir string) machine.Spec {
	s := machine.Spec{Name: n.Name, Disk: filepath.Join(dir, n.Name+".disk")}
	if n.Kubelet() {
		s.Layers = append(s.Layers, set.Kubernetes, set.Containerd, set.CNI)
		s.Plain = []string{"/var/lib/containerd", "/var/lib/kubelet"}
	}
	if n.Roles.Has(kubespray.Etcd | kubespray.ControlPlane) {
		s.Layers = append(s.Layers, set.Etcd)
	}
	s.Layers = append(s.Layers, set.KubeBench, set.OS)
	return s
}

// prepare boots a node and loads its images.
func prepare(ctx context.Context, layout *kubespray.Cluster, n kubespray.Node, node *machine.Node, set component.Set, key keyPair) error {
	if err := machine.CreateDisk(ctx, node.Disk, diskSize); err != nil {
		return err
	}
	files, err := layout.Files(n.Name)
	if err != nil {
		return err
	}
	users, err := layout.Users(n.Name)
	if err != nil {
		return err
	}
	accounts, err := accountFiles(set.OS, users)
	if err != nil {
		return err
	}
	files = slices.Concat(ground(layout, n, key.public), accounts, files)
	laid, err := archive(files, users)
	if err != nil {
		return err
	}
	if err := node.Start(ctx, laid); err != nil {
		return err
	}
	if !n.Kubelet() {
		return nil
	}
	if err := until(ctx, time.Minute, "containerd on "+n.Name, func() error {
		_, err := node.Run(ctx, "ctr", "--namespace=k8s.io", "version")
		return err
	}); err != nil {
		return err
	}
	images := set.NodeImages
	if n.Roles.Has(kubespray.ControlPlane) {
		images = slices.Concat(set.ControlPlaneImages, images)
	}
	for _, path := range images {
		if err := load(ctx, node, path); err != nil {
			return err
		}
	}
	// A kubelet that is short of disk deletes the image of a static pod which has
	// just stopped. Elsewhere it pulls it again; here is no registry.
	const pin = `for name in $(ctr -n k8s.io images ls -q | grep -v ^sha256:); do ctr -n k8s.io images label "$name" io.cri-containerd.pinned=pinned || exit; done`
	_, err = node.Run(ctx, "sh", "-c", pin)
	return err
}

func load(ctx context.Context, node *machine.Node, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	defer f.Close()
	_, err = node.Feed(ctx, f, "ctr", "--namespace=k8s.io", "images", "import", "-")
	return err
}

// receive waits for the outcome of a node's preparation, which others may ask
// for as well.
func receive(ctx context.Context, prepared chan error) error {
	select {
	case err := <-prepared:
		prepared <- err
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// bootstrap runs the steps of Kubespray's first run, stage after stage; a node's
// steps wait until it has booted.
func (c *Cluster) bootstrap(ctx context.Context, layout *kubespray.Cluster, prepared map[string]chan error, stage func(string)) error {
	users, err := c.users(layout)
	if err != nil {
		return err
	}
	for steps := layout.Bootstrap(); len(steps) > 0; {
		end := slices.IndexFunc(steps, func(s kubespray.Step) bool { return s.Stage != steps[0].Stage })
		if end < 0 {
			end = len(steps)
		}
		byNode := map[string][]kubespray.Step{}
		for _, s := range steps[:end] {
			byNode[s.Node] = append(byNode[s.Node], s)
		}
		group, ctx := errgroup.WithContext(ctx)
		for name, mine := range byNode {
			group.Go(func() error {
				if err := receive(ctx, prepared[name]); err != nil {
					return err
				}
				for _, s := range mine {
					if err := c.step(ctx, s, users); err != nil {
						return fmt.Errorf("lab: %s on %s: %w", s.Name, s.Node, err)
					}
				}
				return nil
			})
		}
		if err := group.Wait(); err != nil {
			return err
		}
		stage(stageName(steps[:end]))
		steps = steps[end:]
	}
	return nil
}

// stageName is the last step's name and where it ran.
func stageName(steps []kubespray.Step) string {
	last := steps[len(steps)-1]
	return last.Node + ": " + last.Name
}

// step does one step of the first run.
func (c *Cluster) step(ctx context.Context, s kubespray.Step, users []kubespray.User) error {
	node := c.Node(s.Node)
	if s.Files != nil {
		files, err := s.Files(func(name, path string) ([]byte, error) {
			text, err := c.Node(name).Run(ctx, "cat", path)
			return []byte(text), err
		})
		if err != nil {
			return err
		}
		laid, err := archive(files, users)
		if err != nil {
			return err
		}
		if err := node.Lay(ctx, laid); err != nil {
			return err
		}
	}
	if len(s.Run) == 0 {
		return nil
	}
	_, err := node.Run(ctx, s.Run[0], s.Run[1:]...)
	return err
}

// users are the users of all nodes.
func (c *Cluster) users(layout *kubespray.Cluster) ([]kubespray.User, error) {
	var all []kubespray.User
	for _, s := range c.Specs {
		users, err := layout.Users(s.Name)
		if err != nil {
			return nil, err
		}
		all = append(all, users...)
	}
	return all, nil
}

// Node returns a node by its name; a name that the topology lacks is a mistake
// of the caller and yields nil.
func (c *Cluster) Node(name string) *machine.Node {
	for _, s := range c.Specs {
		if s.Name == name {
			return c.machine.Node(s)
		}
	}
	return nil
}

// Nodes are all nodes of the cluster.
func (c *Cluster) Nodes() []*machine.Node {
	var all []*machine.Node
	for _, s := range c.Specs {
		all = append(all, c.machine.Node(s))
	}
	return all
}

// Command is a command of this machine, not of a node, in the lab's network: for
// programs that reach nodes by their addresses, such as ssh and Ansible.
func (c *Cluster) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return c.machine.Command(ctx, name, args...)
}

// Inventory is the cluster's Ansible inventory, for programs that Command runs.
func (c *Cluster) Inventory() ([]byte, error) {
	nodes, err := c.Topology.Nodes()
	if err != nil {
		return nil, err
	}
	return kubespray.Inventory(nodes, c.Key), nil
}

// Down ends the lab and leaves nothing of it.
func (c *Cluster) Down(ctx context.Context) error { return c.machine.Stop(ctx) }

// remember writes down what a later process needs to find the lab again.
func (c *Cluster) remember() error {
	text, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	if err := os.WriteFile(filepath.Join(c.machine.Dir, "cluster.json"), text, 0o600); err != nil {
		return fmt.Errorf("lab: %w", err)
	}
	return nil
}

// Open finds a lab that is up; the error of one that is not wraps
// machine.ErrNotUp.
func Open(name string, log io.Writer) (*Cluster, error) {
	dir, err := folder(name)
	if err != nil {
		return nil, err
	}
	found, err := machine.Find(name, dir)
	if err != nil {
		return nil, err
	}
	c := &Cluster{machine: found, log: log}
	text, err := os.ReadFile(filepath.Join(dir, "cluster.json"))
	if err != nil {
		return nil, fmt.Errorf("lab %s: %w", name, err)
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("lab %s: cluster.json: %w", name, err)
	}
	return c, nil
}

// Sweep takes away what a lab has left that ended without Down, as when the
// machine was switched off.
func Sweep(name string) error {
	dir, err := folder(name)
	if err != nil {
		return err
	}
	return machine.Sweep(name, dir)
}

// Save keeps the disks of all nodes as they are now, for Restore. The nodes run
// on; their file systems are held for the moment of the copy.
func (c *Cluster) Save(ctx context.Context) error {
	var group errgroup.Group
	for _, n := range c.Nodes() {
		group.Go(func() error { return n.Save(ctx, c.saved(n)) })
	}
	return group.Wait()
}

// Restore puts all nodes back to what Save kept: they lose their power, get
// their disks of then, and boot. It returns when the cluster is ready again.
func (c *Cluster) Restore(ctx context.Context) error {
	since := time.Now()
	var group errgroup.Group
	for _, n := range c.Nodes() {
		group.Go(func() error {
			if n.Running() {
				if err := n.Kill(ctx); err != nil {
					return err
				}
			}
			if err := machine.CopyDisk(n.Disk, c.saved(n)); err != nil {
				return err
			}
			return n.Start(ctx, nil)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return c.Ready(ctx, since)
}

func (c *Cluster) saved(n *machine.Node) string { return n.Disk + ".saved" }

// stages returns a function that writes a line for a stage that has ended, with
// the seconds since the one before.
func stages(log io.Writer) func(string) {
	began := time.Now()
	return func(name string) {
		fmt.Fprintf(log, "lab: %-32s %5.1f s\n", name, time.Since(began).Seconds())
		began = time.Now()
	}
}

// until tries until something succeeds; what failed last is the error.
func until(ctx context.Context, limit time.Duration, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lab: %s: not within %s: %w", what, limit, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
