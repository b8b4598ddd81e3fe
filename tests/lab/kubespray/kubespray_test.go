package kubespray

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"maps"
	"net/netip"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	yaml "gopkg.in/yaml.v3"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	sigsyaml "sigs.k8s.io/yaml"
)

func inventory(roles map[string]Role, names ...string) []Node {
	var nodes []Node
	for i, name := range names {
		nodes = append(nodes, Node{
			Name:    name,
			Address: netip.AddrFrom4([4]byte{10, 90, 0, byte(11 + i)}),
			Roles:   roles[name],
			PodCIDR: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 233, byte(64 + i), 0}), 24),
		})
	}
	return nodes
}

var (
	small = inventory(map[string]Role{"cp1": ControlPlane | Etcd, "worker1": Worker}, "cp1", "worker1")
	ha    = inventory(map[string]Role{
		"cp1": ControlPlane | Etcd, "cp2": ControlPlane | Etcd, "cp3": ControlPlane, "etcd1": Etcd, "worker1": Worker,
	}, "cp1", "cp2", "cp3", "etcd1", "worker1")

	// Keys take a second; all tests only read.
	smallCluster = sync.OnceValues(func() (*Cluster, error) { return New("v1.35.4", small) })
	haCluster    = sync.OnceValues(func() (*Cluster, error) { return New("v1.35.4", ha) })
)

func cluster(t *testing.T, get func() (*Cluster, error)) *Cluster {
	t.Helper()
	c, err := get()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func files(t *testing.T, c *Cluster, node string) map[string]File {
	t.Helper()
	list, err := c.Files(node)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]File{}
	for i, f := range list {
		if i > 0 && list[i-1].Path >= f.Path {
			t.Errorf("%s: %s is listed after %s", node, f.Path, list[i-1].Path)
		}
		out[f.Path] = f
	}
	return out
}

// describe is owner, group and mode of a file, or a link's target.
func describe(f File) string {
	switch {
	case f.Mode&fs.ModeSymlink != 0:
		return "-> " + f.Target
	case f.Mode.IsDir():
		return fmt.Sprintf("%s:%s %#o/", f.Owner, f.Group, f.Mode.Perm())
	default:
		return fmt.Sprintf("%s:%s %#o", f.Owner, f.Group, f.Mode.Perm())
	}
}

