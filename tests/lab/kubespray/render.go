package kubespray

import (
	"bytes"
	"crypto/sha1"
	"embed"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"text/template"
)

//go:embed templates
var templateFiles embed.FS

var templates = template.Must(template.New("").Option("missingkey=error").Funcs(template.FuncMap{
	"inc":    func(i int) int { return i + 1 },
	"worker": func() Role { return Worker },
}).ParseFS(templateFiles, "templates/*"))

// view is what templates see: a node within its cluster.
type view struct {
	Node
	cluster *Cluster
	Minor   int
	Images  Images

	EtcdState string // new or existing
	CAHash    string // SHA-256 of the cluster CA's public key in hex; known after kubeadm init
}

func (c *Cluster) view(n Node) (view, error) {
	m, err := minor(c.Kubernetes)
	if err != nil {
		return view{}, err
	}
	images, err := ImagesOf(c.Kubernetes)
	if err != nil {
		return view{}, err
	}
	return view{Node: n, cluster: c, Minor: m, Images: images, EtcdState: "new"}, nil
}

func (v view) Kubernetes() string     { return v.cluster.Kubernetes }
func (v view) Nodes() []Node          { return v.cluster.Nodes }
func (v view) ControlPlanes() []Node  { return v.cluster.group(ControlPlane) }
func (v view) Etcds() []Node          { return v.cluster.group(Etcd) }
func (v view) Token() string          { return v.cluster.token }
func (v view) CertificateKey() string { return v.cluster.certificateKey }
func (v view) ClusterDomain() string  { return clusterDomain }
func (v view) DNSServiceIP() string   { return dnsServiceIP }
func (v view) NodeLocalDNS() string   { return nodeLocalDNS }
func (v view) UpstreamDNS() string    { return upstreamDNS }
func (v view) PodSubnet() string      { return podSubnet }
func (v view) ServiceSubnet() string  { return ServiceSubnet }
func (v view) EtcdCerts() string      { return etcdCertFolder }
func (v view) Release() release       { return releaseFor(v.Minor) }

// EtcdMember is etcd's own name for the node: etcd1 is the group's first.
func (v view) EtcdMember() string {
	return fmt.Sprintf("etcd%d", 1+slices.Index(v.Etcds(), v.Node))
}

// EtcdPeers is the value of ETCD_INITIAL_CLUSTER.
func (v view) EtcdPeers() string {
	var peers []string
	for i, n := range v.Etcds() {
		peers = append(peers, fmt.Sprintf("etcd%d=https://%s:2380", i+1, n.Address))
	}
	return strings.Join(peers, ",")
}

// EtcdDNSNames are the alternative names of etcd's certificates.
func (v view) EtcdDNSNames() []string { return leaf(v.cluster, "", v.cluster.created).DNSNames }

// EtcdIPs are the alternative addresses of etcd's certificates.
func (v view) EtcdIPs() []string {
	var out []string
	for _, ip := range leaf(v.cluster, "", v.cluster.created).IPAddresses {
		out = append(out, ip.String())
	}
	return out
}

// APIServerSANs are the names of the API server's certificate, the same on all
// control planes (roles/kubernetes/control-plane/tasks/kubeadm-setup.yml).
func (v view) APIServerSANs() []string {
	sans := []string{
		"kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc." + clusterDomain,
		apiServiceIP, "localhost", "127.0.0.1", "::1",
	}
	for _, n := range v.ControlPlanes() {
		sans = append(sans, n.Address.String())
	}
	for _, n := range v.ControlPlanes() {
		sans = append(sans, n.Name)
	}
	for _, n := range v.ControlPlanes() {
		sans = append(sans, n.Name+"."+clusterDomain)
	}
	return sans
}

// NginxChecksum is the SHA-1 of nginx.conf, which restarts the pod when it changes.
func (v view) NginxChecksum() (string, error) { return v.checksum("nginx.conf") }

// CorefileChecksum is the SHA-1 of CoreDNS's configuration, in its pods' template.
func (v view) CorefileChecksum() (string, error) { return v.checksum("coredns.Corefile") }

// NodeCorefileChecksum is the SHA-1 of nodelocaldns' configuration.
func (v view) NodeCorefileChecksum() (string, error) { return v.checksum("nodelocaldns.Corefile") }

func (v view) checksum(name string) (string, error) {
	content, err := v.render(name)
	sum := sha1.Sum(content)
	return hex.EncodeToString(sum[:]), err
}

// render executes the template of a name below templates.
func (v view) render(name string) ([]byte, error) {
	var b bytes.Buffer
	if err := templates.ExecuteTemplate(&b, name, v); err != nil {
		return nil, fmt.Errorf("kubespray: node %s: %w", v.Name, err)
	}
	return b.Bytes(), nil
}
