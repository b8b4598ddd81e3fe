package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

func detect(t *testing.T, tr tree, owners map[string]uint32) Facts {
	t.Helper()
	fsys := tr.fs(owners)
	procs, err := ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	users, err := ReadUsers(fsys)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Detect(fsys, procs, users)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// summary is what the tests compare: the conclusions in a line each.
func summary(f Facts) []string {
	out := []string{
		"distribution: " + f.Distribution.Name + " " + f.Distribution.Confidence,
		"roles: " + strings.Join(f.Roles, " "),
		"etcd: " + f.EtcdType,
		"runtime: " + f.Runtime,
		"cni: " + strings.Join(f.CNI, " "),
		"version: " + f.Kubernetes.Version,
		"node: " + f.NodeName,
	}
	if f.Kubespray != nil {
		out = append(out, "release: "+f.Kubespray.Min+" to "+f.Kubespray.Max)
	}
	names := []string{}
	for n, c := range f.Components {
		names = append(names, fmt.Sprintf("%s:%d", n, c.PID))
	}
	slices.Sort(names)
	return append(out, "components: "+strings.Join(names, " "))
}

// explained checks that every conclusion has a signal.
func explained(t *testing.T, f Facts) {
	t.Helper()
	conclusions := []string{"distribution: " + f.Distribution.Name, "etcd: " + f.EtcdType}
	for _, r := range f.Roles {
		conclusions = append(conclusions, "role: "+r)
	}
	for _, c := range f.CNI {
		conclusions = append(conclusions, "cni: "+c)
	}
	for prefix, v := range map[string]string{"runtime: ": f.Runtime, "kubernetes version: ": f.Kubernetes.Version, "node name: ": f.NodeName, "pki directory: ": f.PKIDir} {
		if v != "" {
			conclusions = append(conclusions, prefix+v)
		}
	}
	if r := f.Kubespray; r != nil {
		for _, end := range []string{r.Min, r.Max} {
			if end != "" && !slices.ContainsFunc(f.Signals, func(s Signal) bool {
				return strings.HasPrefix(s.Conclusion, "kubespray ") && strings.Contains(s.Conclusion, end)
			}) {
				t.Errorf("release %s has no signal", end)
			}
		}
	}
	for _, c := range conclusions {
		if !slices.ContainsFunc(f.Signals, func(s Signal) bool { return s.Conclusion == c }) {
			t.Errorf("no signal for %q", c)
		}
	}
	for _, s := range f.Signals {
		if s.Evidence == "" || strings.Contains(s.Evidence, "%!") {
			t.Errorf("signal %q has the evidence %q", s.Conclusion, s.Evidence)
		}
	}
}

const (
	kube = 998
	etcd = 997
)

func TestDetect(t *testing.T) {
	for _, tt := range []struct {
		name   string
		tree   tree
		owners map[string]uint32
		want   []string
		warn   []string
	}{
		{
			name:   "Kubespray 2.31, control plane with etcd on the host",
			tree:   kubesprayControlPlane().with(kubesprayEtcd(), controlPlaneProcesses()),
			owners: map[string]uint32{"/etc/ssl/etcd/ssl": etcd},
			want: []string{
				"distribution: kubespray certain", "roles: control-plane etcd", "etcd: host", "runtime: containerd", "cni: calico",
				"version: 1.35.4", "node: node1", "release: 2.31 to 2.31",
				"components: apiserver:700 controllermanager:701 etcd:500 kubelet:600 proxy:704 scheduler:702",
			},
		},
		{
			name: "the same, stopped",
			tree: kubesprayControlPlane().with(kubesprayEtcd()),
			want: []string{
				"distribution: kubespray certain", "roles: control-plane etcd", "etcd: host", "runtime: containerd", "cni: calico",
				"version: 1.35.4", "node: node1", "release: 2.31 to 2.31",
				"components: apiserver:0 controllermanager:0 etcd:0 kubelet:0 proxy:0 scheduler:0",
			},
		},
		{
			name: "etcd elsewhere, workloads on the control plane",
			tree: kubesprayControlPlane().with(tree{"/etc/kubernetes/kubeadm-config.yaml": strings.Replace(kubeadm231,
				"taints:\n  - effect: NoSchedule\n    key: node-role.kubernetes.io/control-plane\n", "taints: []\n", 1)}),
			want: []string{
				"distribution: kubespray certain", "roles: control-plane worker", "etcd: external", "runtime: containerd", "cni: calico",
				"version: 1.35.4", "node: node1", "release: 2.31 to 2.31",
				"components: apiserver:0 controllermanager:0 kubelet:0 proxy:0 scheduler:0",
			},
		},
		{
			name: "Kubespray 2.31, worker",
			tree: kubesprayNode().with(tree{
				"/etc/kubernetes/manifests/nginx-proxy.yml": manifest("nginx-proxy", "nginx:1.28", []string{"nginx"}),
				"/etc/kubernetes/kubeadm-client.conf":       "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ncaCertPath: /etc/kubernetes/ssl/ca.crt\n",
				"/tmp/releases/kubelet-1.35.4-amd64":        "\x7fELF",
				"/tmp/releases/kubelet-1.34.9-amd64":        "\x7fELF, another size",
			}, process(600, "kubelet", kubeletArgv...)),
			want: []string{
				"distribution: kubespray certain", "roles: worker", "etcd: none", "runtime: containerd", "cni: calico",
				"version: 1.35.4", "node: node1", "release: 2.31 to ", "components: kubelet:600",
			},
		},
		{
			name: "Kubespray 2.31, a host of etcd alone",
			tree: kubesprayEtcd().with(tree{
				"/etc/hostname": "etcd1\n", "/etc/passwd": kubesprayNode()["/etc/passwd"], "/etc/group": kubesprayNode()["/etc/group"],
			}, process(500, "etcd", "/usr/local/bin/etcd")),
			want: []string{
				"distribution: kubespray probable", "roles: etcd", "etcd: host", "runtime: ", "cni: ",
				"version: ", "node: etcd1", "release: 2.26 to ", "components: etcd:500",
			},
		},
		{
			name:   "Kubespray 2.13, etcd in docker",
			tree:   kubespray213(),
			owners: map[string]uint32{"/etc/ssl/etcd/ssl": kube, "/etc/kubernetes/ssl": kube},
			want: []string{
				"distribution: kubespray certain", "roles: control-plane etcd", "etcd: docker", "runtime: docker", "cni: calico",
				"version: 1.17.12", "node: node1", "release: 2.13 to 2.13",
				"components: apiserver:0 controllermanager:0 etcd-events:813 etcd:812 kubelet:0 scheduler:0",
			},
		},
		{
			name: "plain kubeadm",
			tree: kubeadmNode(),
			want: []string{
				"distribution: kubeadm certain", "roles: control-plane etcd", "etcd: kubeadm", "runtime: containerd", "cni: flannel",
				"version: 1.34.1", "node: plain", "components: apiserver:0 etcd:900 kubelet:901",
			},
			warn: []string{"process 902 (etcd) is not taken as this node's etcd: its arguments are not those of /etc/kubernetes/manifests/etcd.yaml"},
		},
		{
			name: "k3s",
			tree: tree{
				"/etc/hostname": "edge\n", "/etc/rancher/k3s/k3s.yaml": "", "/etc/systemd/system/k3s.service": "[Service]\nExecStart=/usr/local/bin/k3s server\n",
				"/var/lib/rancher/k3s/server/db/etcd/name": "edge",
			}.with(process(400, "k3s-server", "/usr/local/bin/k3s", "server")),
			want: []string{
				"distribution: k3s certain", "roles: control-plane", "etcd: embedded", "runtime: ", "cni: ", "version: ", "node: edge", "components: ",
			},
		},
		{
			name: "rke2, agent",
			tree: tree{
				"/etc/hostname": "agent\n", "/etc/rancher/rke2/config.yaml": "", "/usr/local/lib/systemd/system/rke2-agent.service": "[Service]\nExecStart=/usr/local/bin/rke2 agent\n",
			}.with(process(400, "kubelet", "kubelet", "--pod-manifest-path=/var/lib/rancher/rke2/agent/pod-manifests", "--hostname-override=agent",
				"--container-runtime-endpoint=unix:///run/k3s/containerd/containerd.sock")),
			want: []string{
				"distribution: rke2 certain", "roles: worker", "etcd: none", "runtime: containerd", "cni: ", "version: ", "node: agent", "components: kubelet:400",
			},
		},
		{
			name: "no Kubernetes",
			tree: tree{"/etc/hostname": "plain\n"}.with(process(1, "systemd", "/sbin/init"),
				process(2, "bash", "bash", "-c", "kubelet"), process(3, "kubelet", "/bin/sh", "/usr/local/bin/kubelet")),
			want: []string{"distribution: none certain", "roles: ", "etcd: none", "runtime: ", "cni: ", "version: ", "node: plain", "components: "},
		},
		{
			name: "an empty tree",
			tree: tree{},
			want: []string{"distribution: none probable", "roles: ", "etcd: none", "runtime: ", "cni: ", "version: ", "node: ", "components: "},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := detect(t, tt.tree, tt.owners)
			if diff := cmp.Diff(tt.want, summary(f)); diff != "" {
				t.Errorf("facts (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.warn, f.Warnings); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
			explained(t, f)
			if t.Failed() {
				for _, s := range f.Signals {
					t.Logf("%-30s %3d %s", s.Conclusion, s.Weight, s.Evidence)
				}
			}
			again, _ := json.Marshal(detect(t, tt.tree, tt.owners))
			if first, err := json.Marshal(f); err != nil || string(first) != string(again) {
				t.Errorf("the same tree gives other facts the second time, or none in JSON: %v", err)
			}
		})
	}
}

// TestDetectBroken breaks one file after the other. Detect must go on, and say
// what it could not read.
func TestDetectBroken(t *testing.T) {
	whole := kubesprayControlPlane().with(kubesprayEtcd())
	for path, content := range whole {
		if content == "/" || strings.HasPrefix(content, "->") {
			continue
		}
		for _, broken := range []string{"", "\x00\xff: [}\n\t- x", "kind: {}\nspec: 1\n"} {
			f := detect(t, whole.with(tree{path: broken}), nil)
			if f.Distribution.Name != "kubespray" {
				t.Errorf("%s is %q: distribution %s", path, broken, f.Distribution.Name)
			}
		}
	}
	for _, file := range []string{"/etc/kubernetes/manifests/kube-scheduler.yaml", "/etc/kubernetes/kubelet-config.yaml", "/etc/kubernetes/kubeadm-config.yaml"} {
		f := detect(t, whole.with(tree{file: "}: broken"}), nil)
		if !slices.ContainsFunc(f.Warnings, func(w string) bool { return strings.HasPrefix(w, file+": ") }) {
			t.Errorf("%s is broken: warnings %q", file, f.Warnings)
		}
	}
}

// TestDetectContradictions is a node on which files of two releases are mixed.
func TestDetectContradictions(t *testing.T) {
	f := detect(t, kubesprayControlPlane().with(kubesprayEtcd(), tree{
		"/etc/kubernetes/kubelet.env": "KUBE_LOGTOSTDERR=\"--logtostderr=true\"\n" + kubeletEnv231,
	}), nil)
	if len(f.Warnings) == 0 || !strings.Contains(f.Warnings[0], "contradicts other observations") {
		t.Errorf("warnings %q", f.Warnings)
	}
	if f.Distribution.Name != "kubespray" || f.Kubespray == nil {
		t.Errorf("%+v, release %v", f.Distribution, f.Kubespray)
	}
}

// TestDetectRealTree reads a tree of files through host.FS, where links resolve
// and a manifest cannot be read.
func TestDetectRealTree(t *testing.T) {
	dir := onDisk(t, kubesprayControlPlane().with(kubesprayEtcd(), controlPlaneProcesses()))
	// The node uses the link instead of the directory.
	conf := filepath.Join(dir, "etc/kubernetes/kubelet-config.yaml")
	if err := os.WriteFile(conf, []byte(strings.Replace(kubeletConfig231, "/ssl/ca.crt", "/pki/ca.crt", 1)), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/shadow-of-nothing", filepath.Join(dir, "etc/kubernetes/manifests/dangling.yaml")); err != nil {
		t.Fatal(err)
	}
	fsys, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	procs, err := ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	users, err := ReadUsers(fsys)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Detect(fsys, procs, users)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"distribution: kubespray certain", "roles: control-plane etcd", "etcd: host", "runtime: containerd", "cni: calico",
		"version: 1.35.4", "node: node1", "release: 2.31 to 2.31",
		"components: apiserver:700 controllermanager:701 etcd:500 kubelet:600 proxy:704 scheduler:702",
	}
	if diff := cmp.Diff(want, summary(f)); diff != "" {
		t.Errorf("facts (-want +got):\n%s", diff)
	}
	if f.PKIDir != "/etc/kubernetes/ssl" || f.PKILink != "/etc/kubernetes/pki" {
		t.Errorf("PKI directory %s, link %s", f.PKIDir, f.PKILink)
	}
	explained(t, f)
}

// onDisk writes a tree into a temporary directory.
func onDisk(t testing.TB, tr tree) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for p, content := range tr {
		file := filepath.Join(dir, p)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, ok := strings.CutPrefix(content, "->"); ok {
			err = os.Symlink(target, file)
		} else if content == "/" {
			err = os.MkdirAll(file, 0o755)
		} else {
			err = os.WriteFile(file, []byte(content), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func BenchmarkDetect(b *testing.B) {
	fsys, err := host.Open(onDisk(b, kubesprayControlPlane().with(kubesprayEtcd(), controlPlaneProcesses())))
	if err != nil {
		b.Fatal(err)
	}
	defer fsys.Close()
	procs, err := ReadProcesses(fsys)
	if err != nil {
		b.Fatal(err)
	}
	users, err := ReadUsers(fsys)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := Detect(fsys, procs, users); err != nil {
			b.Fatal(err)
		}
	}
}
