package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// What became of a node's pods when its kubelet was restarted.

// pods are the pods of this node by uid.
func (k *kubelet) pods(ctx context.Context, a *api) (map[string]podObject, error) {
	list, err := a.pods(ctx, "fieldSelector", "spec.nodeName="+k.at.facts.NodeName)
	pods := map[string]podObject{}
	for _, p := range list {
		pods[p.uid()] = p
	}
	return pods, err
}

// podCgroup finds the pod and the container in the path of a cgroup, with
// either driver: /kubepods/burstable/podUID/ID, or
// /kubepods.slice/.../kubepods-burstable-podUID.slice/cri-containerd-ID.scope
// with "_" for "-" in UID. What a container makes below is the container's.
var podCgroup = regexp.MustCompile(`kubepods[^\n]*[/-]pod([0-9a-f]{32}|[0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})(?:\.slice)?/[^/\n]*?([0-9a-f]{64})`)

// runningContainers counts the containers of each pod that have a process,
// whatever the runtime: it asks the kernel and not the runtime, which is not what
// is being proven.
func runningContainers(fsys fs.FS) (map[string]int, error) {
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
		if m := podCgroup.FindSubmatch(b); m != nil {
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
	if p.before == nil {
		return "", nil
	}
	pods, err := p.pods(ctx, p.api)
	if err != nil {
		return err.Error(), nil
	}
	now, err := runningContainers(p.FS)
	if err != nil {
		return "", err
	}
	var away, fewer []string
	for uid, pod := range pods {
		if why := pod.turnedAway(); why != "" && !slices.Contains(p.before.TurnedAway, uid) {
			away = append(away, fmt.Sprintf("pod %s is not admitted any more: %s: %s", pod.path(), why, pod.Status.Message))
		}
		// One that was not ready may come and go by itself; one that is done, or
		// is being deleted, was not ended by the kubelet's restart.
		n := p.before.Containers[uid]
		if now[uid] >= n || pod.Metadata.DeletionTimestamp != nil || pod.Spec.RestartPolicy != "Always" || pod.Status.Phase == "Succeeded" {
			continue
		}
		fewer = append(fewer, fmt.Sprintf("pod %s has %d containers, before %d", pod.path(), now[uid], n))
	}
	if slices.Sort(away); len(away) > 0 {
		return "", errors.New(away[0])
	}
	slices.Sort(fewer)
	return strings.Join(fewer, ", "), nil
}
