package profile

import (
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
)

func TestForVersion(t *testing.T) {
	c := corpus(t)
	for _, tt := range []struct {
		version, want, reason string
		note                  bool
	}{
		{"1.34", "cis-1.12", "mapped", false},
		{"1.24", "cis-1.24", "mapped", false},
		{"1.35", "cis-1.12", "newer than all: nearest lower", true},
		{"1.99", "cis-1.12", "far newer", true},
		{"1.15", "cis-1.5", "oldest", false},
		{"1.14", "", "older than all", false},
		{"1.34.2", "", "patch versions are not mapped and never meet 1.18", false},
		{"v1.34", "", "v1.33 and so on are not mapped either", false},
		{"1.36+", "", "minor is no number", false},
		{"ocp-4.12", "rh-1.4", "other platforms count down too", true},
		{"ocp-4.5", "", "stops at 4.1", false},
		{"gke-1.2.0", "gke-1.2.0", "mapped", false},
		{"", "", "nothing", false},
		{"34", "", "no dot", false},
	} {
		got, err := c.ForVersion(tt.version)
		if got.Benchmark != tt.want || (err != nil) != (tt.want == "") || (got.Note != "") != tt.note {
			t.Errorf("%q (%s): %+v, %v", tt.version, tt.reason, got, err)
		}
	}
}

func TestTargets(t *testing.T) {
	c := corpus(t)
	got, err := c.Targets("cis-1.12")
	if d := cmp.Diff([]string{"master", "node", "controlplane", "etcd", "policies"}, got); err != nil || d != "" {
		t.Error(err, d)
	}
	if _, err := c.Targets("CIS-1.12"); err == nil {
		t.Error("a name with capitals was found")
	}
}

