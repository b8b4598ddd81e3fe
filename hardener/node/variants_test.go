package node

import (
	"io/fs"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestRelease takes lines out of the files of 2.31, or puts some in, as older
// releases wrote them.
func TestRelease(t *testing.T) {
	cut := func(s string, pieces ...string) string {
		for _, p := range pieces {
			if !strings.Contains(s, p) {
				t.Fatalf("%q is not in the fixture", p)
			}
			s = strings.Replace(s, p, "", 1)
		}
		return s
	}
	const (
		conf, env, kubeadm, etcdEnv = "/etc/kubernetes/kubelet-config.yaml", "/etc/kubernetes/kubelet.env", "/etc/kubernetes/kubeadm-config.yaml", "/etc/etcd.env"
		endpoint                    = "containerRuntimeEndpoint : unix:///var/run/containerd/containerd.sock\n"
		cgroup                      = "failCgroupV1: True\n"
		quoted, unquoted            = `address: "::"`, "address: 0.0.0.0"
		runtimeFlag                 = "--runtime-cgroups=/system.slice/containerd.service \\\n"
	)
	v3 := regexp.MustCompile(`(?m)^  - name: (\S+)\n    value: (.*)$`).ReplaceAllString(strings.ReplaceAll(kubeadm231, "v1beta4", "v1beta3"), "    $1: $2")
	v3 = cut(v3, "encryptionAlgorithm: RSA-2048\n", "certificateValidityPeriod: 8760h\n")
	v3 = strings.Replace(strings.Replace(v3, "v1.35.4", "v1.28.6", 1), `"::"`, `"0.0.0.0"`, 1)
	with124 := func(kubernetes string) string { return strings.Replace(v3, "v1.28.6", kubernetes, 1) }
	conf224 := strings.Replace(cut(kubeletConfig231, endpoint, cgroup, "maxParallelImagePulls: 1\n"), quoted, unquoted, 1)
	conf224 = strings.Replace(conf224, "eventRecordQPS: 50", "eventRecordQPS: 5", 1)
	env224 := strings.Replace(kubeletEnv231, runtimeFlag, "--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock \\\n"+runtimeFlag, 1)
	etcd224 := cut(etcdEnv231, "ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s\n") + "ETCD_ENABLE_V2=true\n"

	whole := kubesprayControlPlane().with(kubesprayEtcd())
	for _, tt := range []struct {
		reason    string
		tree      tree
		min, max  string
		conflicts int
	}{
		{"2.31 as it is", whole, "2.31", "2.31", 0},
		{"2.24", whole.with(tree{conf: conf224, env: env224, kubeadm: v3, etcdEnv: etcd224}), "2.24", "2.25", 0},
		{"2.24 with the rate of events set to 50, the default since 2.25", whole.with(tree{
			conf: strings.Replace(conf224, "QPS: 5", "QPS: 50", 1), env: env224, kubeadm: v3, etcdEnv: etcd224,
		}), "2.24", "2.25", 0},
		{"2.23: no interval of etcd's compaction", whole.with(tree{
			conf: conf224, env: env224, etcdEnv: etcd224, kubeadm: cut(with124("v1.27.7"), "    etcd-compaction-interval: \"5m0s\"\n"),
		}), "2.22", "2.23", 1},
		{"the development branch", whole.with(tree{kubeadm: cut(kubeadm231, "  - name: apiserver-count\n    value: \"1\"\n")}), "2.32", "", 0},
		{"2.30: version 2 of etcd's API, older Kubernetes", whole.with(tree{conf: cut(kubeletConfig231, cgroup), etcdEnv: etcdEnv231 + "ETCD_ENABLE_V2=true\n"}), "2.29", "2.30", 1},
		{"an older file in between", whole.with(tree{env: "KUBE_LOGTOSTDERR=\"--logtostderr=true\"\n" + kubeletEnv231}), "", "", -1},
	} {
		tr := tt.tree
		if strings.HasPrefix(tt.reason, "2.2") {
			for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
				p := "/etc/kubernetes/manifests/" + name + ".yaml"
				tr = tr.with(tree{p: strings.ReplaceAll(whole[p], "v1.35.4", "v1.28.6")})
			}
			tr = tr.without("/usr/local/bin/etcdutl")
		}
		f := detect(t, tr, nil)
		conflicts := 0
		for _, w := range f.Warnings {
			if strings.Contains(w, "contradicts") {
				conflicts++
			} else {
				t.Errorf("%s: warning %s", tt.reason, w)
			}
		}
		if tt.conflicts < 0 {
			if conflicts == 0 || f.Kubespray == nil {
				t.Errorf("%s: %d contradictions, release %v", tt.reason, conflicts, f.Kubespray)
			}
			continue
		}
		if f.Kubespray == nil || f.Kubespray.Min != tt.min || f.Kubespray.Max != tt.max || conflicts != tt.conflicts {
			t.Errorf("%s: release %+v; want %s to %s\nsignals %+v\nwarnings %q", tt.reason, f.Kubespray, tt.min, tt.max, f.Signals, f.Warnings)
		}
	}
}

