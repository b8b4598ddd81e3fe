package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config is a client's configuration with the rights of admin.conf, which talks
// to the API server of the first control plane on its own address. Nothing is
// rate limited in the client.
func (c *Cluster) Config(ctx context.Context) (*rest.Config, error) {
	admin, err := c.Node("cp1").Run(ctx, "cat", "/etc/kubernetes/admin.conf")
	if err != nil {
		return nil, err
	}
	config, err := clientcmd.RESTConfigFromKubeConfig([]byte(admin))
	if err != nil {
		return nil, fmt.Errorf("lab: admin.conf: %w", err)
	}
	config.Host = "https://10.90.0.11:6443"
	config.Dial = c.machine.Dial
	config.QPS = -1
	config.Timeout = 30 * time.Second
	return config, nil
}

// Client talks to the API server of the first control plane.
func (c *Cluster) Client(ctx context.Context) (kubernetes.Interface, error) {
	config, err := c.Config(ctx)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("lab: client: %w", err)
	}
	return client, nil
}

// Apply runs kubectl apply on the first control plane with these manifests.
func (c *Cluster) Apply(ctx context.Context, manifests []byte) error {
	_, err := c.Node("cp1").Feed(ctx, bytes.NewReader(manifests), "kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "apply", "-f", "-")
	return err
}

// readyLimit is generous: the machine may be shared.
const readyLimit = 5 * time.Minute

// Ready waits until every node has reported itself ready and every container of
// every pod that a controller or a manifest wants runs and is ready. What the
// API says of the time before since does not count: after a power cut it still
// has the words of before.
func (c *Cluster) Ready(ctx context.Context, since time.Time) error {
	client, err := c.Client(ctx)
	for began := time.Now(); err != nil && time.Since(began) < time.Minute; client, err = c.Client(ctx) {
		time.Sleep(200 * time.Millisecond)
	}
	if err != nil {
		return err
	}
	// The API has whole seconds.
	since = since.Truncate(time.Second)
	return until(ctx, readyLimit, "cluster", func() error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return c.ready(ctx, client, since)
	})
}

func (c *Cluster) ready(ctx context.Context, client kubernetes.Interface, since time.Time) error {
	nodes, err := client.CoreV1().Nodes().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	leases, err := client.CoordinationV1().Leases(core.NamespaceNodeLease).List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	renewed := map[string]coordination.Lease{}
	for _, l := range leases.Items {
		renewed[l.Name] = l
	}
	listed, err := c.Topology.Nodes()
	if err != nil {
		return err
	}
	wanted := 0
	for _, n := range listed {
		if n.Kubelet() {
			wanted++
		}
	}
	if len(nodes.Items) != wanted {
		return fmt.Errorf("%d of %d nodes are registered", len(nodes.Items), wanted)
	}
	for _, n := range nodes.Items {
		if at := renewed[n.Name].Spec.RenewTime; at == nil || at.Time.Before(since) {
			return fmt.Errorf("node %s has not been heard of", n.Name)
		}
		for _, condition := range n.Status.Conditions {
			if condition.Type == core.NodeReady && condition.Status != core.ConditionTrue {
				return fmt.Errorf("node %s is not ready: %s", n.Name, condition.Message)
			}
		}
	}
	return errors.Join(daemonsReady(ctx, client), deploymentsReady(ctx, client), podsReady(ctx, client, since, wanted))
}

func daemonsReady(ctx context.Context, client kubernetes.Interface) error {
	daemons, err := client.AppsV1().DaemonSets("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range daemons.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Status.NumberReady < d.Status.DesiredNumberScheduled || d.Status.DesiredNumberScheduled == 0 {
			return fmt.Errorf("daemon set %s: %d of %d pods are ready", d.Name, d.Status.NumberReady, d.Status.DesiredNumberScheduled)
		}
	}
	return nil
}

func deploymentsReady(ctx context.Context, client kubernetes.Interface) error {
	deployments, err := client.AppsV1().Deployments("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, d := range deployments.Items {
		if d.Status.ObservedGeneration < d.Generation || d.Spec.Replicas != nil && d.Status.ReadyReplicas < *d.Spec.Replicas {
			return fmt.Errorf("deployment %s: %d replicas are ready", d.Name, d.Status.ReadyReplicas)
		}
	}
	return nil
}

func podsReady(ctx context.Context, client kubernetes.Interface, since time.Time, nodes int) error {
	pods, err := client.CoreV1().Pods("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	if len(pods.Items) < nodes {
		return fmt.Errorf("%d pods for %d nodes", len(pods.Items), nodes)
	}
	for _, p := range pods.Items {
		if p.Status.Phase == core.PodSucceeded || p.Status.Phase == core.PodFailed && ofJob(p) {
			continue
		}
		if len(p.Status.ContainerStatuses) < len(p.Spec.Containers) {
			return fmt.Errorf("pod %s has not started: %s", p.Name, p.Status.Phase)
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil || !s.Ready || s.State.Running.StartedAt.Time.Before(since) {
				return fmt.Errorf("pod %s: container %s is not ready", p.Name, s.Name)
			}
		}
	}
	return nil
}

// ofJob says that a pod which has ended is not replaced as a matter of course.
func ofJob(p core.Pod) bool {
	owner := meta.GetControllerOf(&p)
	return owner != nil && owner.Kind == "Job"
}
