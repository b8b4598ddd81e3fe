package specimen

import (
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
)

// The users of every node besides root and nobody.
const (
	kubeUID = 998
	etcdUID = 997
)

// Random is the node that a seed stands for.
func Random(seed uint64) Node {
	d := newDice(seed)
	b := builder{dice: d, node: Node{Seed: seed}}
	b.base()
	b.controlPlane()
	b.pki()
	b.etcd()
	b.kubelet()
	b.proxy()
	b.cni()
	b.noise()
	if d.chance(30) {
		d.Shuffle(len(b.node.Processes), func(i, j int) {
			p := b.node.Processes
			p[i], p[j] = p[j], p[i]
		})
	}
	switch d.IntN(10) {
	case 0:
		b.node.Env = []string{"LANG=C.UTF-8"}
	case 1:
		b.node.Env = []string{"LC_ALL=C.UTF-8", "HOME=/root"}
	case 2:
		b.node.Env = []string{"COLUMNS=60"}
	}
	return b.node
}

type builder struct {
	dice
	node   Node
	pkiDir string
}

func (b *builder) add(f File) { b.node.Files = append(b.node.Files, f) }

// file adds a regular file with some mode and owner, sometimes a link to it.
func (b *builder) file(path, content string) {
	uid, gid := b.owner()
	f := File{Path: path, Content: content, Mode: b.mode(), UID: uid, GID: gid}
	switch b.IntN(40) {
	case 2:
		// A loop ends kube-bench as a whole where it looks for a file itself.
		if b.chance(4) {
			b.add(File{Path: path, Type: Link, Content: path})
			return
		}
	case 0:
		f.Path = "/srv/moved" + path
		b.add(File{Path: path, Type: Link, Content: f.Path, UID: uid, GID: gid})
	case 1:
		b.add(File{Path: path, Type: Link, Content: "../dangling", UID: gid, GID: uid})
		return
	}
	b.add(f)
}

// maybe adds a file in percent of the nodes.
func (b *builder) maybe(percent int, path, content string) {
	if b.chance(percent) {
		b.file(path, content)
	}
}

func (b *builder) folder(path string) {
	uid, gid := b.owner()
	mode := b.mode()
	if b.chance(60) {
		mode = 0o755
	}
	b.add(File{Path: path, Type: Folder, Mode: mode, UID: uid, GID: gid})
}

func (b *builder) process(p cell.Process) { b.node.Processes = append(b.node.Processes, p) }

// component adds a process that runs flags in one of the forms installers use.
func (b *builder) component(likely int, name, hyperkube string, flags []flag) {
	if !b.chance(likely) {
		return
	}
	args := b.args(flags)
	p := cell.Process{Comm: name, Argv: append([]string{name}, args...)}
	switch b.IntN(110) {
	case 0:
		p = cell.Process{Comm: "hyperkube", Argv: append([]string{"/hyperkube", hyperkube}, args...)}
	case 1:
		p = cell.Process{Comm: "hyperkube", Argv: append([]string{"hyperkube", name}, args...)}
	case 2, 3, 4, 5, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22:
		p.Argv[0] = "/usr/local/bin/" + name
	case 6:
		p.Argv[0] = "/opt/my bin/" + name
	case 7:
		p.Zombie = true
	case 8:
		p.UID, p.GID = kubeUID, kubeUID
	case 9:
		b.process(cell.Process{Comm: name, Argv: append([]string{name}, b.args(flags)...)})
	case 10:
		p.Comm = hyperkube
		p.Argv[0] = hyperkube
	case 11:
		p.Argv[0] = name + "-v1.2"
	case 12:
		p.Comm = "renamed"
	}
	b.process(p)
}

const passwd = `root:x:0:0:root:/root:/bin/bash
daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin
nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin
kube:x:998:998:Kubernetes user:/home/kube:/sbin/nologin
etcd:x:997:997:Etcd user:/home/etcd:/sbin/nologin
administrator:x:1000:1000::/home/administrator:/bin/bash
systemd-network:x:101:103::/:/usr/sbin/nologin
`

const group = `root:x:0:
daemon:x:1:
nogroup:x:65534:
kube-cert:x:998:
etcd:x:997:etcd
administrators:x:1000:administrator
`

