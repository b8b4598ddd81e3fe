//go:build e2e

package faults

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// files are what a fix of a control plane may change, with the component that
// they belong to; those of one component are old or new together.
var files = map[string]string{
	"/etc/kubernetes/kubelet-config.yaml":                    "kubelet",
	"/etc/kubernetes/kubelet.env":                            "kubelet",
	"/etc/kubernetes/kubescheduler-config.yaml":              "kube-scheduler",
	"/etc/kubernetes/manifests/kube-scheduler.yaml":          "kube-scheduler",
	"/etc/kubernetes/manifests/kube-controller-manager.yaml": "kube-controller-manager",
	"/etc/kubernetes/manifests/kube-apiserver.yaml":          "kube-apiserver",
	"/etc/etcd.env": "etcd",
}

// states are the digests of the files before a fix and after one.
type states struct{ before, after map[string]string }

// digests are the digests of the files that are there.
func digests(ctx context.Context, n *machine.Node) (map[string]string, error) {
	var names []string
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	out, err := n.Run(ctx, "sha256sum", names...)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for line := range strings.Lines(out) {
		fields := strings.Fields(line)
		if len(fields) == 2 {
			found[fields[1]] = fields[0]
		}
	}
	return found, nil
}

// whole is nil when the node is as before a fix or after one, component by
// component, nothing of a run is left to do, what runs is what the files say, and
// the cluster works.
func (t trial) whole(ctx context.Context, known states) (state string, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if state, err = t.fileState(ctx, known); err != nil {
		return "", err
	}
	if err := t.nothingLeft(ctx); err != nil {
		return "", err
	}
	for _, component := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		if err := runsManifest(ctx, t.node, component); err != nil {
			return "", err
		}
	}
	if err := t.cluster.Ready(ctx, time.Time{}); err != nil {
		return "", err
	}
	const write = "kubectl --kubeconfig=/root/.kube/config create configmap whole --dry-run=server -n default && kubectl --kubeconfig=/root/.kube/config logs -n kube-system --tail=1 kube-scheduler-cp1"
	_, err = t.node.Run(ctx, "sh", "-c", write)
	return state, err
}

// fileState says which components have new files.
func (t trial) fileState(ctx context.Context, known states) (string, error) {
	now, err := digests(ctx, t.node)
	if err != nil {
		return "", err
	}
	is := map[string]string{} // component: old or new
	for name, component := range files {
		var state string
		switch {
		case known.before[name] == known.after[name] && t.prepare == "":
			if now[name] != known.before[name] {
				return "", fmt.Errorf("%s is as it never was", name)
			}
			continue
		case now[name] == known.after[name]:
			state = "new"
		case now[name] == known.before[name]:
			state = "old"
		case t.prepare != "" && component == "etcd":
			continue // made for the trial
		default:
			return "", fmt.Errorf("%s is as it never was", name)
		}
		if other := is[component]; other != "" && other != state {
			return "", fmt.Errorf("%s: some of its files are old, others new", component)
		}
		is[component] = state
	}
	var changed []string
	for component, state := range is {
		if state == "new" {
			changed = append(changed, component)
		}
	}
	slices.Sort(changed)
	switch len(changed) {
	case 0:
		return "old", nil
	case len(is):
		return "new", nil
	}
	return "new: " + strings.Join(changed, ", "), nil
}

// nothingLeft is nil when no run is unfinished and no dead-man switch is armed.
//
// Before the switch is armed a run changes modes and owners only. When it dies
// there, nobody is left to end it but the next command, of whatever kind, which
// takes away what there is of a switch too; that is done here. A node that has
// booted has to do it alone as soon as the link is there that boots the switch.
func (t trial) nothingLeft(ctx context.Context) error {
	armed := "test -L /etc/systemd/system/multi-user.target.wants/kubespray-hardener-boot.service"
	if t.name == killed.name {
		armed = "systemctl -q is-active kubespray-hardener-recover-a.timer kubespray-hardener-recover-b.timer"
	}
	if out, err := t.node.Run(ctx, "sh", "-c", armed+" || hardener recover"); err != nil {
		return fmt.Errorf("the next command does not end the run: %w: %s", err, out)
	}
	out, err := t.node.Run(ctx, "hardener", "rollback", "--list", "--output=json")
	if err != nil {
		return err
	}
	var runs []struct{ ID, State string }
	if err := json.Unmarshal([]byte(out), &runs); err != nil {
		return fmt.Errorf("list of runs: %w: %.200s", err, out)
	}
	for _, r := range runs {
		if r.State != "committed" && r.State != "undone" && r.State != "rolled-back" {
			return fmt.Errorf("run %s is %s", r.ID, r.State)
		}
	}
	out, err = t.node.Run(ctx, "sh", "-c", "find /etc/systemd/system -name '*hardener*'; find /etc /var/log/kubernetes -name '.*hardener*'; pgrep -x hardener || true")
	if err == nil && strings.TrimSpace(out) != "" {
		err = fmt.Errorf("left behind: %s", strings.Join(strings.Fields(out), " "))
	}
	return err
}

// runsManifest is nil when a static pod's one process has the arguments of its
// manifest.
func runsManifest(ctx context.Context, n *machine.Node, component string) error {
	text, err := n.Run(ctx, "cat", "/etc/kubernetes/manifests/"+component+".yaml")
	if err != nil {
		return err
	}
	var pod core.Pod
	if err := yaml.Unmarshal([]byte(text), &pod); err != nil || len(pod.Spec.Containers) != 1 {
		return fmt.Errorf("manifest of %s: %d containers, %v", component, len(pod.Spec.Containers), err)
	}
	line, err := n.Run(ctx, "sh", "-c", "set -- $(pgrep -x "+component[:min(15, len(component))]+"); [ $# = 1 ] && cat /proc/$1/cmdline")
	if err != nil {
		return errors.New(component + " has not exactly one process")
	}
	want := append(slices.Clone(pod.Spec.Containers[0].Command), pod.Spec.Containers[0].Args...)
	if got := bytes.TrimSuffix([]byte(line), []byte{0}); string(got) != strings.Join(want, "\x00") {
		return fmt.Errorf("%s runs with other arguments than its manifest has", component)
	}
	return nil
}
