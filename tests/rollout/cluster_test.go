//go:build e2e

package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/apiserver"
)

const (
	image = "registry.local/hardener@sha256:1111111111111111111111111111111111111111111111111111111111111111"
	jobs  = "/apis/batch/v1/namespaces/kubespray-hardener/jobs"
	pods  = "/api/v1/namespaces/kubespray-hardener/pods"
)

// program is what a node's program does in its Job: deliver its outcome, or end
// the pod with an exit code and last words, or not start at all.
type program struct {
	outcome rollout.Outcome
	silent  string // it ends without a word, but for the last line of its log
	waiting string // its container does not start, for this reason
	lasts   time.Duration
}

// passing is a program that finds one check passing and one failing.
func passing(node string) program {
	r := report.New([]report.Section{})
	r.Run.Mode, r.Node.Name, r.Node.KubernetesVersion = report.Adjudicated, node, "1.35.4"
	r.Controls = []report.Section{{ID: "1", Target: "master", Groups: []report.Group{{ID: "1.1", Results: []report.Result{
		{ID: "1.1.1", Text: "first", Status: check.Pass}, {ID: "1.1.2", Text: "second", Status: check.Fail, Reason: "of " + node},
	}}}}}
	r.Totals = report.Totals{Pass: 1, Fail: 1}
	return program{outcome: rollout.Outcome{Exit: 1, Report: &r}, lasts: 300 * time.Millisecond}
}

// cluster plays the Job controller, the kubelets and the programs of a cluster
// whose API server is real.
type cluster struct {
	*apiserver.Server
	t *testing.T

	mu      sync.Mutex
	plays   map[string]program // by node; others are passing
	begun   []string           // nodes, in order
	running map[string]bool
	most    int                 // most programs at the same time
	beside  map[string][]string // what ran when a node's program began
	seen    map[string]bool     // UIDs of Jobs
	steps   []string            // "PHASE NODE", in order
	breaks  map[string]bool     // those whose program fails
	hands   func(phase, node, sealed string) string
}

// newCluster has these nodes, Ready; those named cp... carry the control plane.
func newCluster(t *testing.T, nodes ...string) *cluster {
	t.Helper()
	s := start(t)
	c := &cluster{Server: s, t: t, plays: map[string]program{}, running: map[string]bool{}, beside: map[string][]string{}, seen: map[string]bool{}}
	for i, name := range nodes {
		labels := map[string]string{"kubernetes.io/os": "linux"}
		if strings.HasPrefix(name, "cp") {
			labels["node-role.kubernetes.io/control-plane"] = ""
		}
		address := fmt.Sprintf("10.0.0.%d", i+1)
		c.must("POST", "/api/v1/nodes", map[string]any{"apiVersion": "v1", "kind": "Node", "metadata": map[string]any{"name": name, "labels": labels}}, nil)
		c.must("PATCH", "/api/v1/nodes/"+name+"/status", map[string]any{"status": map[string]any{
			"conditions": []any{map[string]any{"type": "Ready", "status": "True"}},
			"addresses":  []any{map[string]any{"type": "InternalIP", "address": address}},
		}}, nil)
		if strings.HasPrefix(name, "cp") {
			c.Apply([]byte(fmt.Sprintf(`{apiVersion: v1, kind: ServiceAccount, metadata: {name: default, namespace: kube-system}}
---
{apiVersion: v1, kind: Pod, metadata: {name: kube-apiserver-%s, namespace: kube-system, labels: {component: kube-apiserver}},
spec: {nodeName: %s, containers: [{name: kube-apiserver, image: x, command: [kube-apiserver, "--etcd-servers=https://%s:2379,https://10.9.9.9:2379"]}]}}`, name, name, address)))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var playing sync.WaitGroup
	playing.Go(func() { c.play(ctx) })
	t.Cleanup(func() { cancel(); playing.Wait() })
	return c
}

// options are those of a quick rollout.
func (c *cluster) options(command string) rollout.Options {
	return rollout.Options{
		Command: command, Args: []string{"--x=y"}, Image: image, Choice: rollout.Choice{Disruptive: command == "fix", MaxParallel: "2"},
		Holding: rollout.Holding{Identity: "test"}, Times: rollout.Times{Poll: 200 * time.Millisecond, Settle: 20 * time.Second, Start: 5 * time.Second},
		Tell: func(p rollout.Progress) { c.t.Logf("%d/%d %s %s: %s", p.Done, p.Total, p.Node, p.State, p.Text) },
	}
}

// run runs a rollout with the rights of its account.
func (c *cluster) run(ctx context.Context, o rollout.Options) (report.Cluster, error) {
	api := connect(c.t, c.As(rollout.Namespace, account))
	defer func() { c.t.Logf("%d API calls", api.Calls()) }()
	return rollout.Run(ctx, api, o)
}

// on says what a node's program does from now on.
func (c *cluster) on(node string, p program) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.plays[node] = p
}

// order is the nodes whose programs have begun.
func (c *cluster) order() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]string(nil), c.begun...)
}