// base is what every Linux has.
func (b *builder) base() {
	users, groups := passwd, group
	switch b.IntN(20) {
	case 0:
		users = "# comment\n\nbroken:x\nroot:x:0\n" + users + "second:x:997:997::/:/bin/sh\n"
	case 1:
		users, groups = strings.ReplaceAll(users, "etcd:", "etcd-io:"), strings.ReplaceAll(groups, "etcd:", "etcd-io:")
	case 2:
		groups = ""
	case 3:
		users = "toor:x:0:0::/:/bin/sh\n" + users
		groups = "  wheel:x:0:\n" + groups
	case 4:
		users = strings.TrimSuffix(users, "\n")
		groups = strings.ReplaceAll(groups, "etcd:x:997:etcd\n", "")
	}
	b.add(File{Path: "/etc/passwd", Content: users, Mode: 0o644})
	b.add(File{Path: "/etc/group", Content: groups, Mode: 0o644})
	b.add(File{Path: "/etc/hostname", Content: "node1\n", Mode: 0o644})
	b.add(File{Path: "/etc/hosts", Content: "127.0.0.1 localhost\n", Mode: 0o644})
	b.add(File{Path: "/tmp", Type: Folder, Mode: 0o1777})
	if b.chance(3) {
		// The audits of 1.1.7 hold an unquoted *etcd* that the shell expands.
		b.file("/an-etcd-file", "")
	}
}

func (b *builder) controlPlane() {
	// One missing component empties kube-bench's whole section, so most nodes
	// have all.
	present := 99
	if b.chance(10) {
		present = 15
	}
	b.component(present, "kube-apiserver", "apiserver", apiserverFlags)
	b.component(present, "kube-controller-manager", "controller-manager", controllerManagerFlags)
	b.component(present, "kube-scheduler", "scheduler", schedulerFlags)
	for _, name := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		ext := "yaml"
		if b.chance(10) {
			ext = b.pick("yml", "manifest")
		}
		if b.chance(3) {
			b.folder("/etc/kubernetes/manifests/" + name + "." + ext)
		}
		b.maybe(present, "/etc/kubernetes/manifests/"+name+"."+ext, "apiVersion: v1\nkind: Pod\n")
	}
	b.maybe(80, "/etc/kubernetes/admin.conf", "")
	b.maybe(50, "/etc/kubernetes/super-admin.conf", "")
	b.maybe(75, "/etc/kubernetes/scheduler.conf", "")
	b.maybe(75, "/etc/kubernetes/controller-manager.conf", "")
	b.maybe(10, "/var/lib/kube-scheduler/kubeconfig", "")
	b.maybe(10, "/var/lib/kube-controller-manager/kubeconfig", "")
	b.maybe(60, "/etc/kubernetes/ssl/secrets_encryption.yaml", b.encryptionConfig())
	b.maybe(60, "/etc/kubernetes/enc.yaml", b.encryptionConfig())
	b.maybe(3, "/etc/kubernetes/config", "")
}

// pki is the folder of certificates, a folder or a link to one.
func (b *builder) pki() {
	b.pkiDir = "/etc/kubernetes/pki"
	switch b.IntN(10) {
	case 0, 1, 2, 3, 4:
		b.pkiDir = "/etc/kubernetes/ssl"
		b.add(File{Path: "/etc/kubernetes/pki", Type: Link, Content: b.pick("/etc/kubernetes/ssl", "ssl", "/etc/../etc/kubernetes/ssl/")})
	case 5:
		if b.chance(40) {
			return
		}
	}
	b.folder(b.pkiDir)
	for _, name := range []string{"ca", "apiserver", "apiserver-kubelet-client", "front-proxy-ca", "front-proxy-client", "sa", "etcd/ca", "etcd/server"} {
		ext := b.pick("crt", "crt", "crt", "pem", "pub", "CRT")
		if name == "ca" {
			ext = "crt"
		}
		b.maybe(75, b.pkiDir+"/"+name+"."+ext, "")
		b.maybe(75, b.pkiDir+"/"+name+".key", "")
		b.maybe(10, b.pkiDir+"/"+name+".key.old", "")
	}
	if b.chance(15) {
		name := b.pick("my own.crt", "my own.key", "o'brien.crt", `say"hi".key`, `back\slash.crt`, "new\nline.key", "-dash.crt", "ümlaut.key", ".hidden.crt", ".crt", "tab\t.key", "\x01\xff.crt", "x[1].crt", " lead.key", "caf\u00e9 $HOME.crt")
		b.file(b.pkiDir+"/"+name, "")
	}
	if b.chance(8) {
		b.add(File{Path: b.pkiDir + "/linked.crt", Type: Link, Content: "ca.crt", UID: kubeUID})
		b.add(File{Path: b.pkiDir + "/loop.key", Type: Link, Content: "loop.key"})
		b.add(File{Path: b.pkiDir + "/out", Type: Link, Content: "/etc"})
		b.folder(b.pkiDir + "/empty.crt")
	}
}