// The owners and modes that audits read, and the ways in which nodes differ.
func TestOwnersAndModes(t *testing.T) {
	everywhere := map[string]string{
		"/etc/sysctl.conf":                "root:root 0644",
		"/etc/sysctl.d/99-sysctl.conf":    "-> ../sysctl.conf",
		"/etc/systemd/system/swap.target": "-> /dev/null",
		"/etc/resolv.conf":                "root:root 0644",
		"/etc/hosts":                      "root:root 0644",
	}
	kubelet := map[string]string{
		"/etc/kubernetes":                                             "kube:root 0755/",
		"/etc/kubernetes/manifests":                                   "kube:root 0755/",
		"/etc/kubernetes/ssl":                                         "root:root 0755/",
		"/etc/kubernetes/pki":                                         "-> /etc/kubernetes/ssl",
		"/etc/kubernetes/kubelet.env":                                 "root:root 0600",
		"/etc/kubernetes/kubelet-config.yaml":                         "root:root 0600",
		"/etc/systemd/system/kubelet.service":                         "root:root 0600",
		"/etc/systemd/system/multi-user.target.wants/kubelet.service": "-> /etc/systemd/system/kubelet.service",
		"/etc/systemd/system/containerd.service":                      "root:root 0644",
		"/etc/containerd/config.toml":                                 "root:root 0640",
		"/etc/crictl.yaml":                                            "root:root 0644",
		"/etc/cni/net.d":                                              "kube:root 0755/",
		"/opt/cni/bin":                                                "kube:root 0755/",
		"/usr/local/bin/kubernetes-scripts":                           "kube:root 0755/",
		"/usr/libexec/kubernetes/kubelet-plugins/volume/exec":         "kube:root 0755/",
		"/etc/modules-load.d/kubespray-br_netfilter.conf":             "root:root 0644",
	}
	etcd := map[string]string{
		"/etc/etcd.env":                    "root:root 0640",
		"/etc/systemd/system/etcd.service": "root:root 0644",
		"/etc/systemd/system/multi-user.target.wants/etcd.service": "-> /etc/systemd/system/etcd.service",
		"/usr/local/bin/etcdctl.sh":                                "root:root 0755",
		"/etc/ssl/etcd":                                            "etcd:root 0700/",
		"/etc/ssl/etcd/ssl":                                        "etcd:root 0700/",
	}
	controlPlane := map[string]string{
		"/etc/kubernetes/kubeadm-config.yaml":                    "root:root 0640",
		"/etc/kubernetes/kubescheduler-config.yaml":              "root:root 0644",
		"/usr/local/bin/k8s-certs-renew.sh":                      "root:root 0755",
		"/usr/local/share/ca-certificates/etcd-ca.crt":           "root:root 0640",
		"/etc/kubernetes/manifests/nginx-proxy.yml":              "",
		"/etc/kubernetes/kubeadm-client.conf":                    "",
		"/etc/kubernetes/manifests/kube-apiserver.yaml":          "",
		"/etc/kubernetes/ssl/ca.crt":                             "",
		"/etc/systemd/system/kubelet.service.d":                  "",
		"/etc/systemd/system/k8s-certs-renew.timer":              "",
		"/etc/kubernetes/ssl/secrets_encryption.yaml":            "",
		"/etc/kubernetes/audit-policy":                           "",
		"/etc/kubernetes/cluster-info-discovery-kubeconfig.yaml": "",
	}
	worker := map[string]string{
		"/etc/nginx":            "root:root 0700/",
		"/etc/nginx/nginx.conf": "root:root 0755",
		"/etc/kubernetes/manifests/nginx-proxy.yml": "root:root 0640",
		"/etc/kubernetes/kubeadm-config.yaml":       "",
		"/etc/ssl/etcd":                             "",
		"/etc/etcd.env":                             "",
	}
	firstEtcd := map[string]string{
		"/etc/ssl/etcd/openssl.conf":                   "root:root 0640",
		"/usr/local/bin/etcd-scripts":                  "root:root 0700/",
		"/usr/local/bin/etcd-scripts/make-ssl-etcd.sh": "root:root 0700",
		"/etc/ssl/etcd/ssl/ca.pem":                     "root:root 0644",
		"/etc/ssl/etcd/ssl/ca-key.pem":                 "root:root 0600",
		"/etc/ssl/etcd/ssl/member-cp1.pem":             "root:root 0644",
		"/etc/ssl/etcd/ssl/member-cp1-key.pem":         "root:root 0600",
		"/etc/ssl/etcd/ssl/admin-cp1-key.pem":          "root:root 0600",
		"/etc/ssl/etcd/ssl/node-cp1.pem":               "root:root 0644",
		"/etc/ssl/etcd/ssl/node-cp1-key.pem":           "root:root 0600",
		"/etc/ssl/etcd/ssl/node-worker1.pem":           "",
		"/etc/kubernetes/kubeadm-controlplane.yaml":    "",
	}
	laterEtcd := map[string]string{
		"/usr/local/bin/etcd-scripts":          "",
		"/etc/ssl/etcd/ssl/ca-key.pem":         "etcd:root 0640",
		"/etc/ssl/etcd/ssl/member-cp1-key.pem": "etcd:root 0640",
		"/etc/ssl/etcd/ssl/member-etcd1.pem":   "etcd:root 0640",
		"/etc/ssl/etcd/ssl/node-cp3-key.pem":   "etcd:root 0640",
	}
	for _, tt := range []struct {
		get  func() (*Cluster, error)
		node string
		want []map[string]string
	}{
		{smallCluster, "cp1", []map[string]string{everywhere, kubelet, etcd, controlPlane, firstEtcd}},
		{smallCluster, "worker1", []map[string]string{everywhere, kubelet, worker}},
		{haCluster, "cp1", []map[string]string{everywhere, kubelet, etcd, controlPlane, firstEtcd}},
		{haCluster, "cp2", []map[string]string{everywhere, kubelet, etcd, controlPlane, laterEtcd, {
			"/etc/kubernetes/kubeadm-controlplane.yaml": "root:root 0640",
		}}},
		{haCluster, "cp3", []map[string]string{everywhere, kubelet, controlPlane, {
			"/etc/kubernetes/kubeadm-controlplane.yaml": "root:root 0640",
			"/etc/etcd.env":                      "",
			"/etc/ssl/etcd/ssl":                  "etcd:root 0700/",
			"/etc/ssl/etcd/ssl/ca.pem":           "root:root 0644",
			"/etc/ssl/etcd/ssl/ca-key.pem":       "",
			"/etc/ssl/etcd/ssl/admin-cp1.pem":    "",
			"/etc/ssl/etcd/ssl/node-cp3-key.pem": "root:root 0600",
			"/etc/ssl/etcd/ssl/node-cp1.pem":     "-> /etc/ssl/etcd/ssl/node-cp3.pem",
			"/etc/ssl/etcd/ssl/node-cp2-key.pem": "-> /etc/ssl/etcd/ssl/node-cp3-key.pem",
		}}},
		{haCluster, "etcd1", []map[string]string{everywhere, etcd, laterEtcd, {
			"/etc/kubernetes":             "",
			"/etc/containerd/config.toml": "",
			"/etc/cni/net.d":              "",
		}}},
		{haCluster, "worker1", []map[string]string{everywhere, kubelet, worker}},
	} {
		c := cluster(t, tt.get)
		t.Run(fmt.Sprintf("%d nodes/%s", len(c.Nodes), tt.node), func(t *testing.T) {
			have := files(t, c, tt.node)
			for _, want := range tt.want {
				for p, w := range want {
					got := ""
					if f, ok := have[p]; ok {
						got = describe(f)
					}
					if got != w {
						t.Errorf("%s is %q, want %q", p, got, w)
					}
				}
			}
			users, err := c.Users(tt.node)
			if err != nil {
				t.Fatal(err)
			}
			known := []string{"root"}
			for _, u := range users {
				known = append(known, u.Name)
			}
			for p, f := range have {
				if !slices.Contains(known, f.Owner) {
					t.Errorf("%s belongs to %s, which the node does not have", p, f.Owner)
				}
				if f.Mode.IsRegular() && len(f.Content) == 0 {
					t.Errorf("%s is empty", p)
				}
				if strings.Contains(string(f.Content), "<no value>") {
					t.Errorf("%s has a gap", p)
				}
				if strings.HasPrefix(p, "/etc/systemd/system/multi-user.target.wants/") && have[f.Target].Path == "" {
					t.Errorf("%s enables a unit that is not there", p)
				}
			}
		})
	}
}

