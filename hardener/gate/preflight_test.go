package gate

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// now is when these tests take place.
var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

func kubeletOf(tree fs.FS, c node.Component) *kubelet {
	return &kubelet{daemon{Gates: &Gates{Options: Options{FS: tree, Limits: quick}}, component: c}}
}

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {client-certificate: /pki/current.pem, client-key: /pki/current.pem}}]
`

// bootable is a node on which a kubelet would start.
func bootable(t *testing.T, config string) fstest.MapFS {
	tree := fstest.MapFS{
		"etc/config.yaml":  {Data: []byte("kind: KubeletConfiguration\n" + config)},
		"etc/kubelet.conf": {Data: []byte(kubeconfigText)},
		"pki/current.pem":  {Data: keyPair(t, now.Add(-time.Hour), now.Add(time.Hour))},
		"proc/swaps":       {Data: []byte("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")},
		"proc/1/mountinfo": {Data: []byte("30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n")},
	}
	for name, value := range tunables {
		tree["proc/sys/"+name] = &fstest.MapFile{Data: []byte(value + "\n")}
	}
	return tree
}

func TestPreflight(t *testing.T) {
	const swap = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"
	const cgroupV1 = "30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
	for _, c := range []struct {
		reason, config, version string
		argv                    []string
		change                  map[string]string
		want                    string
	}{
		{reason: "all well", config: "protectKernelDefaults: true", version: "v1.35.4"},
		{reason: "swap", change: map[string]string{"proc/swaps": swap}, want: "swap is on (/dev/sda2) and failSwapOn is true"},
		{reason: "swap is allowed", config: "failSwapOn: false", change: map[string]string{"proc/swaps": swap}},
		{reason: "swap is allowed by a flag", argv: []string{"kubelet", "--fail-swap-on=false"}, change: map[string]string{"proc/swaps": swap}},
		{reason: "cgroup v1 before the default changed", version: "v1.34.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}},
		{reason: "cgroup v1", version: "v1.35.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}, want: "the node has cgroup v1 and failCgroupV1 is true"},
		{reason: "cgroup v1 is allowed", config: "failCgroupV1: False", version: "v1.35.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}},
		{reason: "sysctl", config: "protectKernelDefaults: true", change: map[string]string{"proc/sys/kernel/panic": "0\n"}, want: "protectKernelDefaults is true and kernel.panic is 0, not 10"},
		{reason: "sysctl that it sets itself", change: map[string]string{"proc/sys/kernel/panic": "0\n"}},
		{reason: "certificate", change: map[string]string{"pki/current.pem": string(keyPair(t, now.Add(-2*time.Hour), now.Add(-time.Hour)))}, want: "its client certificate: expired at 2026-11-21T23:00:00Z"},
		{reason: "no certificate", change: map[string]string{"pki/current.pem": "nothing\n"}, want: "its client certificate: holds no certificate"},
	} {
		tree := bootable(t, c.config)
		for name, content := range c.change {
			tree[name] = &fstest.MapFile{Data: []byte(content)}
		}
		k := kubeletOf(tree, node.Component{Config: "/etc/config.yaml", Kubeconfig: "/etc/kubelet.conf", Configured: c.argv})
		if got := strings.Join(k.preflight(c.version, now), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.reason, got, c.want)
		}
	}
	tree := bootable(t, "")
	delete(tree, "pki/current.pem")
	k := kubeletOf(tree, node.Component{Config: "/etc/config.yaml", Kubeconfig: "/etc/kubelet.conf"})
	if got := k.preflight("", now); len(got) != 1 || !strings.Contains(got[0], "pki/current.pem") || strings.Contains(got[0], "\n") {
		t.Errorf("without its certificate: %q", got)
	}
}
