package rollout

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

const digest = "registry.local:5000/hardener@sha256:1111111111111111111111111111111111111111111111111111111111111111"

func TestNodeObjects(t *testing.T) {
	o, err := newNodeObjects(nodeSpec{
		Rollout: "abc", Node: "w1.example", NodeUID: "u-1", Image: digest, Args: []string{"fix", "--max-risk=restart"}, Deadline: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	pod := o.Job.Spec.Template.Spec
	c := pod.Containers[0]
	checks := map[string]bool{
		"it is on its node, whatever the scheduler thinks":      pod.NodeName == "w1.example",
		"it tolerates every taint":                              len(pod.Tolerations) == 1 && pod.Tolerations[0] == corev1.Toleration{Operator: corev1.TolerationOpExists},
		"it sees the node":                                      pod.HostPID && pod.HostNetwork && *c.SecurityContext.Privileged,
		"the tree is at /host, with later mounts, and writable": c.VolumeMounts[0].MountPath == "/host" && !c.VolumeMounts[0].ReadOnly && *c.VolumeMounts[0].MountPropagation == corev1.MountPropagationHostToContainer,
		"it is the pinned image":                                c.Image == digest,
		"it is not repeated by the Job controller":              *o.Job.Spec.BackoffLimit == 0 && pod.RestartPolicy == corev1.RestartPolicyNever,
		"it has an end, and goes by itself":                     *o.Job.Spec.ActiveDeadlineSeconds == 3600 && *o.Job.Spec.TTLSecondsAfterFinished > 0,
		"it has time to undo":                                   *pod.TerminationGracePeriodSeconds >= 600,
		"its account is this node's":                            pod.ServiceAccountName == o.Account.Name && o.Binding.Subjects[0].Name == o.Account.Name && o.Binding.RoleRef.Name == o.Role.Name,
		"it has requests and a limit of memory":                 len(c.Resources.Requests) == 2 && len(c.Resources.Limits) == 1,
		"its objects go with the Node":                          o.Report.OwnerReferences[0].Name == "w1.example" && o.Role.OwnerReferences[0].UID == "u-1",
	}
	for what, ok := range checks {
		if !ok {
			t.Errorf("not so: %s", what)
		}
	}
	if want := []string{"fix", "--max-risk=restart", "--report-to=configmap/kubespray-hardener/report-w1.example"}; !slices.Equal(c.Args, want) {
		t.Errorf("arguments %q, want %q", c.Args, want)
	}
	if diff := cmp.Diff([]rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"report-w1.example"}, Verbs: []string{"patch"}}}, o.Role.Rules); diff != "" {
		t.Errorf("a node's Job may write its own report and nothing else (-want +got)\n%s", diff)
	}
}

func TestNames(t *testing.T) {
	long := strings.Repeat("a", 63)
	nodes := []string{"w1", "a.b", "a-b", "10.0.0.1", long + "." + long + "." + long + "." + long[:61], long + "." + long + "." + long + "." + long[:60] + "b"}
	seen := map[string]string{}
	for _, node := range nodes {
		for kind, name := range map[string]string{"job": jobName("x7k2m9qa", "", node), "report": reportName(node), "account": accountName(node)} {
			if other, taken := seen[kind+name]; taken {
				t.Errorf("the %s of %s and of %s is %s", kind, node, other, name)
			}
			seen[kind+name] = node
			problems := validation.IsDNS1123Subdomain(name)
			if kind == "job" {
				problems = validation.IsDNS1123Label(name)
			}
			if problems != nil {
				t.Errorf("%s: %q: %v", kind, name, problems)
			}
		}
	}
	jobs := map[string]string{}
	for _, node := range nodes {
		for _, phase := range append(fix.Phases(), "") {
			name, of := jobName("x7k2m9qa", phase, node), string(phase)+" of "+node
			if other, taken := jobs[name]; taken || validation.IsDNS1123Label(name) != nil {
				t.Errorf("%s: its job is %s, taken by %q", of, name, other)
			}
			jobs[name] = of
		}
	}
	if a, b := jobName("x", "", "w1"), jobName("x", "", "w1"); a != b || a != "hardener-x-w1" {
		t.Errorf("the name of a Job is %q, then %q", a, b)
	}
}

func TestCheckImage(t *testing.T) {
	for _, tt := range []struct {
		image    string
		allowTag bool
		ok       bool
	}{
		{digest, false, true},
		{"hardener:v1", false, false},
		{"hardener:v1", true, true},
		{"hardener", true, true},
		{"", true, false},
		{placeholder, true, false},
		{"hardener@sha256:12", true, false},
		{"a b", true, false},
		{"a\nb", true, false},
	} {
		if err := CheckImage(tt.image, tt.allowTag); (err == nil) != tt.ok {
			t.Errorf("%q, tags allowed %v: %v", tt.image, tt.allowTag, err)
		}
	}
}

func TestManifests(t *testing.T) {
	args := []string{"rollout", "check", "--nodes=a,b", `--odd="x": y # z`}
	out, err := Manifests(digest, args, false)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(out), placeholder) {
		t.Error("the image that stands for the real one is still there")
	}
	if !strings.Contains(string(out), "# That two rollouts exclude each other.") {
		t.Error("the rules have lost their comments")
	}
	var (
		namespace                            corev1.Namespace
		account                              corev1.ServiceAccount
		cluster                              rbacv1.ClusterRole
		clusterBinding                       rbacv1.ClusterRoleBinding
		system, fallback, own                rbacv1.Role
		systemBind, fallbackBinding, ownBind rbacv1.RoleBinding
		job                                  batchv1.Job
	)
	if err := decodeAll(out, &namespace, &account, &cluster, &clusterBinding, &system, &systemBind, &fallback, &fallbackBinding, &own, &ownBind, &job); err != nil {
		t.Fatal(err)
	}
	c := job.Spec.Template.Spec.Containers[0]
	if c.Image != digest || !slices.Equal(c.Args, args) {
		t.Errorf("image %s, arguments %q", c.Image, c.Args)
	}
	if namespace.Name != Namespace || namespace.Labels["pod-security.kubernetes.io/enforce"] != "privileged" {
		t.Errorf("namespace %+v", namespace.ObjectMeta)
	}
}

// TestRulesAreExplained reads the files as a person does: a rule without a word
// on what it is for is one that nobody dares to remove.
func TestRulesAreExplained(t *testing.T) {
	for name, file := range map[string][]byte{"install.yaml": manifests.Install(), "node/job.yaml": manifests.Node(), "watch.yaml": manifests.Watch(), "repair.yaml": manifests.Repair()} {
		last := ""
		for line := range strings.Lines(string(file)) {
			if strings.HasPrefix(line, "- apiGroups:") && !strings.HasPrefix(last, "#") {
				if !(strings.HasPrefix(last, "  verbs: [create]") && strings.Contains(line, "rbac.authorization.k8s.io")) { // one sentence for accounts and their roles
					t.Errorf("%s: no comment above %q", name, line)
				}
			}
			last = line
		}
	}
}
