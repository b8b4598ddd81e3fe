//go:build e2e

package rollout

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

func objectMeta(name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: rollout.Namespace, Labels: labels}
}

// TestFix drives a fix of six nodes to its end with the rights of the rollout's
// account, and each node's Job with those of its own.
func TestFix(t *testing.T) {
	c := newCluster(t, "cp1", "cp2", "w1", "w2", "w3", "w4")
	merged, err := c.run(t.Context(), c.options("fix"))
	if err != nil {
		t.Fatal(err)
	}
	order := c.order()
	if len(order) != 6 || order[0] != "w1" || !slices.Equal(order[4:], []string{"cp1", "cp2"}) {
		t.Errorf("order %v: want w1 first, then the other workers, then cp1 and cp2", order)
	}
	if c.most != 2 {
		t.Errorf("%d at the same time, want 2", c.most)
	}
	for _, node := range []string{"w1", "cp1", "cp2"} {
		if others := c.beside[node]; len(others) > 0 {
			t.Errorf("%s ran beside %v", node, others)
		}
	}
	if merged.Count(report.NodeDone) != 6 || merged.Totals != (report.Totals{Pass: 6, Fail: 6}) {
		t.Errorf("merged: %+v", merged)
	}
	if !slices.Equal(merged.Rollout.EtcdOnly, []string{"10.9.9.9"}) {
		t.Errorf("etcd members out of reach: %v, want 10.9.9.9", merged.Rollout.EtcdOnly)
	}
	failing := merged.Checks[1]
	if failing.ID != "1.1.2" || len(failing.Nodes) != 6 || failing.Nodes[5].Reason != "of w4" {
		t.Errorf("check: %+v", failing)
	}
	again, err := rollout.Stored(t.Context(), connect(t, c.As(rollout.Namespace, account)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(merged, again, cmpopts.IgnoreUnexported(report.Cluster{})); diff != "" {
		t.Errorf("what lies in the cluster is another report (-told +stored)\n%s", diff)
	}
	of := map[string]int{}
	err = rollout.Reports(t.Context(), connect(t, c.As(rollout.Namespace, account)), func(node string, r report.Report) error {
		of[node] = r.Totals.Fail
		return nil
	})
	if diff := cmp.Diff(map[string]int{"cp1": 1, "cp2": 1, "w1": 1, "w2": 1, "w3": 1, "w4": 1}, of); diff != "" || err != nil {
		t.Errorf("FAIL in the nodes' own reports (-want +got), %v:\n%s", err, diff)
	}
	if got := c.events("w4"); !slices.Equal(got, []string{"Job CheckFailed", "Node CheckFailed"}) {
		t.Errorf("Events on w4: %v", got)
	}
	if out := c.Kubectl(nil, "describe", "node", "w4"); !strings.Contains(out, "CheckFailed") || !strings.Contains(out, "1 FAIL, 1 PASS, 0 WARN: 1.1.2") {
		t.Errorf("kubectl describe node does not tell the story:\n%s", out)
	}
	// What ended well is not gone on with.
	if next, err := c.run(t.Context(), c.options("fix")); err != nil || next.Rollout.ID == merged.Rollout.ID {
		t.Errorf("after the end: rollout %s again, %v", next.Rollout.ID, err)
	}
}

// TestRights shows that a node's Job can write its own report and nothing else.
func TestRights(t *testing.T) {
	c := newCluster(t, "w1", "w2")
	if _, err := c.run(t.Context(), c.options("check")); err != nil {
		t.Fatal(err)
	}
	node := connect(t, c.As(rollout.Namespace, "hardener-w1"))
	if err := rollout.Deliver(t.Context(), node, rollout.Destination{Namespace: rollout.Namespace, Name: "report-w1"}, rollout.Outcome{}); err != nil {
		t.Errorf("its own report: %v", err)
	}
	node.Patience = 0 // a refusal is not waited for, as one of a server that has just started is
	for _, other := range []string{"report-w2", "rollout", "kube-root-ca.crt"} {
		err := rollout.Deliver(t.Context(), node, rollout.Destination{Namespace: rollout.Namespace, Name: other}, rollout.Outcome{})
		if err == nil || !strings.Contains(err.Error(), "forbidden") {
			t.Errorf("%s: got %v, want that it is forbidden", other, err)
		}
	}
	if _, err := rollout.Run(t.Context(), node, c.options("fix")); err == nil || !strings.Contains(err.Error(), "forbidden") {
		t.Errorf("a rollout with a node's rights: %v", err)
	}
	for _, path := range []string{"/api/v1/secrets", "/api/v1/nodes", "/api/v1/namespaces/kubespray-hardener/configmaps/report-w1", jobs} {
		var review struct{ Status struct{ Allowed bool } }
		user := "system:serviceaccount:kubespray-hardener:hardener-w1"
		for _, verb := range []string{"get", "list", "create", "update", "delete"} {
			c.must("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", map[string]any{
				"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": map[string]any{
					"user": user, "groups": []string{"system:serviceaccounts", "system:serviceaccounts:kubespray-hardener", "system:authenticated"},
					"resourceAttributes": attributes(path, verb),
				},
			}, &review)
			if review.Status.Allowed {
				t.Errorf("it may %s %s", verb, path)
			}
		}
	}
}

// attributes are what an access review wants to know of a path.
func attributes(path, verb string) map[string]any {
	a := map[string]any{"verb": verb}
	part := strings.Split(strings.Trim(path, "/"), "/")
	part = part[2:] // api, v1
	if strings.HasPrefix(path, "/apis/") {
		a["group"] = "batch"
		part = part[1:]
	}
	if part[0] == "namespaces" {
		a["namespace"] = part[1]
		part = part[2:]
	}
	a["resource"] = part[0]
	if len(part) > 1 {
		a["name"] = part[1]
	}
	return a
}

// TestStopAndGoOn lets a node fail, and then goes on.
func TestStopAndGoOn(t *testing.T) {
	c := newCluster(t, "cp1", "w1", "w2", "w3")
	o := c.options("fix")
	o.Choice.MaxParallel = "1"
	bad := passing("w2")
	bad.outcome.Exit, bad.outcome.Error = 3, "fix: kubelet: it did not come back; its files are put back"
	c.on("w2", bad)
	first, err := c.run(t.Context(), o)
	var stopped *rollout.StoppedError
	if !errors.As(err, &stopped) || !slices.Equal(stopped.Left, []string{"w3", "cp1"}) || !strings.Contains(err.Error(), "node w2: fix: kubelet: it did not come back") {
		t.Fatalf("got %v, want that w2 failed, with w3 and cp1 left", err)
	}
	want := map[string]report.NodeState{"w1": report.NodeDone, "w2": report.NodeFailed, "w3": report.NodeLeft, "cp1": report.NodeLeft}
	if got := states(first); !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := c.events("w2"); !slices.Equal(got, []string{"Job CheckFailed", "Job RolloutStopped", "Node CheckFailed", "Node RolloutStopped"}) {
		t.Errorf("Events on w2: %v", got)
	}
	if first.Totals.Fail != 2 {
		t.Errorf("the report of the node that failed is missing: %+v", first.Totals)
	}

	// It says nothing at all the next time: its pod was killed.
	c.on("w2", program{silent: "one\nthe last line of its log"})
	if _, err := c.run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "the last line of its log") {
		t.Errorf("got %v, want the last words of the pod", err)
	}
	c.on("w2", passing("w2"))
	last, err := c.run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"w1", "w2", "w2", "w2", "w3", "cp1"}; !slices.Equal(c.order(), want) {
		t.Errorf("programs ran on %v, want %v: what is done is not done again", c.order(), want)
	}
	if last.Rollout.ID != first.Rollout.ID || last.Count(report.NodeDone) != 4 {
		t.Errorf("rollout %s of %v, want %s", last.Rollout.ID, states(last), first.Rollout.ID)
	}
}

