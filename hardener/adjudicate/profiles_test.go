package adjudicate

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// plainCIS are the benchmarks for upstream Kubernetes.
var plainCIS = []string{"cis-1.5", "cis-1.6", "cis-1.20", "cis-1.23", "cis-1.24", "cis-1.7", "cis-1.8", "cis-1.9", "cis-1.10", "cis-1.11", "cis-1.12"}

// profileVerdict is a check of a profile with kube-bench's result and our verdict.
type profileVerdict struct {
	target  string
	check   profile.Check
	raw     check.Result
	verdict Verdict
}

func catalog(t testing.TB) *profile.Catalog {
	t.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		t.Skip(err)
	}
	c, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// open is a tree with what Detect says about it.
func open(t testing.TB, dir string) (*host.FS, node.Processes, node.Users, node.Facts) {
	t.Helper()
	fsys, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsys.Close() })
	procs, err := node.ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	users, err := node.ReadUsers(fsys)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := node.Detect(fsys, procs, users)
	if err != nil {
		t.Fatal(err)
	}
	return fsys, procs, users, facts
}

// judgeProfile runs the node's sections of a benchmark in both views.
func judgeProfile(t testing.TB, c *profile.Catalog, benchmark, dir string) []profileVerdict {
	t.Helper()
	fsys, procs, users, facts := open(t, dir)
	view := New(fsys, facts, procs, users)
	var out []profileVerdict
	for _, target := range []string{"master", "etcd", "controlplane", "node"} {
		seen, err := c.Variables(benchmark, target, lookup(fsys, procs))
		if err != nil {
			t.Fatal(err)
		}
		asIs, err := c.Variables(benchmark, target, lookup(fsys, view.Processes()))
		if err != nil {
			t.Fatal(err)
		}
		raw, err := c.Controls(benchmark, target, seen)
		if err != nil {
			t.Fatal(err)
		}
		truth, err := c.Controls(benchmark, target, view.Variables(target, asIs))
		if err != nil {
			t.Fatal(err)
		}
		for g := range raw.Groups {
			for i, r := range raw.Groups[g].Checks {
				tc := truth.Groups[g].Checks[i]
				tc.Audit, tc.AuditConfig = view.Script(tc.Audit), view.Script(tc.AuditConfig)
				rawResult := run(fsys, procs, users, &r)
				out = append(out, profileVerdict{target, r, rawResult, view.Judge(target, &tc, rawResult, run(fsys, view.Processes(), users, &tc))})
			}
		}
	}
	return out
}

func run(fsys fs.FS, procs node.Processes, users node.Users, c *profile.Check) check.Result {
	runner := &shell.Runner{FS: fsys, Processes: procs, Users: users}
	return check.Run(context.Background(), c, func(ctx context.Context, script string) (string, error) {
		r := runner.Run(ctx, script)
		return r.Output, r.Err
	})
}

func lookup(fsys fs.FS, procs node.Processes) profile.Lookup {
	return profile.Lookup{
		Exists: func(p string) (bool, error) { _, err := fs.Stat(fsys, node.Name(p)); return err == nil, nil },
		Commands: func(comm string) (lines []string) {
			for _, p := range procs.Named(comm) {
				lines = append(lines, p.Command())
			}
			return lines
		},
	}
}

