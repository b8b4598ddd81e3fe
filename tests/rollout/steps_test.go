//go:build e2e

package rollout

import (
	"errors"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// handing is what control planes say of the key of encryption at rest, as package
// fix seals it: "word" is what everybody can seal, "sealed" the key.
func handing(phase, _, sealed string) string {
	switch {
	case phase == "encryption-at-rest:look":
		return rollout.HandoverNone + "word"
	case strings.HasPrefix(phase, "encryption-at-rest:"):
		if sealed == "" {
			return rollout.HandoverKey + "sealed"
		}
		return rollout.HandoverKey + sealed
	}
	return ""
}

// stepsCluster has its API server on cp1.
func stepsCluster(t *testing.T, nodes ...string) *cluster {
	t.Helper()
	c := newCluster(t, nodes...)
	c.Apply(manifests.Steps())
	host, _, err := net.SplitHostPort(c.Address)
	if err != nil {
		t.Fatal(err)
	}
	c.must("PATCH", "/api/v1/nodes/cp1/status", map[string]any{"status": map[string]any{"addresses": []any{
		map[string]any{"type": "InternalIP", "address": "10.0.0.1"}, map[string]any{"type": "ExternalIP", "address": host},
	}}}, nil)
	return c
}

// all are the phases of every step in a cluster of two control planes and two
// workers.
var all = []string{
	"serving-certificates:kubelet w1", "serving-certificates:kubelet w2", "serving-certificates:kubelet cp1", "serving-certificates:kubelet cp2",
	"serving-certificates:verify cp1", "serving-certificates:verify cp2",
	"serving-certificates:apiserver cp1", "serving-certificates:apiserver cp2",
	"encryption-at-rest:look cp1", "encryption-at-rest:look cp2",
	"encryption-at-rest:read cp1", "encryption-at-rest:read cp2",
	"encryption-at-rest:write cp1", "encryption-at-rest:write cp2",
	"encryption-at-rest:rewrite cp1",
}

// TestSteps takes every step in its phases, after the nodes by themselves, with
// the rights of the rollout's account; a phase that goes wrong ends it there, and
// there it goes on.
func TestSteps(t *testing.T) {
	c := stepsCluster(t, "cp1", "cp2", "w1", "w2")
	var seen []string
	c.hands = func(phase, node, sealed string) string {
		seen = append(seen, sealed)
		return handing(phase, node, sealed)
	}
	o := c.options("fix")
	o.Steps = rollout.Steps()
	const broken = "serving-certificates:apiserver cp1"
	c.breaks = map[string]bool{broken: true}
	merged, err := c.run(t.Context(), o)
	var stopped *rollout.StoppedError
	if !errors.As(err, &stopped) || !strings.Contains(err.Error(), "it went wrong") || !slices.Equal(stopped.Left, []string{"cp2"}) {
		t.Fatalf("got %v", err)
	}
	if merged.Count(report.NodeFailed) != 1 || merged.Count(report.NodeDone) != 3 || merged.Totals.Pass != 4 {
		t.Errorf("merged: %+v", merged)
	}
	at := slices.Index(all, broken)
	if diff := cmp.Diff(all[:at+1], c.steps); diff != "" {
		t.Errorf("phases until it went wrong (-want +got)\n%s", diff)
	}
	if begun := c.order(); !slices.Equal(begun[:2], []string{"w1", "w2"}) || !slices.Equal(begun[2:4], []string{"cp1", "cp2"}) || begun[4] != "w1" {
		t.Errorf("nodes come before phases: %v", begun)
	}

	c.mu.Lock()
	c.breaks, c.steps = nil, nil
	c.mu.Unlock()
	merged, err = c.run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(all[at:], c.steps); diff != "" {
		t.Errorf("phases from where it went on (-want +got)\n%s", diff)
	}
	if merged.Count(report.NodeDone) != 4 || merged.Totals != (report.Totals{Pass: 4, Fail: 4}) {
		t.Errorf("merged: %+v", merged)
	}
	// Only the first control plane makes a key; everybody after it is given that.
	key := seen[len(seen)-6:]
	if want := []string{"", "sealed", "sealed", "sealed", "sealed"}; !slices.Equal(key[1:], want) {
		t.Errorf("handed over: %q, want %q", key[1:], want)
	}

	c.mu.Lock()
	c.steps = nil
	c.mu.Unlock()
	o = c.options("fix")
	o.Command, o.Steps, o.Undo = "undo", rollout.Steps(), true
	if _, err := c.run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"encryption-at-rest:undo-write cp1", "encryption-at-rest:undo-write cp2", "encryption-at-rest:undo-rewrite cp1",
		"encryption-at-rest:undo-read cp1", "encryption-at-rest:undo-read cp2",
		"serving-certificates:undo-apiserver cp1", "serving-certificates:undo-apiserver cp2",
		"serving-certificates:undo-kubelet w1", "serving-certificates:undo-kubelet w2", "serving-certificates:undo-kubelet cp1", "serving-certificates:undo-kubelet cp2",
	}
	if diff := cmp.Diff(want, c.steps); diff != "" {
		t.Errorf("undone (-want +got)\n%s", diff)
	}
}