func TestKubeletConfiguration(t *testing.T) {
	for _, tt := range []struct {
		version string
		v1      bool // failCgroupV1 is rendered
	}{{"v1.35.4", true}, {"v1.34.4", false}, {"v1.31.14", false}} {
		c := *cluster(t, smallCluster)
		c.Kubernetes = tt.version
		have := files(t, &c, "worker1")
		content := have["/etc/kubernetes/kubelet-config.yaml"].Content
		var got kubeletv1beta1.KubeletConfiguration
		if err := sigsyaml.UnmarshalStrict(content, &got); err != nil {
			t.Fatalf("%s: %v", tt.version, err)
		}
		if (got.FailCgroupV1 != nil) != tt.v1 || tt.v1 && *got.FailCgroupV1 {
			t.Errorf("%s: failCgroupV1 is %v", tt.version, got.FailCgroupV1)
		}
		want := map[string]any{
			"anonymous": false, "webhook": true, "mode": "Webhook", "driver": "cgroupfs", "port": int32(0),
			"kernel": true, "rotate": true, "pids": int64(-1), "dns": "169.254.25.10", "static": "/etc/kubernetes/manifests",
			"socket": "unix:///var/run/containerd/containerd.sock", "ca": "/etc/kubernetes/ssl/ca.crt", "address": "10.90.0.12",
		}
		if diff := cmp.Diff(want, map[string]any{
			"anonymous": *got.Authentication.Anonymous.Enabled, "webhook": *got.Authentication.Webhook.Enabled,
			"mode": string(got.Authorization.Mode), "driver": got.CgroupDriver, "port": got.ReadOnlyPort,
			"kernel": got.ProtectKernelDefaults, "rotate": got.RotateCertificates, "pids": *got.PodPidsLimit,
			"dns": strings.Join(got.ClusterDNS, ","), "static": got.StaticPodPath, "socket": got.ContainerRuntimeEndpoint,
			"ca": got.Authentication.X509.ClientCAFile, "address": got.Address,
		}); diff != "" {
			t.Errorf("%s: -want +got\n%s", tt.version, diff)
		}
		// Spelled as Ansible spells a boolean.
		for _, line := range []string{"failSwapOn: True\n", "    enabled: True\n", "containerRuntimeEndpoint : unix:"} {
			if !bytes.Contains(content, []byte(line)) {
				t.Errorf("%s: no line %q", tt.version, line)
			}
		}
	}
}

