package shell

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"gopkg.in/yaml.v3"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// variables are what the audits of the cis profiles have in them, with the
// values of a Kubespray control plane.
func variables() *strings.Replacer {
	return strings.NewReplacer(
		"$apiserverbin", "kube-apiserver", "$apiserverconf", "/etc/kubernetes/manifests/kube-apiserver.yaml",
		"$controllermanagerbin", "kube-controller-manager", "$controllermanagerconf", "/etc/kubernetes/manifests/kube-controller-manager.yaml",
		"$controllermanagerkubeconfig", "/etc/kubernetes/controller-manager.conf",
		"$schedulerbin", "kube-scheduler", "$schedulerconf", "/etc/kubernetes/manifests/kube-scheduler.yaml",
		"$schedulerkubeconfig", "/etc/kubernetes/scheduler.conf",
		"$etcdbin", "etcd", "$etcdconf", "/etc/kubernetes/manifests/etcd.yaml", "$etcddatadir", "/var/lib/etcd/default.etcd",
		"$kubeletbin", "kubelet", "$kubeletconf", "/etc/kubernetes/kubelet-config.yaml", "$kubeletsvc", "/etc/systemd/system/kubelet.service",
		"$kubeletkubeconfig", "/etc/kubernetes/kubelet.conf", "$kubeletcafile", "/etc/kubernetes/ssl/ca.crt",
		"$proxybin", "kube-proxy", "$proxykubeconfig", "/etc/kubernetes/proxy.conf", "$proxyconf", "proxy",
	)
}

// audit is one audit of a profile, in the order of the file.
type audit struct{ profile, file, id, script string }

