package node

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFlags(t *testing.T) {
	for _, tt := range []struct {
		reason string
		argv   []string
		want   map[string]string
	}{
		{"with =", []string{"x", "--a=1", "--b=c=d"}, map[string]string{"a": "1", "b": "c=d"}},
		{"with a blank", []string{"x", "--a", "1", "--b"}, map[string]string{"a": "1", "b": "true"}},
		{"one dash", []string{"x", "-a=1", "-b", "2"}, map[string]string{"a": "1", "b": "2"}},
		{"the last counts", []string{"x", "--a=1", "--a=2"}, map[string]string{"a": "2"}},
		{"empty value", []string{"x", "--a=", "--b", ""}, map[string]string{"a": "", "b": ""}},
		{"a flag after a flag", []string{"x", "--a", "--b=1"}, map[string]string{"a": "true", "b": "1"}},
		{"after --", []string{"x", "--a=1", "--", "--b=2"}, map[string]string{"a": "1"}},
		{"words and numbers are no flags", []string{"--x=1", "word", "-", "-1", "--a=1"}, map[string]string{"a": "1"}},
		{"nothing", nil, map[string]string{}},
	} {
		if diff := cmp.Diff(tt.want, Flags(tt.argv)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, diff)
		}
		for name, want := range tt.want {
			if got, ok := FlagValue(tt.argv, name); got != want || !ok {
				t.Errorf("%s: FlagValue(%s) = %q, %v; want %q", tt.reason, name, got, ok, want)
			}
		}
		if v, ok := FlagValue(tt.argv, "none"); ok {
			t.Errorf("%s: FlagValue(none) = %q", tt.reason, v)
		}
	}
}

func TestReadManifest(t *testing.T) {
	m, err := ReadManifest([]byte(`apiVersion: v1
kind: Pod
metadata: {name: kube-apiserver, namespace: kube-system}
spec:
  containers:
  - name: sidecar
    image: x
    command: ["/bin/sh", "-c", "kube-apiserver"]
  - name: main
    image: registry.k8s.io/kube-apiserver:v1.35.4
    command:
    - kube-apiserver
    - "--quoted=a b"
    - --flag
    - value
    args: [--last=1]
    livenessProbe: {httpGet: {host: 10.0.0.1, path: "/livez?verbose", port: 6443, scheme: HTTPS}}
    readinessProbe: {tcpSocket: {port: web}}
    startupProbe: {exec: {command: [x]}}
    volumeMounts:
    - {name: admission, mountPath: /etc/kubernetes/, readOnly: true}
    - {name: certs, mountPath: /etc/kubernetes/ssl}
    - {name: sub, mountPath: /sub, subPath: dir}
    - {name: empty, mountPath: /empty}
  volumes:
  - {name: admission, hostPath: {path: /etc/kubernetes/admission-controls}}
  - {name: certs, hostPath: {path: /etc/kubernetes/ssl, type: DirectoryOrCreate}}
  - {name: sub, hostPath: {path: /var/lib/x}}
  - {name: empty, emptyDir: {}}
`))
	if err != nil {
		t.Fatal(err)
	}
	c, ok := m.Main("kube-apiserver")
	if !ok || c.Name != "main" {
		t.Fatalf("main container %q, %v", c.Name, ok)
	}
	wantArgv := []string{"kube-apiserver", "--quoted=a b", "--flag", "value", "--last=1"}
	if diff := cmp.Diff(wantArgv, c.Argv()); diff != "" {
		t.Errorf("argv (-want +got):\n%s", diff)
	}
	wantProbes := []Probe{
		{Kind: "liveness", Scheme: "HTTPS", Host: "10.0.0.1", Port: "6443", Path: "/livez?verbose"},
		{Kind: "readiness", Port: "web"},
	}
	if diff := cmp.Diff(wantProbes, c.Probes); diff != "" {
		t.Errorf("probes (-want +got):\n%s", diff)
	}
	component := Component{Manifest: "/x", Mounts: m.HostMounts(c)}
	for _, tt := range []struct {
		reason, path, want string
		ok                 bool
	}{
		{"below a mount", "/etc/kubernetes/ssl/ca.crt", "/etc/kubernetes/ssl/ca.crt", true},
		{"below the mount above it", "/etc/kubernetes/podsecurity.yaml", "/etc/kubernetes/admission-controls/podsecurity.yaml", true},
		{"the mount itself", "/etc/kubernetes", "/etc/kubernetes/admission-controls", true},
		{"a name that begins like a mount", "/etc/kubernetes-x/a", "/etc/kubernetes-x/a", false},
		{"a sub path", "/sub/f", "/var/lib/x/dir/f", true},
		{"not from the host", "/empty/f", "/empty/f", false},
		{"in the image", "/usr/bin/x", "/usr/bin/x", false},
	} {
		if got, ok := component.HostPath(tt.path); got != tt.want || ok != tt.ok {
			t.Errorf("%s: HostPath(%s) = %s, %v; want %s, %v", tt.reason, tt.path, got, ok, tt.want, tt.ok)
		}
	}
	if p, ok := (Component{}).HostPath("/a"); p != "/a" || !ok {
		t.Errorf("without a pod: %s, %v", p, ok)
	}
}

func TestReadManifestErrors(t *testing.T) {
	for reason, data := range map[string]string{
		"empty":              "",
		"no YAML":            "a: [",
		"a list":             "- a\n",
		"another kind":       "apiVersion: v1\nkind: Secret\n",
		"another version":    "apiVersion: v2\nkind: Pod\nspec: {containers: [{name: x}]}\n",
		"without containers": "apiVersion: v1\nkind: Pod\nspec: {containers: []}\n",
		"a word as command":  "apiVersion: v1\nkind: Pod\nspec: {containers: [{command: x}]}\n",
	} {
		if m, err := ReadManifest([]byte(data)); err == nil {
			t.Errorf("%s: no error, %+v", reason, m)
		}
	}
}

func TestReadKubeletConfig(t *testing.T) {
	c, err := ReadKubeletConfig([]byte(kubeletConfig231))
	if err != nil {
		t.Fatal(err)
	}
	if c.StaticPodPath != "/etc/kubernetes/manifests" || c.ClientCAFile != "/etc/kubernetes/ssl/ca.crt" ||
		c.ContainerRuntimeEndpoint != "unix:///var/run/containerd/containerd.sock" || c.Values["failSwapOn"] != true {
		t.Errorf("%+v", c)
	}
	for _, data := range []string{"", "kind: Pod\n", "a: ["} {
		if _, err := ReadKubeletConfig([]byte(data)); err == nil {
			t.Errorf("%q: no error", data)
		}
	}
}

func TestProgramOf(t *testing.T) {
	for _, tt := range []struct {
		argv []string
		want string
	}{
		{[]string{"/usr/local/bin/etcd", "--x"}, "etcd"},
		{[]string{"/bin/bash", "/usr/local/bin/etcd"}, "bash"},
		{[]string{"/hyperkube", "kube-apiserver"}, "kube-apiserver"},
		{[]string{"/hyperkube", "apiserver"}, "kube-apiserver"},
		{[]string{"hyperkube", "kubelet"}, "kubelet"},
		{[]string{"hyperkube"}, "hyperkube"},
		{nil, ""},
	} {
		if got := programOf(tt.argv); got != tt.want {
			t.Errorf("programOf(%q) = %s; want %s", tt.argv, got, tt.want)
		}
	}
}
