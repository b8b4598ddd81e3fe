package node

import (
	"fmt"
	"io/fs"
	"maps"
	"strings"
	"syscall"
	"testing/fstest"
)

// tree is a host's files by absolute path. A value that starts with "->" is a
// link, one that is "/" a directory.
type tree map[string]string

func (t tree) with(more ...tree) tree {
	out := maps.Clone(t)
	for _, m := range more {
		maps.Copy(out, m)
	}
	return out
}

func (t tree) without(paths ...string) tree {
	out := maps.Clone(t)
	for _, p := range paths {
		delete(out, p)
	}
	return out
}

// fs is the tree as a file system, owners by path.
func (t tree) fs(owners map[string]uint32) fstest.MapFS {
	out := fstest.MapFS{}
	for p, content := range t {
		f := &fstest.MapFile{Mode: 0o644, Data: []byte(content)}
		if target, ok := strings.CutPrefix(content, "->"); ok {
			f = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte(target)}
		} else if content == "/" {
			f = &fstest.MapFile{Mode: fs.ModeDir | 0o755}
		}
		if uid, ok := owners[p]; ok {
			f.Sys = &syscall.Stat_t{Uid: uid}
		}
		out[Name(p)] = f
	}
	return out
}

// process is a process as files of /proc.
func process(pid int, comm string, args ...string) tree {
	dir := fmt.Sprintf("/proc/%d", pid)
	return tree{
		dir + "/stat":    statLine(pid, comm, "S"),
		dir + "/cmdline": strings.Join(args, "\x00") + "\x00",
	}
}

func lines(l ...string) string { return strings.Join(l, "\n") + "\n" }

// manifest is a static pod as kubeadm writes it.
func manifest(name, image string, command []string, hostPaths ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n", name)
	for _, w := range command {
		fmt.Fprintf(&b, "    - %s\n", w)
	}
	fmt.Fprintf(&b, "    image: %s\n    livenessProbe:\n      httpGet:\n        host: 127.0.0.1\n        path: /livez\n        port: probe-port\n        scheme: HTTPS\n", image)
	fmt.Fprintf(&b, "    name: %s\n    volumeMounts:\n", name)
	for i, p := range hostPaths {
		_, mount, _ := strings.Cut(p+":"+p, ":")
		mount, _, _ = strings.Cut(mount, ":")
		fmt.Fprintf(&b, "    - mountPath: %s\n      name: v%d\n      readOnly: true\n", mount, i)
	}
	b.WriteString("  hostNetwork: true\n  volumes:\n")
	for i, p := range hostPaths {
		host, _, _ := strings.Cut(p, ":")
		fmt.Fprintf(&b, "  - hostPath:\n      path: %s\n      type: DirectoryOrCreate\n    name: v%d\n", host, i)
	}
	return b.String() + "status: {}\n"
}

const kubesprayUnit = `[Unit]
Description=Kubernetes Kubelet Server
Documentation=https://github.com/GoogleCloudPlatform/kubernetes
After=containerd.service
Wants=containerd.service

[Service]
EnvironmentFile=-/etc/kubernetes/kubelet.env
ExecStart=/usr/local/bin/kubelet \
		$KUBE_LOGTOSTDERR \
		$KUBE_LOG_LEVEL \
		$KUBELET_API_SERVER \
		$KUBELET_ADDRESS \
		$KUBELET_PORT \
		$KUBELET_HOSTNAME \
		$KUBELET_ARGS \
		$DOCKER_SOCKET \
		$KUBELET_NETWORK_PLUGIN \
		$KUBELET_VOLUME_PLUGIN \
		$KUBELET_CLOUDPROVIDER
Restart=always
RestartSec=10s

[Install]
WantedBy=multi-user.target
`

const kubeletEnv231 = `KUBE_LOG_LEVEL="--v=2"
KUBELET_ADDRESS="--node-ip=10.0.0.1"
KUBELET_HOSTNAME="--hostname-override=node1"

KUBELET_ARGS="--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--config=/etc/kubernetes/kubelet-config.yaml \
--kubeconfig=/etc/kubernetes/kubelet.conf \
--runtime-cgroups=/system.slice/containerd.service \
 "
KUBELET_CLOUDPROVIDER=""

PATH=/usr/local/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`

const kubeletConfig231 = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
nodeStatusUpdateFrequency: "10s"
failSwapOn: True
authentication:
  anonymous:
    enabled: false
  webhook:
    enabled: True
  x509:
    clientCAFile: /etc/kubernetes/ssl/ca.crt
authorization:
  mode: Webhook