// TestApprover leaves requests to the cluster's own approver, and begins nothing
// that would wait for one that is down.
func TestApprover(t *testing.T) {
	c := stepsCluster(t, "cp1", "w1")
	const deployments = "/apis/apps/v1/namespaces/kube-system/deployments"
	labels := map[string]any{"app.kubernetes.io/name": "kubelet-csr-approver"}
	c.must("POST", deployments, map[string]any{
		"apiVersion": "apps/v1", "kind": "Deployment", "metadata": map[string]any{"name": "approver", "labels": labels},
		"spec": map[string]any{"selector": map[string]any{"matchLabels": labels}, "template": map[string]any{
			"metadata": map[string]any{"labels": labels}, "spec": map[string]any{"containers": []any{map[string]any{"name": "x", "image": "x"}}},
		}},
	}, nil)
	o := c.options("fix")
	o.Steps = []rollout.Step{rollout.ServingCertificates}
	if _, err := c.run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "kube-system/approver, which approves requests for serving certificates, is not ready") || len(c.steps) > 0 {
		t.Errorf("%v, phases %v", err, c.steps)
	}
	c.must("PATCH", deployments+"/approver/status", map[string]any{"status": map[string]any{"replicas": 1, "readyReplicas": 1}}, nil)
	var told []string
	o.Tell = func(p rollout.Progress) { told = append(told, p.Text) }
	if _, err := c.run(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(told, "requests for serving certificates are left to Deployment kube-system/approver") {
		t.Errorf("told: %q", told)
	}
}

// TestStepsRefused begins no step that it could not end.
func TestStepsRefused(t *testing.T) {
	encryption := []rollout.Step{rollout.EncryptionAtRest}
	t.Run("some nodes", func(t *testing.T) {
		c := stepsCluster(t, "cp1", "w1")
		o := c.options("fix")
		o.Steps, o.Choice.Nodes = encryption, []string{"w1"}
		if _, err := c.run(t.Context(), o); !errors.As(err, new(*rollout.ChoiceError)) || len(c.order()) > 0 {
			t.Errorf("%v, begun %v", err, c.order())
		}
	})
	t.Run("a node that is skipped", func(t *testing.T) {
		c := stepsCluster(t, "cp1", "w1")
		c.must("PATCH", "/api/v1/nodes/w1", map[string]any{"spec": map[string]any{"unschedulable": true}}, nil)
		o := c.options("fix")
		o.Steps = rollout.Steps()
		if _, err := c.run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "need every node: w1 is left alone, because it is cordoned") || len(c.steps) > 0 {
			t.Errorf("%v, phases %v", err, c.steps)
		}
	})
	t.Run("an API server on no Node", func(t *testing.T) {
		c := newCluster(t, "cp1", "w1")
		c.Apply(manifests.Steps())
		o := c.options("fix")
		o.Steps = rollout.Steps()
		if _, err := c.run(t.Context(), o); err == nil || !strings.Contains(err.Error(), "is on none") || len(c.steps) > 0 {
			t.Errorf("%v, phases %v", err, c.steps)
		}
	})
	for name, tt := range map[string]struct {
		hands func(phase, node, sealed string) string
		want  string
	}{
		"control planes of two authorities": {func(_, node, _ string) string { return rollout.HandoverNone + node }, "another ca.key"},
		"a control plane without ca.key":    {func(string, string, string) string { return "" }, "has no ca.key"},
		"two keys":                          {func(_, node, _ string) string { return rollout.HandoverKey + node }, "another key"},
	} {
		t.Run(name, func(t *testing.T) {
			c := stepsCluster(t, "cp1", "cp2")
			c.hands = tt.hands
			o := c.options("fix")
			o.Steps = encryption
			_, err := c.run(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if slices.ContainsFunc(c.steps, func(s string) bool { return !strings.Contains(s, ":look ") }) {
				t.Errorf("phases that change something: %v", c.steps)
			}
		})
	}
}
