//go:build groupvars

package groupvars

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// kubespray is one release, unpacked, with a playbook that renders its templates.
type kubespray struct {
	tag        string // v2.31.0
	kubernetes string // the version to install, as the release writes it
	dir        string
}

// release is the tag as --kubespray takes it.
func (k kubespray) release() string { return k.tag }

// roles whose defaults, variables and templates have a part in the files of a control
// plane, the last winning as in Kubespray's plays.
var roles = []string{
	"etcd_defaults", "etcd", "container-engine/containerd", "network_plugin/calico_defaults", "kubernetes/preinstall",
	"kubernetes/node", "kubernetes/control-plane", "kubespray-defaults", "kubespray_defaults",
}

func unpack(t *testing.T, clone, tag, kubernetes string) kubespray {
	t.Helper()
	k := kubespray{tag: tag, kubernetes: kubernetes, dir: t.TempDir()}
	archive := filepath.Join(k.dir, "kubespray.tar")
	run(t, k.dir, "git", "-C", clone, "archive", "-o", archive, tag, "roles", "inventory/sample")
	run(t, k.dir, "tar", "-xf", archive)
	role := filepath.Join(k.dir, "play/roles/kubespray")
	n := 10
	place := func(kind string, patterns ...string) {
		for _, pattern := range patterns {
			files, _ := filepath.Glob(filepath.Join(k.dir, "roles", pattern))
			slices.Sort(files)
			for _, file := range files {
				to := filepath.Base(file)
				if kind != "templates" {
					n++
					to = string(rune('a'+n/26)) + string(rune('a'+n%26)) + ".yml"
				}
				copyFile(t, file, filepath.Join(role, kind, to))
			}
		}
	}
	for _, name := range roles {
		place("defaults/main", name+"/defaults/main.yml", name+"/defaults/main/*.yml")
		place("vars/main", name+"/vars/main.y*ml", name+"/vars/main/*.yml")
		place("templates", name+"/templates/*.j2")
	}
	copyFile(t, "testdata/render.yml", filepath.Join(k.dir, "play/render.yml"))
	copyFile(t, "testdata/tasks.yml", filepath.Join(role, "tasks/main.yml"))
	for _, collection := range []string{"utils", "netcommon"} { // one name up to 2.24, the other since
		const filter = "plugins/filter/address.py"
		copyFile(t, filepath.Join("testdata/collections/ansible_collections/ansible/utils", filter), filepath.Join(k.dir, "play/collections/ansible_collections/ansible", collection, filter))
	}
	copyFile(t, "testdata/facts.yml", filepath.Join(k.inventory(), "host_vars/node1.yml"))
	write(t, filepath.Join(k.inventory(), "hosts.ini"), "[kube_control_plane]\nnode1\n[etcd]\nnode1\n[kube_node]\nnode1\n[k8s_cluster:children]\nkube_control_plane\nkube_node\n")
	if err := os.CopyFS(filepath.Join(k.inventory(), "group_vars"), os.DirFS(filepath.Join(k.dir, "inventory/sample/group_vars"))); err != nil {
		t.Fatal(err)
	}
	// A cluster whose inventory asks for the opposite of what is fixed.
	copyFile(t, "testdata/weak.yml", filepath.Join(k.inventory(), "group_vars/k8s_cluster/aa-weak.yml"))
	return k
}

func (k kubespray) inventory() string { return filepath.Join(k.dir, "cluster") }

// variables is where the file of hardener vars belongs.
func (k kubespray) variables() string {
	return filepath.Join(k.inventory(), "group_vars/k8s_cluster/zz-hardening.yml")
}

// render renders the files of a control plane below a new folder.
func (k kubespray) render(t *testing.T) string {
	t.Helper()
	out := t.TempDir()
	templates, _ := filepath.Glob(filepath.Join(k.dir, "play/roles/kubespray/templates/kubeadm-config.*.j2"))
	if len(templates) == 0 {
		t.Fatalf("%s has no template of kubeadm-config", k.tag)
	}
	slices.Sort(templates)
	c := exec.CommandContext(t.Context(), "ansible-playbook", "-i", filepath.Join(k.inventory(), "hosts.ini"), "render.yml",
		"-e", "out="+out, "-e", "kubeadm_template="+filepath.Base(templates[len(templates)-1]), "-e", "kube_version="+k.kubernetes)
	c.Dir = filepath.Join(k.dir, "play")
	c.Env = append(os.Environ(), "ANSIBLE_COLLECTIONS_PATHS="+filepath.Join(c.Dir, "collections"), "ANSIBLE_NOCOLOR=1", "ANSIBLE_LOCALHOST_WARNING=False")
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%s: ansible-playbook: %v\n%s", k.tag, err, text)
	}
	return out
}

func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	var errs bytes.Buffer
	c.Stderr = &errs
	out, err := c.Output()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, errs.String())
	}
	return out
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, string(data))
}

func write(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}
