package gate

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"k8s.io/apimachinery/pkg/util/httpstream/wsstream"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// world is a node with one static pod: a file tree, a container runtime that
// does as it is told, and one server that is the component and the API at once.
// It is for faults that a real node does not make on demand; tests/e2e has the
// real ones.
type world struct {
	cri.UnimplementedRuntimeServiceServer
	cri.UnimplementedImageServiceServer

	t         *testing.T
	component string
	probed    string // the host that the manifest's probes ask
	dir       string
	tree      *host.FS
	server    *httptest.Server
	gates     *Gates

	mu         sync.Mutex
	boxes      []*cri.PodSandbox
	containers []*cri.Container
	status     map[string]*cri.ContainerStatus
	pids       map[string]int
	images     map[string]bool
	info       map[string]string // of the runtime's status
	answers    map[string]int    // of the server, by path; 200 otherwise
	bodies     map[string]string
	executed   string // the runtime's word on a program that is not there, as JSON
	frozen     bool   // the Lease is not renewed
	renewed    time.Time
	requests   []string
	lines      []string // logged
}

// quick are limits for a component that is a goroutine.
var quick = Limits{
	Poll: 20 * time.Millisecond, Request: 5 * time.Second, Margin: 2 * time.Second, Refused: 200 * time.Millisecond,
	Serve: 300 * time.Millisecond, BackOff: time.Second, Kubelet: 300 * time.Millisecond, FileCheck: 100 * time.Millisecond,
	Service: 2 * time.Second, Stable: 200 * time.Millisecond, CatchUp: 500 * time.Millisecond,
}

const (
	podUID     = "uid-1"
	container1 = "container-1"
)

func newWorld(t *testing.T, component string) *world {
	t.Helper()
	w := &world{
		t: t, component: component, probed: "127.0.0.1", dir: t.TempDir(), status: map[string]*cri.ContainerStatus{}, pids: map[string]int{},
		images: map[string]bool{"pause:1": true, "component:1": true}, answers: map[string]int{}, bodies: map[string]string{},
		info: map[string]string{"config": `{"sandboxImage":"pause:1"}`}, renewed: time.Now(), executed: containerdSays,
	}
	w.server = httptest.NewUnstartedServer(http.HandlerFunc(w.serve))
	w.server.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that fail on purpose
	w.server.StartTLS()
	t.Cleanup(w.server.Close)

	socket := filepath.Join(w.dir, "run/containerd/containerd.sock")
	w.write("var/keep", "")
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	// As on a real host, and absolute: it must be followed inside the tree.
	w.link("/run", "var/run")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(s, w)
	cri.RegisterImageServiceServer(s, w)
	go func() { _ = s.Serve(listener) }()
	t.Cleanup(s.Stop)

	w.write("etc/kubernetes/kubelet-config.yaml", "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock\n")
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: w.server.Certificate().Raw})
	w.write("etc/kubernetes/ssl/ca.crt", string(ca))
	config := "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n" +
		"clusters: [{name: c, cluster: {server: '" + w.server.URL + "', certificate-authority: ssl/ca.crt}}]\nusers: [{name: u, user: {token: secret-token}}]\n"
	w.write("etc/kubernetes/admin.conf", config)
	w.write("etc/kubernetes/kubelet.conf", config)
	w.manifest()
	w.run(podUID, container1, w.argv())

	if w.tree, err = host.Open(w.dir, host.Proc(filepath.Join(w.dir, "proc"))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.tree.Close() })
	w.gates, err = New(Options{
		Root: w.dir, FS: w.tree, Space: w.tree.Space, Detect: w.detect, Log: func(line string) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.lines = append(w.lines, line)
		},
		Limits: quick,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.gates.Close() })
	return w
}

