package node

import (
	"path"
	"slices"
	"time"
)

// Component names, as kube-bench's config.yaml has them.
const (
	APIServer         = "apiserver"
	ControllerManager = "controllermanager"
	Scheduler         = "scheduler"
	Etcd              = "etcd"
	Kubelet           = "kubelet"
	Proxy             = "proxy"
)

// EtcdEvents is the component of Kubespray's second etcd, which kube-bench does
// not know.
const EtcdEvents = "etcd-events"

// Facts is what Detect concluded about a node. It is plain data and goes into
// reports as the key "layout". Paths are absolute host paths with links of the
// directory part left as configured.
type Facts struct {
	Distribution Distribution         `json:"distribution"`
	Kubespray    *ReleaseRange        `json:"kubespray_release,omitempty"`
	Kubernetes   Version              `json:"kubernetes_version"`
	Roles        []string             `json:"roles"`               // control-plane, etcd, worker; sorted
	EtcdType     string               `json:"etcd_type"`           // host, docker, kubeadm, external, embedded (k3s), none
	Runtime      string               `json:"runtime,omitempty"`   // containerd, docker, cri-o
	CNI          []string             `json:"cni,omitempty"`       // calico, cilium, ...
	Components   map[string]Component `json:"components"`          // only those configured or running on the node
	NodeName     string               `json:"node_name,omitempty"` // --hostname-override, else etc/hostname

	KubeConfigDir string `json:"kube_config_dir,omitempty"` // /etc/kubernetes
	ManifestDir   string `json:"manifest_dir,omitempty"`    // the kubelet's staticPodPath
	PKIDir        string `json:"pki_dir,omitempty"`         // the real directory, /etc/kubernetes/ssl
	PKILink       string `json:"pki_link,omitempty"`        // /etc/kubernetes/pki when it is a link to PKIDir
	EtcdCertDir   string `json:"etcd_cert_dir,omitempty"`
	CNIConfDir    string `json:"cni_conf_dir,omitempty"`
	KubeadmConfig string `json:"kubeadm_config,omitempty"` // /etc/kubernetes/kubeadm-config.yaml

	Signals []Signal `json:"signals"`
	// Warnings are files that should have been readable and were not, and
	// observations that contradict each other.
	Warnings []string `json:"warnings,omitempty"`
	// Broken are the files among them that are there and cannot be read or
	// understood: manifests, units, configurations. What was concluded without
	// them is not to be relied on.
	Broken []string `json:"broken,omitempty"`
}

// Distribution is who installed Kubernetes here.
type Distribution struct {
	Name       string `json:"name"`       // kubespray, kubeadm, k3s, rke2, rke, microk8s, k0s, kubekey, kubeasz, none, unknown
	Confidence string `json:"confidence"` // certain, probable, weak
	Score      int    `json:"score"`      // sum of the weights that speak for Kubespray
}

// ReleaseRange is the range of Kubespray releases that fits what was found,
// such as 2.22 to 2.23. An open end is empty.
type ReleaseRange struct {
	Min string `json:"min,omitempty"`
	Max string `json:"max,omitempty"`
}

// Version is a Kubernetes version without a leading v ("1.34.4", or "1.34" when
// no more is known), and where it was read.
type Version struct {
	Version string `json:"version,omitempty"`
	Source  string `json:"source,omitempty"`
}

// Signal is one observation and what it speaks for.
type Signal struct {
	Conclusion string `json:"conclusion"` // "distribution: kubespray", "etcd: host", "kubespray >= 2.28", ...
	Evidence   string `json:"evidence"`   // "/etc/kubernetes/pki is a link to /etc/kubernetes/ssl"
	Weight     int    `json:"weight,omitempty"`
}

// Component is one Kubernetes component as configured and as running.
type Component struct {
	Running    bool              `json:"running"`
	PID        int               `json:"pid,omitempty"`
	Argv       []string          `json:"argv,omitempty"`        // of the process when running
	Configured []string          `json:"configured,omitempty"`  // what the manifest, or the unit with its environment files, would start
	Manifest   string            `json:"manifest,omitempty"`    // static pod manifest
	Config     string            `json:"config,omitempty"`      // --config: KubeletConfiguration, KubeSchedulerConfiguration, kube-proxy's config.conf on the host
	ConfigKind string            `json:"config_kind,omitempty"` // the document of Config that counts, when Config holds several
	Unit       string            `json:"unit,omitempty"`        // systemd unit file
	DropIns    []string          `json:"drop_ins,omitempty"`
	EnvFiles   []string          `json:"env_files,omitempty"` // those that exist
	Env        map[string]string `json:"-"`                   // the unit's environment (etcd: ETCD_*); may hold secrets, so never printed whole
	LiveEnv    map[string]string `json:"-"`                   // etcd: ETCD_* of the process, when it can be read
	Kubeconfig string            `json:"kubeconfig,omitempty"`
	CAFile     string            `json:"ca_file,omitempty"`  // --client-ca-file, --trusted-ca-file or clientCAFile
	DataDir    string            `json:"data_dir,omitempty"` // etcd
	Image      string            `json:"image,omitempty"`
	User       string            `json:"user,omitempty"`   // the unit's User=, root when unset
	Mounts     []Mount           `json:"-"`                // what a static pod sees of the host
	Started    time.Time         `json:"-"`                // of the process; zero when not known, see FindUnread
	Unread     []string          `json:"unread,omitempty"` // files of those above that were written after the process started
}

// Flags are the argv that counts: of the process when it runs, else what is
// configured.
func (c Component) Flags() []string {
	if c.Running && len(c.Argv) > 0 {
		return c.Argv
	}
	return c.Configured
}

// HostPath is where on the host a path lies that the component was given. For a
// static pod that is a matter of its mounts, and a path below none of them is
// in the image: then ok is false and p is returned.
func (c Component) HostPath(p string) (host string, ok bool) {
	if c.Manifest == "" {
		return p, path.IsAbs(p)
	}
	if host, ok = hostPath(c.Mounts, p); ok {
		return host, true
	}
	return p, false
}

// Files are the files that say how the component runs: manifest, configuration,
// unit with its drop-ins and environment files. The credentials and data that
// they name are not among them.
func (c Component) Files() []string {
	var all []string
	for _, file := range slices.Concat([]string{c.Manifest, c.Config, c.Unit}, c.DropIns, c.EnvFiles) {
		if file != "" {
			all = append(all, file)
		}
	}
	return all
}
