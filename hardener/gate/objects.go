package gate

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// What is needed of the API's objects; typed clients would link all of them.
// encoding/json matches the names without regard to case.

type podObject struct {
	Metadata struct {
		Name, Namespace, UID string
		Annotations          map[string]string
		DeletionTimestamp    *time.Time
	}
	Spec struct {
		NodeName         string
		RestartPolicy    string
		RuntimeClassName string
		Resources        resources
		Containers       []struct {
			Name          string
			Command, Args []string
			Resources     resources
		}
	}
	Status struct {
		Phase, Reason, Message string
		PodIP                  string
		Conditions             []condition
		ContainerStatuses      []containerStatus
	}
}

type resources struct{ Limits map[string]string }

type condition struct {
	Type, Status, Message string
	LastHeartbeatTime     time.Time // of a node's
}

type containerStatus struct {
	Name        string
	ContainerID string // containerd://...
	Ready       bool
	Started     *bool
}

// Annotations of the kubelet (pkg/kubelet/types): the hash that it made the UID
// of a static pod from, and whose copy a mirror pod is. The UID of a mirror pod
// is the API server's.
const (
	annotationHash   = "kubernetes.io/config.hash"
	annotationMirror = "kubernetes.io/config.mirror"
)

func (p podObject) path() string { return p.Metadata.Namespace + "/" + p.Metadata.Name }

// uid is the one that names the pod's cgroup: of a static pod its hash.
func (p podObject) uid() string {
	if hash := p.Metadata.Annotations[annotationHash]; hash != "" {
		return hash
	}
	return p.Metadata.UID
}

func (p podObject) static() bool { return p.Metadata.Annotations[annotationMirror] != "" }

func (p podObject) ready() bool {
	c, _ := conditionOf(p.Status.Conditions, "Ready")
	return c.Status == "True"
}

// turnedAway says why a kubelet did not admit a pod, "" when it did: the reasons
// that re-admission after a restart gives to pods which ran before
// (pkg/kubelet/lifecycle/predicate.go; k/k #123859, #124586).
func (p podObject) turnedAway() string {
	reasons := []string{"NodeAffinity", "UnexpectedAdmissionError", "TopologyAffinityError", "InvalidNodeInfo", "PodOSNotSupported", "AppArmor", "SysctlForbidden"}
	r := p.Status.Reason
	if p.Status.Phase == "Failed" && (slices.Contains(reasons, r) || strings.HasPrefix(r, "OutOf")) {
		return r
	}
	return ""
}

func (p podObject) container(name string) (containerStatus, bool) {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c containerStatus) bool { return c.Name == name })
	if i < 0 {
		return containerStatus{}, false
	}
	return p.Status.ContainerStatuses[i], true
}

func conditionOf(all []condition, kind string) (condition, bool) {
	i := slices.IndexFunc(all, func(c condition) bool { return c.Type == kind })
	if i < 0 {
		return condition{}, false
	}
	return all[i], true
}

func (a *api) pod(ctx context.Context, namespace, name string) (p podObject, err error) {
	err = a.get(ctx, "/api/v1/namespaces/"+namespace+"/pods/"+name, &p)
	return p, err
}

// pods are those of all namespaces that a selector chooses: "fieldSelector=..."
// or "labelSelector=...".
func (a *api) pods(ctx context.Context, selector, value string) ([]podObject, error) {
	var list struct{ Items []podObject }
	err := a.get(ctx, "/api/v1/pods?"+selector+"="+url.QueryEscape(value), &list)
	return list.Items, err
}

type nodeObject struct {
	Metadata struct{ Name string }
	Status   struct {
		Conditions      []condition
		Addresses       []struct{ Type, Address string }
		DaemonEndpoints struct{ KubeletEndpoint struct{ Port int } }
		NodeInfo        struct{ KubeletVersion string }
	}
}

// ready tells whether the cluster takes the node's kubelet for well, and what it
// said last.
func (n nodeObject) ready() (bool, string) {
	c, ok := conditionOf(n.Status.Conditions, "Ready")
	if !ok {
		return false, "its kubelet has said nothing yet"
	}
	said := c.Message
	if !c.LastHeartbeatTime.IsZero() {
		said = fmt.Sprintf("%s (%s, last heartbeat %s)", said, c.Status, c.LastHeartbeatTime.UTC().Format(time.RFC3339))
	}
	return c.Status == "True", short(said)
}

// heartbeat is when the kubelet last said how it is.
func (n nodeObject) heartbeat() time.Time {
	c, _ := conditionOf(n.Status.Conditions, "Ready")
	return c.LastHeartbeatTime
}

// kubelet is where the node's kubelet is reached, "10.0.0.1:10250".
func (n nodeObject) kubelet() string {
	host := "127.0.0.1"
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			host = a.Address
			break
		}
	}
	return join(host, n.Status.DaemonEndpoints.KubeletEndpoint.Port)
}

func (a *api) node(ctx context.Context, name string) (n nodeObject, err error) {
	err = a.get(ctx, "/api/v1/nodes/"+strings.ToLower(name), &n)
	return n, err
}

func (a *api) nodes(ctx context.Context) ([]nodeObject, error) {
	var list struct{ Items []nodeObject }
	err := a.get(ctx, "/api/v1/nodes", &list)
	return list.Items, err
}

// serverAddresses are the addresses ("10.0.0.1:6443") that API servers have
// registered. One that ended has taken its own away, or loses it after a while.
func (a *api) serverAddresses(ctx context.Context) ([]string, error) {
	var list struct {
		Items []struct {
			Endpoints []struct{ Addresses []string }
			Ports     []struct{ Port int }
		}
	}
	err := a.get(ctx, "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices?labelSelector="+
		url.QueryEscape("kubernetes.io/service-name=kubernetes"), &list)
	var all []string
	for _, slice := range list.Items {
		for _, p := range slice.Ports {
			for _, e := range slice.Endpoints {
				for _, address := range e.Addresses {
					all = append(all, join(address, p.Port))
				}
			}
		}
	}
	return all, err
}

type lease struct {
	Spec struct {
		HolderIdentity string
		RenewTime      time.Time
	}
}

func (a *api) lease(ctx context.Context, namespace, name string) (l lease, err error) {
	err = a.get(ctx, "/apis/coordination.k8s.io/v1/namespaces/"+namespace+"/leases/"+name, &l)
	return l, err
}
