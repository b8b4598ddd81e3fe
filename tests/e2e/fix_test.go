//go:build e2e

package e2e

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// Modes and owners are fixed on live nodes while every component runs on as it
// was: the same processes, every pod ready; a second run finds nothing to do.
func TestFixFiles(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	for _, node := range []string{"cp1", "worker1"} {
		n := c.Node(node)
		install(t, n)
		before := components(t, n)
		began := time.Now()
		fix := []string{"fix", "--max-risk=files", "--benchmark=" + latestBenchmark(), "--output=json", "--kubeconfig=" + kubeconfig(node)}
		first := decode(t, report(t, n, "hardener", fix...))
		// A worker of Kubespray 2.31 has no mode or owner to fix.
		if node == "cp1" && (len(first.Run.Changes) == 0 || first.Run.State != "committed") {
			t.Errorf("%s: %d changes, state %q; a fresh control plane has some to make", node, len(first.Run.Changes), first.Run.State)
		}
		second := decode(t, report(t, n, "hardener", fix...))
		if len(second.Run.Changes) != 0 {
			t.Errorf("%s: the second run changed %v", node, second.Run.Changes)
		}
		if diff := cmp.Diff(before, components(t, n)); diff != "" {
			t.Errorf("%s: components are not as before (-before +after):\n%s", node, diff)
		}
		t.Logf("%s: %d changes in %s", node, len(first.Run.Changes), time.Since(began))
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}

func decode(t *testing.T, report string) document {
	t.Helper()
	var d document
	if err := json.Unmarshal([]byte(report), &d); err != nil {
		t.Fatalf("%v: %.300s", err, report)
	}
	return d
}

// components are the processes of Kubernetes on a node: number, name and start.
func components(t *testing.T, n *machine.Node) []string {
	t.Helper()
	var found []string
	for _, line := range strings.Split(must(t, n, "ps", "-e", "-o", "pid=,lstart=,comm="), "\n") {
		for _, name := range []string{"kube-apiserver", "kube-controller", "kube-scheduler", "kube-proxy", "kubelet", "etcd", "containerd", "nginx", "coredns"} {
			if strings.HasSuffix(line, " "+name) {
				found = append(found, line)
			}
		}
	}
	if len(found) < 3 {
		t.Fatalf("node %s: only these components run: %v", n.Name, found)
	}
	return found
}
