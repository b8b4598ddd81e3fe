// Package apiserver starts a real kube-apiserver and a real etcd for a test that
// needs the Kubernetes API and no nodes: RBAC, admission and validation are
// Kubernetes' own. No kubelet runs, and no controller that a test does not ask
// for, so that the test plays their part and nothing else.
//
// The programs are those of the lab (tests/lab/components), from the cache. It
// leaves clusters with nodes to package lab.
package apiserver

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/tests/cache"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

const (
	etcd       = "etcd-v3.6.5"
	kubernetes = "kubernetes-v1.35.4"
)

// adminToken is that of a member of system:masters.
const adminToken = "admin"

// Server is an API server that runs until the test ends.
type Server struct {
	Address string // "192.0.2.1:40000": of this machine, as the API knows no loopback

	t        *testing.T
	client   *http.Client // with all rights
	programs string       // the folder of Kubernetes' programs
	start    func() *exec.Cmd
	server   *exec.Cmd
}

// Start starts an etcd and an API server with RBAC and waits until it is ready.
// flags are further ones of the API server; of one that is set twice the last counts.
func Start(t *testing.T, flags ...string) *Server {
	t.Helper()
	ctx := t.Context()
	repo, err := oracle.Repository(ctx)
	if err != nil {
		t.Fatal(err)
	}
	programs := func(name, ldflags string) string {
		dir, err := cache.Programs(ctx, cache.Module{Name: name, Dir: filepath.Join(repo, "tests", "lab", "components", name), Ldflags: ldflags})
		if err != nil {
			t.Fatal(err)
		}
		return dir
	}
	version := strings.TrimPrefix(kubernetes, "kubernetes-")
	kube := programs(kubernetes, ldflags(version))
	dir := t.TempDir()
	ip, ports := address(t), free(t, 3)
	client := "http://127.0.0.1:" + ports[0]
	Run(t, "etcd", func() *exec.Cmd {
		return exec.Command(filepath.Join(programs(etcd, ""), "server"), "--data-dir="+filepath.Join(dir, "etcd"), "--unsafe-no-fsync",
			"--listen-client-urls="+client, "--advertise-client-urls="+client, "--listen-peer-urls=http://127.0.0.1:"+ports[1],
			"--initial-advertise-peer-urls=http://127.0.0.1:"+ports[1], "--initial-cluster=default=http://127.0.0.1:"+ports[1])
	})
	key, tokens := filepath.Join(dir, "sa.key"), filepath.Join(dir, "tokens")
	writeKey(t, key)
	if err := os.WriteFile(tokens, []byte(adminToken+",admin,admin,system:masters\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Address: net.JoinHostPort(ip, ports[2]), programs: kube, t: t}
	if s.client, err = rest.HTTPClientFor(s.Admin()); err != nil {
		t.Fatal(err)
	}
	s.start = func() *exec.Cmd {
		return exec.Command(filepath.Join(kube, "kube-apiserver"), append([]string{"--etcd-servers=" + client, "--bind-address=" + ip, "--advertise-address=" + ip,
			"--secure-port=" + ports[2], "--cert-dir=" + dir, "--token-auth-file=" + tokens, "--authorization-mode=RBAC",
			"--service-account-key-file=" + key, "--service-account-signing-key-file=" + key, "--service-account-issuer=https://test",
			"--service-cluster-ip-range=10.233.0.0/24", "--allow-privileged", "--enable-priority-and-fairness=false", "--watch-cache=false"}, flags...)...)
	}
	s.server = Run(t, "kube-apiserver", s.start)
	s.WaitReady()
	return s
}

// ldflags are those of the lab, so that both share one build (tests/lab/component).
func ldflags(version string) string {
	part := strings.Split(strings.TrimPrefix(version, "v"), ".")
	var flags []string
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range []string{"gitVersion=" + version, "gitMajor=" + part[0], "gitMinor=" + part[1], "gitTreeState=clean"} {
			flags = append(flags, "-X "+pkg+"."+set)
		}
	}
	return strings.Join(flags, " ")
}

// Admin may do everything.
func (s *Server) Admin() *rest.Config {
	return &rest.Config{Host: "https://" + s.Address, BearerToken: adminToken, TLSClientConfig: rest.TLSClientConfig{Insecure: true}}
}

// As is a service account: its name and its groups, without a token.
func (s *Server) As(namespace, account string) *rest.Config {
	config := s.Admin()
	config.Impersonate = rest.ImpersonationConfig{
		UserName: "system:serviceaccount:" + namespace + ":" + account,
		Groups:   []string{"system:serviceaccounts", "system:serviceaccounts:" + namespace, "system:authenticated"},
	}
	return config
}

// Apply applies YAML with kubectl.
func (s *Server) Apply(yaml []byte) {
	s.t.Helper()
	s.Kubectl(yaml, "apply", "-f", "-")
}

// Kubectl runs kubectl with the rights of Admin and returns its output.
func (s *Server) Kubectl(stdin []byte, args ...string) string {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.programs, "kubectl"), append([]string{"--server=https://" + s.Address, "--token=" + adminToken, "--insecure-skip-tls-verify", "--kubeconfig=/dev/null"}, args...)...)
	cmd.Stdin = bytes.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		s.t.Fatalf("kubectl %s: %v: %s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Stop ends the API server; etcd goes on.
func (s *Server) Stop() {
	s.t.Helper()
	end(s.t, s.server)
}

// Restart starts an API server that Stop has ended.
func (s *Server) Restart() {
	s.t.Helper()
	s.server = Run(s.t, "kube-apiserver", s.start)
}

// WaitReady waits until the API server is ready.
func (s *Server) WaitReady() {
	s.t.Helper()
	var last string
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		resp, err := s.client.Get("https://" + s.Address + "/readyz")
		if err != nil {
			last = err.Error()
			continue
		}
		resp.Body.Close()
		if last = resp.Status; resp.StatusCode == 200 {
			return
		}
	}
	s.t.Fatalf("the API server is not ready: %s", last)
}

