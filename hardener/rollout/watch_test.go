package rollout

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// watchObjects are what WatchManifests adds to install.yaml.
type watchObjects struct {
	Account       corev1.ServiceAccount
	Role          rbacv1.Role
	Binding       rbacv1.RoleBinding
	Set           appsv1.DaemonSet
	Repair        rbacv1.Role // without --repair empty
	RepairBinding rbacv1.RoleBinding
}

func newWatchObjects(t *testing.T, args []string, repair string) (o watchObjects, text string) {
	t.Helper()
	out, err := WatchManifests(digest, args, repair)
	if err != nil {
		t.Fatal(err)
	}
	text, ok := strings.CutPrefix(string(out), string(manifests.Install())+"---\n")
	if !ok {
		t.Fatal("it does not begin with install.yaml")
	}
	into := []any{&o.Account, &o.Role, &o.Binding, &o.Set}
	if repair != RepairNone {
		into = append(into, &o.Repair, &o.RepairBinding)
	}
	if err := decodeAll([]byte(text), into...); err != nil {
		t.Fatal(err)
	}
	return o, text
}

// TestWatchFile reads watch.yaml as kubectl apply takes it.
func TestWatchFile(t *testing.T) {
	var o watchObjects
	if err := decodeAll(manifests.Watch(), &o.Account, &o.Role, &o.Binding, &o.Set); err != nil {
		t.Fatal(err)
	}
	c := o.Set.Spec.Template.Spec.Containers[0]
	if want := []string{"watch", "--repair=none", "--metrics-address=:9808"}; c.Image != placeholder || !slices.Equal(c.Args, want) {
		t.Errorf("image %s, arguments %q", c.Image, c.Args)
	}
	filled, _ := newWatchObjects(t, c.Args, RepairNone)
	filled.Set.Spec.Template.Spec.Containers[0].Image = placeholder
	if diff := cmp.Diff(o, filled); diff != "" {
		t.Errorf("--print differs from the file by more than the image (-file +printed)\n%s", diff)
	}
}

func TestWatchManifests(t *testing.T) {
	for _, repair := range []string{RepairNone, RepairFiles, RepairRestart} {
		t.Run(repair, func(t *testing.T) {
			args := []string{"watch", "--repair=" + repair, "--metrics-address=:9900", `--odd="x": y # z`}
			o, text := newWatchObjects(t, args, repair)
			pod := o.Set.Spec.Template.Spec
			c := pod.Containers[0]
			if c.Image != digest || !slices.Equal(c.Args, args) || strings.Contains(text, placeholder) {
				t.Errorf("image %s, arguments %q", c.Image, c.Args)
			}
			host := c.VolumeMounts[0]
			checks := map[string]bool{
				"its labels are those it selects":         cmp.Equal(o.Set.Spec.Selector.MatchLabels, o.Set.Spec.Template.Labels) && cmp.Equal(o.Set.Labels, o.Set.Spec.Template.Labels),
				"it is in the namespace, by its account":  o.Set.Namespace == Namespace && o.Account.Namespace == Namespace && pod.ServiceAccountName == o.Account.Name,
				"only its pods have the token":            !*o.Account.AutomountServiceAccountToken && *pod.AutomountServiceAccountToken,
				"it tolerates every taint, and stays":     len(pod.Tolerations) == 1 && pod.Tolerations[0] == corev1.Toleration{Operator: corev1.TolerationOpExists} && pod.PriorityClassName == "system-node-critical",
				"it is updated some nodes at a time":      o.Set.Spec.UpdateStrategy.RollingUpdate.MaxUnavailable.String() == "10%",
				"it has requests and a limit of memory":   len(c.Resources.Requests) == 2 && len(c.Resources.Limits) == 1,
				"it sees the node's processes":            pod.HostPID,
				"it sees the tree with later mounts":      host.MountPath == "/host" && *host.MountPropagation == corev1.MountPropagationHostToContainer,
				"it cannot write in its own image":        *c.SecurityContext.ReadOnlyRootFilesystem,
				"its port is that of its arguments":       c.Ports[0].Name == "metrics" && c.Ports[0].ContainerPort == 9900 && o.Set.Spec.Template.Annotations["prometheus.io/port"] == "9900" && !strings.Contains(text, "9808"),
				"it is asked at that port":                c.LivenessProbe.HTTPGet.Port.String() == "metrics" && c.ReadinessProbe.HTTPGet.Port.String() == "metrics",
				"it knows its node":                       c.Env[0].Name == "NODE_NAME" && c.Env[0].ValueFrom.FieldRef.FieldPath == "spec.nodeName",
				"the node's network is for restarts only": pod.HostNetwork == (repair == RepairRestart),
				"every volume is mounted":                 len(pod.Volumes) == len(c.VolumeMounts),
			}
			if repair == RepairNone {
				state := c.VolumeMounts[len(c.VolumeMounts)-1]
				checks["it can write to its own folder alone"] = len(c.VolumeMounts) == 2 && host.ReadOnly && state.MountPath == "/host/var/lib/kubespray-hardener/watch" &&
					pod.Volumes[1].Name == state.Name && pod.Volumes[1].HostPath.Path == "/var/lib/kubespray-hardener/watch" && *pod.Volumes[1].HostPath.Type == corev1.HostPathDirectoryOrCreate
				checks["it is not privileged"] = c.SecurityContext.Privileged == nil && !*c.SecurityContext.AllowPrivilegeEscalation
				checks["it has two capabilities"] = cmp.Equal(*c.SecurityContext.Capabilities, corev1.Capabilities{Drop: []corev1.Capability{"ALL"}, Add: []corev1.Capability{"DAC_READ_SEARCH", "SYS_PTRACE"}})
			} else {
				// What a repair may is what a fix may: no more, no less.
				fix, err := newNodeObjects(nodeSpec{Rollout: "abc", Node: "w1", Image: digest})
				if err != nil {
					t.Fatal(err)
				}
				of := fix.Job.Spec.Template.Spec
				checks["it may on the node what a fix may"] = cmp.Equal(c.SecurityContext, of.Containers[0].SecurityContext) && cmp.Equal(pod.Volumes, of.Volumes) && cmp.Equal(c.VolumeMounts, of.Containers[0].VolumeMounts)
				checks["it has time to undo"] = *pod.TerminationGracePeriodSeconds == *of.TerminationGracePeriodSeconds
			}
			for what, ok := range checks {
				if !ok {
					t.Errorf("not so: %s", what)
				}
			}
		})
	}
}

