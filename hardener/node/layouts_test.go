package node

import (
	"strings"
)

// kubespray213 is a control plane of Kubespray 2.13 with docker.
func kubespray213() tree {
	api := []string{"kube-apiserver", "--insecure-port=0", "--client-ca-file=/etc/kubernetes/ssl/ca.crt", "--etcd-cafile=/etc/ssl/etcd/ssl/ca.pem"}
	env := lines("ETCD_DATA_DIR=/var/lib/etcd", "ETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd", "ETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem",
		"ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem", "ETCDCTL_CACERT=/etc/ssl/etcd/ssl/ca.pem")
	wrapper := func(name string) string {
		return "#!/bin/bash\n/usr/bin/docker run \\\n  --restart=on-failure:5 \\\n  --env-file=/etc/" + name + ".env \\\n  --net=host \\\n" +
			"  --name=" + name + "1 \\\n  quay.io/coreos/etcd:v3.3.12 \\\n  /usr/local/bin/etcd \\\n  \"$@\"\n"
	}
	unit := func(name string) string {
		return lines("[Unit]", "Description=etcd docker wrapper", "Wants=docker.socket", "After=docker.service", "[Service]", "User=root",
			"EnvironmentFile=-/etc/"+name+".env", "ExecStart=/usr/local/bin/"+name)
	}
	return kubesprayNode().without("/etc/containerd/config.toml").with(tree{
		"/etc/systemd/system/kubelet.service": strings.NewReplacer("containerd.service", "docker.service", "[Service]\n", "[Service]\nUser=root\n",
			"Wants=containerd.service", "Wants=docker.socket").Replace(kubesprayUnit),
		"/etc/kubernetes/kubelet.env": lines(`KUBE_LOGTOSTDERR="--logtostderr=true"`, `KUBE_LOG_LEVEL="--v=2"`, `KUBELET_HOSTNAME="--hostname-override=node1"`,
			`KUBELET_ARGS="--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \`, `--config=/etc/kubernetes/kubelet-config.yaml \`,
			`--kubeconfig=/etc/kubernetes/kubelet.conf \`, `--pod-infra-container-image=k8s.gcr.io/pause:3.1 \`, ` "`,
			`KUBELET_NETWORK_PLUGIN="--network-plugin=cni --cni-conf-dir=/etc/cni/net.d --cni-bin-dir=/opt/cni/bin"`),
		"/etc/kubernetes/kubelet-config.yaml": lines("apiVersion: kubelet.config.k8s.io/v1beta1", "kind: KubeletConfiguration",
			"authentication:", "  x509:", "    clientCAFile: /etc/kubernetes/ssl/ca.crt", "staticPodPath: /etc/kubernetes/manifests"),
		"/etc/kubernetes/kubeadm-config.yaml": lines("apiVersion: kubeadm.k8s.io/v1beta2", "kind: ClusterConfiguration", "certificatesDir: /etc/kubernetes/ssl",
			"kubernetesVersion: v1.17.12", "apiServer:", "  extraArgs:", `    insecure-port: "0"`, `    apiserver-count: "1"`, "scheduler:", "  extraArgs:", "    bind-address: 0.0.0.0"),
		"/etc/kubernetes/manifests/kube-apiserver.yaml": manifest("kube-apiserver", "k8s.gcr.io/kube-apiserver:v1.17.12", api, "/etc/kubernetes/ssl", "/etc/ssl/etcd/ssl"),
		"/etc/kubernetes/manifests/kube-controller-manager.yaml": manifest("kube-controller-manager", "k8s.gcr.io/kube-controller-manager:v1.17.12",
			controllerArgv, "/etc/kubernetes/ssl"),
		"/etc/kubernetes/manifests/kube-scheduler.yaml": manifest("kube-scheduler", "k8s.gcr.io/kube-scheduler:v1.17.12", schedulerArgv),
		"/etc/systemd/system/etcd.service":              unit("etcd"),
		"/etc/systemd/system/etcd-events.service":       unit("etcd-events"),
		"/etc/etcd.env":              env,
		"/etc/etcd-events.env":       strings.Replace(env, "/var/lib/etcd", "/var/lib/etcd-events", 1),
		"/etc/ssl/etcd/ssl":          "/",
		"/etc/kubernetes/ssl":        "/",
		"/usr/local/bin/etcd":        wrapper("etcd"),
		"/usr/local/bin/etcd-events": wrapper("etcd-events"),
		"/proc/812/environ":          "ETCD_DATA_DIR=/var/lib/etcd\x00",
		"/proc/813/environ":          "ETCD_DATA_DIR=/var/lib/etcd-events\x00",
	}, process(800, "etcd", "/bin/bash", "/usr/local/bin/etcd"), process(801, "docker", "/usr/bin/docker", "run", "quay.io/coreos/etcd:v3.3.12", "/usr/local/bin/etcd"),
		process(812, "etcd", "/usr/local/bin/etcd"), process(813, "etcd", "/usr/local/bin/etcd"))
}

func kubeadmNode() tree {
	api := []string{"kube-apiserver", "--client-ca-file=/etc/kubernetes/pki/ca.crt", "--etcd-cafile=/etc/kubernetes/pki/etcd/ca.crt"}
	etcdArgv := []string{"etcd", "--data-dir=/var/lib/etcd", "--trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt", "--name=plain"}
	return tree{
		"/etc/hostname":                       "Plain\n",
		"/lib/systemd/system/kubelet.service": "[Unit]\nDescription=kubelet: The Kubernetes Node Agent\n[Service]\nExecStart=/usr/bin/kubelet\n",
		"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": lines("[Service]",
			`Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf"`,
			`Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"`,
			"EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env", "EnvironmentFile=-/etc/default/kubelet", "ExecStart=",
			"ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS"),
		"/var/lib/kubelet/kubeadm-flags.env": `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock"` + "\n",
		"/var/lib/kubelet/config.yaml": lines("kind: KubeletConfiguration", "authentication:", "  x509:", "    clientCAFile: /etc/kubernetes/pki/ca.crt",
			"staticPodPath: /etc/kubernetes/manifests"),
		"/usr/bin/kubelet":                              "\x7fELF",
		"/etc/kubernetes/pki/ca.crt":                    "PEM",
		"/etc/kubernetes/manifests/kube-apiserver.yaml": manifest("kube-apiserver", "registry.k8s.io/kube-apiserver:v1.34.1@sha256:00", api, "/etc/kubernetes/pki"),
		"/etc/kubernetes/manifests/etcd.yaml":           manifest("etcd", "registry.k8s.io/etcd:3.6.4-0", etcdArgv, "/var/lib/etcd", "/etc/kubernetes/pki/etcd"),
		"/etc/kubernetes/manifests/.hidden.yaml":        "not read",
		"/etc/cni/net.d/10-flannel.conflist":            "{}",
	}.with(process(900, "etcd", etcdArgv...), process(901, "kubelet", "/usr/bin/kubelet", "--config=/var/lib/kubelet/config.yaml"),
		process(902, "etcd", "etcd", "--data-dir=/app/data", "--name=app"))
}
