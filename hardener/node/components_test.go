package node

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
)

// TestProcessesOfOthers are processes that look like components.
func TestProcessesOfOthers(t *testing.T) {
	const pod = "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0f0e0d0c_0b0a_4908_8706_050403020100.slice/x.scope\n"
	worker := kubesprayNode().with(process(600, "kubelet", kubeletArgv...))
	for _, tt := range []struct {
		reason string
		tree   tree
		want   string
		warn   []string
	}{
		{
			"a virtual cluster's API server and etcd in pods of a worker",
			worker.with(process(100, "kube-apiserver", apiServerArgv...), process(101, "etcd", "etcd", "--data-dir=/data"),
				tree{"/proc/100/cgroup": pod, "/proc/101/cgroup": pod}),
			"kubelet:600",
			[]string{
				"process 100 (kube-apiserver) is not taken as this node's apiserver: it runs in a pod that no static pod manifest describes",
				"process 101 (etcd) is not taken as this node's etcd: it runs in a pod that no static pod manifest describes",
			},
		},
		{
			"a kubelet in a container, kind's node, on a machine without Kubernetes",
			process(100, "kubelet", "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"),
			"",
			[]string{"process 100 (kubelet) is not taken as this node's kubelet: /usr/bin/kubelet does not exist here, so it runs in a container"},
		},
		{
			"a wrapper, a zombie and a search",
			worker.with(process(100, "etcd", "/bin/bash", "/usr/local/bin/etcd"), process(101, "grep", "grep", "etcd"),
				tree{"/proc/102/stat": statLine(102, "etcd", "Z"), "/proc/102/cmdline": ""}),
			"kubelet:600", nil,
		},
		{
			"two etcds of units, told apart by their control groups",
			worker.with(kubesprayEtcd(), tree{
				"/etc/systemd/system/etcd-events.service": strings.ReplaceAll(etcdUnit, "etcd.env", "etcd-events.env"),
				"/etc/etcd-events.env":                    "ETCD_DATA_DIR=/var/lib/etcd-events\n",
				"/proc/100/cgroup":                        "0::/system.slice/etcd-events.service\n",
				"/proc/101/cgroup":                        "0::/system.slice/etcd.service\n",
			}, process(100, "etcd", "/usr/local/bin/etcd"), process(101, "etcd", "/usr/local/bin/etcd")),
			"etcd-events:100 etcd:101 kubelet:600", nil,
		},
		{
			"the events' etcd alone runs",
			worker.with(kubesprayEtcd(), tree{
				"/etc/systemd/system/etcd-events.service": strings.ReplaceAll(etcdUnit, "etcd.env", "etcd-events.env"),
				"/etc/etcd-events.env":                    "ETCD_DATA_DIR=/var/lib/etcd-events\n",
				"/proc/100/environ":                       "ETCD_DATA_DIR=/var/lib/etcd-events\x00",
			}, process(100, "etcd", "/usr/local/bin/etcd")),
			"etcd-events:100 etcd:0 kubelet:600", nil,
		},
		{
			"a control plane whose manifest was edited and whose process was not restarted yet",
			kubesprayControlPlane().with(process(100, "kube-apiserver", append(slices.Clone(apiServerArgv), "--old=1")...)),
			"apiserver:100 controllermanager:0 kubelet:0 proxy:0 scheduler:0", nil,
		},
		{
			"a control plane in services",
			tree{"/etc/systemd/system/kube-apiserver.service": "[Service]\nUser=kube\nExecStart=/opt/kube/bin/kube-apiserver --profiling=false\n", "/opt/kube/bin/kubectl": ""},
			"apiserver:0", nil,
		},
	} {
		f := detect(t, tt.tree, nil)
		got := strings.TrimPrefix(summary(f)[len(summary(f))-1], "components: ")
		if got != tt.want {
			t.Errorf("%s: components %q; want %q", tt.reason, got, tt.want)
		}
		if diff := cmp.Diff(tt.warn, f.Warnings); diff != "" {
			t.Errorf("%s: warnings (-want +got):\n%s", tt.reason, diff)
		}
		explained(t, f)
	}
}

