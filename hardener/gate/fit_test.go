package gate

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func fitnessOf(w *world) *fitness {
	facts, err := w.detect()
	if err != nil {
		w.t.Fatal(err)
	}
	return &fitness{Gates: w.gates, at: w.gates.locate(facts, ""), components: []string{w.component}}
}

func TestFit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	w.kubelet("ok")
	wants(t, w.gates.Fit(t.Context(), []string{w.component}))
	// Reasons are all told, not only the first.
	w.write("etc/kubernetes/manifests/kube-scheduler.yaml.bak", "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-scheduler, namespace: kube-system}\n")
	w.images["component:1"] = false
	wants(t, w.gates.Fit(t.Context(), []string{w.component}), "not fit for a restart", "hold the same pod kube-scheduler",
		"component:1 is not on the node")
}

// kubelet lets this world's server speak plain HTTP for the kubelet as well.
func (w *world) kubelet(answer string) {
	w.t.Helper()
	address := plainServer(w.t, func(rw http.ResponseWriter, _ *http.Request) {
		if answer != "ok" {
			rw.WriteHeader(http.StatusInternalServerError)
		}
		fmt.Fprint(rw, answer)
	})
	host, port, _ := strings.Cut(address, ":")
	w.write("etc/kubernetes/kubelet-config.yaml", fmt.Sprintf("kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock\nhealthzBindAddress: %s\nhealthzPort: %s\n", host, port))
}

func TestKubeletHealthy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	w.kubelet("ok")
	wants(t, f.kubeletHealthy(t.Context()))
	w.kubelet("PLEG is not healthy")
	wants(t, f.kubeletHealthy(t.Context()), "500", "PLEG")
	w.write("etc/kubernetes/kubelet-config.yaml", "kind: KubeletConfiguration\nhealthzPort: 1\n")
	wants(t, f.kubeletHealthy(t.Context()), "refused")
	w.write("etc/kubernetes/kubelet-config.yaml", "kind: KubeletConfiguration\nhealthzPort: 0\n")
	wants(t, f.kubeletHealthy(t.Context()))
}

func TestComponentsSettled(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	wants(t, f.componentsSettled(t.Context()))
	w.answers["/livez"] = http.StatusInternalServerError
	wants(t, f.componentsSettled(t.Context()), "kube-scheduler", "500")
	delete(w.answers, "/livez")
	// One that has just been started is given the time to restart again.
	w.status[container1].StartedAt = time.Now().Add(time.Second - calm).UnixNano()
	began := time.Now()
	wants(t, f.componentsSettled(t.Context()))
	if time.Since(began) < 500*time.Millisecond {
		t.Error("a new container is not waited for")
	}
	w.exit(1, "")
	wants(t, f.componentsSettled(t.Context()), "container main does not run")
	w.images["component:1"] = false
	wants(t, f.componentsSettled(t.Context()), "container main does not run: its image component:1 is not on the node any more")
	w.images["component:1"] = true
	w.start("container3", w.argv())
	w.manifest("--pending")
	wants(t, f.componentsSettled(t.Context()), "would change more than is asked for", "without --pending")
}

func TestCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	f := fitnessOf(w)
	wants(t, errors.Join(f.kubeletReachesAPI(t.Context()), f.otherNodesReady(t.Context()), f.otherServersReady(t.Context())))

	w.bodies["/api/v1/nodes"] = `{"items":[{"metadata":{"name":"cp1"}},{"metadata":{"name":"w1"},"status":{"conditions":[{"type":"Ready","status":"Unknown","message":"Kubelet stopped posting"}]}}]}`
	wants(t, f.otherNodesReady(t.Context()), "node w1 is not ready: Kubelet stopped posting")
	w.bodies["/api/v1/nodes/cp1"] = `{"metadata":{"name":"cp1"},"status":{"conditions":[{"type":"DiskPressure","status":"True","message":"kubelet has disk pressure"},{"type":"Ready","status":"True"}]}}`
	wants(t, f.kubeletReachesAPI(t.Context()), "node cp1 is short of disk", "kubelet has disk pressure")
	w.bodies["/api/v1/nodes/cp1"] = `{"metadata":{"name":"cp1"}}`
	wants(t, f.kubeletReachesAPI(t.Context()), "node cp1 is not ready")
	w.answers["/api/v1/nodes/cp1"] = http.StatusForbidden
	wants(t, f.kubeletReachesAPI(t.Context()), "403")

	// An API server that is down is still known by its mirror pod; this node's own
	// is not asked.
	w.bodies["/api/v1/pods"] = `{"items":[{"status":{"podIP":"127.0.0.1"},"spec":{"containers":[{"command":["kube-apiserver","--secure-port=1"]}]}},
		{"status":{"podIP":"127.0.0.2"},"spec":{"containers":[{"command":["kube-apiserver","--secure-port=1"]}]}}]}`
	wants(t, f.otherServersReady(t.Context()), "127.0.0.2:1", "refused")
	w.bodies["/api/v1/pods"] = `{}`
	w.bodies["/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"] = fmt.Sprintf(
		`{"items":[{"endpoints":[{"addresses":["127.0.0.1"]},{"addresses":["127.0.0.3"]}],"ports":[{"port":%s}]}]}`, w.port())
	wants(t, f.otherServersReady(t.Context()), "127.0.0.3")
}

// Kubespray's second etcd is a cluster of its own: while it is not whole nothing is
// restarted either, whatever the first says of itself.
func TestTwoEtcds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	first := fakeEtcd(t, []*fakeMember{{id: "1", leader: "1", term: 7, index: 1000, health: "true"}}, "{}")
	second := &fakeMember{id: "9", leader: "9", term: 2, index: 10, health: "true"}
	events := fakeEtcd(t, []*fakeMember{second}, "{}")
	w.write("etc/etcd.env", "ETCD_LISTEN_CLIENT_URLS="+first.own+"\n")
	w.write("etc/etcd-events.env", "ETCD_LISTEN_CLIENT_URLS="+events.own+"\n")
	f.at.facts.Components[node.Etcd] = node.Component{EnvFiles: []string{"/etc/etcd.env"}}
	wants(t, f.etcdHealthy(t.Context()))
	f.at.facts.Components[node.EtcdEvents] = node.Component{EnvFiles: []string{"/etc/etcd-events.env"}}
	wants(t, f.etcdHealthy(t.Context()))
	second.health = "false"
	wants(t, f.etcdHealthy(t.Context()), "etcd-events: not healthy", `health is "false"`)
	second.down = true
	wants(t, f.etcdHealthy(t.Context()), "etcd-events: not healthy", "503")
}

func TestImagesPresent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	wants(t, f.imagesPresent(t.Context()))
	w.images["pause:1"] = false
	wants(t, f.imagesPresent(t.Context()), "pause:1 is not on the node")
	// containerd 2 does not tell; its configuration does.
	w.info = map[string]string{"config": "{}"}
	w.write("etc/containerd/config.toml", "[plugins.x.pinned_images]\n  sandbox = \"pause:2\"\n")
	wants(t, f.imagesPresent(t.Context()), "pause:2 is not on the node")
	w.write("etc/containerd/config.toml", "  sandbox_image = 'pause:3'\n")
	wants(t, f.imagesPresent(t.Context()), "pause:3 is not on the node")
	w.write("etc/containerd/config.toml", "")
	wants(t, f.imagesPresent(t.Context()), "pause:4 is not on the node")
}

