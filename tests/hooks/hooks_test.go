// Package hooks tests the playbooks of kubespray-hooks with the real Ansible, on
// node trees: what they leave, count and say. On a live cluster, over SSH, they are
// tested in package e2e.
package hooks

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// The program under test is built once, when the first test needs it.
var program = sync.OnceValues(func() (string, error) {
	ctx := context.Background()
	repo, err := oracle.Repository(ctx)
	if err != nil {
		return "", err
	}
	return oracle.BuildHardener(ctx, repo, built)
})

var built string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hooks-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "hooks: error:", err)
		os.Exit(1)
	}
	built = dir
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// site is an inventory whose hosts are node trees.
type site struct {
	t   *testing.T
	dir string
}

const (
	oldGroups = `
[kube-master]
cp1
[etcd]
etcd1
[kube-node]
w1
[k8s-cluster:children]
kube-master
kube-node
`
	newGroups = `
[kube_control_plane]
cp1
[etcd:children]
kube_control_plane
[kube_node]
w1
`
)

func newSite(t *testing.T, groups string, hosts ...string) site {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: fixes give files away")
	}
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("needs Ansible (Debian package ansible-core)")
	}
	restsOn(t, "../../kubespray-hooks", "../../cmd/hardener", "../../hardener")
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	t.Parallel() // most of the time Ansible waits for itself
	s := site{t, t.TempDir()}
	var b strings.Builder
	b.WriteString("[all]\n")
	for _, host := range hosts {
		if err := sample.Write(s.tree(host)); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s hardener_root=%s hardener_dir=%s\n", host, s.tree(host), filepath.Join(s.dir, "opt", host))
	}
	fmt.Fprintf(&b, `[all:vars]
ansible_connection=local
ansible_python_interpreter=/usr/bin/python3
hardener_binary=%s
hardener_args=["--benchmark=%s","--kubeconfig="]
`, binary, sample.Benchmark)
	if err := os.Mkdir(filepath.Join(s.dir, "opt"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("inventory/hosts.ini", b.String()+groups)
	return s
}

// restsOn looks at what only other programs read, so that go test does not take an
// earlier result for that of what has changed.
func restsOn(t *testing.T, folders ...string) {
	t.Helper()
	for _, folder := range folders {
		err := filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func (s site) tree(host string) string { return filepath.Join(s.dir, host) }

func (s site) write(name, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

// command runs a playbook over the site.
func (s site) command(playbook string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), "ansible-playbook", append([]string{"-i", "inventory/hosts.ini", playbook}, args...)...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "HOME="+s.dir, "ANSIBLE_NOCOLOR=1", "ANSIBLE_FORCE_COLOR=0", "ANSIBLE_HOST_PATTERN_MISMATCH=error",
		"ANSIBLE_COLLECTIONS_PATH="+s.dir+"/collections", "ANSIBLE_PIPELINING=1") // as Kubespray's ansible.cfg has it
	return cmd
}

// play runs a playbook and wants it to end in this way.
func (s site) play(code int, playbook string, args ...string) played {
	s.t.Helper()
	cmd := s.command(playbook, args...)
	out, err := cmd.CombinedOutput()
	if cmd.ProcessState == nil {
		s.t.Fatal(err)
	}
	if got := cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("exit code %d, want %d\n%s", got, code, out)
	}
	return played{s.t, string(out)}
}

// played is what a playbook said.
type played struct {
	t   *testing.T
	out string
}

var recapLine = regexp.MustCompile(`(?m)^(\S+)\s+: ok=\d+\s+changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)`)

// recap wants "changed unreachable failed" of each host.
func (p played) recap(want map[string]string) {
	p.t.Helper()
	got := map[string]string{}
	for _, m := range recapLine.FindAllStringSubmatch(p.out, -1) {
		got[m[1]] = strings.Join(m[2:], " ")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		p.t.Errorf("changed, unreachable and failed (-want +got):\n%s\n%s", diff, p.out)
	}
}

func (p played) says(words ...string) {
	p.t.Helper()
	for _, w := range words {
		if !strings.Contains(p.out, w) {
			p.t.Errorf("it does not say %q:\n%s", w, p.out)
		}
	}
}

// order wants hosts to have been taken in this order.
func (p played) order(want ...string) {
	p.t.Helper()
	var got []string
	for _, part := range strings.Split(p.out, "\nTASK [")[1:] {
		if strings.Contains(strings.SplitN(part, "\n", 2)[0], "hardener : Check this host") {
			for _, m := range regexp.MustCompile(`(?m)^(?:ok|changed|fatal): \[(\S+?)\]`).FindAllStringSubmatch(part, -1) {
				got = append(got, m[1])
			}
		}
	}
	if !slices.Equal(got, want) {
		p.t.Errorf("taken: %v, want %v", got, want)
	}
}

// merged is the cluster's report among the artifacts.
func (s site) merged() (c report.Cluster) {
	s.t.Helper()
	b, err := os.ReadFile(filepath.Join(s.dir, "inventory/artifacts/hardener/cluster.json"))
	if err == nil {
		err = json.Unmarshal(b, &c)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

// fingerprints are of the trees, of all but the program's own state.
func (s site) fingerprints(hosts ...string) map[string]string {
	s.t.Helper()
	all := map[string]string{}
	for _, host := range hosts {
		h := sha256.New()
		err := filepath.WalkDir(s.tree(host), func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.Name() == "kubespray-hardener" {
				return filepath.SkipDir
			}
			info, err := d.Info()
			if err != nil {
				return err
			}
			stat := info.Sys().(*syscall.Stat_t)
			fmt.Fprintln(h, path, info.Mode(), stat.Uid, stat.Gid)
			if !info.Mode().IsRegular() {
				return nil
			}
			b, err := os.ReadFile(path)
			h.Write(b)
			return err
		})
		if err != nil {
			s.t.Fatal(err)
		}
		all[host] = fmt.Sprintf("%x", h.Sum(nil))
	}
	return all
}

const (
	harden = "../../kubespray-hooks/playbooks/harden.yml"
	undo   = "../../kubespray-hooks/playbooks/undo.yml"
)

// unreachable are variables with which a host that is asked at all fails.
const unreachable = `{"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}`

func (s site) nothingIn(folder string) {
	s.t.Helper()
	entries, err := os.ReadDir(filepath.Join(s.dir, folder))
	if err != nil || len(entries) > 0 {
		s.t.Errorf("%s has %v, %v; want nothing", folder, entries, err)
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// The whole story over an inventory of an old release: a dry run that leaves
// everything as it is, the fixes, a second run that changes nothing, a threshold that
// is passed, and everything back.
func TestPlaybook(t *testing.T) {
	hosts := []string{"cp1", "etcd1", "w1"}
	s := newSite(t, oldGroups, hosts...)
	playbook, back := absolute(t, harden), absolute(t, undo)
	before := s.fingerprints(hosts...)

	dry := s.play(0, playbook, "--check", "--diff")
	dry.says("+++ b/etc/kubernetes/manifests/kube-apiserver.yaml", "mode of /etc/kubernetes/ssl/apiserver.key: 640 becomes 600")
	dry.recap(map[string]string{"cp1": "3 0 0", "etcd1": "2 0 0", "w1": "2 0 0"}) // the folder of the program, the fix; once the variables
	if diff := cmp.Diff(before, s.fingerprints(hosts...)); diff != "" {
		t.Errorf("check mode changed something:\n%s", diff)
	}
	s.nothingIn("opt")

	first := s.play(0, playbook)
	first.order("w1", "etcd1", "cp1")
	first.recap(map[string]string{"cp1": "4 0 0", "etcd1": "3 0 0", "w1": "3 0 0"}) // the folder, the program, the fix; once the variables
	first.says("missing       kube_read_only_port: 0  on cp1, w1")
	if c := s.merged(); len(c.Nodes) != 3 || c.Nodes[0].Name != "cp1" || len(c.Nodes[0].Changes) == 0 || c.Totals.Fail == 0 {
		t.Errorf("merged: %+v", c.Nodes)
	}

	second := s.play(0, playbook)
	second.recap(map[string]string{"cp1": "0 0 0", "etcd1": "0 0 0", "w1": "0 0 0"})

	// What is left is never fixed; whoever wants no FAIL at all gets it told without a
	// host being asked.
	judged := s.play(2, playbook, "--tags=report", "-e", "hardener_fail_on=fail", "-e", unreachable)
	judged.says("more findings than hardener_fail_on lets pass: 9 verdicts of FAIL")

	undone := s.play(0, back)
	undone.recap(map[string]string{"cp1": "2 0 0", "etcd1": "2 0 0", "w1": "2 0 0"}) // the fix, the program
	if diff := cmp.Diff(before, s.fingerprints(hosts...)); diff != "" {
		t.Errorf("not everything is back:\n%s", diff)
	}
	s.nothingIn("opt")
	fmt.Printf("hooks: %d hosts fixed, then changed=0, then as before\n", len(hosts))
}

// A host that cannot be done fails in the end, with its reason, and is in the report;
// workers are right all the same. After one with etcd no control plane is begun.
func TestHostThatFails(t *testing.T) {
	s := newSite(t, oldGroups, "cp1", "etcd1", "w1")
	if err := os.WriteFile(filepath.Join(s.tree("etcd1"), "var/lib/kubespray-hardener"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	before := s.fingerprints("cp1")
	p := s.play(2, absolute(t, harden))
	p.says("not begun: etcd1 failed before")
	p.recap(map[string]string{"cp1": "3 0 1", "etcd1": "2 0 1", "w1": "3 0 0"})
	if diff := cmp.Diff(before, s.fingerprints("cp1")); diff != "" {
		t.Errorf("cp1 was begun:\n%s", diff)
	}
	states := map[string]report.NodeState{}
	for _, n := range s.merged().Nodes {
		states[n.Name] = n.State
		if n.State == report.NodeFailed && !strings.Contains(n.Reason, "not begun") && !strings.Contains(n.Reason, "kubespray-hardener") {
			t.Errorf("%s failed for %q", n.Name, n.Reason)
		}
	}
	if diff := cmp.Diff(map[string]report.NodeState{"cp1": "failed", "etcd1": "failed", "w1": "done"}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// As a collection, imported by another playbook after its own plays, and only to look;
// --limit holds.
func TestCollection(t *testing.T) {
	s := newSite(t, newGroups, "cp1", "w1")
	collection := filepath.Join(s.dir, "collections/ansible_collections/kubespray_hardener")
	if err := os.MkdirAll(collection, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(absolute(t, "../../kubespray-hooks"), filepath.Join(collection, "hooks")); err != nil {
		t.Fatal(err)
	}
	s.write("site.yml", `
- hosts: all
  gather_facts: false
  tasks:
    - debug: {msg: the cluster is there}
      tags: [check]
- import_playbook: kubespray_hardener.hooks.harden
`)
	before := s.fingerprints("cp1", "w1")
	p := s.play(0, "site.yml", "--tags=check", "--limit=w1")
	p.says("the cluster is there", "check on 1 node")
	p.order("w1")
	p.recap(map[string]string{"w1": "2 0 0"}) // the program
	if diff := cmp.Diff(before, s.fingerprints("cp1", "w1")); diff != "" {
		t.Errorf("looking changed something:\n%s", diff)
	}
	// Tags of others reach no host of ours.
	other := s.play(0, "site.yml", "--tags=network", "-e", unreachable)
	other.recap(map[string]string{"cp1": "0 0 0", "w1": "0 0 0"})
}