// write puts files below a new directory. A value that starts with "->" is a
// link, a name that ends with a slash a directory.
func write(t testing.TB, trees ...map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, files := range trees {
		for p, content := range files {
			full := filepath.Join(dir, p)
			if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
				t.Fatal(err)
			}
			var err error
			switch target, link := strings.CutPrefix(content, "->"); {
			case link:
				err = os.Symlink(target, full)
			case strings.HasSuffix(p, "/"):
				err = os.MkdirAll(full, 0o700)
			default:
				err = os.WriteFile(full, []byte(content), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	return dir
}

// pod is a static pod manifest.
func pod(program, image string, flags ...string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %[1]s, namespace: kube-system}
spec:
  containers:
  - name: %[1]s
    image: %[2]s
    command:
    - %[1]s
    - %[3]s
    volumeMounts:
    - {name: k8s-certs, mountPath: /etc/kubernetes/ssl}
    - {name: etcd-data, mountPath: /var/lib/etcd}
  volumes:
  - {name: k8s-certs, hostPath: {path: /etc/kubernetes/ssl}}
  - {name: etcd-data, hostPath: {path: /var/lib/etcd}}
`, program, image, strings.Join(flags, "\n    - "))
}

func worker() map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n",
		"etc/systemd/system/kubelet.service": "[Service]\nEnvironmentFile=-/etc/kubernetes/kubelet.env\nExecStart=/usr/local/bin/kubelet $KUBELET_ARGS\n",
		"etc/kubernetes/kubelet.env":         "KUBELET_ARGS=\"--config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf\"\n",
		"etc/kubernetes/kubelet-config.yaml": "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nstaticPodPath: /etc/kubernetes/manifests\npodPidsLimit: -1\nauthentication:\n  anonymous: {enabled: false}\n  x509: {clientCAFile: /etc/kubernetes/ssl/ca.crt}\n",
		"etc/kubernetes/kubelet.conf":        "kind: Config\n", "etc/kubernetes/ssl/ca.crt": "CA", "etc/kubernetes/pki": "->/etc/kubernetes/ssl",
		"etc/cni/net.d/10-calico.conflist": "{}", "etc/kubernetes/manifests/": "",
	}
}

func controlPlane() map[string]string {
	return map[string]string{
		"etc/kubernetes/manifests/kube-apiserver.yaml": pod("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.34.4",
			"--authorization-mode=Node,RBAC", "--profiling=False", "--etcd-servers=https://192.0.2.11:2379", "--client-ca-file=/etc/kubernetes/ssl/ca.crt"),
		"etc/kubernetes/manifests/kube-controller-manager.yaml": pod("kube-controller-manager", "registry.k8s.io/kube-controller-manager:v1.34.4", "--bind-address=::", "--profiling=False"),
		"etc/kubernetes/manifests/kube-scheduler.yaml":          pod("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.34.4", "--profiling=False", "--config=/etc/kubernetes/ssl/scheduler.yaml"),
		"etc/kubernetes/ssl/scheduler.yaml":                     "kind: KubeSchedulerConfiguration\n",
		"etc/kubernetes/admin.conf":                             "kind: Config\n",
	}
}

func etcdUnit(program string) map[string]string {
	return map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/group": "root:x:0:\n", "var/lib/etcd/": "", "usr/local/bin/etcd": program,
		"etc/systemd/system/etcd.service": "[Service]\nUser=root\nEnvironmentFile=-/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n",
		"etc/etcd.env":                    "ETCD_DATA_DIR=/var/lib/etcd\nETCD_CERT_FILE=/c.pem\nETCD_KEY_FILE=/k.pem\nETCD_CLIENT_CERT_AUTH=true\nETCD_PEER_CLIENT_CERT_AUTH=False\n",
	}
}

// TestLayouts judges trees with real profiles, on the way that the product
// takes: Detect, both views, verdict.
func TestLayouts(t *testing.T) {
	c := catalog(t)
	kubeadmEtcd := map[string]string{"var/lib/etcd/": "", "etc/kubernetes/manifests/etcd.yaml": pod("etcd", "registry.k8s.io/etcd:3.5.16-0",
		"--data-dir=/var/lib/etcd", "--cert-file=/c.pem", "--key-file=/k.pem", "--client-cert-auth=true")}
	wrapper := "#!/bin/bash\n/usr/bin/docker run --env-file=/etc/etcd.env --net=host \\\n  quay.io/coreos/etcd:v3.3.12 \\\n  /usr/local/bin/etcd \\\n  \"$@\"\n"
	noLink := worker()
	delete(noLink, "etc/kubernetes/pki")
	for _, test := range []struct {
		name, dir string
		want      map[string]check.State // of cis-1.12, by target/check
	}{
		{"host etcd", write(t, worker(), controlPlane(), etcdUnit("\x7fELF")), map[string]check.State{
			"master/1.1.7": check.Info, "master/1.1.8": check.Info, "master/1.1.11": check.Pass, "master/1.2.6": check.Pass,
			"master/1.4.1": check.Fail, "master/1.3.7": check.Fail, "etcd/2.1": check.Pass, "etcd/2.2": check.Pass, "etcd/2.5": check.Fail,
			"node/4.1.1": check.Pass, "node/4.1.3": check.Info, "node/4.2.1": check.Pass, "node/4.2.13": check.Warn, "master/1.1.9": check.Pass}},
		{"docker etcd", write(t, worker(), controlPlane(), etcdUnit(wrapper)), map[string]check.State{
			"master/1.1.7": check.Info, "master/1.1.11": check.Pass, "etcd/2.1": check.Pass, "etcd/2.5": check.Fail}},
		{"kubeadm etcd", write(t, worker(), controlPlane(), kubeadmEtcd), map[string]check.State{
			"master/1.1.7": check.Pass, "master/1.1.11": check.Pass, "etcd/2.1": check.Pass, "etcd/2.5": check.Fail}},
		{"external etcd", write(t, worker(), controlPlane()), map[string]check.State{
			"master/1.1.7": check.Info, "master/1.1.11": check.Info, "etcd/2.1": check.Info, "master/1.2.6": check.Pass}},
		{"PKI elsewhere without a link", write(t, noLink, controlPlane()), map[string]check.State{"master/1.1.20": check.Pass}},
		{"worker", write(t, worker()), map[string]check.State{
			"master/1.1.1": check.Info, "master/1.2.6": check.Info, "controlplane/3.2.1": check.Info, "etcd/2.1": check.Info, "node/4.2.1": check.Pass}},
		{"etcd only", write(t, etcdUnit("\x7fELF")), map[string]check.State{
			"etcd/2.1": check.Pass, "etcd/2.5": check.Fail, "node/4.2.1": check.Info, "master/1.2.6": check.Info}},
		{"nothing", write(t, map[string]string{"etc/hostname": "n1\n"}), map[string]check.State{
			"master/1.2.6": check.Info, "node/4.2.1": check.Fail, "node/4.1.1": check.Fail}},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, benchmark := range plainCIS {
				for _, p := range judgeProfile(t, c, benchmark, test.dir) {
					where := fmt.Sprintf("%s %s/%s", benchmark, p.target, p.check.ID)
					if p.verdict.State != p.raw.State && (p.verdict.Reason == "" || len(p.verdict.Evidence) == 0 || slices.Contains(p.verdict.Evidence, "")) {
						t.Errorf("%s: %s, kube-bench %s: reason %q, evidence %q", where, p.verdict.State, p.raw.State, p.verdict.Reason, p.verdict.Evidence)
					}
					if strings.Contains(p.verdict.Reason, "another result") {
						t.Errorf("%s: %s, kube-bench %s, and no cause was found", where, p.verdict.State, p.raw.State)
					}
					want, ok := test.want[p.target+"/"+p.check.ID]
					if ok && benchmark == "cis-1.12" && p.verdict.State != want {
						t.Errorf("%s: %s (%q, %q), kube-bench %s (%s), want %s", where, p.verdict.State, p.verdict.Reason, p.verdict.Evidence, p.raw.State, p.raw.Reason, want)
					}
					if test.name == "nothing" && p.verdict.State == check.Pass && p.raw.State != check.Pass {
						t.Errorf("%s: PASS on a node without anything", where)
					}
				}
			}
		})
	}
}

// TestLiveNode judges a node with processes, among them the wrapper script and
// the docker client of an etcd in docker.
func TestLiveNode(t *testing.T) {
	c := catalog(t)
	dir := filepath.Join(t.TempDir(), "node")
	if err := sample.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := sample.RenderProcesses(dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]check.State{
		"master/1.1.7": check.Info, "master/1.1.11": check.Fail, "master/1.2.1": check.Warn, "master/1.3.6": check.Fail,
		"etcd/2.1": check.Pass, "etcd/2.2": check.Pass, "etcd/2.5": check.Pass, "node/4.1.3": check.Info, "node/4.2.4": check.Fail,
	}
	for _, p := range judgeProfile(t, c, sample.Benchmark, dir) {
		key := p.target + "/" + p.check.ID
		if state, ok := want[key]; ok && p.verdict.State != state {
			t.Errorf("%s: %s (%q, %q), kube-bench %s, want %s", key, p.verdict.State, p.verdict.Reason, p.verdict.Evidence, p.raw.State, state)
		}
		delete(want, key)
		if p.verdict.State != p.raw.State {
			t.Logf("%s: %s, kube-bench %s: %s %q", key, p.verdict.State, p.raw.State, p.verdict.Reason, p.verdict.Evidence)
		}
	}
	for key := range want {
		t.Errorf("%s was not judged", key)
	}
}

// TestRulesHaveChecks holds the rules against the profiles: a rule whose
// setting no check has would never be asked.
func TestRulesHaveChecks(t *testing.T) {
	c := catalog(t)
	v := kubespray().view()
	left := map[subject]bool{}
	for s := range rules {
		left[s] = true
	}
	for _, benchmark := range plainCIS {
		for _, target := range []string{"master", "etcd", "controlplane", "node"} {
			controls, err := c.Controls(benchmark, target, profile.Variables{})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range controls.Groups {
				for _, ck := range g.Checks {
					for _, s := range v.subjectsOf(&ck) {
						delete(left, s.subject)
					}
				}
			}
		}
	}
	for s := range left {
		t.Errorf("no check of %v", s)
	}
}

func BenchmarkJudge(b *testing.B) {
	c := catalog(b)
	fsys, procs, users, facts := open(b, write(b, worker(), controlPlane(), etcdUnit("\x7fELF")))
	view := New(fsys, facts, procs, users)
	var checks []profile.Check
	for _, target := range []string{"master", "node"} {
		controls, err := c.Controls("cis-1.12", target, profile.Variables{})
		if err != nil {
			b.Fatal(err)
		}
		for _, g := range controls.Groups {
			checks = append(checks, g.Checks...)
		}
	}
	for b.Loop() {
		for i := range checks {
			view.Judge("master", &checks[i], check.Result{State: check.Fail}, check.Result{State: check.Fail})
		}
	}
}
