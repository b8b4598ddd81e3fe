//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	reports "github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// hooks is a Kubespray inventory of a cluster, and the playbooks of kubespray-hooks.
type hooks struct {
	t   *testing.T
	c   *lab.Cluster
	dir string
	run func(args ...string) *exec.Cmd
}

const (
	harden = "harden.yml"
	undo   = "undo.yml"
)

// newHooks makes an inventory with some variables for all hosts.
func newHooks(t *testing.T, c *lab.Cluster, vars map[string]any) hooks {
	t.Helper()
	run, dir := ansible(t, c)
	all := map[string]any{
		"hardener_binary": hardener, "hardener_soak": min(*soak, time.Minute).String(),
		"hardener_args": []string{"--benchmark=" + latestBenchmark()},
	}
	maps.Copy(all, vars)
	h := hooks{t, c, dir, run}
	h.vars("group_vars/all.json", all)
	return h
}

func (h hooks) vars(file string, vars map[string]any) {
	h.t.Helper()
	text, err := json.Marshal(vars)
	if err != nil {
		h.t.Fatal(err)
	}
	path := filepath.Join(h.dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o600); err != nil {
		h.t.Fatal(err)
	}
}

// play runs a playbook and wants it to end in this way.
func (h hooks) play(code int, playbook string, args ...string) hooked {
	h.t.Helper()
	path, err := filepath.Abs("../../kubespray-hooks/playbooks/" + playbook)
	if err != nil {
		h.t.Fatal(err)
	}
	cmd := h.run(append([]string{path}, args...)...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		h.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		h.t.Fatalf("%s ended with %d, want %d\n%s", playbook, got, code, out)
	}
	return hooked{h.t, string(out), time.Since(began)}
}

// merged is the cluster's report among the artifacts.
func (h hooks) merged() (c reports.Cluster) {
	h.t.Helper()
	b, err := os.ReadFile(filepath.Join(h.dir, "artifacts/hardener/cluster.json"))
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		h.t.Fatal(err)
	}
	return c
}

// hooked is what a playbook said.
type hooked struct {
	t    *testing.T
	out  string
	took time.Duration
}

// result is what the recap says of a host.
type result struct{ Changed, Unreachable, Failed string }

func (p hooked) recap() map[string]result {
	p.t.Helper()
	all := map[string]result{}
	for _, m := range regexp.MustCompile(`(?m)^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)`).FindAllStringSubmatch(p.out, -1) {
		all[m[1]] = result{m[2], m[3], m[4]}
	}
	if len(all) == 0 {
		p.t.Fatalf("no recap in\n%s", p.out)
	}
	return all
}

// green wants all hosts to be done and, unless any number will do, this many changes on
// each.
func (p hooked) green(changed string) {
	p.t.Helper()
	for host, r := range p.recap() {
		if r.Unreachable != "0" || r.Failed != "0" || changed != "" && r.Changed != changed {
			p.t.Errorf("%s: %+v, want %s changes\n%s", host, r, changed, p.out)
		}
	}
}

func (p hooked) says(words ...string) {
	p.t.Helper()
	for _, w := range words {
		if !strings.Contains(p.out, w) {
			p.t.Errorf("it does not say %q:\n%s", w, p.out)
		}
	}
}

// trees are the files of nodes that fixes may touch, and ours.
func trees(t *testing.T, nodes ...*machine.Node) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, n := range nodes {
		all[n.Name] = append(tree(t, n), strings.Fields(must(t, n, "sh", "-c", "ls -d /opt/kubespray-hardener /opt/.kubespray-hardener* 2>/dev/null || :"))...)
	}
	return all
}