func (b *builder) etcd() {
	for _, dir := range []string{"/var/lib/etcd", "/var/lib/etcd-events", "/srv/etcd data", "/var/lib/etcd/default.etcd", "/var/lib/etcd/data.etcd", "/srv/etcd"} {
		if !b.chance(45) {
			continue
		}
		if b.chance(30) {
			b.add(File{Path: dir, Type: Folder, Mode: 0o700, UID: etcdUID, GID: etcdUID})
		} else {
			b.folder(dir)
		}
	}
	switch b.IntN(8) {
	case 0, 1:
		b.maybe(90, "/etc/kubernetes/manifests/etcd."+b.pick("yaml", "yaml", "yml", "manifest"), "kind: Pod\n")
	case 2:
		b.maybe(90, "/etc/etcd/etcd.conf", "ETCD_NAME=x\n")
	case 3:
		b.maybe(90, "/usr/lib/systemd/system/etcd.service", "[Service]\n")
	case 4:
		// A folder where a file should be: find looks below it.
		b.folder("/etc/kubernetes/manifests/etcd.yaml")
		b.maybe(70, "/etc/kubernetes/manifests/etcd.yaml/etcd.yaml", "")
		b.maybe(70, "/etc/kubernetes/manifests/etcd.yaml/my-etcd", "")
		b.maybe(70, "/etc/kubernetes/manifests/etcd.yaml/other", "")
	case 5:
		b.maybe(80, "/etc/systemd/system/etcd.service", "[Service]\nExecStart=/usr/local/bin/etcd\n")
		b.maybe(80, "/etc/etcd.env", "ETCD_DATA_DIR=/var/lib/etcd\n")
	}
	running := 75
	for n := 0; n < 2 && b.chance(running); n++ {
		b.etcdProcess(n)
		running = 12
	}
	if b.chance(10) {
		b.process(cell.Process{Comm: "etcd", Argv: []string{"/bin/bash", "/usr/local/bin/etcd"}, Script: true})
	}
}

func (b *builder) etcdProcess(n int) {
	p := cell.Process{Comm: "etcd", Argv: []string{b.pick("/usr/local/bin/etcd", "etcd", "/usr/bin/etcd")}}
	if b.chance(15) {
		p.UID, p.GID = etcdUID, etcdUID
	}
	byFlags, byEnv := b.chance(50), b.chance(60)
	if byFlags {
		p.Argv = append(p.Argv, b.args(etcdFlags)...)
	}
	p.Env = []string{"PATH=/usr/bin", "NOTIFY_SOCKET=/run/systemd/notify"}
	if byEnv {
		p.Env = append(p.Env, b.etcdEnv()...)
	}
	if b.chance(4) {
		p.Zombie = true
	}
	if b.chance(5) {
		p.Argv[0] = "etcdctl"
	}
	b.process(p)
	if n == 0 && b.chance(8) {
		b.process(cell.Process{Comm: "etcdctl", Argv: []string{"etcdctl", "--data-dir=/srv/etcd", "snapshot", "save"}})
	}
}

func (b *builder) etcdEnv() []string {
	var env []string
	for _, f := range etcdFlags {
		if !b.chance(f.likely) {
			continue
		}
		name := "ETCD_" + strings.ToUpper(strings.ReplaceAll(f.name[2:], "-", "_"))
		entry := name + "=" + f.value(b.dice)
		switch b.IntN(30) {
		case 0:
			entry = "MY_" + entry
		case 1:
			entry = name + "="
		case 2:
			entry = name + "X=1"
		case 3:
			entry = name
		case 4:
			entry = strings.ToLower(name) + "=1"
		case 5:
			env = append(env, name+"=first")
		}
		env = append(env, entry)
	}
	if b.chance(20) {
		b.Shuffle(len(env), func(i, j int) { env[i], env[j] = env[j], env[i] })
	}
	return env
}

