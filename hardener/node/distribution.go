package node

import (
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Confidence in a conclusion about the distribution.
const (
	certain  = "certain"
	probable = "probable"
	weak     = "weak"
)

// Scores from which a node counts as Kubespray's. A host with etcd alone has
// little that could speak for it, so less is asked there.
const (
	scoreCertain  = 60
	scoreProbable = 35
)

// findDistribution tells who installed Kubernetes. Each observation about
// Kubespray has a weight; other installers are told by what only they do.
func (d *detector) findDistribution() {
	d.weighKubelet()
	d.weighPKI()
	d.weighFiles()
	d.weighEtcd()
	others := d.otherDistributions()
	for _, s := range d.Signals {
		if s.Conclusion == speaksForKubespray {
			d.Distribution.Score += s.Weight
		}
	}
	switch score := d.Distribution.Score; {
	case len(others) > 0 && others[0] != "kubeadm" && others[0] != "kubekey" && score < scoreCertain:
		d.Distribution.Name, d.Distribution.Confidence = others[0], certain
		if d.Components[Kubelet].Unit != "" {
			// These installers need no kubelet.service.
			d.Distribution.Confidence = probable
		}
	case len(d.Components) == 0:
		d.Distribution.Name, d.Distribution.Confidence = "none", certain
		evidence := "no kubelet, no static pod manifest of a component, no etcd"
		if len(d.procs) == 0 {
			// A stopped node and no node at all look alike without a process table.
			d.Distribution.Confidence = probable
			evidence += "; there is no process table"
		}
		d.signal("distribution: none", 0, "%s", evidence)
	case score >= scoreCertain:
		d.Distribution.Name, d.Distribution.Confidence = "kubespray", certain
	case score >= scoreProbable:
		d.Distribution.Name, d.Distribution.Confidence = "kubespray", probable
	case len(others) > 0:
		d.Distribution.Name, d.Distribution.Confidence = others[0], d.kubeadmConfidence(others[0])
	default:
		d.Distribution.Name, d.Distribution.Confidence = "unknown", weak
		d.signal("distribution: unknown", 0, "Kubernetes components, but the files of no known installer; %d of %d points for Kubespray", score, scoreProbable)
	}
}

func (d *detector) kubeadmConfidence(name string) string {
	n := 0
	for _, s := range d.Signals {
		if s.Conclusion == "distribution: "+name {
			n++
		}
	}
	return []string{weak, weak, probable, certain}[min(n, 3)]
}

const speaksForKubespray = "distribution: kubespray"

// weigh records an observation if it holds.
func (d *detector) weigh(holds bool, weight int, format string, args ...any) {
	if holds {
		d.signal(speaksForKubespray, weight, format, args...)
	}
}

// weighKubelet looks at the kubelet's unit
// (roles/kubernetes/node/templates/kubelet.service.j2).
func (d *detector) weighKubelet() {
	c, ok := d.Components[Kubelet]
	if !ok {
		return
	}
	start := d.kubeletUnit.Value("Service", "ExecStart")
	envFile := ""
	for _, f := range d.kubeletUnit.Values("Service", "EnvironmentFile") {
		if path.Base(f) == "kubelet.env" {
			envFile = strings.TrimPrefix(f, "-")
		}
	}
	d.weigh(envFile != "" && strings.Contains(start, "$KUBELET_API_SERVER") && strings.Contains(start, "$KUBELET_CLOUDPROVIDER"), 30,
		"%s takes its arguments from the variables of %s", c.Unit, envFile)
	d.weigh(envFile != "" && slices.Contains(c.EnvFiles, envFile) && path.Base(c.Config) == "kubelet-config.yaml" && d.exists(c.Config), 15,
		"%s names the configuration %s", envFile, c.Config)
	for _, f := range c.DropIns {
		d.weigh(path.Base(f) == "10-kubeadm.conf", -25, "%s is in effect", f)
	}
	if argv := c.Flags(); len(argv) > 0 {
		d.weigh(argv[0] == "/usr/bin/kubelet", -15, "the kubelet is /usr/bin/kubelet")
	}
}

func (d *detector) weighPKI() {
	target, err := fs.ReadLink(d.fsys, "etc/kubernetes/pki")
	d.weigh(err == nil && path.Base(target) == "ssl", 20, "/etc/kubernetes/pki is a link to %s", target)
	if info, err := fs.Lstat(d.fsys, "etc/kubernetes/pki"); err == nil && info.IsDir() {
		d.weigh(d.exists("/etc/kubernetes/pki/ca.crt") && !d.exists("/etc/kubernetes/ssl"), -20,
			"/etc/kubernetes/pki is a directory with a ca.crt, and there is no /etc/kubernetes/ssl")
	}
	certs := text(d.kubeadm["ClusterConfiguration"], "certificatesDir")
	d.weigh(certs != "" && path.Clean(certs) != "/etc/kubernetes/pki", 10, "%s: certificatesDir is %s", d.KubeadmConfig, certs)
	client := path.Join(firstOf(d.KubeConfigDir, "/etc/kubernetes"), "kubeadm-client.conf")
	if data, ok := d.read(client); ok {
		docs, err := documents(data)
		if err != nil {
			d.warn("%s: %v", client, err)
		}
		ca := text(docs["JoinConfiguration"], "caCertPath")
		d.weigh(ca != "" && ca != "/etc/kubernetes/pki/ca.crt", 10, "%s: caCertPath is %s", client, ca)
	}
}

var ansibleBackup = regexp.MustCompile(`^kubelet\.(?:env|service)\.\d+\.\d{4}-\d\d-\d\d@.*~$`)

// weighFiles looks for what Kubespray's roles leave on every node.
func (d *detector) weighFiles() {
	bin := d.binDir()
	for _, f := range []struct {
		path   string
		weight int
	}{
		{"/etc/modules-load.d/kubespray-br_netfilter.conf", 25},
		{bin + "/kubernetes-scripts", 15},
		{bin + "/k8s-certs-renew.sh", 15},
		{"/etc/systemd/resolved.conf.d/kubespray.conf", 10},
	} {
		d.weigh(d.exists(f.path), f.weight, "%s exists", f.path)
	}
	for _, f := range []string{"etcdctl.sh", "calicoctl.sh", "etcd-scripts"} {
		if d.exists(bin + "/" + f) {
			d.weigh(true, 5, "%s/%s exists", bin, f)
			break
		}
	}
	if uid, ok := d.users.UID("kube"); ok {
		_, group := d.users.GID("kube-cert")
		d.weigh(group, 10, "there are a user kube (%d) and a group kube-cert", uid)
	}
	if d.ManifestDir != "" {
		for _, f := range []string{"nginx-proxy.yml", "haproxy.yml", "kube-vip.yml"} {
			if d.exists(d.ManifestDir + "/" + f) {
				d.weigh(true, 10, "%s/%s exists", d.ManifestDir, f)
				break
			}
		}
	}
	if data, ok := d.read("/etc/hosts"); ok {
		d.weigh(strings.Contains(string(data), "# Ansible inventory hosts BEGIN"), 5, "/etc/hosts has a block of Ansible inventory hosts")
	}
	dir := firstOf(d.KubeConfigDir, "/etc/kubernetes")
	if data, ok := d.read(dir + "/node-crb.yml"); ok {
		d.weigh(strings.Contains(string(data), "kubespray:system:node"), 30, "%s/node-crb.yml defines kubespray:system:node", dir)
	}
	for _, where := range []string{dir, "/etc/systemd/system"} {
		names := d.list(where)
		if i := slices.IndexFunc(names, ansibleBackup.MatchString); i >= 0 {
			d.weigh(true, 5, "%s/%s is a backup that Ansible made", where, names[i])
			break
		}
	}
}

// binDir is Kubespray's bin_dir.
func (d *detector) binDir() string {
	for _, name := range []string{Kubelet, Etcd} {
		c := d.Components[name]
		if c.Unit != "" && len(c.Configured) > 0 && path.IsAbs(c.Configured[0]) {
			return path.Dir(c.Configured[0])
		}
	}
	return "/usr/local/bin"
}

// weighEtcd looks at an etcd with Kubespray's layout
// (roles/etcd/templates/etcd.env.j2). KubeKey copies it.
func (d *detector) weighEtcd() {
	c := d.Components[Etcd]
	if len(c.EnvFiles) == 0 {
		return
	}
	data, _ := d.read(c.EnvFiles[0])
	named := strings.HasPrefix(string(data), "# Environment file for etcd")
	token := c.Env["ETCD_INITIAL_CLUSTER_TOKEN"] == "k8s_etcd"
	cert := strings.HasPrefix(path.Base(c.Env["ETCD_CERT_FILE"]), "member-")
	// The first line is older than the cluster's token and may be missing on a
	// node that was set up by hand in the same way.
	d.weigh(token && cert && (named || c.EnvFiles[0] == "/etc/etcd.env"), 25,
		"%s has the cluster token k8s_etcd and the certificate %s", c.EnvFiles[0], c.Env["ETCD_CERT_FILE"])
}

// otherDistributions are the installers other than Kubespray that the node
// speaks for, the most telling first.
func (d *detector) otherDistributions() []string {
	var names []string
	found := func(name string, against int, format string, args ...any) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		d.signal("distribution: "+name, 0, format, args...)
		if against != 0 {
			d.signal(speaksForKubespray, -against, format, args...)
		}
	}
	for _, t := range []struct {
		name  string
		paths []string
	}{
		{"rke2", []string{"/etc/rancher/rke2", "/var/lib/rancher/rke2"}},
		{"k3s", []string{"/etc/rancher/k3s", "/var/lib/rancher/k3s"}},
		{"microk8s", []string{"/var/snap/microk8s"}},
		{"k0s", []string{"/var/lib/k0s", "/etc/k0s"}},
		{"kubeasz", []string{"/opt/kube/bin"}},
		{"rke", []string{"/etc/kubernetes/ssl/kubecfg-kube-node.yaml"}},
	} {
		for _, p := range t.paths {
			if d.exists(p) {
				found(t.name, 60, "%s exists", p)
				break
			}
		}
	}
	if len(names) > 0 {
		return names
	}
	c, ok := d.Components[Kubelet]
	if !ok {
		return nil
	}
	kubeadm := false
	for _, f := range c.DropIns {
		if kubeadm = kubeadm || path.Base(f) == "10-kubeadm.conf"; kubeadm {
			found("kubeadm", 0, "%s is in effect", f)
			break
		}
	}
	if c.Config == "/var/lib/kubelet/config.yaml" {
		kubeadm = true
		found("kubeadm", 0, "the kubelet reads %s", c.Config)
	}
	if !kubeadm {
		return names
	}
	if d.exists("/usr/local/bin/kube-scripts") || d.Components[Etcd].Unit != "" && d.EtcdCertDir == "/etc/ssl/etcd/ssl" {
		found("kubekey", 0, "a kubelet as kubeadm configures it beside an etcd service with certificates in /etc/ssl/etcd/ssl or /usr/local/bin/kube-scripts")
		slices.Reverse(names)
	}
	if info, err := fs.Lstat(d.fsys, "etc/kubernetes/pki"); err == nil && info.IsDir() {
		found("kubeadm", 0, "/etc/kubernetes/pki is a directory")
	}
	if argv := c.Flags(); len(argv) > 0 && argv[0] == "/usr/bin/kubelet" {
		found("kubeadm", 0, "the kubelet is /usr/bin/kubelet")
	}
	return names
}
