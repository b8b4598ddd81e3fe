package adjudicate

import (
	"io/fs"
	"strings"
	"syscall"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

const (
	apiserverYAML = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	schedulerYAML = "/etc/kubernetes/manifests/kube-scheduler.yaml"
	kubeletYAML   = "/etc/kubernetes/kubelet-config.yaml"
)

// fixture is a node under construction.
type fixture struct {
	tree  fstest.MapFS
	facts node.Facts
	procs node.Processes
}

func (f *fixture) file(path, content string, mode fs.FileMode) {
	f.tree[strings.TrimPrefix(path, "/")] = &fstest.MapFile{Data: []byte(content), Mode: mode, Sys: &syscall.Stat_t{}}
}

// component changes what the facts say about a component.
func (f *fixture) component(name string, change func(*node.Component)) {
	c := f.facts.Components[name]
	change(&c)
	f.facts.Components[name] = c
}

// args adds arguments to a component's configured command line.
func (f *fixture) args(name string, args ...string) {
	f.component(name, func(c *node.Component) { c.Configured = append(c.Configured, args...) })
}

// without takes flags off a component's configured command line.
func (f *fixture) without(name string, flags ...string) {
	f.component(name, func(c *node.Component) {
		var kept []string
		for _, arg := range c.Configured {
			drop := false
			for _, flag := range flags {
				drop = drop || strings.HasPrefix(arg, "--"+flag+"=")
			}
			if !drop {
				kept = append(kept, arg)
			}
		}
		c.Configured = kept
	})
}

func (f *fixture) view() *View {
	f.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\netcd:x:998:998::/:/bin/false\n", 0o644)
	f.file("/etc/group", "root:x:0:\netcd:x:998:\n", 0o644)
	users, err := node.ReadUsers(f.tree)
	if err != nil {
		panic(err) // the fixture is wrong, not the code under test
	}
	return New(f.tree, f.facts, f.procs, users)
}

// mounts of the API server as Kubespray's kubeadm configuration makes them.
var mounts = []node.Mount{
	{Path: "/etc/kubernetes/ssl", HostPath: "/etc/kubernetes/ssl"},
	{Path: "/var/log/audit", HostPath: "/var/log/kubernetes/audit"},
	{Path: "/etc/kubernetes/audit-policy", HostPath: "/etc/kubernetes/audit-policy"},
	{Path: "/etc/kubernetes", HostPath: "/etc/kubernetes/admission-controls"},
}

// kubespray is a control plane with etcd on the host, as a tree: nothing runs.
func kubespray() *fixture {
	f := &fixture{tree: fstest.MapFS{}, facts: node.Facts{
		Distribution: node.Distribution{Name: "kubespray"},
		Kubernetes:   node.Version{Version: "1.34.4", Source: apiserverYAML},
		Roles:        []string{"control-plane", "etcd", "worker"},
		EtcdType:     "host", KubeConfigDir: "/etc/kubernetes", ManifestDir: "/etc/kubernetes/manifests",
		PKIDir: "/etc/kubernetes/ssl", PKILink: "/etc/kubernetes/pki", CNIConfDir: "/etc/cni/net.d",
		Components: map[string]node.Component{
			node.APIServer: {Manifest: apiserverYAML, Mounts: mounts, Configured: []string{"kube-apiserver",
				"--authorization-mode=Node,RBAC", "--etcd-servers=https://192.0.2.11:2379", "--client-ca-file=/etc/kubernetes/ssl/ca.crt"}},
			node.ControllerManager: {Manifest: "/etc/kubernetes/manifests/kube-controller-manager.yaml",
				Kubeconfig: "/etc/kubernetes/controller-manager.conf", Configured: []string{"kube-controller-manager", "--bind-address=::"}},
			node.Scheduler: {Manifest: schedulerYAML, Mounts: []node.Mount{{Path: "/etc/kubernetes/kubescheduler-config.yaml", HostPath: "/etc/kubernetes/kubescheduler-config.yaml"}},
				Kubeconfig: "/etc/kubernetes/scheduler.conf",
				Configured: []string{"kube-scheduler", "--profiling=False"}},
			node.Etcd: {Unit: "/etc/systemd/system/etcd.service", EnvFiles: []string{"/etc/etcd.env"}, DataDir: "/var/lib/etcd", User: "root",
				Configured: []string{"/usr/local/bin/etcd"},
				Env: map[string]string{"ETCD_CERT_FILE": "/etc/ssl/etcd/ssl/member-n1.pem", "ETCD_DATA_DIR": "/var/lib/etcd",
					"ETCD_PEER_CLIENT_CERT_AUTH": "True", "ETCD_AUTO_TLS": "", "ETCD_INITIAL_CLUSTER_TOKEN": "sesame",
					"ETCD_TRUSTED_CA_FILE": "/etc/ssl/etcd/ssl/ca.pem"}},
			node.Kubelet: {Unit: "/etc/systemd/system/kubelet.service", Config: kubeletYAML, CAFile: "/etc/kubernetes/ssl/ca.crt",
				Kubeconfig: "/etc/kubernetes/kubelet.conf", Configured: []string{"/usr/local/bin/kubelet", "--config=" + kubeletYAML}},
		},
	}}
	f.file("/etc/systemd/system/etcd.service", "[Service]\n", 0o644)
	f.file("/etc/etcd.env", "ETCD_DATA_DIR=/var/lib/etcd\n", 0o640)
	f.file("/etc/systemd/system/kubelet.service", "[Service]\nExecStart=/usr/local/bin/kubelet\n", 0o600)
	f.file(kubeletYAML, "kind: KubeletConfiguration\npodPidsLimit: -1\neventRecordQPS: 50\n", 0o600)
	f.file("/etc/kubernetes/ssl/ca.crt", "cluster CA", 0o644)
	f.file("/etc/ssl/etcd/ssl/ca.pem", "etcd CA", 0o600)
	f.file("/etc/cni/net.d/10-calico.conflist", "{}", 0o644)
	f.file("/var/lib/etcd/member/snap/db", "", 0o600)
	return f
}

// flagCheck is a check of one component's settings.
func flagCheck(component string, scored bool, items ...profile.TestItem) *profile.Check {
	vars := []string{component + "bin"}
	if component == node.Kubelet {
		vars = append(vars, "kubeletconf")
	}
	return &profile.Check{ID: "9.9.9", Audit: "ps -ef | grep $" + component + "bin", Scored: scored, Variables: vars,
		Tests: &profile.Tests{BinOp: "and", Items: items}}
}

// fileCheck is a check of one file's mode or owner.
func fileCheck(variable string, scored bool, flag string) *profile.Check {
	return &profile.Check{ID: "9.9.9", Audit: "stat -c permissions=%a $" + variable, Scored: scored, Variables: []string{variable},
		Tests: &profile.Tests{Items: []profile.TestItem{{Flag: flag, Set: true}}}}
}

// item is a test item that wants flag to satisfy op and value.
func item(flag, op, value string) profile.TestItem {
	return profile.TestItem{Flag: flag, Set: true, Compare: profile.Compare{Op: op, Value: value}}
}

// field is item with a path in the configuration file.
func field(flag, path, op, value string) profile.TestItem {
	i := item(flag, op, value)
	i.Path = "{." + path + "}"
	return i
}
