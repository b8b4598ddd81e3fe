package gate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// PodSnapshot is how a static pod ran before a change.
type PodSnapshot struct {
	Manifest  string   `json:"manifest"`           // host path
	Hash      string   `json:"hash"`               // of the pod in the manifest
	UID       string   `json:"uid"`                // the kubelet's hash of the pod
	Sandbox   string   `json:"sandbox"`            // id of the running sandbox
	Container string   `json:"container"`          // id of the running container
	Repeated  []string `json:"repeated,omitempty"` // flags that were there more than once
	Address   string   `json:"address,omitempty"`  // of the pod, as the API knows it

	// What worked before and must work again.
	Mirror bool   `json:"mirror"`         // the API showed the mirror pod of this very sandbox
	Lease  bool   `json:"lease"`          // there was a leader Lease
	Create bool   `json:"create"`         // a dry-run create was accepted
	Logs   string `json:"logs,omitempty"` // NAMESPACE/NAME of a pod on this node whose log could be read

	Exec string   `json:"exec,omitempty"` // NAMESPACE/POD/CONTAINER on this node that exec reached
	Ways []string `json:"ways,omitempty"` // kubeconfigs that name another server than this API server's address, by which one answered
}

// podBefore is Before for a static pod.
func (g *Gates) podBefore(ctx context.Context, component string) (*PodSnapshot, error) {
	at, p, r, err := g.open(component, Snapshot{})
	if err != nil {
		return nil, err
	}
	s, err := r.look(ctx, p)
	if err != nil {
		return nil, err
	}
	box, c, err := s.current(p)
	if err != nil {
		return nil, err
	}
	argv, err := g.argv(ctx, r, p, c)
	if err != nil {
		return nil, err
	}
	if err := sameArgv(argv, p.argv()); err != nil {
		return nil, err
	}
	before := &PodSnapshot{Manifest: p.file, Hash: p.hash, UID: box.uid, Sandbox: box.id, Container: c.id, Repeated: repeated(argv)}
	if err := g.apiBefore(ctx, at, p, box, before); err != nil {
		g.log("%s: the API does not tell how it runs; the container runtime and the probes will: %v", component, err)
	}
	return before, nil
}

// apiBefore fills in what the API can do and say.
func (g *Gates) apiBefore(ctx context.Context, at place, p staticPod, box sandbox, before *PodSnapshot) error {
	a, err := g.admin(at)
	if err != nil {
		return err
	}
	mirror, err := a.pod(ctx, p.namespace, p.name)
	if err != nil {
		return err
	}
	before.Mirror = mirror.Metadata.Annotations[annotationHash] == box.uid
	before.Address = mirror.Status.PodIP
	if p.component != node.APIServer {
		namespace, name := leaseOf(p)
		_, err := a.lease(ctx, namespace, name)
		before.Lease = err == nil
		return nil
	}
	before.Create = a.dryCreate(ctx) == nil
	for _, file := range g.ways(at) {
		if err := g.goes(ctx, at, file); err != nil {
			g.log("%s: %v: this is not asked for afterwards", p.component, err)
			continue
		}
		before.Ways = append(before.Ways, file)
	}
	if err := g.execBefore(ctx, a, at, p, before); err != nil {
		g.log("%s: exec reaches no container on this node, so that this is not asked for afterwards: %v", p.component, err)
	}
	pods, err := a.pods(ctx, "fieldSelector", "spec.nodeName="+at.facts.NodeName+",status.phase=Running")
	if err != nil {
		return err
	}
	// Those of other manifests stay while this one changes.
	slices.SortStableFunc(pods, func(a, b podObject) int {
		switch {
		case a.static() == b.static():
			return 0
		case a.static():
			return -1
		}
		return 1
	})
	for _, pod := range pods[:min(len(pods), 4)] {
		name := pod.path()
		if pod.Metadata.Name != p.name && len(pod.Spec.Containers) == 1 && a.logs(ctx, name) == nil {
			before.Logs = name
			return nil
		}
	}
	g.log("%s: the log of no pod on this node can be read, so that this is not asked for afterwards", p.component)
	return nil
}