// events are kinds and reasons of the Events on a node and on its Jobs, each once.
func (c *cluster) events(node string) (all []string) {
	var list eventsv1.EventList
	c.must("GET", "/apis/events.k8s.io/v1/events", nil, &list)
	for _, e := range list.Items {
		if e.Regarding.Name == node || e.Regarding.Kind == "Job" && strings.HasSuffix(e.Regarding.Name, "-"+node) {
			all = append(all, e.Regarding.Kind+" "+e.Reason)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func (c *cluster) play(ctx context.Context) {
	var under sync.WaitGroup
	defer under.Wait()
	for ctx.Err() == nil {
		var list batchv1.JobList
		c.Call(context.Background(), "GET", jobs, nil, &list)
		for _, job := range list.Items {
			if job.DeletionTimestamp != nil {
				c.Call(context.Background(), "PATCH", jobs+"/"+job.Name, map[string]any{"metadata": map[string]any{"finalizers": nil}}, nil)
				c.Call(context.Background(), "DELETE", pods+"/"+podName(job)+"?gracePeriodSeconds=0", nil, nil)
				continue
			}
			if job.Spec.Template.Spec.NodeName != "" && !c.seen[string(job.UID)] {
				c.seen[string(job.UID)] = true
				under.Go(func() { c.job(ctx, job) })
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// job plays one Job.
func (c *cluster) job(ctx context.Context, job batchv1.Job) {
	node := job.Spec.Template.Spec.NodeName
	c.mu.Lock()
	p, ok := c.plays[node]
	if !ok {
		p = passing(node)
	}
	for other := range c.running {
		c.beside[node] = append(c.beside[node], other)
	}
	c.running[node] = true
	c.most = max(c.most, len(c.running))
	c.begun = append(c.begun, node)
	if phase := argument(job, "--phase="); phase != "" {
		c.steps = append(c.steps, phase+" "+node)
		if c.breaks[phase+" "+node] {
			p.outcome = rollout.Outcome{Exit: 3, Error: "it went wrong"}
		} else if c.hands != nil {
			p.outcome.Handover = c.hands(phase, node, argument(job, "--sealed-key="))
		}
	}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.running, node)
	}()

	// The pod passes the API server's admission as a real one would.
	labels := map[string]string{"job-name": job.Name}
	c.must("POST", pods, &corev1.Pod{ObjectMeta: objectMeta(podName(job), labels), Spec: job.Spec.Template.Spec}, nil)
	if p.waiting != "" {
		c.podStatus(podName(job), map[string]any{"waiting": map[string]any{"reason": p.waiting, "message": "as the kubelet says it"}})
		return
	}
	c.podStatus(podName(job), map[string]any{"running": map[string]any{}})
	select {
	case <-time.After(p.lasts):
	case <-ctx.Done():
		return
	}
	failed := p.outcome.Exit > 1
	if p.silent != "" {
		failed = true
		c.podStatus(podName(job), map[string]any{"terminated": map[string]any{"exitCode": 137, "message": p.silent}})
	} else if err := c.deliver(ctx, job, p.outcome); err != nil && ctx.Err() == nil {
		c.t.Errorf("%s: %v", node, err)
	}
	now := time.Now().UTC().Format(time.RFC3339)
	conditions := []any{condition("SuccessCriteriaMet"), condition("Complete")}
	status := map[string]any{"startTime": now, "completionTime": now, "succeeded": 1, "uncountedTerminatedPods": map[string]any{}}
	if failed {
		conditions = []any{condition("FailureTarget"), condition("Failed")}
		status = map[string]any{"startTime": now, "failed": 1, "uncountedTerminatedPods": map[string]any{}}
	}
	status["conditions"] = conditions
	c.must("PATCH", jobs+"/"+job.Name+"/status", map[string]any{"status": status}, nil)
}

// argument is the value of an argument of a Job's program.
func argument(job batchv1.Job, name string) string {
	for _, arg := range job.Spec.Template.Spec.Containers[0].Args {
		if value, ok := strings.CutPrefix(arg, name); ok {
			return value
		}
	}
	return ""
}

// podName differs from one Job to the next of the same name.
func podName(job batchv1.Job) string { return job.Name + "-" + string(job.UID[:5]) }

// deliver writes an outcome with the rights of the Job's account, to where the
// Job's arguments say.
func (c *cluster) deliver(ctx context.Context, job batchv1.Job, o rollout.Outcome) error {
	pod := job.Spec.Template.Spec
	args := pod.Containers[0].Args
	to, err := rollout.ParseDestination(strings.TrimPrefix(args[len(args)-1], "--report-to="))
	if err != nil {
		return err
	}
	return rollout.Deliver(ctx, connect(c.t, c.As(rollout.Namespace, pod.ServiceAccountName)), to, o)
}

func condition(kind string) any {
	now := time.Now().UTC().Format(time.RFC3339)
	return map[string]any{"type": kind, "status": "True", "reason": "BackoffLimitExceeded", "message": "Job has reached the specified backoff limit", "lastTransitionTime": now, "lastProbeTime": now}
}

func (c *cluster) podStatus(name string, state map[string]any) {
	c.must("PATCH", pods+"/"+name+"/status", map[string]any{"status": map[string]any{"containerStatuses": []any{
		map[string]any{"name": "hardener", "image": image, "imageID": "", "state": state},
	}}}, nil)
}

// must is Call that keeps trying for a while: the API server may be restarting, and
// what is played goes on until a test has cleaned up.
func (c *cluster) must(method, path string, body, into any) {
	c.t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		if err = c.Call(context.Background(), method, path, body, into); err == nil || strings.Contains(err.Error(), "already exists") {
			return
		}
	}
	c.t.Errorf("%s %s: %v", method, path, err)
}