// documents decodes YAML documents, refusing repeated keys.
func documents(t *testing.T, content []byte) []map[string]any {
	t.Helper()
	var out []map[string]any
	for decoder := yaml.NewDecoder(bytes.NewReader(content)); ; {
		var doc map[string]any
		if err := decoder.Decode(&doc); err != nil {
			if err.Error() == "EOF" {
				return out
			}
			t.Fatalf("%v in\n%s", err, content)
		}
		if doc != nil {
			out = append(out, doc)
		}
	}
}

func flags(t *testing.T, section any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, arg := range section.(map[string]any)["extraArgs"].([]any) {
		name := arg.(map[string]any)["name"].(string)
		if out[name] != "" {
			t.Errorf("flag %s twice", name)
		}
		out[name] = arg.(map[string]any)["value"].(string)
	}
	return out
}

func TestKubeadmConfiguration(t *testing.T) {
	c := cluster(t, haCluster)
	docs := map[string]map[string]any{}
	for _, doc := range documents(t, files(t, c, "cp2")["/etc/kubernetes/kubeadm-config.yaml"].Content) {
		docs[doc["kind"].(string)] = doc
	}
	kinds := []string{
		"ClusterConfiguration", "InitConfiguration", "KubeProxyConfiguration", "KubeletConfiguration", "UpgradeConfiguration",
	}
	if diff := cmp.Diff(kinds, slices.Sorted(maps.Keys(docs))); diff != "" {
		t.Fatalf("kinds: -want +got\n%s", diff)
	}
	cc := docs["ClusterConfiguration"]
	for _, tt := range []struct{ section, flag, want string }{
		{"apiServer", "anonymous-auth", "True"},
		{"apiServer", "authorization-mode", "Node,RBAC"},
		{"apiServer", "profiling", "False"},
		{"apiServer", "bind-address", "::"},
		{"apiServer", "apiserver-count", "3"},
		{"apiServer", "audit-log-path", ""},
		{"apiServer", "kubelet-certificate-authority", ""},
		{"apiServer", "encryption-provider-config", ""},
		{"apiServer", "enable-admission-plugins", ""},
		{"controllerManager", "bind-address", "::"},
		{"controllerManager", "profiling", "False"},
		{"controllerManager", "terminated-pod-gc-threshold", "12500"},
		{"scheduler", "bind-address", "::"},
		{"scheduler", "profiling", "False"},
	} {
		if got := flags(t, cc[tt.section])[tt.flag]; got != tt.want {
			t.Errorf("%s %s is %q, want %q", tt.section, tt.flag, got, tt.want)
		}
	}
	external := cc["etcd"].(map[string]any)["external"].(map[string]any)
	if diff := cmp.Diff(map[string]any{
		"endpoints": []any{"https://10.90.0.11:2379", "https://10.90.0.12:2379", "https://10.90.0.14:2379"},
		"caFile":    "/etc/ssl/etcd/ssl/ca.pem",
		"certFile":  "/etc/ssl/etcd/ssl/node-cp2.pem",
		"keyFile":   "/etc/ssl/etcd/ssl/node-cp2-key.pem",
	}, external); diff != "" {
		t.Errorf("etcd: -want +got\n%s", diff)
	}
	if got := cc["controlPlaneEndpoint"]; got != "10.90.0.12:6443" {
		t.Errorf("controlPlaneEndpoint is %v", got)
	}
	if got := docs["KubeProxyConfiguration"]["mode"]; got != "iptables" {
		t.Errorf("kube-proxy's mode is %v", got)
	}
	taints := docs["InitConfiguration"]["nodeRegistration"].(map[string]any)["taints"]
	if diff := cmp.Diff([]any{map[string]any{"effect": "NoSchedule", "key": "node-role.kubernetes.io/control-plane"}}, taints); diff != "" {
		t.Errorf("taints: -want +got\n%s", diff)
	}
	both, err := New("v1.35.4", inventory(map[string]Role{"n": ControlPlane | Etcd | Worker}, "n"))
	if err != nil {
		t.Fatal(err)
	}
	init := documents(t, files(t, both, "n")["/etc/kubernetes/kubeadm-config.yaml"].Content)[0]
	if diff := cmp.Diff([]any{}, init["nodeRegistration"].(map[string]any)["taints"]); diff != "" {
		t.Errorf("taints of a schedulable control plane: -want +got\n%s", diff)
	}
	if both.Bootstrap()[len(both.Bootstrap())-1].Name == "point the kubelet to the load balancer" {
		t.Error("a control plane joins its own cluster as a worker")
	}
}