// current is the one sandbox and the one container that run, with the
// annotations of the manifest.
func (s seen) current(p staticPod) (sandbox, container, error) {
	var boxes []sandbox
	for _, b := range s.sandboxes {
		if b.ready {
			boxes = append(boxes, b)
		}
	}
	if len(boxes) != 1 {
		return sandbox{}, container{}, fmt.Errorf("%d sandboxes of pod %s/%s run, not one", len(boxes), p.namespace, p.name)
	}
	box := boxes[0]
	for name, want := range p.annotations {
		if got, ok := box.annotations[name]; got != want {
			if !ok {
				got = "missing"
			}
			return box, container{}, fmt.Errorf("annotation %s of the running sandbox is %s, in the manifest %s", name, short(got), short(want))
		}
	}
	var running []container
	for _, c := range s.containers {
		if c.running {
			running = append(running, c)
		}
	}
	switch {
	case s.imageGone:
		return box, container{}, fmt.Errorf("container %s does not run: its image %s is not on the node any more", p.main.Name, p.main.Image)
	case len(running) > 1:
		return box, container{}, fmt.Errorf("%d containers %s run at once", len(running), p.main.Name)
	case len(running) == 0 || running[0].sandbox != box.id:
		return box, container{}, fmt.Errorf("container %s does not run", p.main.Name)
	}
	return box, running[0], nil
}

// taken is current, if that is what the manifest on disk became and not what
// ran before it.
func (s seen) taken(p staticPod, before *PodSnapshot) (sandbox, container, error) {
	box, c, err := s.current(p)
	switch {
	case err != nil || before == nil:
	case p.hash != before.Hash && (box.uid == before.UID || c.id == before.Container):
		err = errors.New("the kubelet still runs the pod of before the change")
	case p.hash == before.Hash && box.uid != before.UID:
		err = errors.New("the kubelet still runs another pod than that which was put back")
	}
	return box, c, err
}

// backedOff tells whether a sandbox runs without its container, of which an
// earlier one has exited. The kubelet then lets a time pass that doubles with
// each exit (pkg/kubelet/kuberuntime, doBackOff). It remembers by the pod's UID,
// so that this also comes over a pod that is put back as it was, after its
// component had been restarted for other reasons: a scheduler on a single control
// plane ends each time the API server does.
func (s seen) backedOff(box sandbox) bool {
	exited := false
	for _, c := range s.containers {
		if c.running {
			return false
		}
		exited = exited || c.exited && c.uid == box.uid
	}
	return box.id != "" && exited
}

// argv is what the container's process was started with.
func (g *Gates) argv(ctx context.Context, r *runtime, p staticPod, c container) ([]string, error) {
	d, err := r.details(ctx, c.id)
	if err != nil {
		return nil, err
	}
	if d.pid == 0 {
		return g.argvByName(p)
	}
	data, err := fs.ReadFile(g.FS, "proc/"+strconv.Itoa(d.pid)+"/cmdline")
	if err != nil {
		return nil, fmt.Errorf("process %d of container %s: %w", d.pid, p.main.Name, err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00"), nil
}

// argvByName is for a runtime that does not tell the process of a container.
func (g *Gates) argvByName(p staticPod) ([]string, error) {
	procs, err := node.ReadProcesses(g.FS)
	if err != nil {
		return nil, err
	}
	var found [][]string
	for _, proc := range procs {
		if len(proc.Args) > 0 && path.Base(proc.Args[0]) == programs[p.component] {
			found = append(found, proc.Args)
		}
	}
	if len(found) != 1 {
		return nil, fmt.Errorf("%d processes %s run, not one", len(found), programs[p.component])
	}
	return found[0], nil
}