failCgroupV1: True
staticPodPath: /etc/kubernetes/manifests
cgroupDriver: systemd
containerLogMaxFiles: 5
containerLogMaxSize: 10Mi
containerRuntimeEndpoint : unix:///var/run/containerd/containerd.sock
maxPods: 110
podPidsLimit: -1
address: "::"
readOnlyPort: 0
rotateCertificates: true
clusterDNS:
- 169.254.25.10
eventRecordQPS: 50
shutdownGracePeriod: 60s
shutdownGracePeriodCriticalPods: 20s
maxParallelImagePulls: 1
`

var etcdEnv231 = lines(
	"# Environment file for etcd 3.6.5",
	"ETCD_DATA_DIR=/var/lib/etcd",
	"ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379,https://127.0.0.1:2379",
	"ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd",
	"ETCD_LOG_LEVEL=info",
	"",
	"# TLS settings",
	"ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem",
	"ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem",
	"ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem",
	"ETCD_CLIENT_CERT_AUTH=true",
	"ETCD_PEER_CLIENT_CERT_AUTH=True",
	"",
	"# CLI settings",
	"ETCDCTL_ENDPOINTS=https://127.0.0.1:2379",
	"ETCD_EXPERIMENTAL_INITIAL_CORRUPT_CHECK=True",
	"",
	"ETCD_EXPERIMENTAL_WATCH_PROGRESS_NOTIFY_INTERVAL=5s",
)

var etcdUnit = lines(
	"[Unit]", "Description=etcd", "After=network.target", "",
	"[Service]", "Type=notify", "User=root", "EnvironmentFile=/etc/etcd.env", "ExecStart=/usr/local/bin/etcd",
	"NotifyAccess=all", "Restart=always", "",
	"[Install]", "WantedBy=multi-user.target",
)

const kubeadm231 = `apiVersion: kubeadm.k8s.io/v1beta4
kind: InitConfiguration
localAPIEndpoint:
  advertiseAddress: "10.0.0.1"
  bindPort: 6443
nodeRegistration:
  name: "node1"
  taints:
  - effect: NoSchedule
    key: node-role.kubernetes.io/control-plane
  criSocket: unix:///var/run/containerd/containerd.sock
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
clusterName: cluster.local
etcd:
  external:
    endpoints:
    - https://10.0.0.1:2379
    caFile: /etc/ssl/etcd/ssl/ca.pem
encryptionAlgorithm: RSA-2048
certificateValidityPeriod: 8760h
kubernetesVersion: v1.35.4
certificatesDir: /etc/kubernetes/ssl
apiServer:
  extraArgs:
  - name: event-ttl
    value: "1h0m0s"
  - name: etcd-compaction-interval
    value: "5m0s"
  - name: default-not-ready-toleration-seconds
    value: "300"
  - name: anonymous-auth
    value: "True"
  - name: bind-address
    value: "::"
  - name: apiserver-count
    value: "1"
  - name: service-account-lookup
    value: "True"
scheduler:
  extraArgs:
  - name: config
    value: /etc/kubernetes/kubescheduler-config.yaml
  - name: profiling
    value: "False"