func (b *builder) kubelet() {
	b.component(93, "kubelet", "kubelet", kubeletFlags)
	unit := "[Service]\nEnvironmentFile=-/etc/kubernetes/kubelet.env\nExecStart=/usr/local/bin/kubelet $KUBELET_ARGS\n"
	b.maybe(25, "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf", unit)
	b.maybe(70, "/etc/systemd/system/kubelet.service", unit)
	b.maybe(15, "/lib/systemd/system/kubelet.service", unit)
	b.maybe(60, "/etc/kubernetes/kubelet.env", "KUBELET_ARGS=\"--config=/etc/kubernetes/kubelet-config.yaml\"\n")
	b.maybe(65, "/etc/kubernetes/kubelet-config.yaml", b.kubeletConfig())
	b.maybe(15, "/etc/kubernetes/kubelet/kubelet-config.json", b.kubeletJSON())
	b.maybe(50, "/var/lib/kubelet/config.yaml", b.kubeletConfig())
	b.maybe(4, "/etc/kubernetes/azure.json", b.kubeletConfig())
	b.maybe(6, "/etc/default/kubelet", "KUBELET_EXTRA_ARGS=--anonymous-auth=false\n")
	b.maybe(8, "/etc/kubernetes/kubelet.yaml", b.kubeletConfig())
	if b.chance(4) {
		b.folder("/var/lib/rancher/rke2/agent/etc/kubelet.conf.d")
	}
	b.maybe(80, "/etc/kubernetes/kubelet.conf", "kind: Config\n")
	b.maybe(8, "/var/lib/kubelet/kubeconfig", b.proxyConfig())
	b.maybe(5, "/etc/kubernetes/kubelet-kubeconfig", b.proxyConfig())
	b.maybe(6, "/etc/kubernetes/cert/ca.pem", "")
	b.maybe(6, "/etc/kubernetes/certs/ca.crt", "")
}

func (b *builder) proxy() {
	b.component(60, "kube-proxy", "proxy", proxyFlags)
	b.maybe(25, "/etc/kubernetes/proxy.conf", b.proxyConfig())
	b.maybe(8, "/etc/kubernetes/kubelet-kubeconfig.conf", b.proxyConfig())
	b.maybe(8, "/etc/kubernetes/ssl/kubecfg-kube-proxy.yaml", b.proxyConfig())
	b.maybe(4, "/etc/kubernetes/kubelet/config", b.proxyConfig())
	b.maybe(4, "/lib/systemd/system/kube-proxy.service", "")
}

func (b *builder) cni() {
	for _, name := range []string{"10-calico.conflist", "calico-kubeconfig", "sub/deep.conf"} {
		b.maybe(50, "/etc/cni/net.d/"+name, "{}")
	}
	b.maybe(8, "/etc/cni/net.d/my net.conf", "{}")
	if b.chance(50) {
		b.folder("/var/lib/cni")
		for _, name := range []string{"cbr0/10.0.0.2", "cbr0/10.0.0.3", "cbr0/lock", "cbr0/last_reserved_ip.0"} {
			b.maybe(60, "/var/lib/cni/networks/"+name, "")
		}
	}
}

// noise are the other processes of a node, some of which name a component.
func (b *builder) noise() {
	for i, argv := range [][]string{
		{"/usr/local/bin/containerd"},
		{"/lib/systemd/systemd-networkd"},
		{"/bin/sh", "-c", "tail -f /var/log/kube-apiserver.log --anonymous-auth=false"},
		{"vim", "/etc/kubernetes/manifests/kube-scheduler.yaml"},
		{"/usr/bin/kube-controllers"},
		{"/usr/bin/docker", "run", "--name", "etcd1", "--data-dir=/srv/etcd", "quay.io/coreos/etcd"},
		{"kubelet-watcher", "--client-ca-file=/etc/hosts"},
		{"prometheus", "--storage=/etcd/data", "--data-dir", "/var/lib/etcd"},
		{"grep", "kube-apiserver"},
		{"/bin/\x1b[31mred", "üml\u00e4ut", "kubelet\nkube-apiserver --profiling=false", "\xff\xfe"},
		{"kubelet", "--version", "--cni-conf-dir=/etc/cni"},
		{"flanneld"},
		{"[kube-apiserver]"},
		{strings.Repeat("kube-apiserver --long=", 300) + "x"},
	} {
		if !b.chance(25) {
			continue
		}
		p := cell.Process{Comm: fmt.Sprintf("noise%d", i), Argv: argv}
		switch i {
		case 1:
			p.UID, p.GID = 101, 103
		case 4:
			p.Comm = "kube-controllers"
		case 5:
			p.Comm = "docker"
		case 8:
			p.UID, p.GID = 4242, 4242
		case 11:
			p.Comm = "flanneld"
		}
		b.process(p)
	}
}