// The playbook over SSH on a fresh cluster: a dry run shows the changes and makes none,
// the run ends green, a second one finds nothing to do, and everything is taken back
// to the byte.
func TestHooks(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	h := newHooks(t, c, nil)
	before := trees(t, cp, worker)

	dry := h.play(0, harden, "--check", "--diff")
	dry.says("+++ b/etc/kubernetes/manifests/kube-apiserver.yaml", "+++ b/etc/kubernetes/kubelet-config.yaml")
	if diff := cmp.Diff(before, trees(t, cp, worker)); diff != "" {
		t.Errorf("check mode changed something (-before +after):\n%s", diff)
	}
	for _, n := range c.Nodes() {
		if out, err := n.Run(t.Context(), "ls", "-d", "/var/lib/kubespray-hardener"); err == nil {
			t.Errorf("check mode has left %s on %s", out, n.Name)
		}
	}

	outage := watchAPI(t, c)
	first := h.play(0, harden)
	first.green("")
	first.says("cp1: ") // its fix, as it went
	merged := h.merged()
	allDone(t, merged, "cp1", "worker1")
	for _, n := range merged.Nodes {
		if len(n.Changes) == 0 {
			t.Errorf("%s: nothing was changed", n.Name)
		}
	}
	fmt.Printf("e2e: hooks: fresh cluster green in %.0f s, %d pass, %d fail with a reason; API server %s\n", first.took.Seconds(), merged.Totals.Pass, merged.Totals.Fail, outage)
	works(t, c)
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}

	second := h.play(0, harden)
	second.green("0")
	fmt.Printf("e2e: hooks: second run changed=0 in %.0f s\n", second.took.Seconds())

	h.play(0, undo).green("")
	if diff := cmp.Diff(before, trees(t, cp, worker)); diff != "" {
		t.Errorf("not everything is back (-before +after):\n%s", diff)
	}
	works(t, c)
}

// A host that is out of reach, whose password is wrong, or whose disk is full is said,
// and the other one is right.
func TestHooksTrouble(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	worker := c.Node("worker1")
	h := newHooks(t, c, map[string]any{"hardener_max_risk": "files"})
	// trouble wants worker1 to have failed in one way, and cp1 to be done.
	trouble := func(what string, code int, want result, words string) {
		t.Helper()
		p := h.play(code, harden)
		all := p.recap()
		if r := all["worker1"]; r.Unreachable != want.Unreachable || r.Failed != want.Failed {
			t.Errorf("%s: worker1 is %+v, want %+v\n%s", what, r, want, p.out)
		}
		if r := all["cp1"]; r.Unreachable != "0" || r.Failed != "0" {
			t.Errorf("%s: cp1 is %+v\n%s", what, r, p.out)
		}
		p.says(words)
		states := map[string]reports.NodeState{}
		for _, n := range h.merged().Nodes {
			states[n.Name] = n.State
		}
		if diff := cmp.Diff(map[string]reports.NodeState{"cp1": reports.NodeDone, "worker1": reports.NodeFailed}, states); diff != "" {
			t.Errorf("%s: states (-want +got):\n%s", what, diff)
		}
		fmt.Printf("e2e: hooks: %s: worker1 unreachable=%s failed=%s, cp1 failed=0, in %.0f s\n", what, want.Unreachable, want.Failed, p.took.Seconds())
	}

	undo, err := worker.CutPort(t.Context(), 22)
	if err != nil {
		t.Fatal(err)
	}
	trouble("unreachable", 4, result{Unreachable: "1", Failed: "0"}, "UNREACHABLE")
	if err := undo(t.Context()); err != nil {
		t.Fatal(err)
	}

	free, err := worker.Fill(1 << 20)
	if err != nil {
		t.Fatal(err)
	}
	trouble("disk full", 2, result{Unreachable: "0", Failed: "1"}, "No space left on device")
	if err := free(); err != nil {
		t.Fatal(err)
	}

	must(t, worker, "sh", "-c", `useradd -m -s /bin/bash -G sudo deployer && echo deployer:right | chpasswd &&
		install -d -o deployer -m 0700 ~deployer/.ssh && install -o deployer -m 0600 /root/.ssh/authorized_keys ~deployer/.ssh/authorized_keys`)
	h.vars("host_vars/worker1.json", map[string]any{"ansible_user": "deployer", "ansible_become_password": "wrong"})
	trouble("wrong password for become", 2, result{Unreachable: "0", Failed: "1"}, "Incorrect sudo password")

	h.vars("host_vars/worker1.json", map[string]any{"ansible_user": "deployer", "ansible_become_password": "right"})
	h.play(0, harden).green("")
	allDone(t, h.merged(), "cp1", "worker1")
}