func TestEtcdEnvironment(t *testing.T) {
	have := files(t, cluster(t, haCluster), "etcd1")
	env := string(have["/etc/etcd.env"].Content)
	for _, line := range []string{
		"# Environment file for etcd 3.6.10",
		"ETCD_NAME=etcd3",
		"ETCD_INITIAL_CLUSTER=etcd1=https://10.90.0.11:2380,etcd2=https://10.90.0.12:2380,etcd3=https://10.90.0.14:2380",
		"ETCD_INITIAL_CLUSTER_STATE=new",
		"ETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-etcd1.pem",
		"ETCD_CLIENT_CERT_AUTH=true",
		"ETCD_PEER_CLIENT_CERT_AUTH=True",
	} {
		if !strings.Contains(env, line+"\n") {
			t.Errorf("no line %q in\n%s", line, env)
		}
	}
}

func TestEtcdCertificates(t *testing.T) {
	c := cluster(t, haCluster)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(c.etcd["ca.pem"]) {
		t.Fatal("ca.pem is no certificate")
	}
	var names []string
	for name := range c.etcd {
		if base, ok := strings.CutSuffix(name, "-key.pem"); ok && base != "ca" {
			names = append(names, base)
		}
	}
	want := []string{
		"admin-cp1", "admin-cp2", "admin-etcd1", "member-cp1", "member-cp2", "member-etcd1", "node-cp1", "node-cp2", "node-cp3",
	}
	if diff := cmp.Diff(want, slices.Sorted(slices.Values(names))); diff != "" {
		t.Fatalf("certificates: -want +got\n%s", diff)
	}
	for _, name := range names {
		pair, err := tls.X509KeyPair(c.etcd[name+".pem"], c.etcd[name+"-key.pem"])
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if pair.Leaf.Subject.CommonName != "etcd-"+name {
			t.Errorf("%s is for %s", name, pair.Leaf.Subject)
		}
		for _, host := range []string{
			"localhost", "cp1", "cp2", "etcd1", "etcd.kube-system.svc.cluster.local",
			"127.0.0.1", "::1", "10.90.0.11", "10.90.0.12", "10.90.0.14",
		} {
			for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth} {
				options := x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{usage}}
				if _, err := pair.Leaf.Verify(options); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		if err := pair.Leaf.VerifyHostname("cp3"); err == nil {
			t.Errorf("%s is valid for cp3, which has no etcd", name)
		}
	}
	conf := string(files(t, c, "cp1")["/etc/ssl/etcd/openssl.conf"].Content)
	for _, line := range []string{"DNS.1 = localhost", "DNS.2 = cp1", "DNS.8 = etcd", "IP.1 = 10.90.0.11", "IP.5 = ::1"} {
		if !strings.Contains(conf, line+"\n") {
			t.Errorf("no line %q in\n%s", line, conf)
		}
	}
}

