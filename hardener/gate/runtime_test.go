package gate

import (
	"context"
	"fmt"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// What the container runtime of a world does, and answers.

// run has the runtime run one container in a new sandbox, and nothing else.
func (w *world) run(uid, id string, argv []string) {
	w.t.Helper()
	w.stop(0, "")
	w.mu.Lock()
	defer w.mu.Unlock()
	labels := map[string]string{labelPod: programs[w.component] + "-cp1", labelNamespace: "kube-system", labelUID: uid}
	w.boxes = append(w.boxes, &cri.PodSandbox{
		Id: "box-of-" + id, Labels: labels, CreatedAt: time.Now().UnixNano(), Annotations: map[string]string{"a": "b", annotationHash: uid},
	})
	w.start(id, argv)
}

// start adds a container to the newest sandbox.
func (w *world) start(id string, argv []string) {
	w.t.Helper()
	box := w.boxes[len(w.boxes)-1]
	labels := map[string]string{labelPod: box.Labels[labelPod], labelNamespace: "kube-system", labelContainer: "main", labelUID: box.Labels[labelUID]}
	w.containers = append(w.containers, &cri.Container{
		Id: id, PodSandboxId: box.Id, Labels: labels, State: cri.ContainerState_CONTAINER_RUNNING, CreatedAt: time.Now().UnixNano(),
	})
	w.status[id] = &cri.ContainerStatus{
		Id: id, State: cri.ContainerState_CONTAINER_RUNNING, StartedAt: time.Now().Add(-time.Hour).UnixNano(), LogPath: "/var/log/pods/" + id + ".log",
	}
	pid := 100 + len(w.containers)
	w.pids[id] = pid
	w.write(fmt.Sprintf("proc/%d/cmdline", pid), strings.Join(argv, "\x00")+"\x00")
}

// stop ends every container and sandbox.
func (w *world) stop(exit int32, log string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.boxes {
		b.State = cri.PodSandboxState_SANDBOX_NOTREADY
	}
	w.exit(exit, log)
}

// exit ends every container.
func (w *world) exit(code int32, log string) {
	for _, c := range w.containers {
		if c.State != cri.ContainerState_CONTAINER_RUNNING {
			continue
		}
		c.State = cri.ContainerState_CONTAINER_EXITED
		w.status[c.Id].State, w.status[c.Id].ExitCode, w.status[c.Id].FinishedAt = c.State, code, time.Now().UnixNano()
		w.write("var/log/pods/"+c.Id+".log", log)
	}
}

func (w *world) ListPodSandbox(_ context.Context, r *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var items []*cri.PodSandbox
	for _, b := range w.boxes {
		if selects(r.GetFilter().GetLabelSelector(), b.Labels) {
			items = append(items, &cri.PodSandbox{Id: b.Id, Labels: b.Labels, State: b.State, CreatedAt: b.CreatedAt, Annotations: b.Annotations})
		}
	}
	return &cri.ListPodSandboxResponse{Items: items}, nil
}

func (w *world) ListContainers(_ context.Context, r *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var items []*cri.Container
	for _, c := range w.containers {
		if selects(r.GetFilter().GetLabelSelector(), c.Labels) {
			items = append(items, &cri.Container{Id: c.Id, PodSandboxId: c.PodSandboxId, Labels: c.Labels, State: c.State, CreatedAt: c.CreatedAt})
		}
	}
	return &cri.ListContainersResponse{Containers: items}, nil
}

func selects(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return true
}

func (w *world) ContainerStatus(_ context.Context, r *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status[r.ContainerId]
	return &cri.ContainerStatusResponse{
		Status: &cri.ContainerStatus{Id: s.Id, State: s.State, ExitCode: s.ExitCode, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt, LogPath: s.LogPath},
		Info:   map[string]string{"info": fmt.Sprintf(`{"pid":%d}`, w.pids[r.ContainerId])},
	}, nil
}

func (w *world) Status(context.Context, *cri.StatusRequest) (*cri.StatusResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return &cri.StatusResponse{Info: w.info}, nil
}

func (w *world) ImageStatus(_ context.Context, r *cri.ImageStatusRequest) (*cri.ImageStatusResponse, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.images[r.Image.Image] {
		return &cri.ImageStatusResponse{}, nil
	}
	return &cri.ImageStatusResponse{Image: &cri.Image{Id: r.Image.Image}}, nil
}

func (w *world) PodSandboxStatus(context.Context, *cri.PodSandboxStatusRequest) (*cri.PodSandboxStatusResponse, error) {
	return &cri.PodSandboxStatusResponse{Info: map[string]string{"info": `{"image":"pause:4"}`}}, nil
}
