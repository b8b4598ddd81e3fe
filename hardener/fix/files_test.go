package fix

import (
	"io/fs"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

func TestNarrow(t *testing.T) {
	tests := []struct {
		reason    string
		old, mask fs.FileMode
		dir       bool
		want      fs.FileMode
	}{
		{"a file", 0o644, 0o600, false, 0o600},
		{"never widened", 0o400, 0o644, false, 0o400},
		{"a file loses bits of execution", 0o755, 0o644, false, 0o644},
		{"a file loses setuid", 0o755 | fs.ModeSetuid, 0o644, false, 0o644},
		{"a directory keeps the owner's search bit", 0o755, 0o600, true, 0o700},
		{"a directory keeps search bits where reading stays", 0o755, 0o644, true, 0o755},
		{"a directory is not widened", 0o750, 0o644, true, 0o750},
		{"a directory of 0711 stays passable", 0o711, 0o644, true, 0o711},
		{"etcd's data directory", 0o755, 0o700, true, 0o700},
		{"a directory keeps its sticky bit", 0o777 | fs.ModeSticky, 0o644, true, 0o755 | fs.ModeSticky},
	}
	for _, tt := range tests {
		if got := narrow(tt.old, tt.mask, tt.dir); got != tt.want {
			t.Errorf("%s: narrow(%v, %v) = %v, want %v", tt.reason, tt.old, tt.mask, got, tt.want)
		}
	}
}

func modeCheck(id, mode string) *profile.Check {
	return &profile.Check{ID: id, Tests: &profile.Tests{Items: []profile.TestItem{{Flag: "permissions", Set: true, Compare: profile.Compare{Op: "bitmask", Value: mode}}}}}
}

func ownerCheck(id, owner string) *profile.Check {
	return &profile.Check{ID: id, Tests: &profile.Tests{Items: []profile.TestItem{{Flag: owner, Set: true}}}}
}

func TestMakeFiles(t *testing.T) {
	tests := []struct {
		reason string
		node   func(m fstest.MapFS, f *node.Facts)
		checks []Finding
		state  State
		why    string
		want   map[string]string // path: "mode uid:gid" of the only changes
	}{
		{reason: "mode and owner of one file in two checks are one change, the stricter mode wins",
			checks: []Finding{{Check: modeCheck("a", "640"), Stats: []string{"/etc/kubernetes/admin.conf"}}, {Check: modeCheck("b", "600"), Stats: []string{"/etc/kubernetes/admin.conf"}},
				{Check: ownerCheck("x", "root:root"), Stats: []string{"/etc/kubernetes/admin.conf"}}},
			state: Planned, want: map[string]string{"/etc/kubernetes/admin.conf": "600 0:0"}},
		{reason: "through the link of the PKI directory to the real one",
			checks: []Finding{{Check: ownerCheck("x", "root:root"), Stats: []string{"/etc/kubernetes/pki/", "/etc/kubernetes/pki/ca.crt"}}},
			state:  Planned, want: map[string]string{"/etc/kubernetes/ssl": "755 0:0", "/etc/kubernetes/ssl/ca.crt": "644 0:0"}},
		{reason: "a directory in a list of files, owned by another than root, is not closed",
			checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/cni/net.d", "/etc/cni/net.d/10-calico.conflist"}}},
			state:  Planned, want: map[string]string{"/etc/cni/net.d/10-calico.conflist": "600 997:0"}, why: "search bits"},
		{reason: "owned by root it keeps the owner's search bit, whatever the order of the checks",
			checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/cni/net.d"}}, {Check: ownerCheck("o", "root:root"), Stats: []string{"/etc/cni/net.d"}}},
			state:  Planned, want: map[string]string{"/etc/cni/net.d": "700 0:0"}, why: "search bits"},
		{reason: "etcd's data directory", checks: []Finding{{Check: ownerCheck("x", "etcd:etcd"), Stats: []string{"/var/lib/etcd"}}}, state: Planned,
			want: map[string]string{"/var/lib/etcd": "755 998:998"}},
		{reason: "not while etcd runs as somebody else", checks: []Finding{{Check: ownerCheck("x", "etcd:etcd"), Stats: []string{"/var/lib/etcd"}}}, state: Manual, why: "etcd runs as kube",
			node: func(m fstest.MapFS, f *node.Facts) {
				c := f.Components[node.Etcd]
				c.User = "kube"
				f.Components[node.Etcd] = c
			}},
		{reason: "a user that does not exist", checks: []Finding{{Check: ownerCheck("x", "etcd:nobody"), Stats: []string{"/var/lib/etcd"}}}, state: Manual, why: "group nobody does not exist"},
		{reason: "no file looked at", checks: []Finding{{Check: modeCheck("x", "600")}}, state: Manual, why: "no file of this node"},
		{reason: "a file that is gone", checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/kubernetes/none"}}}, state: Manual, why: "not exist"},
		{reason: "nothing to do", checks: []Finding{{Check: modeCheck("x", "644"), Stats: []string{"/etc/kubernetes/ssl/ca.crt"}}}, state: Manual, why: "already"},
		{reason: "hard links are told of", checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/kubernetes/ssl/ca.key"}}}, state: Planned, why: "hard links",
			node: func(m fstest.MapFS, f *node.Facts) {
				m["etc/kubernetes/ssl/ca.key"].Sys = &syscall.Stat_t{Nlink: 2}
			},
			want: map[string]string{"/etc/kubernetes/ssl/ca.key": "600 0:0"}},
		{reason: "a link out of the directory is left alone", checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/kubernetes/ssl/out.key"}}}, state: Manual, why: "left alone",
			node: func(m fstest.MapFS, f *node.Facts) {
				m["etc/kubernetes/ssl/out.key"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("../../passwd"), Sys: &syscall.Stat_t{Nlink: 1}}
			}},
		{reason: "a link beside its file reaches the file", checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/kubernetes/ssl/in.key"}}}, state: Planned, why: "is a link",
			node: func(m fstest.MapFS, f *node.Facts) {
				m["etc/kubernetes/ssl/in.key"] = &fstest.MapFile{Mode: fs.ModeSymlink | 0o777, Data: []byte("sa.key"), Sys: &syscall.Stat_t{Nlink: 1}}
			},
			want: map[string]string{"/etc/kubernetes/ssl/sa.key": "600 997:996"}},
		{reason: "certificates stay readable while a pod does not run as root", checks: []Finding{{Check: modeCheck("x", "600"), Stats: []string{"/etc/kubernetes/ssl/ca.crt"}}}, state: Manual, why: "not root",
			node: func(m fstest.MapFS, f *node.Facts) {
				s := string(m["etc/kubernetes/manifests/kube-scheduler.yaml"].Data)
				put(m, "etc/kubernetes/manifests/kube-scheduler.yaml", strings.Replace(s, "  hostNetwork: true", "  hostNetwork: true\n  securityContext:\n    runAsUser: 2000", 1), 0o600, 0, 0)
			}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m, facts := sampleNode(t), sampleFacts(true)
			if tt.node != nil {
				tt.node(m, &facts)
			}
			users, err := node.ReadUsers(m)
			if err != nil {
				t.Fatal(err)
			}
			plan, err := Make(Input{FS: m, Facts: facts, Users: users, MaxRisk: RiskFiles, Findings: tt.checks})
			if err != nil {
				t.Fatal(err)
			}
			d := plan.Decisions["/x"]
			if len(tt.checks) == 1 || d.State != "" {
				if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
					t.Errorf("decision %q because %q, want %q because %q", d.State, d.Reason, tt.state, tt.why)
				}
			}
			got := map[string]string{}
			for _, g := range plan.Groups {
				if g.Component != FilesGroup || g.Refused != "" || g.Risk != RiskFiles {
					t.Errorf("group %q of risk %q, refused %q", g.Component, g.Risk, g.Refused)
				}
				for _, c := range g.Changes {
					got[c.Path] = octal(c.After.Mode) + " " + strconv.Itoa(c.After.UID) + ":" + strconv.Itoa(c.After.GID)
				}
			}
			if len(got) != len(tt.want) {
				t.Errorf("changes %v, want %v", got, tt.want)
			}
			for p, w := range tt.want {
				if got[p] != w {
					t.Errorf("%s becomes %q, want %q", p, got[p], w)
				}
			}
		})
	}
}
