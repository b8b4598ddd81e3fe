package lab

import (
	"fmt"
	"io/fs"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/kubespray"
)

// ground are the files that make a namespace feel like a machine to Kubernetes:
// what a data centre's own set-up, not Kubespray, puts on a node. One unit of
// the node does it at every boot, also after a power cut.
func ground(c *kubespray.Cluster, node kubespray.Node, key []byte) []kubespray.File {
	var script strings.Builder
	script.WriteString(groundScript)
	fmt.Fprintf(&script, "ip address replace %s/24 dev host0\nip link set host0 up\n", node.Address)
	// A data centre's node has a default route, by which the kernel lets a process
	// of the node begin to talk to a service address; kube-proxy then redirects it.
	// This one has no way out, and a route for services alone.
	fmt.Fprintf(&script, "ip route replace %s dev host0\n", kubespray.ServiceSubnet)
	for _, other := range c.Nodes {
		if other.Name != node.Name && other.PodCIDR.IsValid() {
			fmt.Fprintf(&script, "ip route replace %s via %s\n", other.PodCIDR, other.Address)
		}
	}
	file := func(path string, mode fs.FileMode, content string) kubespray.File {
		return kubespray.File{Path: path, Mode: mode, Owner: "root", Group: "root", Content: []byte(content)}
	}
	return []kubespray.File{
		file("/usr/local/lib/lab-ground", 0o755, script.String()),
		file("/etc/systemd/system/lab-ground.service", 0o644, groundUnit),
		{Path: "/etc/systemd/system/sysinit.target.wants/lab-ground.service", Mode: fs.ModeSymlink | 0o777, Owner: "root", Group: "root", Target: "/etc/systemd/system/lab-ground.service"},
		file("/etc/hostname", 0o644, node.Name+"\n"),
		file("/etc/resolv.conf", 0o644, "nameserver 127.0.0.1\n"),
		{Path: "/root/.ssh", Mode: fs.ModeDir | 0o700, Owner: "root", Group: "root"},
		file("/root/.ssh/authorized_keys", 0o600, string(key)),
	}
}

const groundUnit = `[Unit]
Description=Network, cgroups and kernel parameters of a lab node
DefaultDependencies=no
After=systemd-remount-fs.service
Before=sysinit.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/lib/lab-ground
`

// groundScript gives the node its cgroups to write to, and stand-ins for the
// kernel parameters that belong to the whole machine: the node sees, reads and
// writes files of its own where a write would reach the machine's kernel. The
// parameters of a network namespace are the node's anyway.
const groundScript = `#!/bin/sh
set -eu
mount --make-rshared /
for c in blkio cpu cpuacct cpuset devices freezer memory pids; do
  mount -o remount,bind,rw /sys/fs/cgroup/$c
done
for p in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys kernel/keys/root_maxbytes fs/may_detach_mounts; do
  [ -e /proc/sys/$p ] || continue
  mkdir -p /run/lab/sys/$(dirname $p)
  cat /proc/sys/$p > /run/lab/sys/$p
  mount --bind /run/lab/sys/$p /proc/sys/$p
done
# As systemd-sysctl does at boot; it does not run where /proc/sys is read-only.
for f in /etc/sysctl.d/*.conf; do [ -e "$f" ] && sysctl -q -e -p "$f" || true; done
# nodelocaldns binds its address to a device of its own; this kernel may have no
# dummy devices, and a bridge without ports is one as good.
ip link add nodelocaldns type bridge
ip address add 169.254.25.10/32 dev nodelocaldns
ip link set nodelocaldns up
`
