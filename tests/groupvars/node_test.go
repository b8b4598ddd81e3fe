//go:build groupvars

package groupvars

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"sigs.k8s.io/yaml"
)

const (
	kubeUID, kubeGID = 997, 996
	passwd           = "root:x:0:0:root:/root:/bin/bash\nkube:x:997:996::/home/kube:/sbin/nologin\netcd:x:998:998::/:/sbin/nologin\n"
	groups           = "root:x:0:\nkube-cert:x:996:\netcd:x:998:\n"
)

// install makes a control plane of what was rendered, with what kubeadm, the runtime
// and the network plugin leave beside it.
func install(t *testing.T, rendered, root, version string) {
	t.Helper()
	for file, content := range map[string]string{
		"etc/passwd": passwd, "etc/group": groups, "etc/hostname": "node1\n", "etc/cni/net.d/10-calico.conflist": "{}\n", "usr/local/bin/k8s-certs-renew.sh": "",
	} {
		write(t, filepath.Join(root, file), content)
	}
	for _, name := range []string{"admin.conf", "controller-manager.conf", "scheduler.conf", "kubelet.conf"} {
		write(t, filepath.Join(root, "etc/kubernetes", name), "apiVersion: v1\nkind: Config\nusers:\n- name: u\n  user:\n    client-certificate: /var/lib/kubelet/pki/kubelet-client-current.pem\n")
	}
	for _, name := range []string{"ca.crt", "ca.key", "apiserver.crt", "apiserver.key", "sa.pub", "sa.key"} {
		write(t, filepath.Join(root, "etc/kubernetes/ssl", name), "stands in\n")
	}
	for _, dir := range []string{"var/lib/etcd", "var/log", "etc/kubernetes/manifests"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("ssl", filepath.Join(root, "etc/kubernetes/pki")); err != nil {
		t.Fatal(err)
	}
	upgrade(t, rendered, root, version)
}

// upgrade does to a node what upgrade-cluster.yml does: the files that Kubespray
// renders, the owners that it sets, and the manifests that kubeadm writes from the
// configuration. It is not an upgrade: nothing runs.
func upgrade(t *testing.T, rendered, root, version string) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(rendered, "etc"), func(file string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			name, _ := filepath.Rel(rendered, file)
			copyFile(t, file, filepath.Join(root, name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var owner struct {
		Owner string `json:"kube_owner"`
		Group string `json:"kube_cert_group"`
	}
	decode(t, filepath.Join(rendered, "owners.yaml"), &owner)
	uid, gid := 0, 0
	if owner.Owner == "kube" {
		uid = kubeUID
	}
	if owner.Group == "kube-cert" {
		gid = kubeGID
	}
	// roles/kubernetes/preinstall/tasks/0050-create_directories.yml
	for dir, group := range map[string]int{"etc/kubernetes": 0, "etc/kubernetes/manifests": 0, "etc/kubernetes/ssl": gid, "etc/cni/net.d": 0} {
		if err := os.Chown(filepath.Join(root, dir), uid, group); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// kubeadm writes certificates anew.
	for _, name := range []string{"ca.crt", "apiserver.crt"} {
		if err := os.Chmod(filepath.Join(root, "etc/kubernetes/ssl", name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range regenerated(t, root) {
		write(t, filepath.Join(root, c.Manifest), manifest(name, c, version))
	}
}

func regenerated(t *testing.T, root string) map[string]node.Component {
	t.Helper()
	all, err := node.Regenerated(os.DirFS(root), node.Facts{KubeadmConfig: "/etc/kubernetes/kubeadm-config.yaml", ManifestDir: "/etc/kubernetes/manifests"})
	if err != nil || len(all) != 3 {
		t.Fatalf("regenerated: %d, %v", len(all), err)
	}
	return all
}

// manifest is a static pod in the form of kubeadm's.
func manifest(component string, c node.Component, version string) string {
	var b strings.Builder
	name := filepath.Base(c.Configured[0])
	port := map[string]int{node.APIServer: 6443, node.ControllerManager: 10257, node.Scheduler: 10259}[component]
	fmt.Fprintf(&b, "apiVersion: v1\nkind: Pod\nmetadata:\n  name: %s\n  namespace: kube-system\nspec:\n  containers:\n  - command:\n    - %s\n", name, name)
	for _, flag := range c.Configured[1:] {
		fmt.Fprintf(&b, "    - %s\n", quoted(flag))
	}
	fmt.Fprintf(&b, "    image: registry.k8s.io/%s:v%s\n    livenessProbe:\n      httpGet:\n        path: /livez\n        port: %d\n        scheme: HTTPS\n", name, strings.TrimPrefix(version, "v"), port)
	if host, _ := node.FlagValue(c.Configured, "bind-address"); host == "127.0.0.1" {
		b.WriteString("        host: 127.0.0.1\n") // cmd/kubeadm/app/util/staticpod/utils.go, getProbeAddress
	}
	fmt.Fprintf(&b, "    name: %s\n    volumeMounts:\n", name)
	volumes := map[string]node.Mount{}
	for i, m := range c.Mounts {
		volumes[fmt.Sprintf("v%d", i)] = m
	}
	for _, v := range slices.Sorted(maps.Keys(volumes)) {
		fmt.Fprintf(&b, "    - mountPath: %s\n      name: %s\n      readOnly: %v\n", volumes[v].Path, v, volumes[v].ReadOnly)
	}
	b.WriteString("  volumes:\n")
	for _, v := range slices.Sorted(maps.Keys(volumes)) {
		fmt.Fprintf(&b, "  - hostPath:\n      path: %s\n      type: \"\"\n    name: %s\n", volumes[v].HostPath, v)
	}
	return b.String()
}

// quoted is a flag as YAML has it where it needs quotes.
func quoted(flag string) string {
	if strings.ContainsAny(flag, ":#{}[]") {
		return `"` + flag + `"`
	}
	return flag
}

func decode(t *testing.T, file string, into any) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err == nil {
		err = yaml.Unmarshal(data, into)
	}
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}