// audits reads the embedded profiles. Without them it skips the test.
func audits(tb testing.TB, match func(profile, file string) bool) []audit {
	tb.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		tb.Skipf("needs the profiles: %v", err)
	}
	var all []audit
	err = fs.WalkDir(cfg, ".", func(name string, d fs.DirEntry, err error) error {
		dir, file := filepath.Split(name)
		dir = strings.TrimSuffix(dir, "/")
		if err != nil || d.IsDir() || !strings.HasSuffix(file, ".yaml") || file == "config.yaml" || !match(filepath.Base(dir), file) {
			return err
		}
		data, err := fs.ReadFile(cfg, name)
		if err != nil {
			return err
		}
		var controls struct {
			Groups []struct {
				Checks []struct {
					ID     string `yaml:"id"`
					Audit  string `yaml:"audit"`
					Config string `yaml:"audit_config"`
				} `yaml:"checks"`
			} `yaml:"groups"`
		}
		if err := yaml.Unmarshal([]byte(variables().Replace(string(data))), &controls); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		for _, g := range controls.Groups {
			for _, c := range g.Checks {
				for _, script := range []string{c.Audit, c.Config} {
					if script != "" {
						all = append(all, audit{filepath.Base(dir), file, c.ID, script})
					}
				}
			}
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
	return all
}

// components are the processes of a Kubespray control plane.
func components() node.Processes {
	return node.Processes{
		{PID: 1201, PPID: 1, UID: 997, Comm: "etcd", Args: []string{"/usr/local/bin/etcd"}, State: 'S', Start: 2000, CPU: 99000},
		{PID: 2311, PPID: 2200, Comm: "kube-apiserver", State: 'S', Start: 3000, CPU: 90000, Args: []string{"kube-apiserver", "--advertise-address=10.0.0.1",
			"--allow-privileged=true", "--anonymous-auth=True", "--authorization-mode=Node,RBAC", "--bind-address=::",
			"--client-ca-file=/etc/kubernetes/ssl/ca.crt", "--enable-admission-plugins=NodeRestriction",
			"--etcd-cafile=/etc/ssl/etcd/ssl/ca.pem", "--etcd-certfile=/etc/ssl/etcd/ssl/node-n1.pem", "--etcd-servers=https://10.0.0.1:2379",
			"--profiling=False", "--secure-port=6443", "--service-account-lookup=True",
			"--encryption-provider-config=/etc/kubernetes/ssl/secrets_encryption.yaml", "--tls-cert-file=/etc/kubernetes/ssl/apiserver.crt"}},
		{PID: 2411, PPID: 2201, Comm: "kube-controller", State: 'S', Start: 3000, CPU: 9000, Args: []string{"kube-controller-manager",
			"--bind-address=::", "--profiling=False", "--terminated-pod-gc-threshold=12500", "--use-service-account-credentials=true"}},
		{PID: 2511, PPID: 2202, Comm: "kube-scheduler", State: 'S', Start: 3000, CPU: 9000, Args: []string{"kube-scheduler", "--bind-address=::", "--profiling=False"}},
		{PID: 2611, PPID: 1, Comm: "kubelet", State: 'S', Start: 2500, CPU: 9000, Args: []string{"/usr/local/bin/kubelet", "--v=2",
			"--node-ip=10.0.0.1", "--hostname-override=n1", "--config=/etc/kubernetes/kubelet-config.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf"}},
		{PID: 2711, PPID: 2203, Comm: "kube-proxy", State: 'S', Start: 3000, Args: []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"}},
	}
}

// processTable has n processes, the components among them.
func processTable(n int) node.Processes {
	var procs node.Processes
	for i := range n - len(components()) {
		p := node.Process{PID: 2 + i, PPID: 2, Comm: fmt.Sprintf("kworker/%d:1", i), State: 'I', Start: uint64(i)}
		if i%3 == 0 {
			p.Comm, p.PPID, p.State = "containerd-shim", 1, 'S'
			p.Args = []string{"/usr/local/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id",
				strings.Repeat("0123456789abcdef", 4), "-address", "/run/containerd/containerd.sock"}
		}
		procs = append(procs, p)
	}
	return append(procs, components()...)
}

// nodeTree makes a tree like that of a Kubespray control plane.
func nodeTree(tb testing.TB) fs.FS {
	tb.Helper()
	dir := tb.TempDir()
	for _, name := range []string{
		"etc/kubernetes/manifests/kube-apiserver.yaml", "etc/kubernetes/manifests/kube-controller-manager.yaml",
		"etc/kubernetes/manifests/kube-scheduler.yaml", "etc/kubernetes/admin.conf", "etc/kubernetes/super-admin.conf",
		"etc/kubernetes/controller-manager.conf", "etc/kubernetes/scheduler.conf", "etc/kubernetes/kubelet.conf",
		"etc/kubernetes/kubelet-config.yaml", "etc/systemd/system/kubelet.service", "etc/ssl/etcd/ssl/ca.pem",
		"etc/kubernetes/ssl/ca.crt", "etc/kubernetes/ssl/ca.key", "etc/kubernetes/ssl/apiserver.crt", "etc/kubernetes/ssl/apiserver.key",
		"etc/kubernetes/ssl/apiserver-kubelet-client.crt", "etc/kubernetes/ssl/apiserver-kubelet-client.key",
		"etc/kubernetes/ssl/front-proxy-ca.crt", "etc/kubernetes/ssl/front-proxy-ca.key", "etc/kubernetes/ssl/sa.key", "etc/kubernetes/ssl/sa.pub",
		"var/lib/etcd/member/snap/db",
	} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(file, []byte("apiVersion: v1\nkind: Config\n"), 0o600); err != nil {
			tb.Fatal(err)
		}
	}
	providers := "resources:\n- resources: [secrets]\n  providers:\n  - secretbox:\n      keys: []\n  - identity: {}\n"
	if err := os.WriteFile(filepath.Join(dir, "etc/kubernetes/ssl/secrets_encryption.yaml"), []byte(providers), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Symlink("ssl", filepath.Join(dir, "etc/kubernetes/pki")); err != nil {
		tb.Fatal(err)
	}
	return os.DirFS(dir)
}

// users of the test node.
func users(tb testing.TB) node.Users {
	tb.Helper()
	u, err := node.ReadUsers(fstest.MapFS{
		"etc/passwd": {Data: []byte("root:x:0:0:root:/root:/bin/bash\netcd:x:997:997::/:/bin/false\nsystemd-network:x:998:998::/:/bin/false\n")},
		"etc/group":  {Data: []byte("root:x:0:\netcd:x:997:\n")},
	})
	if err != nil {
		tb.Fatal(err)
	}
	return u
}

// TestAudits runs every audit of the plain cis profiles: none but kubectl may be
// missing.
func TestAudits(t *testing.T) {
	r := &Runner{FS: nodeTree(t), Processes: processTable(40), Users: users(t)}
	seen := 0
	for _, a := range audits(t, func(profile, _ string) bool { return strings.HasPrefix(profile, "cis-1.") }) {
		res := r.Run(t.Context(), a.script)
		seen++
		switch err := res.Err.(type) {
		case nil, *ExitError:
		case *UnknownCommandError:
			if err.Name != "kubectl" && !strings.HasPrefix(a.profile, "cis-1.6-k3s") && !strings.HasPrefix(a.profile, "cis-1.24-microk8s") {
				t.Errorf("%s/%s %s: %v\n%s", a.profile, a.file, a.id, err, a.script)
			}
		default:
			t.Errorf("%s/%s %s: %v\n%s", a.profile, a.file, a.id, err, a.script)
		}
	}
	t.Logf("%d audits", seen)
}

// BenchmarkNode is one check of a node with cis-1.12: all audits of master and
// node, by a new Runner, as kube-bench would run them.
func BenchmarkNode(b *testing.B) {
	scripts := audits(b, func(profile, file string) bool {
		return profile == "cis-1.12" && (file == "master.yaml" || file == "node.yaml")
	})
	tree, u := nodeTree(b), users(b)
	for _, n := range []int{150, 3000} {
		procs := processTable(n)
		b.Run(fmt.Sprintf("processes=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := &Runner{FS: tree, Processes: procs, Users: u}
				for _, a := range scripts {
					r.Run(b.Context(), a.script)
				}
			}
			b.ReportMetric(float64(len(scripts)), "scripts/op")
		})
	}
}
