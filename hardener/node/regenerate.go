package node

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
)

// Regenerated are the static pods as kubeadm would write them now from the node's
// kubeadm-config.yaml, which Kubespray renders on every control plane in every run:
// what its next upgrade makes of the manifests. Of a Component, Manifest, Configured
// and Mounts are filled in. It is nil where the node has no such file.
//
// Kubespray 2.26.0, 2.26.1 and 2.27.0 regenerate from the cluster's ConfigMap
// kubeadm-config instead, which is not on the node.
func Regenerated(fsys fs.FS, f Facts) (map[string]Component, error) {
	if f.KubeadmConfig == "" {
		return nil, nil
	}
	data, err := fs.ReadFile(fsys, Name(f.KubeadmConfig))
	if err != nil {
		return nil, err
	}
	docs, err := documents(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.KubeadmConfig, err)
	}
	cluster := docs["ClusterConfiguration"]
	if cluster == nil {
		return nil, fmt.Errorf("%s: no ClusterConfiguration", f.KubeadmConfig)
	}
	certificates := firstOf(text(cluster, "certificatesDir"), "/etc/kubernetes/pki")
	all := map[string]Component{}
	for name, in := range map[string][]string{
		APIServer: {"apiServer"}, ControllerManager: {"controllerManager"}, Scheduler: {"scheduler"}, Etcd: {"etcd", "local"},
	} {
		section, ok := value(cluster, in...)
		if name == Etcd && !ok {
			continue // a service, or elsewhere
		}
		component, _ := section.(map[string]any)
		args := kubeadmArgs(name, certificates)
		given := extraArgs(map[string]any{"x": component}, "x")
		if _, ok := given["authorization-config"]; ok {
			delete(args, "authorization-mode") // cmd/kubeadm/app/phases/controlplane/manifests.go, since 1.30
		}
		maps.Copy(args, given)
		c := Component{
			Manifest: path.Join(firstOf(f.ManifestDir, "/etc/kubernetes/manifests"), programs[name]+".yaml"), Configured: []string{programs[name]},
			Mounts: append(extraMounts(component), Mount{Path: certificates, HostPath: certificates, ReadOnly: true}),
		}
		for _, flag := range slices.Sorted(maps.Keys(args)) {
			c.Configured = append(c.Configured, "--"+flag+"="+args[flag])
		}
		all[name] = c
	}
	return all, nil
}

// extraMounts are a component's extraVolumes.
func extraMounts(component map[string]any) []Mount {
	var mounts []Mount
	list, _ := component["extraVolumes"].([]any)
	for _, e := range list {
		if v, ok := e.(map[string]any); ok {
			mounts = append(mounts, Mount{Path: path.Clean(text(v, "mountPath")), HostPath: text(v, "hostPath"), ReadOnly: text(v, "readOnly") == "true"})
		}
	}
	return mounts
}

// kubeadmArgs are the flags that kubeadm gives a component by itself and that some
// benchmark asks for (cmd/kubeadm/app/phases/controlplane/manifests.go and
// etcd/local.go). What the configuration says of them wins.
func kubeadmArgs(component, certificates string) map[string]string {
	in := func(name string) string { return path.Join(certificates, name) }
	switch component {
	case APIServer:
		return map[string]string{
			"authorization-mode": "Node,RBAC", "enable-admission-plugins": "NodeRestriction", "enable-bootstrap-token-auth": "true", "allow-privileged": "true",
			"client-ca-file": in("ca.crt"), "tls-cert-file": in("apiserver.crt"), "tls-private-key-file": in("apiserver.key"),
			"kubelet-client-certificate": in("apiserver-kubelet-client.crt"), "kubelet-client-key": in("apiserver-kubelet-client.key"),
			"service-account-key-file": in("sa.pub"), "etcd-cafile": in("etcd/ca.crt"), "etcd-certfile": in("apiserver-etcd-client.crt"), "etcd-keyfile": in("apiserver-etcd-client.key"),
			"secure-port": "6443",
		}
	case ControllerManager:
		return map[string]string{
			"bind-address": "127.0.0.1", "use-service-account-credentials": "true", "root-ca-file": in("ca.crt"),
			"service-account-private-key-file": in("sa.key"), "client-ca-file": in("ca.crt"), "leader-elect": "true",
		}
	case Scheduler:
		return map[string]string{"bind-address": "127.0.0.1", "leader-elect": "true"}
	case Etcd:
		return map[string]string{
			"client-cert-auth": "true", "peer-client-cert-auth": "true", "trusted-ca-file": in("etcd/ca.crt"), "peer-trusted-ca-file": in("etcd/ca.crt"),
			"cert-file": in("etcd/server.crt"), "key-file": in("etcd/server.key"), "peer-cert-file": in("etcd/peer.crt"), "peer-key-file": in("etcd/peer.key"),
		}
	}
	return map[string]string{}
}
