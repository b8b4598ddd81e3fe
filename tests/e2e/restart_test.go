//go:build e2e

package e2e

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

var (
	settle = flag.Duration("settle", 10*time.Minute, "how long a cluster is watched after it was fixed")
	soak   = flag.Duration("soak", 5*time.Minute, "how long a fix itself watches")
)

// maxOutage is how much longer than one plain restart of its pod an API server
// may be away while everything of it is fixed.
const maxOutage = 1.2

// One fix of a fresh control plane and of a worker, at the default risk: what it
// can fix passes, for kube-bench as well; the cluster works and goes on working;
// a second fix restarts nothing; a rollback gives back what was there.
func TestFixRestart(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	install(t, cp)
	install(t, worker)

	// The slower of two: one alone varies by a tenth on a busy machine.
	plain := max(plainRestart(t, c, "once"), plainRestart(t, c, "twice"))
	before := map[string][]string{"cp1": tree(t, cp), "worker1": tree(t, worker)}

	watch := watchAPI(t, c)
	for _, n := range []*machine.Node{worker, cp} {
		began := time.Now()
		fixed := decode(t, fix(t, n, "--soak="+soak.String()))
		if fixed.Run.State != "committed" {
			t.Fatalf("%s: state %q: %v", n.Name, fixed.Run.State, fixed.Run.Notes)
		}
		remaining(t, n, fixed)
		fmt.Printf("e2e: %s: fixed and proven in %.0f s, %d paths\n", n.Name, time.Since(began).Seconds(), len(fixed.Run.Changes))
	}
	silent, spells := watch.silence()
	ratio := silent.Seconds() / plain.Seconds()
	fmt.Printf("e2e: API server: %.1f s without an answer in %d spells for all its fixes, %.1f s for one plain restart, ratio %.2f\n",
		silent.Seconds(), spells, plain.Seconds(), ratio)
	if ratio > maxOutage {
		t.Errorf("the API server was away for %.2f times a plain restart, at most %.1f are allowed", ratio, maxOutage)
	}
	works(t, c)

	running := map[string][]string{"cp1": components(t, cp), "worker1": components(t, worker)}
	for _, n := range []*machine.Node{worker, cp} {
		if again := decode(t, fix(t, n)); len(again.Run.Changes) != 0 || again.Run.State != "unchanged" {
			t.Errorf("%s: the second fix: state %q, %+v", n.Name, again.Run.State, again.Run.Changes)
		}
	}
	time.Sleep(*settle) // the claim is about a time in which nothing happens
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
	for _, n := range []*machine.Node{worker, cp} {
		if diff := cmp.Diff(running[n.Name], components(t, n)); diff != "" {
			t.Errorf("%s: components restarted within %s (-before +after):\n%s", n.Name, *settle, diff)
		}
	}
	works(t, c)
	fmt.Printf("e2e: no component restarted in the %s after the fix\n", *settle)

	for _, n := range []*machine.Node{worker, cp} {
		began := time.Now()
		must(t, n, "hardener", "rollback")
		if diff := cmp.Diff(before[n.Name], tree(t, n)); diff != "" {
			t.Errorf("%s: after the rollback (-before +after):\n%s", n.Name, diff)
		}
		fmt.Printf("e2e: %s: rolled back and proven in %.0f s\n", n.Name, time.Since(began).Seconds())
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
	works(t, c)
}

// fix runs a fix on a node and returns its report. An error of the program is
// the test's.
func fix(t *testing.T, n *machine.Node, flags ...string) string {
	t.Helper()
	return report(t, n, "hardener", append([]string{"fix", "--benchmark=" + latestBenchmark(), "--output=json", "--kubeconfig=" + kubeconfig(n.Name)}, flags...)...)
}

// remaining wants of every check that still fails a reason why it was not fixed,
// and of every other one kube-bench's consent, unless the verdict says why not.
func remaining(t *testing.T, n *machine.Node, fixed document) {
	t.Helper()
	theirs := decode(t, report(t, n, "kube-bench", "--config-dir=/etc/kube-bench/cfg", "--config=/etc/kube-bench/cfg/config.yaml",
		"run", "--benchmark="+latestBenchmark(), "--targets="+targets(n.Name), "--json"))
	says := map[string]string{}
	for _, c := range theirs.Controls {
		for _, g := range c.Tests {
			for _, r := range g.Results {
				says[r.ID] = r.Status
			}
		}
	}
	passed, failed, differ := 0, 0, 0
	for _, c := range fixed.Controls {
		for _, g := range c.Tests {
			for _, r := range g.Results {
				switch {
				case r.Status == "FAIL":
					failed++
					left := slices.Contains([]string{"never", "above-risk"}, r.Fix.State)
					if !left || r.Fix.State == "above-risk" && !slices.Contains([]string{"cluster", "workload"}, r.Fix.Risk) {
						t.Errorf("%s: %s fails after the fix: %s, risk %s: %s", n.Name, r.ID, r.Fix.State, r.Fix.Risk, r.Fix.Reason)
					}
				case r.Status == "PASS":
					passed++
				}
				if their, known := says[r.ID]; known && their != r.Status {
					differ++
					if r.Reason == "" {
						t.Errorf("%s: %s is %s, kube-bench says %s, and no reason is given", n.Name, r.ID, r.Status, their)
					}
				}
			}
		}
	}
	fmt.Printf("e2e: %s after the fix: %d pass, %d fail with a reason; kube-bench differs in %d, each with a reason\n", n.Name, passed, failed, differ)
}

func targets(node string) string {
	if strings.HasPrefix(node, "cp") {
		return "master,node,etcd,controlplane"
	}
	return "node"
}

// plainRestart is how long the API server gives no answer when its pod is
// restarted for a change of no effect.
func plainRestart(t *testing.T, c *lab.Cluster, mark string) time.Duration {
	t.Helper()
	n := c.Node("cp1")
	watch := watchAPI(t, c)
	since := strings.TrimSpace(must(t, n, "pgrep", "-x", "kube-apiserver"))
	must(t, n, "sh", "-c", `sed '0,/^  annotations:$/s//&\n    restarted-`+mark+`: "yes"/' `+apiserver+` > /root/.edit && grep -q restarted-`+mark+` /root/.edit && mv /root/.edit `+apiserver)
	until(t, 5*time.Minute, "another API server answers", func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", "pgrep -x kube-apiserver && kubectl --kubeconfig=/root/.kube/config get --raw=/readyz")
		return err == nil && !strings.HasPrefix(out, since+"\n") && strings.HasSuffix(strings.TrimSpace(out), "ok"), fmt.Sprint(out, err)
	})
	silent, _ := watch.silence()
	if silent == 0 {
		t.Fatal("the API server was restarted and never silent")
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Fatal(err)
	}
	return silent
}

