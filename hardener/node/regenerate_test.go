package node

import (
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

// TestRegenerated: a list of names and values reads like a map, what is given wins
// over kubeadm's own, and volumes lead to the host.
func TestRegenerated(t *testing.T) {
	const tail = `
  extraVolumes:
  - {name: audit-policy, hostPath: /etc/kubernetes/audit-policy, mountPath: /etc/kubernetes/policy/, readOnly: true}
certificatesDir: /etc/kubernetes/ssl
scheduler:
  extraArgs:
`
	files := map[string]string{
		"v1beta2": "apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\n---\napiVersion: kubeadm.k8s.io/v1beta2\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n    anonymous-auth: \"True\"\n    authorization-mode: Node,RBAC,Webhook\n    runtime-config:\n" + tail[1:] + "    bind-address: 0.0.0.0\n",
		"v1beta4": "apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\napiServer:\n  extraArgs:\n  - name: anonymous-auth\n    value: \"True\"\n  - name: authorization-mode\n    value: Node,RBAC,Webhook\n  - name: runtime-config\n    value:\n" + tail[1:] + "  - name: bind-address\n    value: 0.0.0.0\n",
	}
	for version, content := range files {
		t.Run(version, func(t *testing.T) {
			facts := Facts{KubeadmConfig: "/etc/kubernetes/kubeadm-config.yaml", ManifestDir: "/etc/kubernetes/manifests"}
			all, err := Regenerated(fstest.MapFS{"etc/kubernetes/kubeadm-config.yaml": {Data: []byte(content)}}, facts)
			if err != nil {
				t.Fatal(err)
			}
			got := map[string]string{}
			for _, flag := range []string{"anonymous-auth", "authorization-mode", "enable-admission-plugins", "client-ca-file", "profiling"} {
				if v, ok := FlagValue(all[APIServer].Configured, flag); ok {
					got[flag] = v
				}
			}
			got["scheduler"], _ = FlagValue(all[Scheduler].Configured, "bind-address")
			got["controllers"], _ = FlagValue(all[ControllerManager].Configured, "bind-address")
			got["policy"], _ = all[APIServer].HostPath("/etc/kubernetes/policy/p.yaml")
			want := map[string]string{
				"anonymous-auth": "True", "authorization-mode": "Node,RBAC,Webhook", "enable-admission-plugins": "NodeRestriction", "client-ca-file": "/etc/kubernetes/ssl/ca.crt",
				"scheduler": "0.0.0.0", "controllers": "127.0.0.1", "policy": "/etc/kubernetes/audit-policy/p.yaml",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
			if _, ok := all[Etcd]; ok {
				t.Error("etcd that is no pod of kubeadm's is regenerated")
			}
		})
	}
	if all, err := Regenerated(fstest.MapFS{}, Facts{}); all != nil || err != nil {
		t.Errorf("without a file: %v, %v", all, err)
	}
}

func TestReleases(t *testing.T) {
	for text, want := range map[string]string{"2.28": "2.28", "v2.28.1": "2.28", "2.12.0": "2.12", "2.11": "", "2.99": "", "3.28": "", "2.28.x": "", "2": "", "": ""} {
		got, err := ParseRelease(text)
		if want == "" && err == nil || want != "" && got.String() != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	both := func(a, b ReleaseRange) string {
		shared, ok := a.And(b)
		if !ok {
			return "nothing"
		}
		return shared.String()
	}
	for _, tt := range []struct {
		a, b ReleaseRange
		want string
	}{
		{ReleaseRange{}, ReleaseRange{}, "any release"},
		{ReleaseRange{"2.22", "2.25"}, ReleaseRange{"2.24", ""}, "2.24 to 2.25"},
		{ReleaseRange{"", "2.24"}, ReleaseRange{"2.24", ""}, "2.24"},
		{ReleaseRange{"2.22", "2.23"}, ReleaseRange{"2.24", ""}, "nothing"},
		{ReleaseRange{"2.22", ""}, ReleaseRange{}, "2.22 or later"},
	} {
		if got := both(tt.a, tt.b); got != tt.want {
			t.Errorf("%s and %s: %s, want %s", tt.a, tt.b, got, tt.want)
		}
	}
}