func TestVariablesOfKubespray(t *testing.T) {
	c := corpus(t)
	got, err := c.Variables("cis-1.12", "master", kubespray())
	if err != nil {
		t.Fatal(err)
	}
	want := Variables{
		Bin: map[string]string{
			"apiserver": "kube-apiserver", "scheduler": "kube-scheduler", "controllermanager": "kube-controller-manager",
			"etcd": "etcd", "flanneld": "flanneld", "kubelet": "kubelet",
		},
		Conf: map[string]string{
			"apiserver": "/etc/kubernetes/manifests/kube-apiserver.yaml", "scheduler": "/etc/kubernetes/manifests/kube-scheduler.yaml",
			"controllermanager": "/etc/kubernetes/manifests/kube-controller-manager.yaml", "etcd": "/etc/kubernetes/manifests/etcd.yaml",
			"flanneld": "/etc/sysconfig/flanneld", "kubernetes": "/etc/kubernetes/config", "kubelet": "kubelet",
		},
		DataDir: map[string]string{"etcd": "/var/lib/etcd/default.etcd"},
		Kubeconfig: map[string]string{
			"scheduler": "/etc/kubernetes/scheduler.conf", "controllermanager": "/etc/kubernetes/controller-manager.conf",
		},
	}
	own := func(m map[string]string) map[string]string { // every kind has every component, by its name if nothing else
		out := map[string]string{}
		for component := range want.Conf {
			out[component] = component
		}
		for k, v := range m {
			out[k] = v
		}
		return out
	}
	want.DataDir, want.Kubeconfig, want.Svc, want.CAFile = own(want.DataDir), own(want.Kubeconfig), own(nil), own(nil)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// small is a cfg folder with one benchmark.
func small(config, own, master string) fstest.MapFS {
	cfg := fstest.MapFS{
		"config.yaml":   {Data: []byte(config)},
		"b/master.yaml": {Data: []byte(master)},
	}
	if own != "" {
		cfg["b/config.yaml"] = &fstest.MapFile{Data: []byte(own)}
	}
	return cfg
}

const smallConfig = `
Master:
  components: [apiserver, etcd, ghost]
  apiserver: {bins: [kube-apiserver, "hyperkube apiserver"], confs: [/a, /b], defaultconf: /d}
  etcd: {Optional: true, bins: [etcd]}
etcd:
  components: etcd
  etcd: {bins: ["'etcd'"]}
version_mapping: {"1.30": b}
target_mapping: {b: [Master, etcd]}
`

func lookup(exists []string, commands map[string][]string) Lookup {
	return Lookup{
		Exists: func(path string) (bool, error) {
			if path == "/denied" {
				return false, errors.New("permission denied")
			}
			for _, e := range exists {
				if e == path {
					return true, nil
				}
			}
			return false, nil
		},
		Commands: func(name string) []string { return commands[name] },
	}
}

func TestVariablesOfSmallProfiles(t *testing.T) {
	for _, tt := range []struct {
		reason, own string
		exists      []string
		commands    map[string][]string
		wantBin     map[string]string
		wantMissing string
		wantConf    string
		wantErr     string
	}{
		{reason: "first existing path, first running candidate, optional by name",
			exists: []string{"/b", "/a"}, commands: map[string][]string{"kube-apiserver": {"/x/y/kube-apiserver --z"}},
			wantBin: map[string]string{"apiserver": "kube-apiserver", "etcd": "etcd"}, wantConf: "/a"},
		{reason: "a candidate of two words is looked for by its first and matched whole",
			commands: map[string][]string{"hyperkube": {"hyperkube kubelet", "/bin/hyperkube apiserver --z"}},
			wantBin:  map[string]string{"apiserver": "hyperkube apiserver", "etcd": "etcd"}, wantConf: "/d"},
		{reason: "one mandatory binary missing removes all",
			commands: map[string][]string{"etcd": {"etcd"}}, wantMissing: "apiserver", wantConf: "/d"},
		{reason: "the command must begin with the candidate",
			commands: map[string][]string{"kube-apiserver": {"sh -c kube-apiserver", "xkube-apiserver"}}, wantMissing: "apiserver", wantConf: "/d"},
		{reason: "a candidate is a pattern and a prefix",
			own: `master: {apiserver: {bins: ["kube-.*"]}}`, commands: map[string][]string{"kube-.*": {"kube-proxy"}},
			wantBin: map[string]string{"apiserver": "kube-.*", "etcd": "etcd"}, wantConf: "/d"},
		{reason: "the benchmark's configuration replaces lists and keeps the rest; a string is a list",
			own: `{master: {apiserver: {CONFS: "/no /b", bins: [etcd]}}}`, exists: []string{"/b"}, commands: map[string][]string{"etcd": {"etcdctl"}},
			wantBin: map[string]string{"apiserver": "etcd", "etcd": "etcd"}, wantConf: "/b"},
		{reason: "optional: yes is a string for kube-bench's configuration reader, hence false",
			own: `{master: {components: [apiserver], apiserver: {optional: yes}}}`, wantMissing: "apiserver", wantConf: "/d"},
		{reason: "a pattern that does not compile", own: `{master: {apiserver: {bins: ["a["]}}}`, wantErr: `candidate "a["`},
		{reason: "an empty candidate", own: `{master: {apiserver: {bins: [""]}}}`, wantErr: "empty candidate"},
		{reason: "a path that cannot be looked at", own: `{master: {apiserver: {confs: [/denied]}}}`,
			commands: map[string][]string{"kube-apiserver": {"kube-apiserver"}}, wantErr: "/denied: permission denied"},
		{reason: "malformed", own: "master: [", wantErr: "b/config.yaml: line 1"},
	} {
		c := openCatalog(t, small(smallConfig, tt.own, ""))
		got, err := c.Variables("b", "master", lookup(tt.exists, tt.commands))
		if tt.wantErr != "" {
			if err == nil || !strings.Contains(err.Error(), tt.wantErr) {
				t.Errorf("%s: error %v, want %q", tt.reason, err, tt.wantErr)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.reason, err)
			continue
		}
		if d := cmp.Diff(tt.wantBin, got.Bin); d != "" || got.Missing != tt.wantMissing || got.Conf["apiserver"] != tt.wantConf {
			t.Errorf("%s: missing %q, conf %q, bin (-want +got):\n%s", tt.reason, got.Missing, got.Conf["apiserver"], d)
		}
		if _, ok := got.Conf["ghost"]; ok {
			t.Errorf("%s: a component without settings has a value", tt.reason)
		}
	}
}

func TestRunning(t *testing.T) {
	api := map[string][]string{"kube-apiserver": {"kube-apiserver"}}
	for _, tt := range []struct {
		reason, own  string
		commands     map[string][]string
		master, etcd bool
	}{
		{"nothing runs", "", nil, false, false},
		{"an API server", "", api, true, false},
		{"only etcd: quotes are stripped", "", map[string][]string{"etcd": {"etcd"}}, false, true},
		{"the benchmark's binaries do not make a master", `{master: {apiserver: {bins: [k3s]}}}`, map[string][]string{"k3s": {"k3s"}}, false, false},
		{"nor an etcd without a master", `{etcd: {etcd: {bins: [k3s]}}}`, map[string][]string{"k3s": {"k3s"}}, false, false},
		{"after a master they count", `{etcd: {etcd: {bins: [kube-apiserver]}}}`, api, true, true},
	} {
		c := openCatalog(t, small(smallConfig, tt.own, ""))
		l := lookup(nil, tt.commands)
		master, err1 := c.Running("b", "master", l)
		etcd, err2 := c.Running("b", "etcd", l)
		if master != tt.master || etcd != tt.etcd || err1 != nil || err2 != nil {
			t.Errorf("%s: master %v %v, etcd %v %v", tt.reason, master, err1, etcd, err2)
		}
	}
	if ok, err := openCatalog(t, small(smallConfig, "", "")).Running("b", "policies", lookup(nil, nil)); ok || err != nil {
		t.Errorf("a section without configuration: %v %v", ok, err)
	}
}

func TestOpenRefuses(t *testing.T) {
	for reason, tt := range map[string]struct {
		cfg  fstest.MapFS
		want string
	}{
		"no config.yaml":    {fstest.MapFS{}, "config.yaml"},
		"malformed":         {small("a:\n\tb", "", ""), "config.yaml: line 2"},
		"no target_mapping": {small("a: b", "", ""), "target_mapping"},
	} {
		if _, err := Open(tt.cfg); err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", reason, err)
		}
	}
}