func TestAddons(t *testing.T) {
	c := cluster(t, smallCluster)
	content, err := c.Addons()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, doc := range documents(t, content) {
		kind := doc["kind"].(string)
		got = append(got, kind+" "+doc["metadata"].(map[string]any)["name"].(string))
		object, ok := map[string]any{
			"ClusterRole": &rbacv1.ClusterRole{}, "ClusterRoleBinding": &rbacv1.ClusterRoleBinding{},
			"ConfigMap": &corev1.ConfigMap{}, "Service": &corev1.Service{}, "ServiceAccount": &corev1.ServiceAccount{},
			"Deployment": &appsv1.Deployment{}, "DaemonSet": &appsv1.DaemonSet{}, "PriorityClass": &schedulingv1.PriorityClass{},
		}[kind]
		if !ok {
			t.Fatalf("unexpected %s", kind)
		}
		text, err := yaml.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if err := sigsyaml.UnmarshalStrict(text, object); err != nil {
			t.Errorf("%s: %v", got[len(got)-1], err)
		}
		if m, ok := object.(*corev1.ConfigMap); ok {
			corefile := m.Data["Corefile"]
			if strings.Count(corefile, "{") != strings.Count(corefile, "}") || strings.Contains(corefile, "/etc/resolv.conf") {
				t.Errorf("ConfigMap %s:\n%s", m.Name, corefile)
			}
		}
	}
	want := []string{
		"ClusterRoleBinding kubespray:system:node", "PriorityClass k8s-cluster-critical",
		"ClusterRole system:coredns", "ClusterRoleBinding system:coredns", "ServiceAccount coredns", "ConfigMap coredns",
		"Deployment coredns", "Service coredns",
		"ServiceAccount nodelocaldns", "ConfigMap nodelocaldns", "DaemonSet nodelocaldns",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("objects: -want +got\n%s", diff)
	}
	var pod corev1.Pod
	if err := sigsyaml.UnmarshalStrict(files(t, c, "worker1")["/etc/kubernetes/manifests/nginx-proxy.yml"].Content, &pod); err != nil {
		t.Error(err)
	}
}

// The first run of both topologies against a node that has what kubeadm leaves.
func TestBootstrap(t *testing.T) {
	for _, tt := range []struct {
		get  func() (*Cluster, error)
		want []string
	}{
		{smallCluster, []string{"2 cp1 kubeadm init", "3 worker1 kubeadm join"}},
		{haCluster, []string{"4 cp1 kubeadm init", "5 cp2 kubeadm join", "6 cp3 kubeadm join", "7 worker1 kubeadm join"}},
	} {
		c := cluster(t, tt.get)
		kubeletConf := "clusters:\n- cluster:\n    certificate-authority-data: eA==\n    server: https://10.90.0.11:6443\n  name: x\n"
		read := func(node, p string) ([]byte, error) {
			switch p {
			case "/etc/kubernetes/ssl/ca.crt":
				return c.etcd["ca.pem"], nil // any certificate does
			case "/etc/kubernetes/admin.conf":
				return []byte("admin of " + node), nil
			case "/etc/kubernetes/kubelet.conf":
				return []byte(kubeletConf), nil
			}
			return nil, fmt.Errorf("%s: unexpected %s", node, p)
		}
		left := map[string]File{} // by node and path
		var got []string
		stage := 0
		for _, s := range c.Bootstrap() {
			if s.Stage < stage || s.Stage > stage+1 {
				t.Errorf("stage %d follows %d", s.Stage, stage)
			}
			stage = s.Stage
			if strings.HasPrefix(s.Name, "kubeadm ") {
				got = append(got, fmt.Sprintf("%d %s %s", s.Stage, s.Node, s.Name))
			}
			if len(s.Run) > 0 && !path.IsAbs(s.Run[0]) {
				t.Errorf("%s: %q is not absolute", s.Name, s.Run)
			}
			if s.Files == nil {
				continue
			}
			written, err := s.Files(read)
			if err != nil {
				t.Fatalf("%s: %v", s.Name, err)
			}
			for _, f := range written {
				left[s.Node+f.Path] = f
			}
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("joins: -want +got\n%s", diff)
		}

		for p, want := range map[string]string{
			"cp1/root/.kube":                             "root:root 0700/",
			"cp1/root/.kube/config":                      "root:root 0600",
			"cp1/etc/kubernetes/node-crb.yml":            "root:root 0640",
			"cp1/etc/etcd.env":                           "root:root 0640",
			"worker1/etc/kubernetes/kubeadm-client.conf": "root:root 0640",
			"worker1/etc/kubernetes/kubelet.conf":        "root:root 0600",
			c.group(ControlPlane)[len(c.group(ControlPlane))-1].Name + "/etc/kubernetes/k8s-cluster-critical-pc.yml": "root:root 0640",
		} {
			if got := describe(left[p]); got != want {
				t.Errorf("%s is %q, want %q", p, got, want)
			}
		}
		if got := string(left["worker1/etc/kubernetes/kubelet.conf"].Content); got !=
			strings.Replace(kubeletConf, "10.90.0.11", "localhost", 1) {
			t.Errorf("kubelet.conf:\n%s", got)
		}
		if !strings.Contains(string(left["cp1/etc/etcd.env"].Content), "ETCD_INITIAL_CLUSTER_STATE=existing\n") {
			t.Error("etcd.env still says that the cluster is new")
		}
		client := documents(t, left["worker1/etc/kubernetes/kubeadm-client.conf"].Content)[0]
		discovery := client["discovery"].(map[string]any)["bootstrapToken"].(map[string]any)
		hash, err := publicKeyHash(c.etcd["ca.pem"])
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(map[string]any{
			"apiServerEndpoint": "10.90.0.11:6443", "token": c.token, "caCertHashes": []any{"sha256:" + hash},
		}, discovery); diff != "" {
			t.Errorf("discovery: -want +got\n%s", diff)
		}
		if !regexp.MustCompile(`^[a-z0-9]{6}\.[a-z0-9]{16}$`).MatchString(c.token) {
			t.Errorf("token %q", c.token)
		}
		if !regexp.MustCompile(`^[0-9a-f]{64}$`).MatchString(c.certificateKey) {
			t.Errorf("certificate key %q", c.certificateKey)
		}
	}
}

