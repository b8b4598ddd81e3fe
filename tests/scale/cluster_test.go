//go:build e2e

package scale

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
	"github.com/kubespray-hardener/kubespray-hardener/tests/apiserver"
	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
)

// kwok is the folder that pins it (tests/lab/components).
const kwok = "kwok-v0.8.0"

// controlPlanes is how many of the nodes carry the control plane, with etcd.
const controlPlanes = 3

// parallel is how many workers are under way at a time. It is the same for all
// sizes: else a large cluster would also be a busier one.
const parallel = 50

// cluster has a real control plane but for the scheduler, which no Job of a rollout
// needs. Its kubelets are played.
type cluster struct {
	*apiserver.Server
	t     *testing.T
	audit string // path of the log
	nodes int

	control, worker report.Report // what the programs on nodes find
	delivered       atomic.Int64  // reports
}

// newCluster has so many nodes, all Ready, and what a rollout needs.
func newCluster(t *testing.T, repo string, nodes int, control, worker report.Report) *cluster {
	t.Helper()
	audit := filepath.Join(t.TempDir(), "audit")
	// What the test of rollouts switches off, clusters have: limits for each user,
	// and the cache that lists are answered from.
	s := apiserver.Start(t, "--enable-priority-and-fairness=true", "--watch-cache=true",
		"--audit-policy-file="+filepath.Join(repo, "tests", "scale", "audit.yaml"), "--audit-log-path="+audit)
	c := &cluster{Server: s, t: t, audit: audit, nodes: nodes, control: control, worker: worker}
	s.Apply(manifests.Install())
	s.Controllers("job-controller", "garbage-collector-controller", "ttl-after-finished-controller")
	programs, err := cache.Programs(t.Context(), cache.Module{Name: kwok, Dir: filepath.Join(repo, "tests", "lab", "components", kwok)})
	if err != nil {
		t.Fatal(err)
	}
	kubeconfig := s.Kubeconfig(s.Admin().BearerToken)
	apiserver.Run(t, "kwok", func() *exec.Cmd {
		cmd := exec.Command(filepath.Join(programs, "kwok"), "--config="+filepath.Join(repo, "tests", "scale", "kwok.yaml"), "--kubeconfig="+kubeconfig,
			"--manage-all-nodes", "--node-lease-duration-seconds=0", "--node-port=0")
		cmd.Env = append(os.Environ(), "HOME="+t.TempDir()) // no configuration of the user's
		return cmd
	})
	c.addNodes()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); c.play(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return c
}

// name is that of a node; the first ones carry the control plane.
func name(i int) string {
	if i < controlPlanes {
		return fmt.Sprintf("cp%d", i+1)
	}
	return fmt.Sprintf("worker%04d", i)
}

// addNodes makes the nodes, as large as kubelets make them, and the mirror pods of
// the API servers, and waits until all are Ready.
func (c *cluster) addNodes() {
	c.t.Helper()
	var images []corev1.ContainerImage // a kubelet lists 50 (--node-status-max-images)
	for i := range 50 {
		repository := fmt.Sprintf("registry.example.com/team-%02d/some-application-%02d", i%7, i)
		images = append(images, corev1.ContainerImage{SizeBytes: 123456789, Names: []string{repository + "@sha256:" + strings.Repeat("5e", 32), repository + ":v1.2.3"}})
	}
	var all errgroup.Group
	all.SetLimit(8)
	for i := range c.nodes {
		all.Go(func() error {
			n := corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name(i), Labels: map[string]string{"kubernetes.io/os": "linux", "kubernetes.io/hostname": name(i)}}}
			if i < controlPlanes {
				n.Labels["node-role.kubernetes.io/control-plane"] = ""
			}
			n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: address(i)}, {Type: corev1.NodeHostName, Address: name(i)}}
			n.Status.Images = images
			return c.Call(c.t.Context(), "POST", "/api/v1/nodes", &n, nil)
		})
	}
	if err := all.Wait(); err != nil {
		c.t.Fatal(err)
	}
	pods := "{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: kube-system}}\n"
	for i := range controlPlanes {
		pods += fmt.Sprintf(`---
{apiVersion: v1, kind: Pod, metadata: {name: kube-apiserver-%[1]s, namespace: kube-system, labels: {component: kube-apiserver}},
spec: {nodeName: %[1]s, containers: [{name: kube-apiserver, image: x, command: [kube-apiserver, "--etcd-servers=https://%[2]s:2379"]}]}}
`, name(i), address(i))
	}
	c.Apply([]byte(pods))
	ready := 0
	for end := time.Now().Add(10 * time.Minute); ready < c.nodes; time.Sleep(time.Second) {
		var list corev1.NodeList
		if err := c.Call(c.t.Context(), "GET", "/api/v1/nodes", nil, &list); err != nil {
			c.t.Fatal(err)
		}
		ready = 0
		for _, n := range list.Items {
			for _, condition := range n.Status.Conditions {
				if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue {
					ready++
				}
			}
		}
		if time.Now().After(end) {
			c.t.Fatalf("%d of %d nodes are Ready", ready, c.nodes)
		}
	}
}

func address(i int) string { return fmt.Sprintf("10.1.%d.%d", i/200, i%200+1) }