func (w *world) write(name, content string) {
	w.t.Helper()
	file := filepath.Join(w.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) link(target, name string) {
	w.t.Helper()
	if err := os.Symlink(target, filepath.Join(w.dir, name)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) port() string {
	_, port, _ := net.SplitHostPort(w.server.Listener.Addr().String())
	return port
}

func (w *world) manifestFile() string {
	return "etc/kubernetes/manifests/" + programs[w.component] + ".yaml"
}

func (w *world) argv(more ...string) []string {
	return append([]string{programs[w.component], "--bind-address=127.0.0.1", "--secure-port=" + w.port()}, more...)
}

// manifest writes the manifest with more flags.
func (w *world) manifest(more ...string) {
	w.t.Helper()
	probe := "{failureThreshold: 1, periodSeconds: 1, timeoutSeconds: 5, httpGet: {host: " + w.probed + ", port: probe, path: /livez, scheme: HTTPS}}"
	argv, err := json.Marshal(w.argv(more...))
	if err != nil {
		w.t.Fatal(err)
	}
	w.write(w.manifestFile(), fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata: {name: %s, namespace: kube-system, annotations: {a: b}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: main
    image: component:1
    command: %s
    ports: [{name: probe, containerPort: %s}]
    startupProbe: %s
    livenessProbe: %s
`, programs[w.component], argv, w.port(), probe, probe))
}

func (w *world) detect() (node.Facts, error) {
	facts := node.Facts{
		NodeName: "cp1", KubeConfigDir: "/etc/kubernetes", ManifestDir: "/etc/kubernetes/manifests", Runtime: "containerd",
		Components: map[string]node.Component{node.Kubelet: {
			Config: "/etc/kubernetes/kubelet-config.yaml", Kubeconfig: "/etc/kubernetes/kubelet.conf",
			Configured: []string{"kubelet", "--node-ip=127.0.0.1"},
		}},
	}
	// The API server is this world's server, whatever its component.
	facts.Components[node.APIServer] = node.Component{Configured: []string{"kube-apiserver", "--secure-port=" + w.port()}}
	data, err := os.ReadFile(filepath.Join(w.dir, w.manifestFile()))
	if err != nil {
		return facts, err
	}
	m, err := node.ReadManifest(data)
	if err != nil {
		return facts, nil // as Detect does
	}
	facts.Components[w.component] = node.Component{Manifest: "/" + w.manifestFile(), Configured: m.Containers[0].Argv(), Image: m.Containers[0].Image}
	return facts, nil
}

func (w *world) serve(rw http.ResponseWriter, r *http.Request) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, r.Method+" "+r.URL.RequestURI())
	if code := w.answers[r.URL.Path]; code != 0 {
		rw.WriteHeader(code)
		fmt.Fprint(rw, w.bodies[r.URL.Path])
		return
	}
	probes := map[string]bool{"/livez": true, "/healthz": true}
	if !probes[r.URL.Path] && r.Header.Get("Authorization") != "Bearer secret-token" {
		rw.WriteHeader(http.StatusUnauthorized)
		return
	}
	if probes[r.URL.Path] && r.Header.Get("Authorization") != "" {
		w.t.Errorf("a probe brings credentials to %s", r.URL.Path)
	}
	if body, ok := w.bodies[r.URL.Path]; ok {
		fmt.Fprint(rw, body)
		return
	}
	if !w.frozen {
		w.renewed = w.renewed.Add(time.Second)
	}
	pod := "/api/v1/namespaces/kube-system/pods/" + programs[w.component] + "-cp1"
	switch r.URL.Path {
	case "/readyz":
		fmt.Fprint(rw, "[+]ping ok\n[+]etcd ok\nreadyz check passed\n")
	case pod:
		_ = json.NewEncoder(rw).Encode(w.mirror())
	case "/api/v1/nodes/cp1":
		fmt.Fprint(rw, `{"metadata":{"name":"cp1"},"status":{"conditions":[{"type":"Ready","status":"True"}]}}`)
	case "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/" + programs[w.component]:
		fmt.Fprintf(rw, `{"spec":{"holderIdentity":"somebody","renewTime":%q}}`, w.renewed.Format(time.RFC3339Nano))
	case "/api/v1/pods":
		fmt.Fprint(rw, `{"items":[{"metadata":{"name":"other","namespace":"ns","annotations":{"kubernetes.io/config.mirror":"x"}},"spec":{"containers":[{}]}},`+
			podOf("proxy", `"resources":{"limits":{"cpu":"1"}}`)+`]}`)
	case execPath:
		w.exec(rw, r)
	default:
		fmt.Fprint(rw, "{}")
	}
}

// mirror is what a prompt kubelet shows of the newest sandbox.
func (w *world) mirror() any {
	box, c := w.boxes[len(w.boxes)-1], w.containers[len(w.containers)-1]
	return map[string]any{
		"metadata": map[string]any{"annotations": box.Annotations},
		"status": map[string]any{"podIP": "127.0.0.1", "containerStatuses": []any{map[string]any{
			"name": "main", "containerID": "containerd://" + c.Id, "ready": true, "started": true,
		}}},
	}
}

const (
	execPath       = "/api/v1/namespaces/kube-system/pods/proxy/exec"
	containerdSays = `{"status":"Failure","reason":"InternalError","message":"error executing command in container: exec: \"` + noProgram + `\": stat ` + noProgram + `: no such file or directory"}`
)

// podOf is a pod of kube-system with one container that is up.
func podOf(name, container string) string {
	return fmt.Sprintf(`{"metadata":{"name":%q,"namespace":"kube-system"},"spec":{"containers":[{"name":"main",%s}]},"status":{"containerStatuses":[{"name":"main","ready":true}]}}`, name, container)
}

// exec is what a container runtime makes of one, by the code that it has it from.
func (w *world) exec(rw http.ResponseWriter, r *http.Request) {
	if q := r.URL.Query(); q.Get("container") != "main" || q.Get("command") != noProgram {
		w.t.Errorf("exec: %s", r.URL)
	}
	read, write, none := wsstream.ReadChannel, wsstream.WriteChannel, wsstream.IgnoreChannel
	conn := wsstream.NewConn(map[string]wsstream.ChannelProtocolConfig{
		execProtocol: {Binary: true, Channels: []wsstream.ChannelType{none, write, none, write, read}},
	})
	_, streams, err := conn.Open(rw, r)
	if err != nil {
		w.t.Error(err)
		return
	}
	defer conn.Close()
	_, _ = streams[1].Write(nil) // a runtime does so too
	if w.executed != "" {
		_, _ = streams[errorChannel].Write([]byte(w.executed))
		_, _ = io.Copy(io.Discard, streams[4]) // until the client goes
	}
}

func before(t *testing.T, w *world) Snapshot {
	t.Helper()
	s, err := w.gates.Before(t.Context(), w.component)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// wants tells whether an error says what it should; no words mean no error.
func wants(t *testing.T, err error, words ...string) {
	t.Helper()
	if len(words) == 0 {
		if err != nil {
			t.Errorf("unexpected: %v", err)
		}
		return
	}
	if err == nil {
		t.Errorf("no error; want %q", words)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			t.Errorf("%q does not say %q", err, word)
		}
	}
	if strings.Contains(err.Error(), "secret-token") {
		t.Errorf("%q tells a secret", err)
	}
}
