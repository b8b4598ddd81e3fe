package node

import (
	"errors"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// readProxy finds kube-proxy, which runs in a pod of a DaemonSet. Its
// configuration is on the host only in the kubelet's directory for the volumes
// of that pod.
func (d *detector) readProxy() {
	var c Component
	unit, start, isUnit := d.readUnit("kube-proxy.service")
	if isUnit {
		c = Component{Configured: start.Argv, Unit: unit.Path, DropIns: unit.DropIns, EnvFiles: start.EnvFiles, Env: start.Env, User: unitUser(unit)}
	}
	c, known := d.attach(Proxy, c)
	flag, _ := FlagValue(c.Flags(), "config")
	switch volume := d.proxyVolume(c.PID); {
	case isUnit:
		c.Config = flag
	case volume != "":
		c.Config, known = volume+"/"+path.Base(firstOf(flag, "config.conf")), true
		if kubeconfig := volume + "/kubeconfig.conf"; d.exists(kubeconfig) {
			c.Kubeconfig = kubeconfig
		}
		d.signal("proxy: configuration", 0, "%s is the kubelet's copy of the ConfigMap kube-proxy", c.Config)
		if !c.Running {
			// kubeadm's DaemonSet (cmd/kubeadm/app/phases/addons/proxy/manifests.go).
			c.Configured = []string{"/usr/local/bin/kube-proxy", "--config=/var/lib/kube-proxy/config.conf"}
		}
	case d.kubeadm["KubeProxyConfiguration"] != nil:
		// Only what the next upgrade would put into the ConfigMap.
		c.Config, c.ConfigKind, known = d.KubeadmConfig, "KubeProxyConfiguration", true
		d.signal("proxy: configuration", 0, "%s has a document KubeProxyConfiguration; the ConfigMap that kube-proxy uses is not on this host", d.KubeadmConfig)
	}
	if known {
		d.Components[Proxy] = c
	}
}

var podUID = regexp.MustCompile(`pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})`)

// proxyVolume is the directory with kube-proxy's configuration: that of the pod
// of process pid, else the newest.
func (d *detector) proxyVolume(pid int) string {
	root, ok := FlagValue(d.Components[Kubelet].Flags(), "root-dir")
	if !ok {
		root = "/var/lib/kubelet"
	}
	const volume = "volumes/kubernetes.io~configmap/kube-proxy"
	if pid != 0 {
		if m := podUID.FindStringSubmatch(d.cgroup(pid)); m != nil {
			dir := path.Join(root, "pods", strings.ReplaceAll(m[1], "_", "-"), volume)
			if d.exists(dir) {
				return dir
			}
		}
	}
	var (
		newest string
		age    int64
	)
	entries, err := fs.ReadDir(d.fsys, Name(root+"/pods"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		d.warn("%s/pods: %v", root, reasonOf(err))
	}
	for _, e := range entries {
		dir := path.Join(root, "pods", e.Name(), volume)
		if i, err := fs.Stat(d.fsys, Name(dir)); err == nil && (newest == "" || i.ModTime().Unix() > age) {
			newest, age = dir, i.ModTime().Unix()
		}
	}
	return newest
}

// findDirectories names the directories that the components' files are in.
func (d *detector) findDirectories() {
	api := d.Components[APIServer]
	certs := path.Dir(firstOf(api.CAFile, d.Components[Kubelet].CAFile,
		path.Join("/", text(d.kubeadm["ClusterConfiguration"], "certificatesDir"), "x")))
	if certs != "/" && d.exists(certs) {
		d.PKIDir = d.resolve(certs)
	}
	for _, link := range []string{"/etc/kubernetes/pki", certs} {
		target := d.resolve(link)
		if target == link {
			continue
		}
		if d.PKIDir == "" && d.exists(target) {
			d.PKIDir = target
		}
		if target == d.PKIDir {
			d.PKILink = link
			break
		}
	}
	etcd := d.Components[Etcd]
	etcdCA := etcd.CAFile
	if etcdCA == "" {
		v, _ := FlagValue(api.Flags(), "etcd-cafile")
		etcdCA, _ = api.HostPath(v)
	}
	if path.IsAbs(etcdCA) {
		d.EtcdCertDir = path.Dir(etcdCA)
	}
	if d.KubeConfigDir == "" {
		if k := d.Components[Kubelet].Kubeconfig; k != "" {
			d.KubeConfigDir = path.Dir(k)
		}
	}
	if d.PKIDir != "" {
		d.signal("pki directory: "+d.PKIDir, 0, "%s", firstOf(api.CAFile, d.Components[Kubelet].CAFile, d.KubeadmConfig, d.PKILink))
	}
}

// resolve follows p as long as it is itself a link.
func (d *detector) resolve(p string) string {
	for range 8 {
		target, err := fs.ReadLink(d.fsys, Name(p))
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(p), target)
		}
		p = path.Clean(target)
	}
	return p
}

