//go:build e2e

package e2e

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// The naive fixes of this file break a real cluster, and the bench sees it: what
// the product must never do, shown once as it happens.

const apiserver = "/etc/kubernetes/manifests/kube-apiserver.yaml"

// setFlag sets a flag of the API server in its manifest, as an Ansible lineinfile
// would.
func setFlag(t *testing.T, n *machine.Node, name, value string) {
	t.Helper()
	must(t, n, "sh", "-c", `f=`+apiserver+`; cp $f /root/.edit && sed -i "/^    - --`+name+`=/d; s#^    - kube-apiserver\$#&\n    - --`+name+`=`+value+`#" /root/.edit && grep -q -- "--`+name+`=`+value+`" /root/.edit && mv /root/.edit $f`)
}

func client(t *testing.T, c *lab.Cluster) kubernetes.Interface {
	t.Helper()
	k, err := c.Client(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func apiPod(ctx context.Context, k kubernetes.Interface) (*core.Pod, string) {
	pod, err := k.CoreV1().Pods("kube-system").Get(ctx, "kube-apiserver-cp1", meta.GetOptions{})
	if err != nil {
		return nil, err.Error()
	}
	text, _ := json.Marshal(pod.Status.ContainerStatuses)
	return pod, string(text)
}

// With --anonymous-auth=False the API answers, and yet its pod is never started:
// the kubelet's probes bring no credentials, get 401, and after 24 of them, four
// minutes, the kubelet kills a server that works.
func TestNaiveAnonymousAuth(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n, k := c.Node("cp1"), client(t, c)
	setFlag(t, n, "anonymous-auth", "False")
	until(t, 3*time.Minute, "the new API server answers those who have credentials", func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", "pgrep -f '[k]ube-apiserver.*--anonymous-auth=False' && kubectl --kubeconfig=/root/.kube/config get --raw=/readyz")
		return err == nil && strings.HasSuffix(strings.TrimSpace(out), "ok"), out
	})
	out := must(t, n, "curl", "-sk", "-o", "/dev/null", "-w", "%{http_code}", "https://127.0.0.1:6443/livez")
	if out != "401" {
		t.Errorf("a probe without credentials gets %s, not 401", out)
	}
	until(t, 3*time.Minute, "an event tells of the failed startup probe", func() (bool, string) {
		events, err := k.CoreV1().Events("kube-system").List(t.Context(), meta.ListOptions{FieldSelector: "involvedObject.name=kube-apiserver-cp1,reason=Unhealthy"})
		if err != nil {
			return false, err.Error()
		}
		for _, e := range events.Items {
			if strings.Contains(e.Message, "Startup probe failed") && strings.Contains(e.Message, "401") {
				return true, ""
			}
		}
		return false, "no such event"
	})
	until(t, 2*time.Minute, "the pod is shown as not started", func() (bool, string) {
		pod, said := apiPod(t.Context(), k)
		if pod == nil || len(pod.Status.ContainerStatuses) == 0 {
			return false, said
		}
		s := pod.Status.ContainerStatuses[0]
		return s.State.Running != nil && s.Started != nil && !*s.Started && !s.Ready, said
	})
	first := strings.TrimSpace(must(t, n, "pgrep", "-f", "[k]ube-apiserver.*--anonymous-auth=False"))
	began := time.Now()
	until(t, 8*time.Minute, "the kubelet kills the API server", func() (bool, string) {
		now, _ := n.Run(t.Context(), "pgrep", "-f", "[k]ube-apiserver.*--anonymous-auth=False")
		return strings.TrimSpace(now) != first, now
	})
	t.Logf("the API server was killed %s after its pod was seen not started", time.Since(began).Round(time.Second))
}

// With --kubelet-certificate-authority and the self-signed serving certificates
// that kubelets have by default, logs and exec fail on every node while all pods
// run on. The gate names the cause of either.
func TestNaiveKubeletCertificateAuthority(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	pods := map[string]string{"cp1": "kube-scheduler-cp1", "worker1": "nginx-proxy-worker1"}
	for node, pod := range pods {
		if _, err := n.Run(t.Context(), "kubectl", "--kubeconfig=/root/.kube/config", "logs", "-n", "kube-system", pod); err != nil {
			t.Fatalf("logs from %s fail before the change: %v", node, err)
		}
	}
	probing(t, n)
	var was map[string]any
	if err := json.Unmarshal([]byte(before(t, n, "apiserver")), &was); err != nil {
		t.Fatal(err)
	}
	since := time.Now()
	setFlag(t, n, "kubelet-certificate-authority", "/etc/kubernetes/ssl/ca.crt")
	until(t, 3*time.Minute, "the new API server answers", func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", "pgrep -f '[k]ube-apiserver.*--kubelet-certificate-authority' && kubectl --kubeconfig=/root/.kube/config get --raw=/readyz")
		return err == nil && strings.HasSuffix(strings.TrimSpace(out), "ok"), out
	})
	for node, pod := range pods {
		_, err := n.Run(t.Context(), "kubectl", "--kubeconfig=/root/.kube/config", "logs", "-n", "kube-system", pod)
		if err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("logs from %s: %v; want an x509 error", node, err)
		}
		_, err = n.Run(t.Context(), "kubectl", "--kubeconfig=/root/.kube/config", "exec", "-n", "kube-system", pod, "--", "true")
		if err == nil || !strings.Contains(err.Error(), "x509") {
			t.Errorf("exec on %s: %v; want an x509 error", node, err)
		}
	}
	for _, what := range []string{"logs of ", "exec in "} {
		snapshot, err := json.Marshal(was)
		if err != nil {
			t.Fatal(err)
		}
		if p := call(t, n, "-components", "apiserver", "-before", string(snapshot), "take"); !strings.Contains(p.Error, what) || !strings.Contains(p.Error, "x509") {
			t.Errorf("take: %.0f s: %q", p.Seconds, p.Error)
		}
		delete(was["pod"].(map[string]any), "logs") // which is asked first
	}
	if err := c.Ready(t.Context(), time.Time{}); err != nil {
		t.Errorf("%s after the change: %v", time.Since(since), err)
	}
}

// A manifest that is not YAML takes the running pod away, soon.
func TestNaiveBrokenManifest(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	must(t, n, "sh", "-c", "printf 'apiVersion: v1\\n  kind: [Pod\\n' > /root/.edit && mv /root/.edit /etc/kubernetes/manifests/kube-scheduler.yaml")
	began := time.Now()
	until(t, 3*time.Minute, "the scheduler is gone", func() (bool, string) {
		out, err := n.Run(t.Context(), "pgrep", "-x", "kube-scheduler")
		return err != nil, out
	})
	t.Logf("the scheduler was gone after %s", time.Since(began).Round(time.Second))
}

// A second volume mount on a path that already has one makes the kubelet refuse
// the whole manifest.
func TestNaiveDoubleMount(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	must(t, n, "sh", "-c", `sed 's#^    volumeMounts:$#&\n    - mountPath: /etc/ssl/certs\n      name: ca-certs#' `+apiserver+` > /root/.edit && mv /root/.edit `+apiserver)
	until(t, 3*time.Minute, "the kubelet refuses the manifest", func() (bool, string) {
		out, err := n.Run(t.Context(), "sh", "-c", "journalctl -u kubelet --since=-5min | grep 'must be unique' | tail -1")
		return err == nil && strings.Contains(out, "mountPath"), out
	})
}
