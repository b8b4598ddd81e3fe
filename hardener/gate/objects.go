package gate

import (
	"context"
	"net/url"
	"slices"
	"time"
)

// What is needed of the API's objects; typed clients would link all of them.

type podObject struct {
	Metadata struct {
		Name        string            `json:"name"`
		Namespace   string            `json:"namespace"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	Spec struct {
		HostNetwork bool `json:"hostNetwork"`
		Containers  []struct {
			Command []string `json:"command"`
			Args    []string `json:"args"`
		} `json:"containers"`
	} `json:"spec"`
	Status struct {
		Phase             string            `json:"phase"`
		HostIP            string            `json:"hostIP"`
		PodIP             string            `json:"podIP"`
		ContainerStatuses []containerStatus `json:"containerStatuses"`
	} `json:"status"`
}

type containerStatus struct {
	Name         string `json:"name"`
	ContainerID  string `json:"containerID"` // containerd://...
	RestartCount int    `json:"restartCount"`
	Ready        bool   `json:"ready"`
	Started      *bool  `json:"started"`
}

func (p podObject) container(name string) (containerStatus, bool) {
	i := slices.IndexFunc(p.Status.ContainerStatuses, func(c containerStatus) bool { return c.Name == name })
	if i < 0 {
		return containerStatus{}, false
	}
	return p.Status.ContainerStatuses[i], true
}

func (a *api) pod(ctx context.Context, namespace, name string) (p podObject, err error) {
	err = a.get(ctx, "/api/v1/namespaces/"+namespace+"/pods/"+name, &p)
	return p, err
}

// pods are those of all namespaces that a selector chooses: "fieldSelector=..."
// or "labelSelector=...".
func (a *api) pods(ctx context.Context, selector, value string) ([]podObject, error) {
	var list struct {
		Items []podObject `json:"items"`
	}
	err := a.get(ctx, "/api/v1/pods?"+selector+"="+url.QueryEscape(value), &list)
	return list.Items, err
}

type nodeObject struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Conditions []struct {
			Type    string `json:"type"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"conditions"`
	} `json:"status"`
}

func (n nodeObject) ready() (bool, string) {
	for _, c := range n.Status.Conditions {
		if c.Type == "Ready" {
			return c.Status == "True", short(c.Message)
		}
	}
	return false, "its kubelet has said nothing yet"
}

func (a *api) nodes(ctx context.Context) ([]nodeObject, error) {
	var list struct {
		Items []nodeObject `json:"items"`
	}
	err := a.get(ctx, "/api/v1/nodes", &list)
	return list.Items, err
}

// serverAddresses are the addresses ("10.0.0.1:6443") that API servers have
// registered. One that ended has taken its own away, or loses it after a while.
func (a *api) serverAddresses(ctx context.Context) ([]string, error) {
	var list struct {
		Items []struct {
			Endpoints []struct {
				Addresses []string `json:"addresses"`
			} `json:"endpoints"`
			Ports []struct {
				Port int `json:"port"`
			} `json:"ports"`
		} `json:"items"`
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
		HolderIdentity string    `json:"holderIdentity"`
		RenewTime      time.Time `json:"renewTime"`
	} `json:"spec"`
}

func (a *api) lease(ctx context.Context, namespace, name string) (l lease, err error) {
	err = a.get(ctx, "/apis/coordination.k8s.io/v1/namespaces/"+namespace+"/leases/"+name, &l)
	return l, err
}
