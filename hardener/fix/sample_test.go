package fix

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

const (
	kubeUID  = 997
	kubeGID  = 996
	etcdUID  = 998
	etcdGID  = 998
	kubeUnit = "[Unit]\nDescription=Kubernetes Kubelet Server\n[Service]\nEnvironmentFile=-/etc/kubernetes/kubelet.env\nExecStart=/usr/local/bin/kubelet \\\n\t\t$KUBE_LOG_LEVEL \\\n\t\t$KUBELET_ARGS\nRestart=always\n"
	etcdUnit = "[Service]\nUser=root\nEnvironmentFile=/etc/etcd.env\nExecStart=/usr/local/bin/etcd\n"
	kubeEnv  = "KUBE_LOG_LEVEL=\"--v=2\"\nKUBELET_HOSTNAME=\"--hostname-override=node1\"\nKUBELET_ARGS=\"--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \\\n--config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf\"\n"
	etcdEnv  = "ETCD_DATA_DIR=/var/lib/etcd\nETCD_INITIAL_CLUSTER_TOKEN=k8s_etcd_secret\nETCD_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem\nETCD_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem\nETCD_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem\nETCD_CLIENT_CERT_AUTH=false\nETCD_PEER_TRUSTED_CA_FILE=/etc/ssl/etcd/ssl/ca.pem\nETCD_PEER_CERT_FILE=/etc/ssl/etcd/ssl/member-node1.pem\nETCD_PEER_KEY_FILE=/etc/ssl/etcd/ssl/member-node1-key.pem\nETCD_AUTO_TLS=true\nETCD_PEER_AUTO_TLS=True\n"
	passwd   = "root:x:0:0:root:/root:/bin/bash\nkube:x:997:996::/home/kube:/sbin/nologin\netcd:x:998:998::/:/sbin/nologin\n"
	group    = "root:x:0:\nkube-cert:x:996:\netcd:x:998:\n"
)

// sampleNode is a control plane as Kubespray leaves it, with everything set
// wrong that a fix exists for.
func sampleNode(t testing.TB) fstest.MapFS {
	t.Helper()
	m := fstest.MapFS{}
	for _, f := range []string{"kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"} {
		put(m, "etc/kubernetes/manifests/"+f, testdata(t, f), 0o644, kubeUID, kubeGID)
	}
	put(m, "etc/kubernetes/kubelet-config.yaml", testdata(t, "kubelet-config.yaml"), 0o644, 0, 0)
	put(m, "etc/kubernetes/kubescheduler-config.yaml", "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection:\n  kubeconfig: \"/etc/kubernetes/scheduler.conf\"\n", 0o644, 0, 0)
	put(m, "etc/kubernetes/kubelet.env", kubeEnv, 0o640, 0, 0)
	put(m, "etc/etcd.env", etcdEnv, 0o640, 0, 0)
	put(m, "etc/systemd/system/kubelet.service", kubeUnit, 0o644, 0, 0)
	put(m, "etc/systemd/system/etcd.service", etcdUnit, 0o644, 0, 0)
	put(m, "etc/passwd", passwd, 0o644, 0, 0)
	put(m, "etc/group", group, 0o644, 0, 0)
	for _, f := range []string{"admin.conf", "super-admin.conf", "scheduler.conf", "controller-manager.conf", "kubelet.conf"} {
		put(m, "etc/kubernetes/"+f, "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n", 0o640, kubeUID, kubeGID)
	}
	for _, f := range []string{"ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "sa.key"} {
		put(m, "etc/kubernetes/ssl/"+f, "PEM", 0o644, kubeUID, kubeGID)
	}
	put(m, "etc/cni/net.d/10-calico.conflist", "{}", 0o664, kubeUID, 0)
	dir(m, "etc/kubernetes/ssl", 0o755, kubeUID, kubeGID)
	dir(m, "etc/cni/net.d", 0o755, kubeUID, 0)
	dir(m, "var/lib/etcd", 0o755, 0, 0)
	dir(m, "var/log", 0o755, 0, 0)
	m["etc/kubernetes/pki"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("ssl"), Sys: &syscall.Stat_t{Nlink: 1}}
	return m
}

func testdata(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func put(m fstest.MapFS, name, content string, mode fs.FileMode, uid, gid uint32) {
	m[name] = &fstest.MapFile{Data: []byte(content), Mode: mode, Sys: &syscall.Stat_t{Uid: uid, Gid: gid, Nlink: 1}}
}

func dir(m fstest.MapFS, name string, mode fs.FileMode, uid, gid uint32) {
	m[name] = &fstest.MapFile{Mode: mode | fs.ModeDir, Sys: &syscall.Stat_t{Uid: uid, Gid: gid, Nlink: 2}}
}

func sampleFacts(running bool) node.Facts {
	manifest := func(name string) node.Component {
		return node.Component{Running: running, Manifest: "/etc/kubernetes/manifests/" + name + ".yaml"}
	}
	return node.Facts{
		Kubernetes:    node.Version{Version: "1.34.4"},
		KubeConfigDir: "/etc/kubernetes", ManifestDir: "/etc/kubernetes/manifests",
		PKIDir: "/etc/kubernetes/ssl", PKILink: "/etc/kubernetes/pki", EtcdCertDir: "/etc/ssl/etcd/ssl",
		Components: map[string]node.Component{
			node.APIServer:         manifest("kube-apiserver"),
			node.ControllerManager: manifest("kube-controller-manager"),
			node.Scheduler:         manifest("kube-scheduler"),
			node.Kubelet: {Running: running, Config: "/etc/kubernetes/kubelet-config.yaml", Unit: "/etc/systemd/system/kubelet.service",
				EnvFiles: []string{"/etc/kubernetes/kubelet.env"}, Kubeconfig: "/etc/kubernetes/kubelet.conf"},
			node.Etcd: {Running: running, Unit: "/etc/systemd/system/etcd.service", EnvFiles: []string{"/etc/etcd.env"}, User: "root", DataDir: "/var/lib/etcd"},
		},
	}
}

// applied is the node after the plan, refused groups included.
func applied(t testing.TB, m fstest.MapFS, plan Plan) fstest.MapFS {
	t.Helper()
	out := fstest.MapFS{}
	for k, v := range m {
		c := *v
		out[k] = &c
	}
	for _, g := range plan.Groups {
		for _, c := range g.Changes {
			name := strings.TrimPrefix(c.Path, "/")
			old := out[name]
			st := &syscall.Stat_t{Uid: uint32(c.After.UID), Gid: uint32(c.After.GID), Nlink: 1}
			switch {
			case c.Kind == MkdirK:
				out[name] = &fstest.MapFile{Mode: c.After.Mode | fs.ModeDir, Sys: st}
			case c.Kind == Write:
				if (old == nil) != (c.Before == nil) || old != nil && string(old.Data) != string(c.Before.Content) {
					t.Errorf("%s: the change's Before is not what is there", c.Path)
				}
				out[name] = &fstest.MapFile{Data: c.After.Content, Mode: c.After.Mode, Sys: st}
			default:
				out[name] = &fstest.MapFile{Data: old.Data, Mode: old.Mode&^modeBits | c.After.Mode, Sys: st}
			}
			if c.Diff == "" {
				t.Errorf("%s: no diff", c.Path)
			}
		}
	}
	return out
}

// certificateOf is a key and a certificate for a common name, as the kubelet
// keeps its own.
func certificateOf(t testing.TB, name string) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name, Organization: []string{"system:nodes"}}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
}