// TestDetectedPaths checks what the other packages start from.
func TestDetectedPaths(t *testing.T) {
	f := detect(t, kubesprayControlPlane().with(kubesprayEtcd(), controlPlaneProcesses()), nil)
	pod := "/var/lib/kubelet/pods/0f0e0d0c-0b0a-4908-8706-050403020100/volumes/kubernetes.io~configmap/kube-proxy"
	want := map[string]Component{
		APIServer: {
			Running: true, PID: 700, Argv: apiServerArgv, Configured: apiServerArgv,
			Manifest: "/etc/kubernetes/manifests/kube-apiserver.yaml", CAFile: "/etc/kubernetes/ssl/ca.crt", Image: "registry.k8s.io/kube-apiserver:v1.35.4",
			Mounts: []Mount{
				{"/etc/kubernetes/ssl", "/etc/kubernetes/ssl", true}, {"/etc/ssl/etcd/ssl", "/etc/ssl/etcd/ssl", true},
				{"/var/log/audit", "/var/log/kubernetes/audit", true},
			},
		},
		Etcd: {
			Running: true, PID: 500, Argv: []string{"/usr/local/bin/etcd"}, Configured: []string{"/usr/local/bin/etcd"},
			Unit: "/etc/systemd/system/etcd.service", EnvFiles: []string{"/etc/etcd.env"}, User: "root",
			Env: ParseEnvFile([]byte(etcdEnv231)), LiveEnv: map[string]string{"ETCD_DATA_DIR": "/var/lib/etcd", "ETCD_NAME": "etcd1"},
			DataDir: "/var/lib/etcd",
		},
		Kubelet: {
			Running: true, PID: 600, Argv: kubeletArgv, Configured: kubeletArgv, Config: "/etc/kubernetes/kubelet-config.yaml",
			Unit: "/etc/systemd/system/kubelet.service", EnvFiles: []string{"/etc/kubernetes/kubelet.env"}, User: "root",
			Env: ParseEnvFile([]byte(kubeletEnv231)), Kubeconfig: "/etc/kubernetes/kubelet.conf", CAFile: "/etc/kubernetes/ssl/ca.crt",
		},
		Scheduler: {
			Running: true, PID: 702, Argv: schedulerArgv, Configured: schedulerArgv, Manifest: "/etc/kubernetes/manifests/kube-scheduler.yaml",
			Config: "/etc/kubernetes/kubescheduler-config.yaml", Kubeconfig: "/etc/kubernetes/scheduler.conf", Image: "registry.k8s.io/kube-scheduler:v1.35.4",
			Mounts: []Mount{
				{"/etc/kubernetes/scheduler.conf", "/etc/kubernetes/scheduler.conf", true},
				{"/etc/kubernetes/kubescheduler-config.yaml", "/etc/kubernetes/kubescheduler-config.yaml", true},
			},
		},
		Proxy: {
			Running: true, PID: 704, Argv: []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node1"},
			Config: pod + "/config.conf", Kubeconfig: pod + "/kubeconfig.conf",
		},
	}
	for name, c := range want {
		if diff := cmp.Diff(c, f.Components[name]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
	dirs := []string{f.KubeConfigDir, f.ManifestDir, f.PKIDir, f.PKILink, f.EtcdCertDir, f.CNIConfDir, f.KubeadmConfig}
	wantDirs := []string{
		"/etc/kubernetes", "/etc/kubernetes/manifests", "/etc/kubernetes/ssl", "/etc/kubernetes/pki", "/etc/ssl/etcd/ssl", "/etc/cni/net.d",
		"/etc/kubernetes/kubeadm-config.yaml",
	}
	if diff := cmp.Diff(wantDirs, dirs); diff != "" {
		t.Errorf("directories (-want +got):\n%s", diff)
	}
	audit, _ := FlagValue(f.Components[APIServer].Flags(), "audit-log-path")
	if p, ok := f.Components[APIServer].HostPath(audit); p != "/var/log/kubernetes/audit/kube-apiserver-audit.log" || !ok {
		t.Errorf("HostPath(%s) = %s, %v", audit, p, ok)
	}
}

// TestBuildVersion reads the version out of a program that is built the way
// Kubernetes builds the kubelet.
func TestBuildVersion(t *testing.T) {
	gotool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go command")
	}
	dir := onDisk(t, tree{"/src/go.mod": "module k8s.io/kubernetes\n", "/src/main.go": "package main\n\nfunc main() {}\n"})
	build := exec.Command(gotool, "build", "-ldflags", "-X 'k8s.io/component-base/version.gitVersion=v1.34.4'", "-o", dir+"/kubelet", ".")
	build.Dir = dir + "/src"
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); strings.Contains(string(out), "build cache") {
		t.Skip("needs a build cache that can be written")
	} else if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	fsys, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer fsys.Close()
	d := &detector{fsys: fsys}
	if v := d.buildVersion("/kubelet"); v != "1.34.4" {
		t.Errorf("version %q; want 1.34.4", v)
	}
	for _, file := range []string{"/src/main.go", "/none", "/src"} {
		if v := d.buildVersion(file); v != "" {
			t.Errorf("%s has version %s", file, v)
		}
	}
}
