package kubespray

// Images are the names of the images that a cluster's pods run, as Kubespray
// and kubeadm write them into manifests. All of them must be on the nodes
// already: nothing is pulled.
type Images struct {
	APIServer, ControllerManager, Scheduler string // on control planes
	Proxy                                   string // on every node with a kubelet, as those below
	Pause                                   string // containerd's sandbox
	CoreDNS                                 string // entry point /coredns, takes its flags as arguments
	NodeCache                               string // the nodelocaldns pods; CoreDNS here
	Nginx                                   string // nginx-proxy on workers; runs nginx in the foreground with /etc/nginx/nginx.conf
	Test                                    string // a shell for test pods; no manifest of this package has it
}

// ControlPlane returns the images that only control planes run.
func (i Images) ControlPlane() []string {
	return []string{i.APIServer, i.ControllerManager, i.Scheduler}
}

// Node returns the images that any node may run.
func (i Images) Node() []string {
	return []string{i.Proxy, i.Pause, i.CoreDNS, i.NodeCache, i.Nginx, i.Test}
}

// ImagesOf returns the images for a Kubernetes version such as v1.35.4, with
// the versions that Kubespray's download role has for it.
func ImagesOf(kubernetes string) (Images, error) {
	m, err := minor(kubernetes)
	if err != nil {
		return Images{}, err
	}
	const registry = "registry.k8s.io/"
	r := releaseFor(m)
	return Images{
		APIServer:         registry + "kube-apiserver:" + kubernetes,
		ControllerManager: registry + "kube-controller-manager:" + kubernetes,
		Scheduler:         registry + "kube-scheduler:" + kubernetes,
		Proxy:             registry + "kube-proxy:" + kubernetes,
		Pause:             registry + "pause:" + r.Pause,
		CoreDNS:           registry + "coredns/coredns:" + r.CoreDNS,
		NodeCache:         registry + "dns/k8s-dns-node-cache:1.25.0",
		Nginx:             "docker.io/library/nginx:1.28.2-alpine",
		Test:              "docker.io/library/busybox:lab",
	}, nil
}

// release is what Kubespray chooses by the minor version of Kubernetes.
type release struct{ Etcd, Pause, CoreDNS string }

// releaseFor reads roles/kubespray_defaults/{vars/main/main.yml,defaults/main/download.yml},
// of 2.27 for Kubernetes 1.31 and 1.32.
func releaseFor(minor int) release {
	switch {
	case minor >= 35:
		return release{Etcd: "3.6.10", Pause: "3.10.1", CoreDNS: "v1.12.4"}
	case minor == 34:
		return release{Etcd: "3.5.29", Pause: "3.10.1", CoreDNS: "v1.12.1"}
	case minor == 33:
		return release{Etcd: "3.5.29", Pause: "3.10", CoreDNS: "v1.12.0"}
	default:
		return release{Etcd: "3.5.21", Pause: "3.10", CoreDNS: "v1.11.3"}
	}
}