// Kubeconfig writes a kubeconfig and returns its path: of whoever has this token.
func (s *Server) Kubeconfig(token string) string {
	s.t.Helper()
	path := filepath.Join(s.t.TempDir(), "kubeconfig")
	text := fmt.Sprintf(`{apiVersion: v1, kind: Config, current-context: x, contexts: [{name: x, context: {cluster: x, user: x}}],
clusters: [{name: x, cluster: {server: "https://%s", insecure-skip-tls-verify: true}}], users: [{name: x, user: {token: %q}}]}`, s.Address, token)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// Controllers starts a controller manager with these controllers, until the test
// ends. It may ask as much as it likes, so that no test waits for its usual limit
// of 20 requests a second.
func (s *Server) Controllers(names ...string) {
	s.t.Helper()
	kubeconfig := s.Kubeconfig(adminToken)
	Run(s.t, "kube-controller-manager", func() *exec.Cmd {
		return exec.Command(filepath.Join(s.programs, "kube-controller-manager"), "--kubeconfig="+kubeconfig, "--controllers="+strings.Join(names, ","),
			"--leader-elect=false", "--secure-port=0", "--kube-api-qps=1000", "--kube-api-burst=1000", "--min-resync-period=1h")
	})
}

// Run starts a program that ends with the test; what it printed is shown when the
// test fails.
func Run(t *testing.T, name string, command func() *exec.Cmd) *exec.Cmd {
	t.Helper()
	cmd := command()
	log, err := os.CreateTemp(t.TempDir(), name)
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	// It must not outlive a test program that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		end(t, cmd)
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			lines := strings.Split(strings.TrimSpace(string(text)), "\n")
			t.Logf("the last lines of %s:\n%s", name, strings.Join(lines[max(0, len(lines)-15):], "\n"))
		}
		log.Close()
	})
	return cmd
}

// end ends a program of ours, once.
func end(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if cmd.ProcessState != nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	context.AfterFunc(ctx, func() {
		if ctx.Err() == context.DeadlineExceeded {
			cmd.Process.Kill()
		}
	})
	cmd.Process.Signal(syscall.SIGTERM)
	cmd.Wait()
}

// address is one of this machine that is not loopback, which the API refuses as
// that of an endpoint.
func address(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() && n.IP.To4() != nil {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no address but loopback")
	return ""
}

// free are ports that nobody listens on.
func free(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

func writeKey(t *testing.T, path string) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	block := &pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
	if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		t.Fatal(fmt.Errorf("service account key: %w", err))
	}
}
