package fix

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// TestMakeOnATree plans for a real directory tree with what Detect makes of it:
// the absolute link /etc/kubernetes/pki leads inside the tree.
func TestMakeOnATree(t *testing.T) {
	dir := t.TempDir()
	m := sampleNode(t)
	for name, f := range m {
		path := filepath.Join(dir, name)
		if f.Mode.IsDir() {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if f.Mode.IsRegular() {
			if err := os.WriteFile(path, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Symlink("/etc/kubernetes/ssl", filepath.Join(dir, "etc/kubernetes/pki")); err != nil {
		t.Fatal(err)
	}
	fsys, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { fsys.Close() })
	users, err := node.ReadUsers(fsys)
	if err != nil {
		t.Fatal(err)
	}
	facts, err := node.Detect(fsys, nil, users)
	if err != nil {
		t.Fatal(err)
	}
	findings := []Finding{
		{Target: "s", Check: modeCheck("m", "600"), Stats: []string{"/etc/kubernetes/pki/sa.key"}},
		{Target: "s", Check: flagCheck("apiserver", "", "--audit-log-path", "", "", true)},
	}
	kubelet := flagCheck("kubelet", "eq", "--read-only-port", "{.readOnlyPort}", "0", true)
	etcd := flagCheck("etcd", "eq", "--client-cert-auth", "", "true", true)
	kubelet.ID, etcd.ID = "k", "e"
	findings = append(findings, Finding{Target: "s", Check: kubelet}, Finding{Target: "s", Check: etcd})
	plan, err := Make(Input{FS: fsys, Facts: facts, Users: users, Findings: findings})
	if err != nil {
		t.Fatal(err)
	}
	for key, d := range plan.Decisions {
		if d.State != Planned {
			t.Errorf("%s: %q because %q", key, d.State, d.Reason)
		}
	}
	if len(plan.Groups) == 0 || len(plan.Groups[0].Changes) != 1 || plan.Groups[0].Changes[0].Path != "/etc/kubernetes/ssl/sa.key" {
		t.Errorf("groups: %+v", plan.Groups)
	}
}