// Through the cluster, without a registry: the archive brings the image to the nodes,
// nothing is pulled, and the reports come back. Afterwards nothing is left of it.
func TestHooksCluster(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	archive, image := saveImage(t)
	h := newHooks(t, c, map[string]any{"hardener_way": "cluster", "hardener_image_archive": archive})
	before := trees(t, cp, worker)

	first := h.play(0, harden)
	first.green("")
	first.says("[2/2]") // the rollout's own progress
	merged := h.merged()
	allDone(t, merged, "cp1", "worker1")
	for _, n := range merged.Nodes {
		if len(n.Changes) == 0 {
			t.Errorf("%s: nothing was changed", n.Name)
		}
		if _, err := os.Stat(filepath.Join(h.dir, "artifacts/hardener/nodes", n.Name+".json")); err != nil {
			t.Error(err)
		}
	}
	if !slices.ContainsFunc(merged.Checks, func(c reports.ClusterCheck) bool { return c.Target == "policies" && c.Totals.Fail+c.Totals.Pass > 0 }) {
		t.Error("no policy was judged")
	}
	if pulled := must(t, cp, "kubectl", "-n", "kubespray-hardener", "get", "events", "--field-selector=reason=Pulling", "-o", "name"); strings.TrimSpace(pulled) != "" {
		t.Errorf("something was pulled: %s", pulled)
	}
	fmt.Printf("e2e: hooks: through the cluster, from the archive alone, green in %.0f s with 0 pulls\n", first.took.Seconds())

	second := h.play(0, harden)
	second.green("0")
	fmt.Printf("e2e: hooks: through the cluster, second run changed=0 in %.0f s\n", second.took.Seconds())

	h.play(0, undo).green("")
	if diff := cmp.Diff(before, trees(t, cp, worker)); diff != "" {
		t.Errorf("not everything is back (-before +after):\n%s", diff)
	}
	for _, n := range []*machine.Node{cp, worker} {
		if list := must(t, n, "ctr", "-n", "k8s.io", "images", "ls"); strings.Contains(list, image.Digest) {
			t.Errorf("%s still has the image:\n%s", n.Name, list)
		}
	}
	left := must(t, cp, "kubectl", "get", "namespace,clusterrole,clusterrolebinding,role,rolebinding", "-A", "-o", "name")
	if strings.Contains(left, "kubespray-hardener") {
		t.Errorf("left in the cluster:\n%s", left)
	}
	works(t, c)
}

// With three API servers and three etcd members, one of them on a host that no Job
// reaches: that host is fixed over SSH after the nodes were by Jobs, and never are two
// members or two servers away at once. Taken directly, all of them are right already.
func TestHAHooks(t *testing.T) {
	c := lab.Need(t, lab.HA)
	c.Spoil()
	// So that etcd, too, has something to be restarted for.
	for _, name := range []string{"cp1", "cp2", "etcd1"} {
		must(t, c.Node(name), "sh", "-c", "sed -i s/ETCD_CLIENT_CERT_AUTH=true/ETCD_CLIENT_CERT_AUTH=false/ /etc/etcd.env && systemctl restart etcd")
		if err := c.Ready(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	archive, _ := saveImage(t)
	// etcd1 does not tell by itself which benchmark is for it.
	h := newHooks(t, c, map[string]any{"hardener_way": "cluster", "hardener_image_archive": archive, "hardener_args": []string{}})
	t.Cleanup(func() {
		c.Node("cp1").Run(context.Background(), "kubectl", "delete", "namespace", "kubespray-hardener", "--ignore-not-found", "--wait")
	})
	watch := observe(t, c)

	p := h.play(0, harden)
	p.green("")
	if r := p.recap()["etcd1"]; r.Changed == "0" {
		t.Errorf("etcd1: %+v", r)
	}
	merged := h.merged()
	allDone(t, merged, "cp1", "cp2", "cp3", "etcd1", "worker1")
	if len(merged.Rollout.EtcdOnly) > 0 {
		t.Errorf("not reached: %v", merged.Rollout.EtcdOnly)
	}
	i := slices.IndexFunc(merged.Nodes, func(n reports.ClusterNode) bool { return n.Name == "etcd1" })
	if i >= 0 && merged.Nodes[i].Benchmark != merged.Nodes[0].Benchmark {
		t.Errorf("etcd1 is checked by %s, %s by %s", merged.Nodes[i].Benchmark, merged.Nodes[0].Name, merged.Nodes[0].Benchmark)
	}
	if i >= 0 && !slices.Contains(merged.Nodes[i].Changes, "/etc/etcd.env") {
		t.Errorf("etcd1: changed %v, want /etc/etcd.env among them", merged.Nodes[i].Changes)
	}
	fmt.Printf("e2e: hooks: ha: five hosts, one with etcd alone, hardened in %.0f s\n", p.took.Seconds())

	h.play(0, harden, "-e", "hardener_way=direct").green("")
	for _, n := range h.merged().Nodes {
		if len(n.Changes) > 0 {
			t.Errorf("taken directly, %s still had to change %v", n.Name, n.Changes)
		}
	}
	watch.end(t, "API servers", "etcd members")
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Error(err)
	}
}