func TestVersionBounds(t *testing.T) {
	for _, tt := range []struct{ version, want string }{
		{"1.16.3", "kubespray <= 2.13"}, {"1.24.6", "kubespray 2.19 to 2.22"}, {"1.34", "kubespray >= 2.30"}, {"1.36.4", "kubespray 2.32"},
		{"1.99.0", ""}, {"1.3.0", ""}, {"", ""},
	} {
		d := &detector{}
		d.Kubernetes.Version = tt.version
		got := ""
		for _, b := range d.versionBounds() {
			got = b.String()
		}
		if got != tt.want {
			t.Errorf("Kubernetes %s: %q; want %q", tt.version, got, tt.want)
		}
	}
}

// TestVariants changes one thing on a node and looks at what follows from it.
func TestVariants(t *testing.T) {
	whole := kubesprayControlPlane()
	for _, tt := range []struct {
		reason string
		tree   tree
		got    func(Facts) string
		want   string
	}{
		{"everything overridden", tree{
			"/etc/systemd/system/kubelet.service": "[Service]\nEnvironmentFile=-/etc/k8s/kubelet.env\nExecStart=/opt/bin/kubelet $KUBELET_API_SERVER $KUBELET_ARGS $KUBELET_CLOUDPROVIDER\n",
			"/etc/k8s/kubelet.env":                "KUBELET_ARGS=\"--config=/etc/k8s/kubelet-config.yaml --kubeconfig=/etc/k8s/kubelet.conf\"\n",
			"/etc/k8s/kubelet-config.yaml":        "kind: KubeletConfiguration\nstaticPodPath: /etc/k8s/pods\nauthentication: {x509: {clientCAFile: /srv/pki/ca.crt}}\n",
			"/etc/k8s/kubeadm-config.yaml":        kubeadm231,
			"/etc/k8s/pods/api.yaml":              manifest("kube-apiserver", "x/kube-apiserver:v1.35.4", []string{"kube-apiserver", "--client-ca-file=/srv/pki/ca.crt"}, "/srv/pki"),
			"/srv/pki/ca.crt":                     "PEM",
			"/opt/bin/kubernetes-scripts":         "/",
		}, func(f Facts) string {
			return strings.Join([]string{f.Distribution.Name, f.KubeConfigDir, f.ManifestDir, f.PKIDir, f.KubeadmConfig, f.Components[APIServer].Manifest}, " ")
		}, "kubespray /etc/k8s /etc/k8s/pods /srv/pki /etc/k8s/kubeadm-config.yaml /etc/k8s/pods/api.yaml"},
		{"a directory of kubelet configuration", whole.with(tree{
			"/etc/kubernetes/kubelet.env": kubeletEnv231 + "KUBELET_VOLUME_PLUGIN=--config-dir=/etc/kubelet.d\n",
		}), func(f Facts) string { return strings.Join(f.Warnings, "\n") },
			"/etc/kubernetes/kubelet-config.yaml: the kubelet also reads the directory --config-dir=/etc/kubelet.d, which is not evaluated"},
		{"a copy left in the manifest directory", whole.with(tree{
			"/etc/kubernetes/manifests/a-copy.yaml":          whole["/etc/kubernetes/manifests/kube-apiserver.yaml"],
			"/etc/kubernetes/manifests/kube-apiserver.yaml~": whole["/etc/kubernetes/manifests/kube-apiserver.yaml"],
		}), func(f Facts) string {
			return f.Components[APIServer].Manifest + "\n" + strings.Join(f.Warnings, "\n")
		}, "/etc/kubernetes/manifests/kube-apiserver.yaml\n" +
			"/etc/kubernetes/manifests/kube-apiserver.yaml: a second manifest for kube-apiserver beside /etc/kubernetes/manifests/a-copy.yaml\n" +
			"/etc/kubernetes/manifests/kube-apiserver.yaml~: a second manifest for kube-apiserver beside /etc/kubernetes/manifests/kube-apiserver.yaml"},
		{"an API server behind a shell", whole.with(tree{
			"/etc/kubernetes/manifests/kube-apiserver.yaml": manifest("kube-apiserver", "x:v1.35.4", []string{"/bin/sh", "-c", "exec kube-apiserver"}),
		}), func(f Facts) string { return strings.Join(f.Warnings, "\n") },
			`/etc/kubernetes/manifests/kube-apiserver.yaml: the container kube-apiserver starts "sh"`},
		{"containerd with a CNI directory of its own", whole.with(tree{
			"/etc/containerd/config.toml": "[plugins.cni]\n  conf_dir = \"/srv/cni\"\n", "/srv/cni/05-cilium.conflist": "", "/srv/cni/10-calico.conflist.cilium_bak": "",
		}), func(f Facts) string { return f.CNIConfDir + " " + strings.Join(f.CNI, " ") }, "/srv/cni cilium"},
		{"no name anywhere but in kubeadm's file", whole.with(tree{"/etc/kubernetes/kubelet.env": "KUBELET_ARGS=--v=2\n"}).without("/etc/hostname"),
			func(f Facts) string { return f.NodeName }, "node1"},
		{"an image without a version", whole.with(tree{
			"/etc/kubernetes/manifests/kube-apiserver.yaml":          manifest("kube-apiserver", "host:5000/kube-apiserver@sha256:1", apiServerArgv),
			"/etc/kubernetes/manifests/kube-controller-manager.yaml": manifest("kube-controller-manager", "host:5000/kube-controller-manager", controllerArgv),
			"/etc/kubernetes/manifests/kube-scheduler.yaml":          manifest("kube-scheduler", "kube-scheduler:latest", schedulerArgv),
		}), func(f Facts) string { return f.Kubernetes.Version + " " + f.Kubernetes.Source }, "1.35.4 /etc/kubernetes/kubeadm-config.yaml: kubernetesVersion"},
		{"no ConfigMap on the host", whole, func(f Facts) string { return f.Components[Proxy].Config + " " + f.Components[Proxy].ConfigKind },
			"/etc/kubernetes/kubeadm-config.yaml KubeProxyConfiguration"},
		{"the leftovers of k3s on a node of Kubespray", whole.with(tree{"/var/lib/rancher/k3s/x": ""}),
			func(f Facts) string { return f.Distribution.Name }, "kubespray"},
		{"a link to the PKI that takes a way round", tree{"/etc/kubernetes/pki": "->../kubernetes/./ssl/", "/etc/kubernetes/ssl/ca.crt": "PEM",
			"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/srv/kubelet --client-ca-file=/etc/kubernetes/ssl/ca.crt\n"},
			func(f Facts) string { return f.PKIDir + " " + f.PKILink }, "/etc/kubernetes/ssl /etc/kubernetes/pki"},
		{"KubeKey", kubeadmNode().with(kubesprayEtcd()).without("/etc/kubernetes/manifests/etcd.yaml", "/proc/900/stat", "/proc/902/stat"),
			func(f Facts) string { return f.Distribution.Name }, "kubekey"},
		{"a kubelet nobody knows", tree{"/etc/systemd/system/kubelet.service": "[Service]\nExecStart=/srv/kubelet --kubeconfig=/srv/kubeconfig\n", "/srv/kubelet": ""},
			func(f Facts) string {
				return f.Distribution.Name + " " + f.Distribution.Confidence + " " + f.Components[Kubelet].Kubeconfig
			},
			"unknown weak /srv/kubeconfig"},
		{"an environment file that is missing", tree{"/etc/systemd/system/etcd.service": etcdUnit},
			func(f Facts) string { return strings.Join(f.Warnings, "\n") },
			"/etc/systemd/system/etcd.service: unit etcd.service: environment file: open etc/etcd.env: file does not exist"},
		{"a service that runs a container, without its script", tree{"/etc/systemd/system/etcd.service": strings.Replace(etcdUnit, "=etcd\n", "=etcd docker wrapper\n", 1), "/etc/etcd.env": ""},
			func(f Facts) string { return f.EtcdType }, "docker"},
	} {
		f := detect(t, tt.tree, nil)
		if diff := cmp.Diff(tt.want, tt.got(f)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
		explained(t, f)
	}
}

// TestProxyVolume prefers the volume of the running pod over a newer one, and
// the newest when it does not run.
func TestProxyVolume(t *testing.T) {
	files := controlPlaneProcesses().fs(nil)
	const old = "var/lib/kubelet/pods/0f0e0d0c-0b0a-4908-8706-050403020100/volumes/kubernetes.io~configmap/kube-proxy"
	const newer = "var/lib/kubelet/pods/11111111-1111-1111-1111-111111111111/volumes/kubernetes.io~configmap/kube-proxy"
	files[old] = &fstest.MapFile{Mode: fs.ModeDir | 0o755, ModTime: time.Unix(100, 0)}
	files[newer] = &fstest.MapFile{Mode: fs.ModeDir | 0o755, ModTime: time.Unix(200, 0)}
	d := &detector{fsys: files}
	if got := d.proxyVolume(704); got != "/"+old {
		t.Errorf("of the process: %s", got)
	}
	if got := d.proxyVolume(0); got != "/"+newer {
		t.Errorf("without a process: %s", got)
	}
}

// denied is a file system in which some files may not be read.
type denied struct {
	fstest.MapFS
	names []string
}

func (f denied) ReadFile(name string) ([]byte, error) {
	if slices.Contains(f.names, name) {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EACCES}
	}
	return f.MapFS.ReadFile(name)
}

