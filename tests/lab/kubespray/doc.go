// Package kubespray says what Kubespray 2.31 leaves on the nodes of a cluster,
// as values: the files of each node with owner, group and mode, the system
// users that own them, the commands of the first run in their order, and the
// add-ons. Inventory: the sample's, with etcd_deployment_type host,
// container_manager containerd, kube_network_plugin cni and the settings below.
//
// It owns the layout only. Whoever builds the nodes puts the files there, runs
// the steps, loads the images, and brings the binaries, the network between the
// nodes and the operating system. kubeadm makes the cluster's own certificates,
// kubeconfigs and static pods; none of them is rendered here.
//
// What differs from such an installation, and why:
//
//	containerd_use_systemd_cgroup false   nodes are containers on cgroup v1, each with its own cgroup namespace
//	kubelet_fail_cgroup_v1 false          the same; rendered from Kubernetes 1.35 on, where the kubelet would refuse
//	kube_proxy_mode iptables              the kernel has no IPVS
//	kube_proxy_conntrack_* 0              nf_conntrack_max cannot be written in a network namespace
//	upstream_dns_servers 192.0.2.53       nothing leaves the bench; a forward to /etc/resolv.conf would come back to
//	                                      nodelocaldns, and its loop plugin would stop it after every boot
//	enable_dns_autoscaler false           one image less; two CoreDNS replicas either way
//	containerd: restrict_oom_score_adj    the bench's root has no CAP_SYS_RESOURCE
//	containerd: no base_runtime_spec      it raises RLIMIT_NOFILE to 65535, which needs CAP_SYS_RESOURCE as well
//	containerd: no BinaryName             runc is the distribution's, found through PATH
//	containerd.service: no OOMScoreAdjust the same capability
//	nodelocaldns arguments                the image is plain CoreDNS; the node already has a device with the address
//	/etc/cni/net.d, owner and conflist    Kubespray's cni plugin leaves the folder and the file to the user; the owner
//	                                      is the one that it sets for calico, its default
//	/etc/hosts                            Kubespray writes none since 2.29; the bench has no other names
//	kubeadm --ignore-preflight-errors=all the checks look at a machine, not at a container; no timeouts either
//	kube-proxy's ConfigMap edited early   before the joins instead of after: the same result with fewer restarts
//	etcd.env's version                    the one Kubespray has for this Kubernetes, whatever etcd runs
//	kubectl completion, downloads, nerdctl's binary   left out
//	Kubernetes 1.31                       2.31 stops at 1.33: images as in 2.27, everything else as in 2.31
package kubespray
