package kubespray

import (
	"fmt"
	"strings"
)

// Inventory is the Ansible inventory of these nodes in the INI form of
// Kubespray's inventory/sample/inventory.ini, for root over SSH with a private
// key. The nodes' host keys are new with every lab, so none is looked up and
// none kept.
func Inventory(nodes []Node, privateKey string) []byte {
	var b strings.Builder
	b.WriteString("[all]\n")
	for _, n := range nodes {
		fmt.Fprintf(&b, "%s ansible_host=%s ip=%s", n.Name, n.Address, n.Address)
		if n.Roles.Has(Etcd) {
			fmt.Fprintf(&b, " etcd_member_name=%s", n.Name)
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, `
[all:vars]
ansible_user=root
ansible_python_interpreter=/usr/bin/python3
ansible_ssh_private_key_file=%q
ansible_ssh_common_args="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
`, privateKey)
	for _, group := range []struct {
		name string
		role Role
	}{{"kube_control_plane", ControlPlane}, {"etcd", Etcd}, {"kube_node", Worker}} {
		fmt.Fprintf(&b, "\n[%s]\n", group.name)
		for _, n := range nodes {
			if n.Roles.Has(group.role) {
				fmt.Fprintln(&b, n.Name)
			}
		}
	}
	b.WriteString("\n[k8s_cluster:children]\nkube_control_plane\nkube_node\n")
	return []byte(b.String())
}
