//go:build e2e

package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// endedAnnotation tells kwok that the program of a pod has ended (kwok.yaml).
const endedAnnotation = "scale/ended"

// lasts is how long a program takes on a worker: so long that a rollout which looks
// too often at its Job is seen to.
const lasts = 2 * time.Second

// play plays the program of each pod that runs, until the context ends.
func (c *cluster) play(ctx context.Context) {
	var under errgroup.Group
	under.SetLimit(parallel)
	defer under.Wait()
	seen := map[types.UID]bool{}
	for ctx.Err() == nil { // an API server ends a watch after a while
		events, err := c.Open(ctx, "GET", "/api/v1/namespaces/"+rollout.Namespace+"/pods?watch=1", nil)
		if err != nil {
			if ctx.Err() == nil {
				c.t.Errorf("watch pods: %v", err)
			}
			return
		}
		lines := json.NewDecoder(events)
		var e struct{ Object corev1.Pod }
		for lines.Decode(&e) == nil {
			pod := e.Object
			e.Object = corev1.Pod{}
			if pod.Status.Phase != corev1.PodRunning || seen[pod.UID] {
				continue
			}
			seen[pod.UID] = true
			under.Go(func() error {
				if err := c.program(ctx, pod); err != nil && ctx.Err() == nil {
					c.t.Errorf("pod %s: %v", pod.Name, err)
				}
				return nil
			})
		}
		events.Close()
	}
}

// program does what the program of a pod would: it delivers a report to where the
// pod's arguments say, with a token as the kubelet gets one for the pod, and ends.
func (c *cluster) program(ctx context.Context, pod corev1.Pod) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	args := pod.Spec.Containers[0].Args
	to, err := rollout.ParseDestination(strings.TrimPrefix(args[len(args)-1], "--report-to="))
	if err != nil {
		return err
	}
	var token authenticationv1.TokenRequest
	token.Spec.BoundObjectRef = &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}
	path := "/api/v1/namespaces/" + pod.Namespace + "/serviceaccounts/" + pod.Spec.ServiceAccountName + "/token"
	if err := c.Call(ctx, "POST", path, &token, &token); err != nil {
		return err
	}
	config := c.Admin()
	config.BearerToken = token.Status.Token
	api, err := rollout.Connect(config)
	if err != nil {
		return err
	}
	r := c.control
	if !strings.HasPrefix(pod.Spec.NodeName, "cp") {
		r = c.worker
		time.Sleep(lasts)
	}
	r.Node.Name = pod.Spec.NodeName
	if err := rollout.Deliver(ctx, api, to, rollout.Outcome{Exit: 1, Report: &r}); err != nil {
		return fmt.Errorf("deliver: %w", err)
	}
	c.delivered.Add(1)
	return c.Call(ctx, "PATCH", "/api/v1/namespaces/"+pod.Namespace+"/pods/"+pod.Name,
		map[string]any{"metadata": map[string]any{"annotations": map[string]any{endedAnnotation: "true"}}}, nil)
}
