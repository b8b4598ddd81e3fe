//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// Ansible reaches every node as it reaches a Kubespray cluster's: over SSH, with
// Kubespray's groups, and with its modules run by the node's python3.
func TestAnsible(t *testing.T) {
	c := lab.Need(t, lab.Small)
	out := play(t, c, facts)
	for _, want := range []string{"cp1 Debian kube [kube_control_plane]", "worker1 Debian kube [kube_node]", "cp1                        : ok=", "worker1                    : ok="} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// play runs a playbook over a cluster and returns what Ansible prints.
func play(t *testing.T, c *lab.Cluster, playbook string) string {
	t.Helper()
	run, dir := ansible(t, c)
	file := filepath.Join(dir, "play.yml")
	if err := os.WriteFile(file, []byte(playbook), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := run(file).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// ansible makes commands of ansible-playbook over a cluster, with the cluster's
// inventory in a folder of the test's.
func ansible(t *testing.T, c *lab.Cluster) (run func(args ...string) *exec.Cmd, dir string) {
	t.Helper()
	if _, err := exec.LookPath("ansible-playbook"); err != nil {
		t.Skip("needs Ansible (Debian package ansible-core)")
	}
	text, err := c.Inventory()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	inventory := filepath.Join(dir, "inventory.ini")
	if err := os.WriteFile(inventory, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return func(args ...string) *exec.Cmd {
		// What Ansible keeps goes into the test's folder, not into root's home.
		return c.Command(t.Context(), "env", append([]string{"HOME=" + dir, "ANSIBLE_NOCOLOR=1", "ansible-playbook", "-i", inventory}, args...)...)
	}, dir
}

// facts says who each node is, what it runs, and whom its files belong to.
const facts = `
- hosts: k8s_cluster
  tasks:
    - stat:
        path: /etc/cni/net.d
      register: cni
    - debug:
        msg: "{{ inventory_hostname }} {{ ansible_distribution }} {{ cni.stat.pw_name }} [{{ group_names | select('match', 'kube_') | join(' ') }}]"
`