// works does what users of a cluster do on every node: logs, exec, create, watch.
func works(t *testing.T, c *lab.Cluster) {
	t.Helper()
	const kubectl = "kubectl --kubeconfig=/root/.kube/config --request-timeout=60s "
	n := c.Node("cp1")
	for _, pod := range []string{"kube-scheduler-cp1", "nginx-proxy-worker1"} {
		must(t, n, "sh", "-c", kubectl+"logs -n kube-system --tail=1 "+pod)
	}
	until(t, 3*time.Minute, "exec in a pod of the worker", func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", kubectl+"exec -n kube-system nginx-proxy-worker1 -- nginx -v")
		return err == nil, fmt.Sprint(out, err)
	})
	must(t, n, "sh", "-c", kubectl+"create configmap works -n default && "+kubectl+"wait --for=create configmap/works -n default && "+kubectl+"delete configmap works -n default")
}

// tree is every file of a node that a fix may touch: mode, owner and content. What
// the API server logged stays, and with it the folder that was made for it.
func tree(t *testing.T, n *machine.Node) []string {
	t.Helper()
	out := must(t, n, "sh", "-c", `find /etc/kubernetes /etc/etcd.env /etc/systemd/system /etc/sysctl.d /etc/cni /var/lib/kubelet/config.yaml /var/lib/etcd /usr/local/bin -xdev -path /var/lib/etcd/member -prune -o -printf '%p %M %U:%G %l\n' -type f -exec sha256sum {} \; 2>/dev/null | sort`)
	return strings.Split(strings.TrimSpace(out), "\n")
}