func states(c report.Cluster) map[string]report.NodeState {
	all := map[string]report.NodeState{}
	for _, n := range c.Nodes {
		all[n.Name] = n.State
	}
	return all
}

// TestPodThatDoesNotStart has a missing image: a clear line, and nothing is left
// that would start later.
func TestPodThatDoesNotStart(t *testing.T) {
	c := newCluster(t, "w1")
	c.on("w1", program{waiting: "ErrImagePull"})
	_, err := c.run(t.Context(), c.options("fix"))
	if err == nil || !strings.Contains(err.Error(), "its pod did not start within 5s: ErrImagePull: as the kubelet says it") {
		t.Errorf("got %v", err)
	}
	var list struct{ Items []any }
	c.must("GET", jobs, nil, &list)
	if len(list.Items) != 0 {
		t.Errorf("%d Jobs are left", len(list.Items))
	}
}

// TestOutage takes the API server away while a Job is under way, and then kills
// the rollout: another one finds the Job and waits for it.
func TestOutage(t *testing.T) {
	c := newCluster(t, "cp1")
	long := passing("cp1")
	long.lasts = 4 * time.Second
	c.on("cp1", long)
	o := c.options("fix")
	// A process that is killed gives no Lease back: this one is not renewed in time.
	// It still outlasts a machine that has much to do.
	o.Holding.Lasts, o.Holding.Renew, o.Holding.Wait = 10*time.Second, 500*time.Millisecond, time.Minute
	ctx, kill := context.WithCancel(t.Context())
	defer kill()
	running := make(chan struct{})
	o.Tell = func(p rollout.Progress) {
		if p.State == rollout.Running {
			close(running)
		}
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.run(ctx, o)
		ended <- err
	}()
	select {
	case <-running:
	case err := <-ended:
		t.Fatalf("ended before its Job began: %v", err)
	}
	for end := time.Now().Add(time.Minute); len(c.order()) == 0; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("no Job")
		}
	}
	kill()
	if err := <-ended; err == nil {
		t.Error("a rollout that was told to stop ended as if all were done")
	}
	c.Stop()
	o.Tell = nil
	go func() {
		_, err := c.run(t.Context(), o)
		ended <- err
	}()
	time.Sleep(time.Second) // the second one meets an API server that is away
	c.Restart()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := c.order(); len(got) != 1 {
		t.Errorf("programs ran on %v, want one on cp1", got)
	}
}

