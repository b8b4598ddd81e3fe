package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Labels that the kubelet gives everything of a pod
// (k8s.io/kubelet/pkg/types, labels.go).
const (
	labelPod       = "io.kubernetes.pod.name"
	labelNamespace = "io.kubernetes.pod.namespace"
	labelUID       = "io.kubernetes.pod.uid"
	labelContainer = "io.kubernetes.container.name"
)

// runtime is the container runtime of the node.
type runtime struct {
	conn     *grpc.ClientConn
	service  cri.RuntimeServiceClient
	images   cri.ImageServiceClient
	endpoint string
	limit    time.Duration // for one call
}

// connect gives the runtime that the kubelet uses.
func (g *Gates) connect(facts node.Facts) (*runtime, error) {
	set, _ := readSettings(g.FS, facts.Components[node.Kubelet]) // the default holds when it cannot be read
	endpoint := set.text("containerRuntimeEndpoint", "unix:///run/containerd/containerd.sock")
	if g.runtime != nil && g.runtime.endpoint == endpoint {
		return g.runtime, nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || (u.Scheme != "unix" && u.Scheme != "") || !filepath.IsAbs(u.Path) {
		return nil, fmt.Errorf("container runtime: endpoint %q is no unix socket", endpoint)
	}
	conn, err := grpc.NewClient("unix:"+g.below(u.Path), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20)), grpc.WithNoProxy())
	if err != nil {
		return nil, fmt.Errorf("container runtime: %w", err)
	}
	if err := g.Close(); err != nil {
		return nil, err
	}
	g.runtime = &runtime{conn, cri.NewRuntimeServiceClient(conn), cri.NewImageServiceClient(conn), endpoint, g.Limits.Request}
	return g.runtime, nil
}

// below is where a path of the host lies for this process. Links on the way are
// followed inside the host's tree: /var/run is one to /run.
func (g *Gates) below(hostPath string) string {
	if tree, ok := g.FS.(interface{ RealPath(string) (string, error) }); ok {
		if real, err := tree.RealPath(hostPath); err == nil {
			hostPath = real
		}
	}
	return filepath.Join(g.Root, hostPath)
}

// sandbox is one sandbox of a pod.
type sandbox struct {
	id, uid     string
	ready       bool
	annotations map[string]string
}

// container is one try of a container.
type container struct {
	id, sandbox, uid string
	running          bool
	exited           bool
	created          time.Time
}

// seen is what the runtime knows of the sandboxes of one pod and of one of its
// containers, the newest first.
type seen struct {
	sandboxes  []sandbox
	containers []container
	imageGone  bool // none of them runs, and none can be made without a registry
}

// look asks the runtime for a pod by name; several pods of one name are what a
// restart of a static pod passes through.
func (r *runtime) look(ctx context.Context, p staticPod) (seen, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	of := map[string]string{labelPod: p.name, labelNamespace: p.namespace}
	boxes, err := r.service.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{Filter: &cri.PodSandboxFilter{LabelSelector: of}})
	if err != nil {
		return seen{}, runtimeError("list sandboxes", err)
	}
	of = map[string]string{labelPod: p.name, labelNamespace: p.namespace, labelContainer: p.main.Name}
	tries, err := r.service.ListContainers(ctx, &cri.ListContainersRequest{Filter: &cri.ContainerFilter{LabelSelector: of}})
	if err != nil {
		return seen{}, runtimeError("list containers", err)
	}
	var s seen
	slices.SortFunc(boxes.Items, func(a, b *cri.PodSandbox) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	for _, b := range boxes.Items {
		s.sandboxes = append(s.sandboxes, sandbox{b.Id, b.Labels[labelUID], b.State == cri.PodSandboxState_SANDBOX_READY, b.Annotations})
	}
	slices.SortFunc(tries.Containers, func(a, b *cri.Container) int { return cmp.Compare(b.CreatedAt, a.CreatedAt) })
	for _, c := range tries.Containers {
		s.containers = append(s.containers, container{
			id: c.Id, sandbox: c.PodSandboxId, uid: c.Labels[labelUID], created: time.Unix(0, c.CreatedAt),
			running: c.State == cri.ContainerState_CONTAINER_RUNNING, exited: c.State == cri.ContainerState_CONTAINER_EXITED,
		})
	}
	if !slices.ContainsFunc(s.containers, func(c container) bool { return c.running }) {
		present, err := r.hasImage(ctx, p.main.Image)
		s.imageGone = err == nil && !present
	}
	return s, nil
}

// details are what the runtime tells of one container only when it is asked for
// that one.
type details struct {
	pid      int // 0 when the runtime does not say
	started  time.Time
	finished time.Time
	exit     int32
	reason   string
	log      string // host path
}

func (r *runtime) details(ctx context.Context, id string) (details, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	answer, err := r.service.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id, Verbose: true})
	if err != nil {
		return details{}, runtimeError("status of a container", err)
	}
	// Of containerd and of CRI-O; the API leaves the format to the runtime.
	var info struct {
		PID int `json:"pid"`
	}
	_ = json.Unmarshal([]byte(answer.Info["info"]), &info)
	s := answer.GetStatus()
	return details{
		pid: info.PID, started: time.Unix(0, s.GetStartedAt()), finished: time.Unix(0, s.GetFinishedAt()),
		exit: s.GetExitCode(), reason: s.GetReason(), log: s.GetLogPath(),
	}, nil
}

// hasImage tells whether an image need not be pulled.
func (r *runtime) hasImage(ctx context.Context, image string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	answer, err := r.images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}})
	if err != nil {
		return false, runtimeError("status of image "+image, err)
	}
	return answer.Image != nil, nil
}

// runtimeError shortens what gRPC says.
func runtimeError(what string, err error) error {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		err = errors.New(s.Message())
	}
	return fmt.Errorf("container runtime: %s: %w", what, err)
}