func TestNobodyElseAtWork(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args  []string
		words []string
	}{
		"a playbook":        {[]string{"/usr/bin/python3", "/usr/bin/ansible-playbook", "cluster.yml"}, []string{"process 7 runs ansible-playbook"}},
		"kubeadm":           {[]string{"/usr/local/bin/kubeadm", "upgrade", "apply"}, []string{"runs kubeadm"}},
		"the renewal":       {[]string{"/bin/bash", "/usr/local/bin/k8s-certs-renew.sh"}, []string{"runs k8s-certs-renew.sh"}},
		"a module":          {[]string{"/usr/bin/python3", "/root/.ansible/tmp/ansible-tmp-1-2/AnsiballZ_command.py"}, []string{"a module of Ansible"}},
		"an editor":         {[]string{"vi", "kubeadm"}, nil},
		"our own start":     {[]string{"/usr/bin/python3", "/root/.ansible/tmp/ansible-tmp-1-2/AnsiballZ_command.py", "ancestor"}, nil},
		"a shell of a name": {[]string{"bash", "-c", "kubeadm"}, []string{"kubeadm"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, node.Scheduler)
			stat := func(pid, parent int) string {
				return fmt.Sprintf("%d (x) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", pid, parent)
			}
			w.write("proc/7/stat", stat(7, 1))
			w.write("proc/7/cmdline", strings.Join(c.args, "\x00")+"\x00")
			parent := 1
			if c.args[len(c.args)-1] == "ancestor" {
				parent = 7
			}
			w.write("proc/9/stat", stat(9, parent))
			w.write("proc/9/cmdline", "hardener\x00")
			w.link("9", "proc/self")
			wants(t, fitnessOf(w).nobodyElseAtWork(t.Context()), c.words...)
		})
	}
}

// A playbook that runs on the node itself and has us started over SSH is no other work,
// nor is what it runs; another one is, and so is one of that number after a reboot or
// on another machine.
func TestStartedByAPlaybook(t *testing.T) {
	t.Parallel()
	for by, words := range map[string][]string{
		"boot/7":  {"process 8 runs ansible-playbook"},
		"other/7": {"process 7 runs", "process 8 runs", "process 12 runs"},
		"boot/1":  {"process 7 runs"},
		"boot/x":  {"process 7 runs"},
		"":        {"process 7 runs"},
	} {
		w := newWorld(t, node.Scheduler)
		w.write("proc/sys/kernel/random/boot_id", "boot\n")
		w.link("9", "proc/self")
		for pid, p := range map[int]struct {
			parent int
			args   string
		}{
			7: {1, "ansible-playbook\x00harden.yml"}, 8: {1, "ansible-playbook\x00cluster.yml"},
			9: {1, "hardener"}, 12: {7, "ansible-playbook\x00harden.yml"},
		} {
			w.write(fmt.Sprintf("proc/%d/stat", pid), fmt.Sprintf("%d (x) S %d 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 5 0 0", pid, p.parent))
			w.write(fmt.Sprintf("proc/%d/cmdline", pid), p.args+"\x00")
		}
		f := fitnessOf(w)
		f.StartedBy = by
		err := f.nobodyElseAtWork(t.Context())
		wants(t, err, words...)
		if by == "boot/7" && strings.Contains(err.Error(), "process 7 ") {
			t.Errorf("who had us started counts: %v", err)
		}
	}
}

func TestPodsNamedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	pod := "apiVersion: v1\nkind: Pod\nmetadata: {name: kube-scheduler, namespace: %s}\n"
	w.write("etc/kubernetes/manifests/.kube-scheduler.yaml.tmp", fmt.Sprintf(pod, "kube-system"))
	w.write("etc/kubernetes/manifests/folder/x", "")
	w.write("etc/kubernetes/manifests/other.yaml", fmt.Sprintf(pod, "elsewhere"))
	wants(t, f.podsNamedOnce(t.Context()))
	w.write("etc/kubernetes/manifests/kube-scheduler.yaml~", fmt.Sprintf(pod, "kube-system"))
	wants(t, f.podsNamedOnce(t.Context()), "kube-scheduler.yaml and", "kube-scheduler.yaml~ hold the same pod")
}

func TestDiskFree(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	f := fitnessOf(w)
	free, size, err := f.space("/var/lib/kubespray-hardener") // not there: that of the folder above
	if err != nil || size == 0 || free > size {
		t.Errorf("%d of %d bytes are free, %v", free, size, err)
	}
	for _, c := range []struct {
		free, size uint64
		enough     bool
	}{{1 << 30, 100 << 30, false}, {2 << 30, 100 << 30, true}, {1 << 30, 4 << 30, true}, {15, 100, false}, {16, 100, true}} {
		if got := enough(c.free, c.size); got != c.enough {
			t.Errorf("%d of %d bytes: %v", c.free, c.size, got)
		}
	}
}