---
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
metricsBindAddress: 127.0.0.1:10249
`

var (
	apiServerArgv = []string{
		"kube-apiserver", "--advertise-address=10.0.0.1", "--anonymous-auth=True",
		"--audit-log-path=/var/log/audit/kube-apiserver-audit.log", "--client-ca-file=/etc/kubernetes/ssl/ca.crt",
		"--etcd-cafile=/etc/ssl/etcd/ssl/ca.pem", "--etcd-servers=https://10.0.0.1:2379", "--profiling=False",
	}
	controllerArgv = []string{"kube-controller-manager", "--kubeconfig=/etc/kubernetes/controller-manager.conf", "--profiling=False"}
	schedulerArgv  = []string{"kube-scheduler", "--config=/etc/kubernetes/kubescheduler-config.yaml", "--kubeconfig=/etc/kubernetes/scheduler.conf"}
	kubeletArgv    = []string{
		"/usr/local/bin/kubelet", "--v=2", "--node-ip=10.0.0.1", "--hostname-override=node1",
		"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf", "--config=/etc/kubernetes/kubelet-config.yaml",
		"--kubeconfig=/etc/kubernetes/kubelet.conf", "--runtime-cgroups=/system.slice/containerd.service",
	}
)

// kubesprayNode is what every node of Kubespray 2.31 has.
func kubesprayNode() tree {
	return tree{
		"/etc/hostname":                                   "node1\n",
		"/etc/passwd":                                     "root:x:0:0::/root:/bin/sh\nkube:x:998:997::/:/sbin/nologin\netcd:x:997:996::/:/sbin/nologin\n",
		"/etc/group":                                      "root:x:0:\nkube-cert:x:997:\netcd:x:996:\n",
		"/etc/systemd/system/kubelet.service":             kubesprayUnit,
		"/etc/kubernetes/kubelet.env":                     kubeletEnv231,
		"/etc/kubernetes/kubelet-config.yaml":             kubeletConfig231,
		"/etc/kubernetes/kubelet.conf":                    "apiVersion: v1\nkind: Config\n",
		"/etc/kubernetes/ssl/ca.crt":                      "PEM",
		"/etc/kubernetes/pki":                             "->/etc/kubernetes/ssl",
		"/etc/kubernetes/manifests":                       "/",
		"/etc/modules-load.d/kubespray-br_netfilter.conf": "br_netfilter\n",
		"/usr/local/bin/kubernetes-scripts":               "/",
		"/usr/local/bin/kubelet":                          "\x7fELF",
		"/var/lib/kubelet/config.yaml":                    "kind: KubeletConfiguration\n",
		"/etc/cni/net.d/10-calico.conflist":               "{}",
		"/etc/cni/net.d/calico-kubeconfig":                "",
		"/etc/containerd/config.toml":                     "version = 3\n",
	}
}

func kubesprayEtcd() tree {
	return tree{
		"/etc/systemd/system/etcd.service":   etcdUnit,
		"/etc/etcd.env":                      etcdEnv231,
		"/etc/ssl/etcd/ssl/ca.pem":           "PEM",
		"/etc/ssl/etcd/ssl/member-node1.pem": "PEM",
		"/usr/local/bin/etcd":                "\x7fELF",
		"/usr/local/bin/etcdctl.sh":          "#!/bin/bash\n",
		"/usr/local/bin/etcdutl":             "\x7fELF",
	}
}

func kubesprayControlPlane() tree {
	return kubesprayNode().with(tree{
		"/etc/kubernetes/kubeadm-config.yaml": kubeadm231,
		"/etc/kubernetes/node-crb.yml":        "metadata:\n  name: kubespray:system:node\n",
		"/usr/local/bin/k8s-certs-renew.sh":   "#!/bin/bash\n",
		"/etc/kubernetes/manifests/kube-apiserver.yaml": manifest("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.35.4", apiServerArgv,
			"/etc/kubernetes/ssl", "/etc/ssl/etcd/ssl", "/var/log/kubernetes/audit:/var/log/audit"),
		"/etc/kubernetes/manifests/kube-controller-manager.yaml": manifest("kube-controller-manager", "registry.k8s.io/kube-controller-manager:v1.35.4", controllerArgv,
			"/etc/kubernetes/ssl", "/etc/kubernetes/controller-manager.conf"),
		"/etc/kubernetes/manifests/kube-scheduler.yaml": manifest("kube-scheduler", "registry.k8s.io/kube-scheduler:v1.35.4", schedulerArgv,
			"/etc/kubernetes/scheduler.conf", "/etc/kubernetes/kubescheduler-config.yaml"),
		"/etc/kubernetes/kubescheduler-config.yaml": "kind: KubeSchedulerConfiguration\n",
	})
}

// controlPlaneProcesses run what the manifests and units say, and some that only
// look like it.
func controlPlaneProcesses() tree {
	return process(1, "systemd", "/sbin/init").with(
		process(500, "etcd", "/usr/local/bin/etcd"),
		process(600, "kubelet", kubeletArgv...),
		process(700, "kube-apiserver", apiServerArgv...),
		process(701, "kube-controller", controllerArgv...),
		process(702, "kube-scheduler", schedulerArgv...),
		process(703, "kube-controller", "/usr/bin/kube-controllers"),
		process(704, "kube-proxy", "/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node1"),
		tree{
			"/proc/500/environ": "PATH=/bin\x00ETCD_DATA_DIR=/var/lib/etcd\x00ETCD_NAME=etcd1\x00",
			"/proc/500/cgroup":  "0::/system.slice/etcd.service\n",
			"/proc/704/cgroup":  "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0f0e0d0c_0b0a_4908_8706_050403020100.slice/cri-containerd-1.scope\n",
			"/var/lib/kubelet/pods/0f0e0d0c-0b0a-4908-8706-050403020100/volumes/kubernetes.io~configmap/kube-proxy/config.conf":     "kind: KubeProxyConfiguration\n",
			"/var/lib/kubelet/pods/0f0e0d0c-0b0a-4908-8706-050403020100/volumes/kubernetes.io~configmap/kube-proxy/kubeconfig.conf": "kind: Config\n",
		},
	)
}