// TestUnreached has an API server that does not answer on its own address.
func TestUnreached(t *testing.T) {
	c := newCluster(t, "cp1", "w1")
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	c.Apply([]byte(fmt.Sprintf(`{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, metadata: {name: second, namespace: default,
labels: {kubernetes.io/service-name: kubernetes}}, endpoints: [{addresses: [%q]}], ports: [{name: https, port: 1}]}`, host)))
	o := c.options("fix")
	o.Times.Settle = 3 * time.Second
	_, err = c.run(t.Context(), o)
	var unreached *rollout.UnreachedError
	if !errors.As(err, &unreached) || !strings.Contains(err.Error(), host+":1") {
		t.Errorf("got %v, want that %s:1 does not answer", err, host)
	}
	if len(c.order()) > 0 {
		t.Errorf("it has begun with %v", c.order())
	}
	if _, err := c.run(t.Context(), c.options("check")); err != nil {
		t.Errorf("a check does not need it: %v", err)
	}
}

// TestUnfit leaves the control plane alone when a part of it is down.
func TestUnfit(t *testing.T) {
	c := newCluster(t, "cp1", "cp2", "w1")
	c.must("PATCH", "/api/v1/nodes/cp2/status", map[string]any{"status": map[string]any{
		"conditions": []any{map[string]any{"type": "Ready", "status": "Unknown", "message": "Kubelet stopped posting node status."}},
	}}, nil)
	merged, err := c.run(t.Context(), c.options("fix"))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]report.NodeState{"w1": report.NodeDone, "cp1": report.NodeSkipped, "cp2": report.NodeSkipped}
	if got := states(merged); !cmp.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
