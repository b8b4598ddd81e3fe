//go:build linux

package gate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"io/fs"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// What needs a kubelet is tested on one, in tests/e2e.

func expiring(t *testing.T, from, to time.Time) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	k, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: k})...)
}

var now = time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)

const kubeconfigText = `apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://10.0.0.1:6443"}}]
contexts: [{name: x, context: {cluster: c, user: u}}]
current-context: x
users: [{name: u, user: {client-certificate: /pki/current.pem, client-key: /pki/current.pem}}]
`

// kubeletTree is a node on which a kubelet would start.
func kubeletTree(t *testing.T, config string) fstest.MapFS {
	tree := fstest.MapFS{
		"etc/config.yaml":  {Data: []byte("kind: KubeletConfiguration\n" + config)},
		"etc/kubelet.conf": {Data: []byte(kubeconfigText)},
		"pki/current.pem":  {Data: expiring(t, now.Add(-time.Hour), now.Add(time.Hour))},
		"proc/swaps":       {Data: []byte("Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")},
		"proc/1/mountinfo": {Data: []byte("30 20 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n")},
	}
	for name, value := range kubeletSysctls {
		tree["proc/sys/"+name] = &fstest.MapFile{Data: []byte(value + "\n")}
	}
	return tree
}

func TestKubeletPreflight(t *testing.T) {
	const swap = "Filename Type Size Used Priority\n/dev/sda2 partition 1 0 -2\n"
	const cgroupV1 = "30 20 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
	for _, c := range []struct {
		reason, config, version string
		argv                    []string
		change                  map[string]string
		want                    string
	}{
		{reason: "all well", config: "protectKernelDefaults: true", version: "v1.35.4"},
		{reason: "swap", change: map[string]string{"proc/swaps": swap}, want: "swap is on (/dev/sda2) and failSwapOn is true"},
		{reason: "swap is allowed", config: "failSwapOn: false", change: map[string]string{"proc/swaps": swap}},
		{reason: "swap is allowed by a flag", argv: []string{"kubelet", "--fail-swap-on=false"}, change: map[string]string{"proc/swaps": swap}},
		{reason: "cgroup v1 before the default changed", version: "v1.34.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}},
		{reason: "cgroup v1", version: "v1.35.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}, want: "the node has cgroup v1 and failCgroupV1 is true"},
		{reason: "cgroup v1 is allowed", config: "failCgroupV1: False", version: "v1.35.4", change: map[string]string{"proc/1/mountinfo": cgroupV1}},
		{reason: "sysctl", config: "protectKernelDefaults: true", change: map[string]string{"proc/sys/kernel/panic": "0\n"}, want: "protectKernelDefaults is true and kernel.panic is 0, not 10"},
		{reason: "sysctl that it sets itself", change: map[string]string{"proc/sys/kernel/panic": "0\n"}},
		{reason: "certificate", change: map[string]string{"pki/current.pem": string(expiring(t, now.Add(-2*time.Hour), now.Add(-time.Hour)))}, want: "its client certificate: expired at 2026-11-21T23:00:00Z"},
		{reason: "no certificate", change: map[string]string{"pki/current.pem": "nothing\n"}, want: "its client certificate: no certificate"},
	} {
		tree := kubeletTree(t, c.config)
		for name, content := range c.change {
			tree[name] = &fstest.MapFile{Data: []byte(content)}
		}
		g := &KubeletGate{FS: tree, Kubelet: node.Component{Config: "/etc/config.yaml", Kubeconfig: "/etc/kubelet.conf", Configured: c.argv}}
		if got := strings.Join(g.preflight(c.version, now), "; "); got != c.want {
			t.Errorf("%s: %q, want %q", c.reason, got, c.want)
		}
	}
	tree := kubeletTree(t, "")
	delete(tree, "pki/current.pem")
	g := &KubeletGate{FS: tree, Kubelet: node.Component{Config: "/etc/config.yaml", Kubeconfig: "/etc/kubelet.conf"}}
	if got := g.preflight("", now); len(got) != 1 || !strings.Contains(got[0], "pki/current.pem") || strings.Contains(got[0], "\n") {
		t.Errorf("without its certificate: %q", got)
	}
}

func TestKubeletDifferences(t *testing.T) {
	const live = `{"failSwapOn":true,"eventRecordQPS":50,"maxPods":110,"streamingConnectionIdleTimeout":"4h0m0s","clusterDNS":["169.254.25.10"],
		"authentication":{"x509":{"clientCAFile":"/ca"},"webhook":{"enabled":true,"cacheTTL":"2m0s"},"anonymous":{"enabled":false}},
		"kubeReserved":{"cpu":"100m","pid":"1000"},"rotateCertificates":true,"tlsCipherSuites":["A","B"]}`
	for _, c := range []struct {
		file string
		argv []string
		want []string
	}{
		{file: `{"kind":"KubeletConfiguration","maxPods":110,"failSwapOn":true,"clusterDNS":["169.254.25.10"],"readOnlyPort":0}`},
		{file: `{"streamingConnectionIdleTimeout":"240m","kubeReserved":{"pid":1000}}`},
		{file: `{"authentication":{"anonymous":{"enabled":false},"x509":{"clientCAFile":"/ca"}},"seccompDefault":false}`},
		{file: `{"maxPods":120}`, want: []string{"maxPods is 110, not 120"}},
		{file: `{"maxPods":120}`, argv: []string{"kubelet", "--max-pods=110"}},
		{file: `{"eventRecordQps":5}`, want: []string{"eventRecordQps is not set, not 5"}},
		{file: `{"eventRecordQPS":5}`, argv: []string{"kubelet", "--event-qps=50"}},
		{file: `{"webhook":{"enabled":true}}`, want: []string{"webhook.enabled is not set, not true"}},
		{file: `{"authentication":{"webhook":{"enabled":false}}}`, want: []string{"authentication.webhook.enabled is true, not false"}},
		{file: `{"tlsCipherSuites":["A"]}`, want: []string{`tlsCipherSuites is ["A","B"], not ["A"]`}},
		{file: `{"authentication":{"x509":{"clientCAFile":"/other"}}}`, argv: []string{"kubelet", "--client-ca-file", "/ca"}},
		{file: `{"kubeReserved":{"cpu":"200m"}}`, argv: []string{"kubelet", "--kube-reserved=cpu=100m"}},
	} {
		var want, got map[string]any
		if err := json.Unmarshal([]byte(c.file), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(live), &got); err != nil {
			t.Fatal(err)
		}
		s := kubeletSettings{values: want, argv: c.argv}
		if diff := cmp.Diff(c.want, s.differences(got)); diff != "" {
			t.Errorf("%s %v: -want +got\n%s", c.file, c.argv, diff)
		}
	}
}

func TestKubeletFlag(t *testing.T) {
	for field, want := range map[string]string{
		"tlsCertFile": "tls-cert-file", "clusterDNS": "cluster-dns", "kubeAPIQPS": "kube-api-qps", "cpuCFSQuota": "cpu-cfs-quota",
		"authorization.mode": "authorization-mode", "authorization.webhook.cacheAuthorizedTTL": "authorization-webhook-cache-authorized-ttl",
		"oomScoreAdj": "oom-score-adj", "featureGates.RotateKubeletServerCertificate": "feature-gates", "podCIDR": "pod-cidr",
		"podPidsLimit": "pod-max-pids", "protectKernelDefaults": "protect-kernel-defaults", "resolvConf": "resolv-conf",
	} {
		if got := kubeletFlag(field); got != want {
			t.Errorf("%s: %q, want %q", field, got, want)
		}
	}
}

func TestKubeletContainers(t *testing.T) {
	id := func(c string) string { return strings.Repeat(c, 64) }
	const static, uid = "669bc5cf44efb47bcc2f40ca9e38117f", "0f5b2c3d-1111-2222-3333-444455556666"
	tree := fstest.MapFS{
		"proc/10/cgroup": {Data: []byte("9:name=systemd:/kubepods/burstable/pod" + static + "/" + id("a") + "\n0::/kubepods/burstable/pod" + static + "/" + id("a") + "\n")},
		"proc/11/cgroup": {Data: []byte("0::/kubepods/burstable/pod" + static + "/" + id("a") + "/nested/deep\n")},
		"proc/12/cgroup": {Data: []byte("0::/kubepods/burstable/pod" + static + "/" + id("b") + "\n")},
		"proc/13/cgroup": {Data: []byte("0::/../../kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + id("c") + ".scope\n")},
		"proc/14/cgroup": {Data: []byte("0::/system.slice/kubelet.service\n")},
		"proc/uptime":    {Data: []byte("1 1\n")},
	}
	got, err := kubeletContainers(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{static: 2, uid: 1}, got); diff != "" {
		t.Error(diff)
	}
}

// journalFile is what a journal looks like around its messages.
func journalFile(head int, messages ...string) *fstest.MapFile {
	var b bytes.Buffer
	b.WriteString("LPKSHHRH")
	b.Write(make([]byte, 264))
	for _, m := range messages {
		object := make([]byte, head)
		object[0] = 1
		binary.LittleEndian.PutUint64(object[8:], uint64(head+len(m)))
		b.Write(object)
		b.WriteString(m)
		b.Write(make([]byte, 8-b.Len()%8))
	}
	data := b.Bytes()
	binary.LittleEndian.PutUint64(data[136:], uint64(len(data)))
	return &fstest.MapFile{Data: append(data, make([]byte, 4096)...)}
}

func TestLastWords(t *testing.T) {
	for _, head := range []int{64, 72} {
		tree := fstest.MapFS{
			"run/log/journal/x/system.journal": journalFile(head,
				`MESSAGE=I1125 10:00:00.000000   77 server.go:1] "fine"`, "PRIORITY=6",
				`MESSAGE=E1125 10:00:00.000000   76 run.go:72] "an earlier one"`,
				`MESSAGE=E1125 10:00:00.000000   77 run.go:72] "command failed" err="no"`,
				`MESSAGE={"level":"error","ts":"2026-11-22T00:00:01.5Z","caller":"x","msg":"discovery failed","error":"unexpected TLS cipher suite"}`,
				`MESSAGE={"level":"warn","ts":"2026-11-22T00:00:01.5Z","msg":"m","error":"only a warning"}`,
				`MESSAGE={"level":"error","ts":"2026-11-21T00:00:01.5Z","msg":"m","error":"long ago"}`,
			),
			"run/log/journal/y/system.journal": {Data: []byte("LPKSHHRH")},
			"var/log/journal/z/system.journal": {Data: []byte("no journal, MESSAGE=E1125 10:00:00.000000 77 no")},
		}
		if got, want := kubeletLastWords(tree, 77), `: it logged: run.go:72] "command failed" err="no"`; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got, want := etcdLastWords(tree, now), ": it logged: discovery failed: unexpected TLS cipher suite"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := kubeletLastWords(tree, 78); got != "" {
			t.Errorf("%q of a process that logged nothing", got)
		}
	}
}

// Bytes that only look like a journal must not make it fail.
func FuzzJournalMessages(f *testing.F) {
	data, err := fs.ReadFile(fstest.MapFS{"j": journalFile(64, "MESSAGE=x", "MESSAGE=")}, "j")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Fuzz(func(t *testing.T, b []byte) { journalMessages(b) })
}
