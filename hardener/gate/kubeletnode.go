//go:build linux

package gate

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// kubeletNode, kubeletLease and kubeletPods are what the gate reads of v1.Node,
// coordination.k8s.io/v1.Lease and v1.PodList.
type kubeletNode struct {
	Status struct {
		Conditions []struct {
			Type, Status, Message string
			LastHeartbeatTime     time.Time
		}
		Addresses       []struct{ Type, Address string }
		DaemonEndpoints struct {
			Kubelet struct{ Port int } `json:"kubeletEndpoint"`
		}
		NodeInfo struct{ KubeletVersion string }
	}
}

func (n kubeletNode) address() string {
	for _, a := range n.Status.Addresses {
		if a.Type == "InternalIP" {
			return a.Address
		}
	}
	return "127.0.0.1"
}

type kubeletLease struct{ Spec struct{ RenewTime string } }

type kubeletPods struct{ Items []kubeletPod }

type kubeletPod struct {
	Metadata struct {
		Namespace, Name, UID string
		Annotations          map[string]string
		DeletionTimestamp    *time.Time
	}
	Spec struct {
		RestartPolicy string
	}
	Status struct {
		Phase, Reason, Message string
		Conditions             []struct{ Type, Status string }
	}
}

// uid is the one that names the pod's cgroup: a static pod's is the hash of its
// manifest, which its mirror pod has as an annotation.
func (p kubeletPod) uid() string {
	if hash := p.Metadata.Annotations["kubernetes.io/config.hash"]; hash != "" {
		return hash
	}
	return p.Metadata.UID
}

func (p kubeletPod) name() string { return p.Metadata.Namespace + "/" + p.Metadata.Name }

func (p kubeletPod) ready() bool {
	for _, c := range p.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True"
		}
	}
	return false
}

// turnedAway says why a kubelet did not admit a pod, "" when it did: the reasons
// that re-admission after a restart gives to pods which ran before
// (pkg/kubelet/lifecycle/predicate.go; k/k #123859, #124586).
func (p kubeletPod) turnedAway() string {
	r := p.Status.Reason
	if p.Status.Phase == "Failed" && (slices.Contains([]string{"NodeAffinity", "UnexpectedAdmissionError", "TopologyAffinityError", "InvalidNodeInfo", "PodOSNotSupported", "AppArmor", "SysctlForbidden"}, r) || strings.HasPrefix(r, "OutOf")) {
		return r
	}
	return ""
}

// kubeletSeen is how the cluster sees the kubelet at one moment.
type kubeletSeen struct {
	renewed   string // the Lease's renewTime
	ready     string // status of the Ready condition
	readyText string
	heartbeat time.Time // of the Ready condition
	version   string
}

func (g *KubeletGate) see(ctx context.Context, api *plainAPI) (kubeletSeen, error) {
	var n kubeletNode
	var l kubeletLease
	if err := api.get(ctx, "/api/v1/nodes/"+g.NodeName, &n); err != nil {
		return kubeletSeen{}, err
	}
	if err := api.get(ctx, "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/"+g.NodeName, &l); err != nil {
		return kubeletSeen{}, err
	}
	s := kubeletSeen{renewed: l.Spec.RenewTime, version: n.Status.NodeInfo.KubeletVersion}
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			s.ready, s.heartbeat = c.Status, c.LastHeartbeatTime
			s.readyText = fmt.Sprintf("Ready is %s, last heartbeat %s: %s", c.Status, c.LastHeartbeatTime.UTC().Format(time.RFC3339), c.Message)
		}
	}
	return s, nil
}

// pods are the pods of this node by uid.
func (g *KubeletGate) pods(ctx context.Context, api *plainAPI) (map[string]kubeletPod, error) {
	var list kubeletPods
	if err := api.get(ctx, "/api/v1/pods?fieldSelector="+url.QueryEscape("spec.nodeName="+g.NodeName), &list); err != nil {
		return nil, err
	}
	pods := map[string]kubeletPod{}
	for _, p := range list.Items {
		pods[p.uid()] = p
	}
	return pods, nil
}

// kubeletCgroup finds the pod and the container in the path of a cgroup, with
// either driver: /kubepods/burstable/podUID/ID, or
// /kubepods.slice/.../kubepods-burstable-podUID.slice/cri-containerd-ID.scope
// with "_" for "-" in UID. What a container makes below is the container's.
var kubeletCgroup = regexp.MustCompile(`kubepods[^\n]*[/-]pod([0-9a-f]{32}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:\.slice)?/[^/\n]*?([0-9a-f]{64})`)

// kubeletContainers counts the containers of each pod that have a process,
// whatever the runtime: it asks the kernel and not the runtime, which is not what
// is being proven.
func kubeletContainers(fsys fs.FS) (map[string]int, error) {
	entries, err := fs.ReadDir(fsys, "proc")
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		b, err := fs.ReadFile(fsys, "proc/"+e.Name()+"/cgroup")
		if err != nil {
			continue // it has ended
		}
		if m := kubeletCgroup.FindSubmatch(b); m != nil {
			found[string(m[2])] = strings.ReplaceAll(string(m[1]), "_", "-")
		}
	}
	counts := map[string]int{}
	for _, pod := range found {
		counts[pod]++
	}
	return counts, nil
}

// complete looks whether what ran before the restart still does. A pod that was
// turned away does not come back: that is an error.
func (p *kubeletProof) complete(ctx context.Context) (missing string, err error) {
	pods, err := p.g.pods(ctx, p.api)
	if err != nil {
		return err.Error(), nil
	}
	for _, uid := range slices.Sorted(maps.Keys(pods)) {
		pod := pods[uid]
		if why := pod.turnedAway(); why != "" && p.before.pods[uid].turnedAway() == "" {
			return "", fmt.Errorf("pod %s is not admitted any more: %s: %s", pod.name(), why, pod.Status.Message)
		}
	}
	now, err := kubeletContainers(p.g.FS)
	if err != nil {
		return "", err
	}
	var fewer []string
	for uid, n := range p.before.containers {
		was := p.before.pods[uid]
		pod, there := pods[uid]
		// One that was not ready may come and go by itself; one that is done, or
		// is being deleted, was not ended by the kubelet's restart.
		if now[uid] >= n || !was.ready() || !there || pod.Metadata.DeletionTimestamp != nil || pod.Spec.RestartPolicy != "Always" || pod.Status.Phase == "Succeeded" {
			continue
		}
		fewer = append(fewer, fmt.Sprintf("pod %s has %d containers, before %d", pod.name(), now[uid], n))
	}
	slices.Sort(fewer)
	return strings.Join(fewer, ", "), nil
}
