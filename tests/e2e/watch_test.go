//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// The DaemonSet on a live cluster: what drifts is told by an Event that names the
// file and both values, whatever else goes wrong at the time, and an installer's
// usual work is not told.
func TestWatch(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	w := newWatched(t, c, importImage(t, cp, worker))
	w.apply(t, "--hold=20s")

	const kubeconfig = "/etc/kubernetes/kubelet.conf"
	drifts := func(t *testing.T, n *machine.Node) {
		t.Helper()
		must(t, n, "chmod", "0666", kubeconfig)
	}
	told := func(t *testing.T, n *machine.Node, before int) {
		t.Helper()
		w.tells(t, n, before, events.DriftDetected, kubeconfig, "permissions=600 -> permissions=666", "owner root")
	}
	undo := func(t *testing.T, n *machine.Node) {
		t.Helper()
		before := len(w.events(t, n))
		must(t, n, "chmod", "0600", kubeconfig)
		w.tells(t, n, before, events.DriftGone)
	}

	t.Run("installer", func(t *testing.T) {
		was := map[string]int{cp.Name: len(w.events(t, cp)), worker.Name: len(w.events(t, worker))}
		for _, n := range []*machine.Node{cp, worker} {
			must(t, n, "sh", "-c", rewritten)
		}
		play(t, c, passing)
		must(t, cp, "sh", "-c", regenerated)
		if err := c.Ready(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		// A drift of our own, so that all that came before has been looked at.
		for _, n := range []*machine.Node{cp, worker} {
			until(t, 3*time.Minute, n.Name+" is not held any more", func() (bool, string) {
				log := w.log(t, n)
				return strings.Count(log, "is at work on this node") == strings.Count(log, "is done here"), log
			})
			drifts(t, n)
			told(t, n, was[n.Name])
			for _, e := range w.events(t, n)[was[n.Name]:] {
				if !strings.Contains(e.Note, kubeconfig) {
					t.Errorf("%s: told of an installer's work: %s %s", n.Name, e.Reason, e.Note)
				}
			}
			undo(t, n)
		}
		fmt.Println("e2e: watch: files written again, a play of Ansible, certificates renewed and manifests regenerated under it: 0 false Events")
	})
	t.Run("no API server", func(t *testing.T) {
		before := len(w.events(t, worker))
		heal, err := cp.CutPort(t.Context(), 6443)
		if err != nil {
			t.Fatal(err)
		}
		drifts(t, worker)
		until(t, time.Minute, "the drift is seen", func() (bool, string) {
			log := w.log(t, worker)
			return strings.Contains(log, "Events wait for the API server"), log
		})
		if err := heal(t.Context()); err != nil {
			t.Fatal(err)
		}
		told(t, worker, before)
		undo(t, worker)
	})
	t.Run("killed", func(t *testing.T) {
		before := len(w.events(t, worker))
		must(t, worker, "pkill", "-STOP", "-x", "hardener") // so that it cannot see it first
		drifts(t, worker)
		must(t, worker, "pkill", "-KILL", "-x", "hardener")
		told(t, worker, before)
		undo(t, worker)
	})
	t.Run("power cut", func(t *testing.T) {
		before := len(w.events(t, worker))
		must(t, worker, "pkill", "-STOP", "-x", "hardener")
		drifts(t, worker)
		must(t, worker, "sync")
		if err := worker.CutPower(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := worker.Start(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		told(t, worker, before)
		if err := c.Ready(t.Context(), time.Time{}); err != nil {
			t.Fatal(err)
		}
		undo(t, worker)
	})
	t.Run("disk full", func(t *testing.T) {
		before := len(w.events(t, worker))
		empty, err := worker.Fill(0)
		if err != nil {
			t.Fatal(err)
		}
		drifts(t, worker)
		told(t, worker, before)
		if err := empty(); err != nil {
			t.Fatal(err)
		}
		undo(t, worker)
		must(t, worker, "pkill", "-KILL", "-x", "hardener") // what was not kept is not told again
		w.ready(t)
		before = len(w.events(t, worker))
		drifts(t, worker)
		told(t, worker, before)
		undo(t, worker)
	})
}

// What the watcher puts back: modes at once, settings by a restart that is proven
// and holds the Lease; and what somebody undoes again and again it leaves alone.
func TestWatchRepairs(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp, worker := c.Node("cp1"), c.Node("worker1")
	w := newWatched(t, c, importImage(t, cp, worker))
	w.apply(t, "--repair=restart", "--soak=5s", "--rounds=2")
	const kubeconfig, config = "/etc/kubernetes/kubelet.conf", "/etc/kubernetes/kubelet-config.yaml"

	t.Run("mode", func(t *testing.T) {
		before := len(w.events(t, worker))
		must(t, worker, "chmod", "0666", kubeconfig)
		w.tells(t, worker, before, events.DriftRepaired)
		if mode := strings.TrimSpace(must(t, worker, "stat", "-c", "%a", kubeconfig)); mode != "600" {
			t.Errorf("mode %s, want 600", mode)
		}
		// Only here the kernel says who did it: the pod is privileged.
		w.tells(t, worker, before, events.DriftDetected, "says the kernel")
	})
	t.Run("setting", func(t *testing.T) {
		before := len(w.events(t, worker))
		const anonymous = "sed -n '/anonymous:/{n;p}' " + config
		must(t, worker, "sh", "-c", "sed -i '/anonymous:/{n;s/enabled: false/enabled: true/}' "+config+" && "+anonymous+" | grep -q true && systemctl restart kubelet")
		w.tells(t, worker, before, events.DriftDetected, config, "authentication.anonymous.enabled=false -> authentication.anonymous.enabled=true")
		w.tells(t, worker, before, events.DriftRepaired, "4.2.1")
		if now := must(t, worker, "sh", "-c", anonymous); !strings.Contains(now, "false") {
			t.Errorf("it is as it was made: %s", now)
		}
		if err := c.Ready(t.Context(), time.Time{}); err != nil {
			t.Error(err)
		}
		holder := must(t, cp, "kubectl", "-n", rollout.Namespace, "get", "lease", rollout.LeaseName, "-o", "jsonpath={.spec.leaseTransitions} {.spec.holderIdentity}")
		if strings.Contains(holder, "watch:") {
			t.Errorf("the Lease was not given back: %s", holder)
		}
	})
	t.Run("conflict", func(t *testing.T) {
		before := len(w.events(t, worker))
		until(t, 3*time.Minute, "it is told as a conflict", func() (bool, string) {
			must(t, worker, "chmod", "0644", kubeconfig)
			time.Sleep(2 * time.Second)
			for _, e := range w.events(t, worker)[before:] {
				if e.Reason == string(events.DriftConflict) {
					return true, ""
				}
			}
			return false, w.log(t, worker)
		})
		must(t, worker, "chmod", "0644", kubeconfig)
		time.Sleep(3 * time.Second) // it would have been repaired by now
		if mode := strings.TrimSpace(must(t, worker, "stat", "-c", "%a", kubeconfig)); mode != "644" {
			t.Errorf("mode %s: it is still fought over", mode)
		}
	})
}

// rewritten writes the kubelet's files again as they are, as an installer's
// templates do, through a file beside them, through the file itself, and by cp.
const rewritten = `set -e
for f in /etc/kubernetes/kubelet-config.yaml /etc/kubernetes/kubelet.env /etc/systemd/system/kubelet.service; do
  cp -p $f $f.new && mv $f.new $f
  cat $f > /run/same && cat /run/same > $f
  touch $f
done
systemctl daemon-reload`

// passing gives files a mode and a setting for a moment that later tasks put right, as
// plays do that write a file first and see to it afterwards.
const passing = `
- hosts: k8s_cluster
  vars:
    config: /etc/kubernetes/kubelet-config.yaml
  tasks:
    - file: {path: /etc/kubernetes/kubelet.conf, mode: "0666"}
    - slurp: {src: "{{ config }}"}
      register: before
    - copy: {dest: "{{ config }}", mode: "0644", content: "{{ before.content | b64decode | regex_replace('readOnlyPort: 0', 'readOnlyPort: 10255') }}"}
    - copy: {dest: "{{ config }}", mode: "0644", content: "{{ before.content | b64decode }}"}
    - file: {path: "{{ config }}", mode: "0600"}
    - file: {path: /etc/kubernetes/kubelet.conf, mode: "0600"}
    - systemd: {name: kubelet, state: restarted, daemon_reload: true}
`

// regenerated renews the certificates and writes the manifests again with the same
// flags, as Kubespray's k8s-certs-renew.sh and its kubeadm tasks do.
const regenerated = `set -e
kubeadm certs renew all --config /etc/kubernetes/kubeadm-config.yaml
kubeadm init phase control-plane all --config /etc/kubernetes/kubeadm-config.yaml
for c in kube-apiserver kube-controller kube-scheduler; do pkill -TERM -x $c; done` // names of processes end after 15 bytes

// watched is the DaemonSet on a cluster.
type watched struct {
	c     *lab.Cluster
	cp    *machine.Node
	image savedImage
}

func newWatched(t *testing.T, c *lab.Cluster, image savedImage) watched {
	t.Helper()
	w := watched{c, c.Node("cp1"), image}
	t.Cleanup(func() {
		if t.Failed() {
			for _, n := range []*machine.Node{c.Node("cp1"), c.Node("worker1")} {
				out, _ := n.Run(context.Background(), "sh", "-c", "cat "+watchLog)
				t.Logf("%s:\n%s", n.Name, out)
			}
		}
		w.cp.Run(context.Background(), "kubectl", "delete", "namespace", rollout.Namespace, "--ignore-not-found", "--wait")
	})
	return w
}

// apply starts it.
func (w watched) apply(t *testing.T, args ...string) {
	t.Helper()
	print := exec.CommandContext(t.Context(), hardener, slices.Concat([]string{"watch", "--print", "--image=" + w.image.pinned()}, args)...)
	print.Stderr = os.Stderr
	manifests, err := print.Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.cp.Feed(t.Context(), bytes.NewReader(manifests), "kubectl", "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	w.ready(t)
}

// ready waits until it watches on both nodes.
func (w watched) ready(t *testing.T) {
	t.Helper()
	until(t, 5*time.Minute, "both nodes are watched", func() (bool, string) {
		out, err := w.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "get", "daemonset", "watch", "-o",
			"jsonpath={.status.numberReady}/{.status.desiredNumberScheduled}/{.status.updatedNumberScheduled}")
		if err == nil && out == "2/2/2" {
			return true, out
		}
		said, _ := w.cp.Run(t.Context(), "kubectl", "-n", rollout.Namespace, "describe", "pods")
		return false, fmt.Sprint(out, err, said[max(0, len(said)-2000):])
	})
}

// watchLog are the logs of the watcher on a node.
const watchLog = "/var/log/pods/" + rollout.Namespace + "_watch-*/watch/*.log"

func (w watched) log(t *testing.T, n *machine.Node) string {
	t.Helper()
	out, err := n.Run(t.Context(), "sh", "-c", "cat "+watchLog)
	if err != nil {
		t.Fatal(err, out)
	}
	return out
}

// eventOf is an Event on a Node, as far as a test looks at it.
type eventOf struct{ Reason, Note string }

// events are those that the watcher has told of a node, oldest first.
func (w watched) events(t *testing.T, n *machine.Node) []eventOf {
	t.Helper()
	var out string
	until(t, 3*time.Minute, "Events can be read", func() (ok bool, said string) {
		var err error
		out, err = w.cp.Run(t.Context(), "kubectl", "get", "events.events.k8s.io", "-n", "default", "--sort-by=.eventTime", "-o", "json")
		return err == nil, fmt.Sprint(err)
	})
	var list struct {
		Items []struct {
			Reason, Note, ReportingController string
			Regarding                         struct{ Kind, Name string }
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatal(err)
	}
	var all []eventOf
	for _, e := range list.Items {
		if e.ReportingController == rollout.Namespace && e.Regarding.Kind == "Node" && e.Regarding.Name == n.Name {
			all = append(all, eventOf{e.Reason, e.Note})
		}
	}
	return all
}

// tells waits for an Event after those before, which says all of some words, also
// to kubectl describe node.
func (w watched) tells(t *testing.T, n *machine.Node, before int, reason events.Reason, words ...string) {
	t.Helper()
	var note string
	until(t, 5*time.Minute, fmt.Sprintf("%s is told of as %s %v", n.Name, reason, words), func() (bool, string) {
		all := w.events(t, n)
		for _, e := range all[min(before, len(all)):] {
			if e.Reason == string(reason) && !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(e.Note, word) }) {
				note = e.Note
				return true, ""
			}
		}
		return false, fmt.Sprintf("%v\n%s", all, w.log(t, n))
	})
	if text := must(t, w.cp, "kubectl", "describe", "node", n.Name); !strings.Contains(text, string(reason)) {
		t.Errorf("kubectl describe node %s has no Event %s (%s)", n.Name, reason, note)
	}
}
