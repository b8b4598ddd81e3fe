package fix

import (
	"fmt"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// tcpTable is a table as the kernel prints it: local, remote, state.
func tcpTable(rows ...string) string {
	table := "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
	for i, r := range rows {
		table += fmt.Sprintf("%4d: %s 00000000:00000000 00:00000000 00000000     0        0 1 1 0\n", i, r)
	}
	return table
}

func TestConnected(t *testing.T) {
	const (
		listening = "00000000:2811 00000000:0000 0A"
		itself    = "0B00000A:2811 0B00000A:C350 01" // 10.0.0.11
		loop      = "0100007F:2811 0100007F:C351 01"
		prom      = "0B00000A:2811 6300000A:C352 01" // 10.0.0.99
		gone      = "0B00000A:2811 6400000A:C353 06" // TIME_WAIT
		other     = "0B00000A:2813 6500000A:C354 01" // 10259
		client    = "0B00000A:C355 6600000A:2811 01" // this node asks another
		mapped    = "0000000000000000FFFF00000B00000A:2811 0000000000000000FFFF00006300000A:C356 01"
		six       = "000080FE000000000000000002000000:2811 000080FE000000000000000003000000:C357 01"
	)
	bind := flagCheck("controllermanager", "eq", "--bind-address", "", "127.0.0.1", true)
	for _, tt := range []struct {
		reason    string
		tcp, tcp6 []string
		missing   bool
		dir       string
		want      string
	}{
		{reason: "another machine", tcp: []string{listening, itself, loop, prom, gone, other, client}, want: "connected to the controller manager's metrics (port 10257) now: 10.0.0.99"},
		{reason: "over both tables, once", tcp: []string{prom}, tcp6: []string{mapped, six}, want: "now: 10.0.0.99, fe80::3"},
		{reason: "nobody", tcp: []string{listening, itself}, want: "nobody outside this node is connected"},
		{reason: "no tables", missing: true, want: "cannot be seen here"},
		{reason: "those of the first process", tcp: []string{prom}, dir: "proc/1/net/", want: "now: 10.0.0.99"},
	} {
		m := sampleNode(t)
		if tt.dir == "" {
			tt.dir = "proc/77/net/"
		}
		if !tt.missing {
			put(m, tt.dir+"tcp", tcpTable(tt.tcp...), 0o444, 0, 0)
			put(m, tt.dir+"tcp6", tcpTable(tt.tcp6...), 0o444, 0, 0)
		}
		facts := sampleFacts(true)
		c := facts.Components[node.ControllerManager]
		c.PID = 77
		facts.Components[node.ControllerManager] = c
		_, d := planOne(t, m, facts, bind)
		if len(d.Touches) != 1 || !strings.Contains(d.Touches[0], tt.want) {
			t.Errorf("%s: %q, want %q", tt.reason, d.Touches, tt.want)
		}
	}
	if _, d := planOne(t, sampleNode(t), sampleFacts(false), bind); len(d.Touches) != 0 {
		t.Errorf("nothing runs, and touches %q", d.Touches)
	}
}

func TestPulledImages(t *testing.T) {
	bundle := func(m fstest.MapFS, id, image, pod string) {
		put(m, "run/containerd/io.containerd.runtime.v2.task/k8s.io/"+id+"/config.json",
			`{"ociVersion":"1.2","annotations":{"io.kubernetes.cri.image-name":"`+image+`","io.kubernetes.cri.sandbox-name":"`+pod+`","io.kubernetes.cri.sandbox-namespace":"kube-system"}}`, 0o600, 0, 0)
	}
	m := sampleNode(t)
	bundle(m, "a", "registry.k8s.io/coredns/coredns:v1.12", "coredns-1")
	bundle(m, "b", "registry.k8s.io/coredns/coredns:v1.12", "coredns-2")
	bundle(m, "c", "registry.k8s.io/kube-apiserver:v1.34.4", "kube-apiserver-node1") // static
	bundle(m, "d", "docker.io/library/own:dev", "own")
	put(m, "run/containerd/io.containerd.runtime.v2.task/k8s.io/e/config.json", "{", 0o600, 0, 0)
	facts := sampleFacts(false)
	facts.NodeName = "node1"
	_, d := planOne(t, m, facts, flagCheck("apiserver", "has", "--enable-admission-plugins", "", "AlwaysPullImages", true))
	const want = "pulled at every start, unless their pods say so already: docker.io/library/own:dev, registry.k8s.io/coredns/coredns:v1.12"
	if strings.Join(d.Touches, "|") != want {
		t.Errorf("touches %q", d.Touches)
	}
}

func TestUnseenTLS(t *testing.T) {
	floor := flagCheck("apiserver", "eq", "--tls-min-version", "", "VersionTLS12", true)
	m := sampleNode(t)
	if _, d := planOne(t, m, sampleFacts(false), floor); len(d.Touches) != 0 {
		t.Errorf("Go's own default is stated, and touches %q", d.Touches)
	}
	editFile(m, apiManifest, "    - --tls-private", "    - --tls-min-version=VersionTLS10\n    - --tls-private")
	if _, d := planOne(t, m, sampleFacts(false), floor); len(d.Touches) != 1 || !strings.Contains(d.Touches[0], "cannot be seen") {
		t.Errorf("raised, and touches %q", d.Touches)
	}
}

// TestNodeRestrictionNeedsTheNodesName: with another certificate the kubelet
// could not update its Node.
func TestNodeRestrictionNeedsTheNodesName(t *testing.T) {
	m := sampleNode(t)
	editFile(m, apiManifest, "    - --enable-admission-plugins=NodeRestriction\n", "")
	put(m, "var/lib/kubelet/pki/kubelet-client-current.pem", string(certificateOf(t, "system:node:node1")), 0o600, 0, 0)
	check := flagCheck("apiserver", "has", "--enable-admission-plugins", "", "NodeRestriction", true)
	facts := sampleFacts(false)
	facts.NodeName = "node1"
	if _, d := planOne(t, m, facts, check); d.State != Planned {
		t.Errorf("its own name: %q because %q", d.State, d.Reason)
	}
	facts.NodeName = "node2"
	if _, d := planOne(t, m, facts, check); d.State != Manual || !strings.Contains(d.Reason, "system:node:node1") {
		t.Errorf("another name: %q because %q", d.State, d.Reason)
	}
}

func TestPodPids(t *testing.T) {
	limit := flagCheck("kubelet", "", "--pod-max-pids", "{.podPidsLimit}", "", true)
	const uid = "1f2e3d4c_0000_1111_2222_333344445555"
	for _, tt := range []struct {
		reason, group, count string
		state                State
		why, touches         string
	}{
		{"no cgroups to see", "", "", Planned, "", ""},
		{"a guaranteed pod, cgroup v2", "sys/fs/cgroup/kubepods.slice/kubepods-pod" + uid + ".slice", "37", Planned, "", "has 37 processes"},
		{"a burstable pod by cgroupfs, v1", "sys/fs/cgroup/pids/kubepods/burstable/pod1f2e3d4c-0000-1111-2222-333344445555", "1024", Planned, "", "has 1024 processes"},
		{"too many for the limit", "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid + ".slice", "1025", Manual, "has 1025 processes", ""},
		{"a class of pods is no pod", "sys/fs/cgroup/kubepods.slice/kubepods-burstable.slice", "5000", Planned, "", ""},
	} {
		m := sampleNode(t)
		if tt.group != "" {
			put(m, tt.group+"/pids.current", tt.count+"\n", 0o444, 0, 0)
		}
		_, d := planOne(t, m, sampleFacts(false), limit)
		if d.State != tt.state || !strings.Contains(d.Reason, tt.why) || !strings.Contains(strings.Join(d.Touches, " "), tt.touches) || (tt.touches == "") != (len(d.Touches) == 0) {
			t.Errorf("%s: %q because %q, touches %q", tt.reason, d.State, d.Reason, d.Touches)
		}
	}
}
