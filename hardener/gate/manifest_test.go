package gate

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestSameArgv(t *testing.T) {
	for _, c := range []struct {
		runs, wants []string
		words       []string
	}{
		{[]string{"a", "--b=1"}, []string{"a", "--b=1"}, nil},
		{[]string{"a", "--b=10.0.0.1"}, []string{"a", "--b=$(POD_IP)"}, nil},
		{[]string{"a"}, []string{"a", "--b=1"}, []string{"without --b=1"}},
		{[]string{"a", "--b=1"}, []string{"a"}, []string{"with --b=1, which its manifest has not"}},
		{[]string{"a", "--b=1"}, []string{"a", "--b=2"}, []string{"with --b=1 where its manifest has --b=2"}},
	} {
		wants(t, sameArgv(c.runs, c.wants), c.words...)
	}
}

func TestRepeated(t *testing.T) {
	argv := []string{"a", "--b=1", "--c", "-b=2", "word", "word", "--c=x", "--bb=1"}
	if diff := cmp.Diff([]string{"b", "c"}, repeated(argv)); diff != "" {
		t.Error(diff)
	}
}

// The time that a gate gives a container to start is that which the kubelet gives
// it, and comments in a manifest do not make another pod of it.
func TestReadPod(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	const text = "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-scheduler}\nspec:\n  containers: [{name: x, command: [/usr/bin/kube-scheduler, --a=b], startupProbe: {initialDelaySeconds: 10, failureThreshold: 24}}]\n"
	read := func(text string) staticPod {
		w.write("x.yaml", text)
		p, err := readPod(w.tree, node.Scheduler, "/x.yaml", "CP1")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := read(text)
	if p.name != "kube-scheduler-cp1" || p.namespace != "default" || p.grace != 30*time.Second || p.startup() != 250*time.Second {
		t.Errorf("%+v, start within %s", p, p.startup())
	}
	if read(text+"# a comment\n").hash != p.hash || read(text+"status: {phase: Failed}\n").hash == p.hash {
		t.Error("the hash is not that of the pod")
	}
	if p.flag("a", "") != "b" || p.flag("c", "d") != "d" {
		t.Error("flags of the manifest are misread")
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	for _, c := range []struct {
		pod             string
		kubelet, server []string
		address, at     string
	}{
		{"", []string{"kubelet", "--node-ip=10.0.0.1"}, []string{"kube-apiserver", "--bind-address=::"}, "10.0.0.1", "10.0.0.1:6443"},
		{"", []string{"kubelet", "--node-ip=fd00::1,10.0.0.1"}, []string{"kube-apiserver", "--secure-port=1"}, "fd00::1", "[fd00::1]:1"},
		{"", []string{"kubelet", "--node-ip=::"}, []string{"kube-apiserver", "--advertise-address=10.0.0.2"}, "10.0.0.2", "10.0.0.2:6443"},
		{"10.0.0.3", []string{"kubelet", "--node-ip=10.0.0.1"}, []string{"kube-apiserver", "--bind-address=10.0.0.4"}, "10.0.0.3", "10.0.0.4:6443"},
		{"", []string{"kubelet"}, nil, "", ""},
	} {
		components := map[string]node.Component{node.Kubelet: {Configured: c.kubelet}}
		if c.server != nil {
			components[node.APIServer] = node.Component{Configured: c.server}
		}
		p := w.gates.locate(node.Facts{Components: components}, c.pod)
		if p.address != c.address || p.server != c.at {
			t.Errorf("%v %v: at %q, the API server at %q", c.kubelet, c.server, p.address, p.server)
		}
	}
}

func TestFileCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	w.gates.Limits.FileCheck = 0
	facts, err := w.detect()
	if err != nil {
		t.Fatal(err)
	}
	for setting, want := range map[string]time.Duration{
		"": 20 * time.Second, "fileCheckFrequency: 1m": time.Minute, "fileCheckFrequency: 0s": 20 * time.Second, "fileCheckFrequency: x": 20 * time.Second,
	} {
		w.write("etc/kubernetes/kubelet-config.yaml", "kind: KubeletConfiguration\n"+setting+"\n")
		if got := w.gates.fileCheck(facts); got != want {
			t.Errorf("%q: %s", setting, got)
		}
	}
}
