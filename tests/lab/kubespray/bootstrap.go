package kubespray

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io/fs"
	"regexp"
	"strings"
)

// ReadFile returns the content of a file on a node.
type ReadFile func(node, path string) ([]byte, error)

// Step is one command of the first run. All steps of a stage may start when
// those of the stages before it have succeeded. Within a stage, nodes are
// independent of each other and the steps of one node run in their order.
type Step struct {
	Stage int
	Name  string // what it does, for people
	Node  string // where

	// Files returns what to write to the node before Run; nil stands for
	// nothing. It may read what earlier steps left.
	Files func(ReadFile) ([]File, error)
	Run   []string // argument vector, with absolute path; nil for none
}

const (
	kubeadm     = "/usr/local/bin/kubeadm"
	kubectl     = "/usr/local/bin/kubectl --kubeconfig /etc/kubernetes/admin.conf"
	adminConf   = "/etc/kubernetes/admin.conf"
	kubeletConf = "/etc/kubernetes/kubelet.conf"
)

// Bootstrap returns the steps that turn booted nodes with Files into a cluster,
// in the order of Kubespray's cluster.yml. containerd and etcd start at boot; the
// first steps wait for etcd, and images must have been loaded into containerd
// before. Add-ons are applied afterwards: see Addons.
func (c *Cluster) Bootstrap() []Step {
	b := &steps{cluster: c}
	controlPlanes, etcds := c.group(ControlPlane), c.group(Etcd)
	first := controlPlanes[0]

	for _, n := range c.group(Etcd | ControlPlane) {
		b.run(n, "trust etcd's CA", "/usr/sbin/update-ca-certificates")
	}
	b.run(etcds[0], "wait for etcd", "/bin/sh", "-c",
		"until "+c.etcdctl(etcds[0])+" endpoint health --cluster; do sleep 1; done")
	// The second rendering of etcd.env finds a healthy cluster and restarts the
	// members, after a snapshot, one at a time.
	for _, n := range etcds {
		b.next()
		backup := "/var/backups/etcd-" + c.stamp("2006-01-02_15:04:05")
		b.files(n, "back up etcd", func(ReadFile) ([]File, error) {
			return []File{{Path: backup, Mode: fs.ModeDir | 0o600, Owner: "root", Group: "root"}}, nil
		}, "/bin/sh", "-c", c.etcdctl(n)+" snapshot save "+backup+"/snapshot.db")
		b.files(n, "restart etcd as a member of an existing cluster", func(ReadFile) ([]File, error) {
			return c.file(n, "/etc/etcd.env", 0o640, "etcd.env", func(v *view) { v.EtcdState = "existing" })
		}, "/bin/systemctl", "restart", "etcd")
	}

	b.next()
	b.run(first, "kubeadm init", kubeadm, "init", "--config=/etc/kubernetes/kubeadm-config.yaml",
		"--ignore-preflight-errors=all", "--skip-phases=addon/coredns", "--upload-certs")
	b.run(first, "create the bootstrap token", kubeadm, "--kubeconfig", adminConf, "token", "create", c.token)
	// Kubespray does this after the last join, when kube-proxy runs everywhere.
	// Each node has an API server or a load balancer on this address.
	b.run(first, "point kube-proxy to the node's own API endpoint", "/bin/bash", "-o", "pipefail", "-c",
		kubectl+" get configmap kube-proxy -n kube-system -o yaml"+
			" | sed 's#server:.*#server: https://127.0.0.1:6443#g' | "+kubectl+" replace -f -")
	b.run(first, "restart kube-proxy", append(strings.Fields(kubectl),
		"delete", "pod", "-n", "kube-system", "-l", "k8s-app=kube-proxy", "--force", "--grace-period=0")...)

	for _, n := range controlPlanes[1:] {
		b.next()
		b.run(n, "kubeadm join", kubeadm, "join", "--config", "/etc/kubernetes/kubeadm-controlplane.yaml",
			"--ignore-preflight-errors=all", "--skip-phases=")
	}

	b.next()
	for i, n := range controlPlanes {
		b.files(n, "leave root a kubeconfig", func(read ReadFile) ([]File, error) {
			admin, err := read(n.Name, adminConf)
			if err != nil {
				return nil, err
			}
			l := &list{}
			l.dirs("root", 0o700, "/root/.kube")
			l.content("/root/.kube/config", 0o600, admin)
			return l.files, nil
		})
		if i == 0 {
			b.files(n, "leave the node binding", func(ReadFile) ([]File, error) {
				return c.file(n, "/etc/kubernetes/node-crb.yml", 0o640, "node-crb.yml", nil)
			})
		}
		if i == len(controlPlanes)-1 {
			b.files(n, "leave the priority class", func(ReadFile) ([]File, error) {
				return c.file(n, "/etc/kubernetes/k8s-cluster-critical-pc.yml", 0o640, "k8s-cluster-critical-pc.yml", nil)
			})
		}
	}
	for _, n := range c.group(Worker) {
		if n.Roles.Has(ControlPlane) {
			continue
		}
		b.files(n, "kubeadm join", func(read ReadFile) ([]File, error) {
			ca, err := read(first.Name, "/etc/kubernetes/ssl/ca.crt")
			if err != nil {
				return nil, err
			}
			hash, err := publicKeyHash(ca)
			if err != nil {
				return nil, fmt.Errorf("kubespray: %s: /etc/kubernetes/ssl/ca.crt: %w", first.Name, err)
			}
			return c.file(n, "/etc/kubernetes/kubeadm-client.conf", 0o640, "kubeadm-client.conf",
				func(v *view) { v.CAHash = hash })
		}, kubeadm, "join", "--config", "/etc/kubernetes/kubeadm-client.conf", "--ignore-preflight-errors=all", "--skip-phases=")
		b.files(n, "point the kubelet to the load balancer", func(read ReadFile) ([]File, error) {
			conf, err := read(n.Name, kubeletConf)
			if err != nil {
				return nil, err
			}
			if !serverLine.Match(conf) {
				return nil, fmt.Errorf("kubespray: %s: %s has no server line", n.Name, kubeletConf)
			}
			l := &list{}
			// Ansible keeps a copy of what it edits, for good.
			l.content(kubeletConf+".4711."+c.stamp("2006-01-02@15:04:05")+"~", 0o600, conf)
			l.content(kubeletConf, 0o600, serverLine.ReplaceAll(conf, []byte("    server: https://localhost:6443")))
			return l.files, nil
		}, "/bin/systemctl", "restart", "kubelet")
	}
	return b.steps
}