func (f denied) Open(name string) (fs.File, error) {
	if slices.Contains(f.names, name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EACCES}
	}
	return f.MapFS.Open(name)
}

// TestDetectUnprivileged reads what an ordinary user may read.
func TestDetectUnprivileged(t *testing.T) {
	tr := kubesprayControlPlane().with(kubesprayEtcd(), controlPlaneProcesses())
	fsys := denied{tr.fs(nil), []string{"etc/kubernetes/kubelet-config.yaml", "etc/etcd.env", "proc/500/environ", "proc/1/stat"}}
	procs, err := ReadProcesses(fsys)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Detect(fsys, procs, Users{})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"/etc/kubernetes/kubelet-config.yaml: permission denied",
		"/etc/systemd/system/etcd.service: unit etcd.service: environment file: read etc/etcd.env: permission denied",
		"/proc/500/environ: permission denied",
	}
	got := slices.DeleteFunc(slices.Clone(f.Warnings), func(w string) bool { return strings.Contains(w, "contradicts") })
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if f.Distribution.Name != "kubespray" || f.ManifestDir != "/etc/kubernetes/manifests" || !f.Components[APIServer].Running {
		t.Errorf("%+v, manifests in %q, API server %+v", f.Distribution, f.ManifestDir, f.Components[APIServer])
	}
}
