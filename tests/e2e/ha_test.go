//go:build e2e

package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// On every node of a highly available cluster, the host that has etcd alone
// among them, our --raw verdicts are kube-bench's.
func TestHARawEqualsKubeBench(t *testing.T) {
	c := lab.Need(t, lab.HA)
	for node, targets := range map[string]string{
		"cp1":     "master,node,etcd,controlplane",
		"cp2":     "master,node,etcd,controlplane",
		"cp3":     "master,node,controlplane",
		"etcd1":   "etcd",
		"worker1": "node",
	} {
		t.Run(node, func(t *testing.T) {
			n := c.Node(node)
			install(t, n)
			theirs := verdicts(t, report(t, n, "kube-bench", "--config-dir=/etc/kube-bench/cfg", "--config=/etc/kube-bench/cfg/config.yaml",
				"run", "--benchmark=cis-1.12", "--targets="+targets, "--json"))
			ours := verdicts(t, report(t, n, "hardener", "check", "--raw", "--benchmark=cis-1.12", "--targets="+targets, "--output=json", "--kubeconfig="))
			if diff := cmp.Diff(theirs, ours); diff != "" {
				t.Errorf("verdicts (-kube-bench +hardener):\n%s", diff)
			}
			fmt.Printf("e2e: ha %s: %d verdicts equal\n", node, len(theirs))
		})
	}
}

// The cluster outlives the loss of one etcd member and of one API server: writes
// go on, the worker's local proxy finds another server, and what comes back joins
// again.
func TestHALosesOne(t *testing.T) {
	c := lab.Need(t, lab.HA)
	c.Spoil()
	member := c.Node("etcd1")
	if err := member.CutPower(t.Context()); err != nil {
		t.Fatal(err)
	}
	const write = "kubectl --kubeconfig=/root/.kube/config create configmap written --dry-run=client -o yaml | kubectl --kubeconfig=/root/.kube/config apply -f -"
	until(t, 2*time.Minute, "writes go on without one etcd member", func() (bool, string) {
		out, err := c.Node("cp2").Run(t.Context(), "sh", "-c", write)
		return err == nil, fmt.Sprint(out, err)
	})
	undo, err := c.Node("cp1").CutPort(t.Context(), 6443)
	if err != nil {
		t.Fatal(err)
	}
	until(t, 2*time.Minute, "the worker reaches another API server through its proxy", func() (bool, string) {
		out, err := c.Node("worker1").Run(t.Context(), "curl", "-sk", "-m", "10", "https://localhost:6443/readyz")
		return err == nil && strings.TrimSpace(out) == "ok", fmt.Sprint(out, err)
	})
	if err := undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := member.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	until(t, 3*time.Minute, "the etcd member is back", func() (bool, string) {
		const pair = "/etc/ssl/etcd/ssl/admin-cp1"
		out, err := c.Node("cp1").Run(t.Context(), "etcdctl", "--endpoints=https://10.90.0.11:2379", "--cacert=/etc/ssl/etcd/ssl/ca.pem",
			"--cert="+pair+".pem", "--key="+pair+"-key.pem", "endpoint", "health", "--cluster")
		return err == nil && strings.Count(out, "is healthy") == 3, fmt.Sprint(out, err)
	})
}

// A control plane is not fit while another API server is down. Its etcd member
// hands on the leadership before it restarts.
func TestHAGate(t *testing.T) {
	c := lab.Need(t, lab.HA)
	c.Spoil()
	n := c.Node("cp2")
	probing(t, n)
	fit := func() string { return call(t, n, "-components", "apiserver,etcd", "fit").Error }
	until(t, time.Minute, "fit", func() (bool, string) { said := fit(); return said == "", said })
	undo, err := c.Node("cp1").CutPort(t.Context(), 6443)
	if err != nil {
		t.Fatal(err)
	}
	if said := fit(); !strings.Contains(said, "https://10.90.0.11:6443/readyz") {
		t.Errorf("it is not told that the API server of cp1 is down: %q", said)
	}
	if err := undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, 3*time.Minute, "fit again", func() (bool, string) { said := fit(); return said == "", said })

	const pair = "/etc/ssl/etcd/ssl/admin-cp2"
	const own = "https://10.90.0.12:2379"
	etcdctl := func(endpoint string, args ...string) string {
		return must(t, n, "etcdctl", append([]string{"--endpoints=" + endpoint, "--cacert=/etc/ssl/etcd/ssl/ca.pem", "--cert=" + pair + ".pem", "--key=" + pair + "-key.pem"}, args...)...)
	}
	// status is of one endpoint: its member and the one that leads.
	status := func(endpoint string) (member, leader uint64) {
		var all []struct {
			Status struct {
				Header struct {
					Member uint64 `json:"member_id"`
				} `json:"header"`
				Leader uint64 `json:"leader"`
			} `json:"Status"`
		}
		out := etcdctl(endpoint, "endpoint", "status", "--write-out=json")
		if err := json.Unmarshal([]byte(out), &all); err != nil || len(all) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return all[0].Status.Header.Member, all[0].Status.Leader
	}
	member, _ := status(own)
	for _, endpoint := range []string{"https://10.90.0.11:2379", "https://10.90.0.14:2379"} {
		if other, leader := status(endpoint); other == leader {
			etcdctl(endpoint, "move-leader", fmt.Sprintf("%x", member))
		}
	}
	until(t, time.Minute, "cp2 leads", func() (bool, string) { _, leader := status(own); return leader == member, fmt.Sprint(leader) })
	taken := call(t, n, "-components", "etcd", "-before", before(t, n, "etcd"), "take")
	// A member that ends hands on the leadership itself; this is from before that.
	if taken.Error != "" || !strings.Contains(taken.Progress, "leads now; it was this one") {
		t.Errorf("take: %q", taken.Error)
	}
	if _, leader := status(own); leader == member {
		t.Error("cp2 leads again; nothing asked for that")
	}
}