func (d *detector) findRoles() {
	add := func(role, format string, args ...any) {
		d.Roles = append(d.Roles, role)
		d.signal("role: "+role, 0, format, args...)
	}
	where := func(c Component) string {
		if c.Manifest == "" && c.Unit == "" {
			return "process " + strconv.Itoa(c.PID)
		}
		return firstOf(c.Manifest, c.Unit)
	}
	d.Roles = []string{}
	api, isServer := d.Components[APIServer]
	if isServer {
		add("control-plane", "kube-apiserver: %s", where(api))
	}
	if c, ok := d.Components[Etcd]; ok {
		add("etcd", "etcd: %s", where(c))
	}
	for _, unit := range []string{"k3s", "k3s-agent", "rke2-server", "rke2-agent"} {
		u, err := ReadUnit(d.fsys, unit+".service")
		if err != nil {
			continue
		}
		role := "control-plane"
		if start := splitWords(u.Value("Service", "ExecStart")); len(start) > 1 && start[1] == "agent" {
			role = "worker"
		}
		if isServer = isServer || role == "control-plane"; !slices.Contains(d.Roles, role) {
			add(role, "%s starts %q", u.Path, u.Value("Service", "ExecStart"))
		}
	}
	if kubelet, ok := d.Components[Kubelet]; ok && !slices.Contains(d.Roles, "worker") {
		taints, said := value(d.kubeadm["InitConfiguration"], "nodeRegistration", "taints")
		list, isList := taints.([]any)
		switch {
		case !isServer:
			add("worker", "kubelet: %s, and no API server", where(kubelet))
		case said && isList && len(list) == 0:
			add("worker", "%s: nodeRegistration.taints is empty, so workloads run on this control plane", d.KubeadmConfig)
		}
	}
	slices.Sort(d.Roles)
}

func (d *detector) findRuntime() {
	c := d.Components[Kubelet]
	conclude := func(source, evidence string) bool {
		for _, r := range []struct{ part, name string }{
			{"containerd", "containerd"}, {"crio", "cri-o"}, {"cri-o", "cri-o"}, {"docker", "docker"},
		} {
			if d.Runtime == "" && strings.Contains(evidence, r.part) {
				d.Runtime = r.name
				d.signal("runtime: "+r.name, 0, "%s: %s", source, evidence)
			}
		}
		return d.Runtime != ""
	}
	const flag = "container-runtime-endpoint"
	endpoint, ok := FlagValue(c.Flags(), flag)
	if !ok {
		endpoint, _ = FlagValue(c.Configured, flag)
	}
	units := strings.Join(append(d.kubeletUnit.Values("Unit", "Wants"), d.kubeletUnit.Values("Unit", "After")...), " ")
	_ = conclude("kubelet --container-runtime-endpoint", endpoint) ||
		conclude(c.Config+", containerRuntimeEndpoint", d.kubeletConfig.ContainerRuntimeEndpoint) ||
		conclude(c.Unit+", Wants and After", units) ||
		conclude(d.KubeadmConfig+", criSocket", text(d.kubeadm["InitConfiguration"], "nodeRegistration", "criSocket"))
	if len(d.Components) == 0 || d.Runtime != "" {
		return
	}
	for _, file := range []string{"/etc/containerd/config.toml", "/etc/crio/crio.conf", "/etc/docker/daemon.json"} {
		if d.exists(file) && conclude("exists", file) {
			return
		}
	}
}

// cniNames are how plugins name their files in the CNI directory.
var cniNames = []struct{ part, plugin string }{
	{"calico", "calico"}, {"cilium", "cilium"}, {"flannel", "flannel"}, {"canal", "canal"}, {"weave", "weave"},
	{"kube-ovn", "kube-ovn"}, {"kuberouter", "kube-router"}, {"kube-router", "kube-router"}, {"macvlan", "macvlan"},
	{"multus", "multus"}, {"contiv", "contiv"}, {"antrea", "antrea"},
}

var containerdConfDir = regexp.MustCompile(`(?m)^\s*conf_dir\s*=\s*["']([^"']+)["']`)

func (d *detector) findCNI() {
	if len(d.Components) == 0 {
		return
	}
	dir, ok := FlagValue(d.Components[Kubelet].Flags(), "cni-conf-dir")
	if !ok && d.Runtime == "containerd" {
		if data, ok := d.read("/etc/containerd/config.toml"); ok {
			if m := containerdConfDir.FindSubmatch(data); m != nil {
				dir = string(m[1])
			}
		}
	}
	dir = firstOf(dir, "/etc/cni/net.d")
	if !d.exists(dir) {
		return
	}
	d.CNIConfDir = dir
	for _, name := range d.list(dir) {
		switch path.Ext(name) {
		case ".conf", ".conflist", ".json", ".template":
		default:
			continue // a kubeconfig, or what another plugin disabled
		}
		for _, n := range cniNames {
			if strings.Contains(name, n.part) && !slices.Contains(d.CNI, n.plugin) {
				d.CNI = append(d.CNI, n.plugin)
				d.signal("cni: "+n.plugin, 0, "%s/%s exists", dir, name)
			}
		}
	}
	slices.Sort(d.CNI)
}

func (d *detector) findNodeName() {
	for _, c := range []Component{d.Components[Kubelet], d.Components[Proxy]} {
		if v, _ := FlagValue(c.Flags(), "hostname-override"); v != "" {
			d.NodeName = v
			d.signal("node name: "+v, 0, "--hostname-override of %s", programOf(c.Flags()))
			return
		}
	}
	if v := text(d.kubeadm["InitConfiguration"], "nodeRegistration", "name"); v != "" {
		d.NodeName = v
		d.signal("node name: "+v, 0, "%s: nodeRegistration.name", d.KubeadmConfig)
		return
	}
	if data, ok := d.read("/etc/hostname"); ok {
		for line := range strings.Lines(string(data)) {
			if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
				d.NodeName = strings.ToLower(line) // as the kubelet does
				d.signal("node name: "+d.NodeName, 0, "/etc/hostname")
				return
			}
		}
	}
}
