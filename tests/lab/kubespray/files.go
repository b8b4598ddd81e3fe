package kubespray

import (
	"cmp"
	"io/fs"
	"slices"
)

// File is something at a path of a node.
type File struct {
	Path         string      // absolute
	Mode         fs.FileMode // fs.ModeDir, fs.ModeSymlink or a plain file, with its permissions; none for a link
	Owner, Group string      // names: root, or those of Users
	Content      []byte      // of a plain file
	Target       string      // of a link, as it is stored
}

// Files returns what is on a node before the first step of Bootstrap, parents
// before what is in them. Folders that every Linux has are not in it.
func (c *Cluster) Files(node string) ([]File, error) {
	n, err := c.node(node)
	if err != nil {
		return nil, err
	}
	v, err := c.view(n)
	if err != nil {
		return nil, err
	}
	l := &list{view: v}
	l.system()
	if n.Kubelet() {
		l.containerd()
		l.kubelet()
	}
	if n.Roles.Has(Etcd | ControlPlane) {
		l.etcdCertificates()
	}
	if n.Roles.Has(Etcd) {
		l.etcd()
	}
	switch {
	case n.Roles.Has(ControlPlane):
		l.controlPlane()
	case n.Roles.Has(Worker):
		l.nginxProxy()
	}
	slices.SortFunc(l.files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	return l.files, l.err
}

// list collects a node's files, and the first error of their rendering.
type list struct {
	view
	files []File
	err   error
}

func (l *list) add(f File) { l.files = append(l.files, f) }

// dirs adds folders of one owner, in group root.
func (l *list) dirs(owner string, mode fs.FileMode, paths ...string) {
	for _, path := range paths {
		l.add(File{Path: path, Mode: fs.ModeDir | mode, Owner: owner, Group: "root"})
	}
}

// content adds a file of root.
func (l *list) content(path string, mode fs.FileMode, content []byte) {
	l.add(File{Path: path, Mode: mode, Owner: "root", Group: "root", Content: content})
}

// render adds a file of root with the text of a template.
func (l *list) render(path string, mode fs.FileMode, name string) {
	content, err := l.view.render(name)
	l.err = cmp.Or(l.err, err)
	l.content(path, mode, content)
}

// link adds a symbolic link.
func (l *list) link(path, target string) {
	l.add(File{Path: path, Mode: fs.ModeSymlink, Owner: "root", Group: "root", Target: target})
}

// unit adds a systemd unit and starts it at boot.
func (l *list) unit(name string, mode fs.FileMode) {
	path := "/etc/systemd/system/" + name
	l.render(path, mode, name)
	l.link("/etc/systemd/system/multi-user.target.wants/"+name, path)
}

// system is roles/kubernetes/preinstall, on every node.
func (l *list) system() {
	// On Debian the file that Kubespray writes, 99-sysctl.conf, is a link of the
	// procps package, which Kubespray resolves first.
	l.render("/etc/sysctl.conf", 0o644, "sysctl.conf")
	l.link("/etc/sysctl.d/99-sysctl.conf", "../sysctl.conf")
	l.render("/etc/resolv.conf", 0o644, "resolv.conf")
	l.render("/etc/hosts", 0o644, "hosts")
	l.link("/etc/systemd/system/swap.target", "/dev/null")
}

// containerd is roles/container-engine, on nodes with a kubelet.
func (l *list) containerd() {
	l.unit("containerd.service", 0o644)
	l.dirs("root", 0o755,
		"/etc/systemd/system/containerd.service.d",
		"/etc/containerd", "/etc/containerd/certs.d", "/etc/containerd/certs.d/docker.io",
		"/etc/nerdctl")
	l.render("/etc/containerd/config.toml", 0o640, "containerd-config.toml")
	l.render("/etc/containerd/certs.d/docker.io/hosts.toml", 0o640, "hosts.toml")
	l.render("/etc/nerdctl/nerdctl.toml", 0o644, "nerdctl.toml")
	l.render("/etc/crictl.yaml", 0o644, "crictl.yaml")
}

// kubelet is what roles/kubernetes/{preinstall,node} and roles/network_plugin
// leave on nodes with a kubelet.
func (l *list) kubelet() {
	// Ansible gives parents that it has to make the attributes of the folder.
	l.dirs("kube", 0o755,
		"/etc/kubernetes", "/etc/kubernetes/manifests",
		"/usr/local/bin/kubernetes-scripts",
		"/usr/libexec/kubernetes", "/usr/libexec/kubernetes/kubelet-plugins",
		"/usr/libexec/kubernetes/kubelet-plugins/volume", "/usr/libexec/kubernetes/kubelet-plugins/volume/exec",
		"/etc/cni", "/etc/cni/net.d", "/opt/cni", "/opt/cni/bin")
	l.dirs("root", 0o755, "/etc/kubernetes/ssl", "/var/lib/cni", "/etc/modules-load.d", "/etc/modprobe.d")
	// kubeadm looks for some certificates in its own default folder.
	l.link("/etc/kubernetes/pki", "/etc/kubernetes/ssl")
	l.content("/etc/modules-load.d/kubespray-br_netfilter.conf", 0o644, []byte("br_netfilter"))
	l.render("/etc/cni/net.d/10-lab.conflist", 0o644, "10-lab.conflist")

	l.render("/etc/kubernetes/kubelet.env", 0o600, "kubelet.env")
	l.render("/etc/kubernetes/kubelet-config.yaml", 0o600, "kubelet-config.yaml")
	l.unit("kubelet.service", 0o600)
}

// etcdCertificates is roles/etcd/tasks/gen_certs_script.yml and upd_ca_trust.yml,
// on etcd nodes and control planes.
func (l *list) etcdCertificates() {
	l.dirs("etcd", 0o700, "/etc/ssl/etcd", etcdCertFolder)
	l.content("/usr/local/share/ca-certificates/etcd-ca.crt", 0o640, l.cluster.etcd["ca.pem"])

	first := l.Name == l.Etcds()[0].Name
	// openssl's own modes and the user that ran it, on the first etcd node; the
	// archive that control planes without etcd get their files from keeps both.
	generated := func(name string) {
		l.content(etcdCertFolder+"/"+name+".pem", 0o644, l.cluster.etcd[name+".pem"])
		l.content(etcdCertFolder+"/"+name+"-key.pem", 0o600, l.cluster.etcd[name+"-key.pem"])
	}
	copied := func(name string) {
		for _, name := range []string{name + ".pem", name + "-key.pem"} {
			l.add(File{
				Path: etcdCertFolder + "/" + name, Mode: 0o640, Owner: "etcd", Group: "root",
				Content: l.cluster.etcd[name],
			})
		}
	}
	if !l.Roles.Has(Etcd) {
		l.content(etcdCertFolder+"/ca.pem", 0o644, l.cluster.etcd["ca.pem"])
		generated("node-" + l.Name)
		// kubeadm wants the same paths on all control planes.
		for _, n := range l.ControlPlanes() {
			if n.Name != l.Name {
				l.link(etcdCertFolder+"/node-"+n.Name+".pem", etcdCertFolder+"/node-"+l.Name+".pem")
				l.link(etcdCertFolder+"/node-"+n.Name+"-key.pem", etcdCertFolder+"/node-"+l.Name+"-key.pem")
			}
		}
		return
	}
	put := copied
	if first {
		put = generated
	}
	put("ca")
	for _, n := range l.Etcds() {
		put("member-" + n.Name)
		put("admin-" + n.Name)
	}
	for _, n := range l.ControlPlanes() {
		put("node-" + n.Name)
	}
	if first {
		l.render("/etc/ssl/etcd/openssl.conf", 0o640, "openssl.conf")
		l.dirs("root", 0o700, "/usr/local/bin/etcd-scripts")
		l.render("/usr/local/bin/etcd-scripts/make-ssl-etcd.sh", 0o700, "make-ssl-etcd.sh")
	}
}

// etcd is the rest of roles/etcd. etcd itself makes its data folder.
func (l *list) etcd() {
	l.render("/etc/etcd.env", 0o640, "etcd.env")
	l.unit("etcd.service", 0o644)
	l.render("/usr/local/bin/etcdctl.sh", 0o755, "etcdctl.sh")
}

// controlPlane is roles/kubernetes/control-plane.
func (l *list) controlPlane() {
	l.render("/etc/kubernetes/kubescheduler-config.yaml", 0o644, "kubescheduler-config.yaml")
	l.render("/etc/kubernetes/kubeadm-config.yaml", 0o640, "kubeadm-config.yaml")
	l.render("/usr/local/bin/k8s-certs-renew.sh", 0o755, "k8s-certs-renew.sh")
	if l.Name != l.ControlPlanes()[0].Name {
		l.render("/etc/kubernetes/kubeadm-controlplane.yaml", 0o640, "kubeadm-controlplane.yaml")
	}
}

// nginxProxy is the local load balancer of nodes without an API server,
// roles/kubernetes/node/tasks/loadbalancer/nginx-proxy.yml.
func (l *list) nginxProxy() {
	l.dirs("root", 0o700, "/etc/nginx")
	l.render("/etc/nginx/nginx.conf", 0o755, "nginx.conf")
	l.render("/etc/kubernetes/manifests/nginx-proxy.yml", 0o640, "nginx-proxy.yml")
}