func TestWatchRights(t *testing.T) {
	o, _ := newWatchObjects(t, []string{"watch", "--repair=files"}, RepairFiles)
	type right struct{ Namespace, Group, Resource, Name, Verbs string }
	var got []right
	for _, role := range []rbacv1.Role{o.Role, o.Repair} {
		for _, rule := range role.Rules {
			if len(rule.NonResourceURLs) > 0 {
				t.Errorf("%s: %v", role.Name, rule)
			}
			got = append(got, right{role.Namespace, strings.Join(rule.APIGroups, " "), strings.Join(rule.Resources, " "), strings.Join(rule.ResourceNames, " "), strings.Join(rule.Verbs, " ")})
		}
	}
	if diff := cmp.Diff([]right{
		{"default", "events.k8s.io", "events", "", "create"},
		{Namespace, "coordination.k8s.io", "leases", LeaseName, "get update"}, // of a repair alone
		{Namespace, "coordination.k8s.io", "leases", "", "create"},
	}, got); diff != "" {
		t.Errorf("a watcher's rights (-want +got)\n%s", diff)
	}
	for role, binding := range map[*rbacv1.Role]rbacv1.RoleBinding{&o.Role: o.Binding, &o.Repair: o.RepairBinding} {
		want := []rbacv1.Subject{{Kind: "ServiceAccount", Name: o.Account.Name, Namespace: Namespace}}
		if binding.Namespace != role.Namespace || binding.RoleRef.Kind != "Role" || binding.RoleRef.Name != role.Name || !cmp.Equal(want, binding.Subjects) {
			t.Errorf("%s/%s: binding %+v", role.Namespace, role.Name, binding)
		}
	}
}

func TestWatchPort(t *testing.T) {
	o, _ := newWatchObjects(t, []string{"watch"}, RepairNone)
	if c := o.Set.Spec.Template.Spec.Containers[0]; c.Args[1] != "--metrics-address=:9808" || c.Ports[0].ContainerPort != WatchPort {
		t.Errorf("arguments %q, ports %v", c.Args, c.Ports)
	}
	for address, ok := range map[string]bool{":1": true, "0.0.0.0:9808": true, "[::]:9808": true, "127.0.0.1:9808": false, "localhost:9808": false, ":0": false, ":http": false, "9808": false, "": false, ":70000": false} {
		if _, err := WatchManifests(digest, []string{"watch", "--metrics-address=" + address}, RepairNone); (err == nil) != ok {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := WatchManifests(digest, []string{"watch"}, "all"); err == nil {
		t.Error("any --repair will do")
	}
}
