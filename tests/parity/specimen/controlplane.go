package specimen

import (
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
)

// ControlPlane is a control-plane and etcd node as Kubespray leaves it with its
// defaults (host etcd by /etc/etcd.env, certificates behind a link, kubelet with
// a config file), with noise more processes that no check asks for.
func ControlPlane(noise int) Node {
	n := Node{}
	add := func(path, content string, mode uint32, uid int) {
		n.Files = append(n.Files, File{Path: path, Content: content, Mode: mode, UID: uid})
	}
	add("/etc/passwd", passwd, 0o644, 0)
	add("/etc/group", group, 0o644, 0)
	add("/etc/hostname", "node1\n", 0o644, 0)
	n.Files = append(n.Files,
		File{Path: "/tmp", Type: Folder, Mode: 0o1777},
		File{Path: "/etc/kubernetes", Type: Folder, Mode: 0o755, UID: kubeUID},
		File{Path: "/etc/kubernetes/manifests", Type: Folder, Mode: 0o755, UID: kubeUID},
		File{Path: "/etc/kubernetes/ssl", Type: Folder, Mode: 0o755},
		File{Path: "/etc/kubernetes/pki", Type: Link, Content: "/etc/kubernetes/ssl"},
		File{Path: "/var/lib/etcd", Type: Folder, Mode: 0o700},
		File{Path: "/usr/local/bin/kubernetes-scripts", Type: Folder, Mode: 0o755},
		File{Path: "/etc/cni/net.d", Type: Folder, Mode: 0o755, UID: kubeUID})
	for _, argv := range [][]string{apiserverArgv, controllerManagerArgv, schedulerArgv} {
		add("/etc/kubernetes/manifests/"+argv[0]+".yaml", manifest(argv), 0o600, 0)
	}
	for _, name := range []string{"admin", "super-admin", "controller-manager", "scheduler", "kubelet"} {
		add("/etc/kubernetes/"+name+".conf", "apiVersion: v1\nkind: Config\n", 0o600, 0)
	}
	for _, name := range []string{"ca", "apiserver", "apiserver-kubelet-client", "front-proxy-ca", "front-proxy-client"} {
		add("/etc/kubernetes/ssl/"+name+".crt", "", 0o644, 0)
		add("/etc/kubernetes/ssl/"+name+".key", "", 0o600, 0)
	}
	add("/etc/kubernetes/ssl/sa.key", "", 0o600, 0)
	add("/etc/kubernetes/ssl/sa.pub", "", 0o600, 0)
	add("/etc/etcd.env", etcdEnvFile, 0o640, 0)
	add("/etc/systemd/system/etcd.service", "[Unit]\nDescription=etcd\n\n[Service]\nType=notify\nUser=root\nEnvironmentFile=/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n", 0o644, 0)
	add("/etc/systemd/system/kubelet.service", "[Unit]\nDescription=Kubernetes Kubelet Server\n\n[Service]\nEnvironmentFile=-/etc/kubernetes/kubelet.env\nExecStart=/usr/local/bin/kubelet $KUBELET_ARGS\n", 0o600, 0)
	add("/etc/kubernetes/kubelet.env", "KUBELET_ARGS=\"--config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf\"\n", 0o600, 0)
	add("/etc/kubernetes/kubelet-config.yaml", kubeletConfigFile, 0o600, 0)
	add("/etc/cni/net.d/10-calico.conflist", "{}", 0o600, 0)
	add("/etc/cni/net.d/calico-kubeconfig", "", 0o600, 0)

	n.Processes = []cell.Process{
		{Comm: "systemd-journal", Argv: []string{"/lib/systemd/systemd-journald"}},
		{Comm: "containerd", Argv: []string{"/usr/local/bin/containerd"}},
		{Comm: "etcd", Argv: []string{"/usr/local/bin/etcd"}, Env: etcdEnviron},
		{Comm: "kubelet", Argv: []string{"/usr/local/bin/kubelet", "--v=2", "--node-ip=10.0.0.1", "--hostname-override=node1",
			"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf", "--config=/etc/kubernetes/kubelet-config.yaml", "--kubeconfig=/etc/kubernetes/kubelet.conf", "--runtime-cgroups=/system.slice/containerd.service"}},
		{Comm: "kube-apiserver", Argv: apiserverArgv},
		{Comm: "kube-controller-manager", Argv: controllerManagerArgv},
		{Comm: "kube-scheduler", Argv: schedulerArgv},
		{Comm: "kube-proxy", Argv: []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf", "--hostname-override=node1"}},
		{Comm: "calico-node", Argv: []string{"calico-node", "-felix"}},
	}
	for i := range noise {
		name := fmt.Sprintf("containerd-shim-%d", i)
		n.Processes = append(n.Processes, cell.Process{
			Comm: "containerd-shim", Argv: []string{"/usr/local/bin/containerd-shim-runc-v2", "-namespace", "k8s.io", "-id", name, "-address", "/run/containerd/containerd.sock"},
		})
	}
	return n
}

func manifest(argv []string) string {
	name := argv[0]
	s := "apiVersion: v1\nkind: Pod\nmetadata:\n  name: " + name + "\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n"
	for _, a := range argv {
		if strings.HasSuffix(a, ":") || strings.Contains(a, "*") {
			a = "'" + a + "'"
		}
		s += "    - " + a + "\n"
	}
	return s + "    image: registry.k8s.io/" + name + ":v1.34.3\n    name: " + name + "\n  hostNetwork: true\n"
}

var apiserverArgv = []string{
	"kube-apiserver", "--advertise-address=10.0.0.1", "--allow-privileged=true", "--anonymous-auth=True", "--apiserver-count=1",
	"--authorization-mode=Node,RBAC", "--bind-address=::", "--client-ca-file=/etc/kubernetes/ssl/ca.crt", "--default-not-ready-toleration-seconds=300",
	"--default-unreachable-toleration-seconds=300", "--enable-admission-plugins=NodeRestriction", "--enable-aggregator-routing=False",
	"--enable-bootstrap-token-auth=true", "--endpoint-reconciler-type=lease", "--etcd-cafile=/etc/ssl/etcd/ssl/ca.pem",
	"--etcd-certfile=/etc/ssl/etcd/ssl/node-node1.pem", "--etcd-keyfile=/etc/ssl/etcd/ssl/node-node1-key.pem", "--etcd-servers=https://10.0.0.1:2379",
	"--event-ttl=1h0m0s", "--kubelet-client-certificate=/etc/kubernetes/ssl/apiserver-kubelet-client.crt",
	"--kubelet-client-key=/etc/kubernetes/ssl/apiserver-kubelet-client.key", "--kubelet-preferred-address-types=InternalDNS,InternalIP,Hostname,ExternalDNS,ExternalIP",
	"--profiling=False", "--proxy-client-cert-file=/etc/kubernetes/ssl/front-proxy-client.crt", "--proxy-client-key-file=/etc/kubernetes/ssl/front-proxy-client.key",
	"--request-timeout=1m0s", "--requestheader-client-ca-file=/etc/kubernetes/ssl/front-proxy-ca.crt", "--secure-port=6443",
	"--service-account-issuer=https://kubernetes.default.svc.cluster.local", "--service-account-key-file=/etc/kubernetes/ssl/sa.pub", "--service-account-lookup=True",
	"--service-account-signing-key-file=/etc/kubernetes/ssl/sa.key", "--service-cluster-ip-range=10.233.0.0/18", "--service-node-port-range=30000-32767",
	"--storage-backend=etcd3", "--tls-cert-file=/etc/kubernetes/ssl/apiserver.crt", "--tls-private-key-file=/etc/kubernetes/ssl/apiserver.key",
}

var controllerManagerArgv = []string{
	"kube-controller-manager", "--allocate-node-cidrs=true", "--authentication-kubeconfig=/etc/kubernetes/controller-manager.conf",
	"--authorization-kubeconfig=/etc/kubernetes/controller-manager.conf", "--bind-address=::", "--client-ca-file=/etc/kubernetes/ssl/ca.crt",
	"--cluster-cidr=10.233.64.0/18", "--cluster-name=cluster.local", "--cluster-signing-cert-file=/etc/kubernetes/ssl/ca.crt", "--cluster-signing-key-file=/etc/kubernetes/ssl/ca.key",
	"--configure-cloud-routes=false", "--controllers=*,bootstrapsigner,tokencleaner", "--kubeconfig=/etc/kubernetes/controller-manager.conf", "--leader-elect=true",
	"--node-cidr-mask-size-ipv4=24", "--node-monitor-grace-period=40s", "--node-monitor-period=5s", "--profiling=False", "--root-ca-file=/etc/kubernetes/ssl/ca.crt",
	"--service-account-private-key-file=/etc/kubernetes/ssl/sa.key", "--service-cluster-ip-range=10.233.0.0/18", "--terminated-pod-gc-threshold=12500",
	"--use-service-account-credentials=true",
}

var schedulerArgv = []string{
	"kube-scheduler", "--authentication-kubeconfig=/etc/kubernetes/scheduler.conf", "--authorization-kubeconfig=/etc/kubernetes/scheduler.conf", "--bind-address=::",
	"--config=/etc/kubernetes/kubescheduler-config.yaml", "--kubeconfig=/etc/kubernetes/scheduler.conf", "--leader-elect=true", "--profiling=False",
}

var etcdEnviron = []string{
	"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "ETCD_DATA_DIR=/var/lib/etcd", "ETCD_ADVERTISE_CLIENT_URLS=https://10.0.0.1:2379",
	"ETCD_INITIAL_CLUSTER_STATE=existing", "ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379,https://127.0.0.1:2379", "ETCD_NAME=etcd1",
	"ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem", "ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem", "ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem",
	"ETCD_CLIENT_CERT_AUTH=true", "ETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem", "ETCD_PEER_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem",
	"ETCD_PEER_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem", "ETCD_PEER_CLIENT_CERT_AUTH=True",
}

const etcdEnvFile = `# Environment file for etcd v3.5.26
ETCD_DATA_DIR=/var/lib/etcd
ETCD_ADVERTISE_CLIENT_URLS=https://10.0.0.1:2379
ETCD_LISTEN_CLIENT_URLS=https://10.0.0.1:2379,https://127.0.0.1:2379
ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd
ETCD_NAME=etcd1

# TLS settings
ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem
ETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem
ETCD_CLIENT_CERT_AUTH=true
ETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem
ETCD_PEER_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem
ETCD_PEER_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem
ETCD_PEER_CLIENT_CERT_AUTH=True
`

const kubeletConfigFile = `apiVersion: kubelet.config.k8s.io/v1beta1
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
staticPodPath: "/etc/kubernetes/manifests"
cgroupDriver: systemd
containerLogMaxFiles: 5
maxPods: 110
podPidsLimit: -1
address: "10.0.0.1"
readOnlyPort: 0
healthzPort: 10248
protectKernelDefaults: true
rotateCertificates: true
clusterDomain: cluster.local
eventRecordQPS: 50
shutdownGracePeriod: 60s
`