func TestNewRefuses(t *testing.T) {
	for name, tt := range map[string]struct {
		version string
		nodes   []Node
	}{
		"old":             {"v1.30.14", small},
		"no v":            {"1.35.4", small},
		"no etcd":         {"v1.35.4", inventory(map[string]Role{"a": ControlPlane}, "a")},
		"no group":        {"v1.35.4", inventory(nil, "a")},
		"name twice":      {"v1.35.4", inventory(map[string]Role{"a": ControlPlane | Etcd}, "a", "a")},
		"no pod CIDR":     {"v1.35.4", []Node{{Name: "a", Address: small[0].Address, Roles: ControlPlane | Etcd}}},
		"no IPv4 address": {"v1.35.4", []Node{{Name: "a", Address: netip.IPv6Loopback(), Roles: Etcd}}},
	} {
		if _, err := New(tt.version, tt.nodes); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c := cluster(t, smallCluster)
	if _, err := c.Files("cp9"); err == nil {
		t.Error("files of an unknown node")
	}
}

func TestImages(t *testing.T) {
	i, err := ImagesOf("v1.35.4")
	if err != nil {
		t.Fatal(err)
	}
	if i.APIServer != "registry.k8s.io/kube-apiserver:v1.35.4" || i.Pause != "registry.k8s.io/pause:3.10.1" {
		t.Errorf("%+v", i)
	}
	if !strings.Contains(string(files(t, cluster(t, smallCluster), "cp1")["/etc/containerd/config.toml"].Content), `"`+i.Pause+`"`) {
		t.Error("containerd's sandbox is another image")
	}
}

// A PEM block of the wrong kind must not end in a wrong pin.
func TestPublicKeyHash(t *testing.T) {
	for _, in := range [][]byte{nil, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})} {
		if _, err := publicKeyHash(in); err == nil {
			t.Errorf("%q has a hash", in)
		}
	}
}

func TestInventory(t *testing.T) {
	const want = `[all]
cp1 ansible_host=10.90.0.11 ip=10.90.0.11 etcd_member_name=cp1
worker1 ansible_host=10.90.0.12 ip=10.90.0.12

[all:vars]
ansible_user=root
ansible_python_interpreter=/usr/bin/python3
ansible_ssh_private_key_file="/lab/ssh-key"
ansible_ssh_common_args="-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"

[kube_control_plane]
cp1

[etcd]
cp1

[kube_node]
worker1

[k8s_cluster:children]
kube_control_plane
kube_node
`
	if diff := cmp.Diff(want, string(Inventory(small, "/lab/ssh-key"))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