var serverLine = regexp.MustCompile(`(?m)^.*server:.*$`)

// publicKeyHash is the SHA-256 in hex by which kubeadm pins a CA: of its public
// key information.
func publicKeyHash(certificate []byte) (string, error) {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return "", fmt.Errorf("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:]), nil
}

// etcdctl is a shell command that speaks to all members as a node's administrator.
func (c *Cluster) etcdctl(n Node) string {
	pair := etcdCertFolder + "/admin-" + n.Name
	return fmt.Sprintf("/usr/local/bin/etcdctl --endpoints https://%s:2379 --cacert %s/ca.pem --cert %s.pem --key %s-key.pem",
		n.Address, etcdCertFolder, pair, pair)
}

// file renders one file of root with a template, after edit changed the view.
func (c *Cluster) file(n Node, path string, mode fs.FileMode, name string, edit func(*view)) ([]File, error) {
	v, err := c.view(n)
	if err != nil {
		return nil, err
	}
	if edit != nil {
		edit(&v)
	}
	l := &list{view: v}
	l.render(path, mode, name)
	return l.files, l.err
}

// steps collects the steps of a first run.
type steps struct {
	cluster *Cluster
	stage   int
	steps   []Step
}

// next begins another stage.
func (b *steps) next() { b.stage++ }

func (b *steps) run(n Node, name string, argv ...string) { b.files(n, name, nil, argv...) }

func (b *steps) files(n Node, name string, files func(ReadFile) ([]File, error), argv ...string) {
	b.steps = append(b.steps, Step{Stage: b.stage, Name: name, Node: n.Name, Files: files, Run: argv})
}
