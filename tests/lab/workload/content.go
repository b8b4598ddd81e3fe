package workload

import (
	"fmt"
	"math/rand/v2"

	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// content is what Populate makes.
type content struct {
	namespaces      []*core.Namespace
	accounts        []*core.ServiceAccount
	roles           []*rbac.Role
	clusterRoles    []*rbac.ClusterRole
	bindings        []*rbac.RoleBinding
	clusterBindings []*rbac.ClusterRoleBinding
	policies        []*networking.NetworkPolicy
	pods            []*core.Pod

	dice  *rand.Rand
	spots []spot
}

// spot is a namespace that pods are put into.
type spot struct {
	name     string
	careful  bool
	accounts []string
}

// team names make namespaces and pods readable in a report.
var teams = []string{"payments", "search", "ingest", "billing", "frontend", "metrics", "mail", "reports"}

func generate(size Size) *content {
	c := &content{dice: rand.New(rand.NewPCG(size.Seed, 0x706f6c6963696573))}
	for i := range size.Namespaces {
		c.namespace(i)
	}
	for i := range size.ServiceAccounts {
		s := &c.spots[i%len(c.spots)]
		name := fmt.Sprintf("%s-%d", c.pick("runner", "reader", "deployer", "operator"), i)
		s.accounts = append(s.accounts, name)
		c.accounts = append(c.accounts, &core.ServiceAccount{ObjectMeta: object(name, s.name), AutomountServiceAccountToken: c.automount()})
	}
	c.spots = append(c.spots, spot{name: core.NamespaceDefault, accounts: []string{"default"}})
	for i := range size.Roles {
		c.role(i)
	}
	for i := range size.Pods {
		c.pod(i)
	}
	return c
}

func object(name, namespace string) meta.ObjectMeta {
	return meta.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{Label: "true"}}
}

// chance is true for percent of a hundred throws.
func (c *content) chance(percent int) bool { return c.dice.IntN(100) < percent }

func (c *content) pick(words ...string) string { return words[c.dice.IntN(len(words))] }

// automount is nil, true or false.
func (c *content) automount() *bool {
	switch c.dice.IntN(3) {
	case 0:
		return nil
	case 1:
		return new(true)
	}
	return new(false)
}

// namespace makes a namespace with its default service account. One of four is
// of a team that takes care: nothing but restricted pods, all traffic denied
// unless allowed.
func (c *content) namespace(i int) {
	name := fmt.Sprintf("%s-%02d", teams[i%len(teams)], i)
	s := spot{name: name, careful: i%4 == 0, accounts: []string{"default"}}
	ns := &core.Namespace{ObjectMeta: object(name, "")}
	sa := &core.ServiceAccount{ObjectMeta: object("default", name), AutomountServiceAccountToken: c.automount()}
	level := "privileged" // whatever the cluster's own default is
	if s.careful {
		level = "restricted"
		sa.AutomountServiceAccountToken = new(false)
	}
	ns.Labels["pod-security.kubernetes.io/enforce"] = level
	if s.careful || c.chance(30) {
		c.policies = append(c.policies, &networking.NetworkPolicy{
			ObjectMeta: object("deny-all", name),
			Spec:       networking.NetworkPolicySpec{PolicyTypes: []networking.PolicyType{networking.PolicyTypeIngress, networking.PolicyTypeEgress}},
		})
	}
	c.spots = append(c.spots, s)
	c.namespaces = append(c.namespaces, ns)
	c.accounts = append(c.accounts, sa)
}

// rules are what roles in the wild grant: some as they should be, most of them a
// check of section 5.1 each.
var rules = [][]rbac.PolicyRule{
	{{APIGroups: []string{""}, Resources: []string{"configmaps"}, Verbs: []string{"get", "list", "watch"}}},
	{{APIGroups: []string{"apps"}, Resources: []string{"deployments", "replicasets"}, Verbs: []string{"get", "list"}}, {APIGroups: []string{""}, Resources: []string{"pods/log"}, Verbs: []string{"get"}}},
	{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}},
	{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"*"}}},
	{{APIGroups: []string{""}, Resources: []string{"*"}, Verbs: []string{"get", "*"}}}, // a wildcard that is not alone
	{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get", "list", "watch"}}},
	{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"create", "delete"}}, {APIGroups: []string{""}, Resources: []string{"pods/exec"}, Verbs: []string{"create"}}},
	{{APIGroups: []string{rbac.GroupName}, Resources: []string{"roles"}, Verbs: []string{"bind", "escalate"}}},
	{{APIGroups: []string{""}, Resources: []string{"serviceaccounts/token"}, Verbs: []string{"create"}}},
	{},
}

// wide are granted by cluster roles only.
var wide = [][]rbac.PolicyRule{
	{{APIGroups: []string{""}, Resources: []string{"users", "groups"}, Verbs: []string{"impersonate"}}},
	{{APIGroups: []string{"certificates.k8s.io"}, Resources: []string{"certificatesigningrequests/approval"}, Verbs: []string{"update"}}},
	{{APIGroups: []string{"admissionregistration.k8s.io"}, Resources: []string{"validatingwebhookconfigurations", "mutatingwebhookconfigurations"}, Verbs: []string{"create", "update"}}},
	{{APIGroups: []string{""}, Resources: []string{"nodes/proxy"}, Verbs: []string{"get", "create"}}},
	{{APIGroups: []string{""}, Resources: []string{"persistentvolumes"}, Verbs: []string{"create"}}},
	{{NonResourceURLs: []string{"*"}, Verbs: []string{"*"}}},
	{{NonResourceURLs: []string{"/metrics", "/healthz/*"}, Verbs: []string{"get"}}},
}

// role makes a role and its binding: two of five belong to the whole cluster.
func (c *content) role(i int) {
	s := c.spots[c.dice.IntN(len(c.spots)-1)] // not in default, which Clear keeps
	subjects := c.subjects(s)
	if i%5 < 3 {
		name := fmt.Sprintf("%s-%d", c.pick("view", "deploy", "debug", "leader-election"), i)
		c.roles = append(c.roles, &rbac.Role{ObjectMeta: object(name, s.name), Rules: rules[c.dice.IntN(len(rules))]})
		c.bindings = append(c.bindings, &rbac.RoleBinding{
			ObjectMeta: object(name, s.name), Subjects: subjects,
			RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: name},
		})
		return
	}
	name := fmt.Sprintf("%s:%s-%d", s.name, c.pick("controller", "agent", "admin"), i)
	granted := append(wide[:len(wide):len(wide)], rules...)
	c.clusterRoles = append(c.clusterRoles, &rbac.ClusterRole{ObjectMeta: object(name, ""), Rules: granted[c.dice.IntN(len(granted))]})
	bound := name
	if c.chance(25) {
		bound = c.pick("cluster-admin", "cluster-admin", "admin", "view")
	}
	c.clusterBindings = append(c.clusterBindings, &rbac.ClusterRoleBinding{
		ObjectMeta: object(name, ""), Subjects: subjects,
		RoleRef: rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "ClusterRole", Name: bound},
	})
}

// subjects are up to three users, groups and accounts.
func (c *content) subjects(s spot) []rbac.Subject {
	var all []rbac.Subject
	for range c.dice.IntN(4) {
		switch c.dice.IntN(3) {
		case 0:
			all = append(all, rbac.Subject{APIGroup: rbac.GroupName, Kind: rbac.UserKind, Name: c.pick("jane@example.org", "Ops On Call", "oidc:build*", `CORP\svc`)})
		case 1:
			all = append(all, rbac.Subject{APIGroup: rbac.GroupName, Kind: rbac.GroupKind, Name: c.pick("developers", "sre", "system:serviceaccounts:"+s.name)})
		default:
			all = append(all, rbac.Subject{Kind: rbac.ServiceAccountKind, Namespace: s.name, Name: c.pick(s.accounts...)})
		}
	}
	return all
}

// scripts are commands as pods have them: quotes, backslashes, line breaks and
// more blanks than one are what an audit that goes through a shell trips over.
var scripts = []string{
	"exec /app/server --port=8080",
	"set -e\nexec /app/server \\\n  --verbose",
	`printf 'a\tb\\n' | awk '{print $1}'`,
	`echo "status:  *ready*"; sleep infinity # is_compliant: false`,
	"while :; do date; sleep 5; done",
	"echo über-service <&0 && exec \"$@\"",
}

func (c *content) pod(i int) {
	s := c.spots[c.dice.IntN(len(c.spots))]
	name := fmt.Sprintf("%s-%d", c.pick("web", "worker", "cache", "job", "agent"), i)
	pod := &core.Pod{ObjectMeta: object(name, s.name), Spec: core.PodSpec{
		SchedulerName:                "none", // it stays pending
		ServiceAccountName:           c.pick(s.accounts...),
		AutomountServiceAccountToken: c.automount(),
	}}
	if c.chance(40) {
		pod.Annotations = map[string]string{"example.org/note": "two\nlines and a \"quote\""}
	}
	for n := range 1 + c.dice.IntN(3) {
		pod.Spec.Containers = append(pod.Spec.Containers, c.container(fmt.Sprintf("c%d", n), s.careful))
	}
	if c.chance(20) {
		pod.Spec.InitContainers = []core.Container{c.container("init", s.careful)}
	}
	if s.careful {
		pod.Spec.SecurityContext = &core.PodSecurityContext{
			RunAsNonRoot:   new(true),
			SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeRuntimeDefault},
		}
	} else {
		c.loosen(&pod.Spec)
	}
	c.pods = append(c.pods, pod)
}

// loosen takes away what keeps a pod from its node.
func (c *content) loosen(spec *core.PodSpec) {
	spec.HostPID, spec.HostIPC, spec.HostNetwork = c.chance(15), c.chance(10), c.chance(20)
	if c.chance(15) {
		spec.Volumes = append(spec.Volumes, core.Volume{Name: "host", VolumeSource: core.VolumeSource{
			HostPath: &core.HostPathVolumeSource{Path: c.pick("/", "/var/run/docker.sock", "/etc")},
		}})
		spec.Containers[0].VolumeMounts = []core.VolumeMount{{Name: "host", MountPath: "/host"}}
	}
	if c.chance(15) {
		spec.Containers[0].Ports = []core.ContainerPort{{ContainerPort: 8080, HostPort: 8080}}
	}
	if c.chance(30) {
		spec.SecurityContext = &core.PodSecurityContext{SeccompProfile: &core.SeccompProfile{Type: core.SeccompProfileTypeUnconfined}}
	}
}

func (c *content) container(name string, careful bool) core.Container {
	box := core.Container{Name: name, Image: "registry.example.org/" + name + ":1.0"}
	if c.chance(50) {
		box.Command = []string{"/bin/sh", "-c", scripts[c.dice.IntN(len(scripts))]}
	}
	if c.chance(30) {
		box.Env = []core.EnvVar{{Name: "TOKEN", ValueFrom: &core.EnvVarSource{SecretKeyRef: &core.SecretKeySelector{
			LocalObjectReference: core.LocalObjectReference{Name: "app"}, Key: "token", Optional: new(true),
		}}}}
	}
	switch {
	case careful:
		box.SecurityContext = &core.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			Capabilities:             &core.Capabilities{Drop: []core.Capability{"ALL"}},
		}
	case c.chance(70):
		box.SecurityContext = c.security()
	}
	return box
}

// security is a security context with whatever somebody once needed.
func (c *content) security() *core.SecurityContext {
	s := &core.SecurityContext{Privileged: c.automount(), RunAsNonRoot: c.automount()}
	if s.Privileged == nil || !*s.Privileged { // the API refuses false beside privileged
		s.AllowPrivilegeEscalation = c.automount()
	}
	if c.chance(40) {
		s.RunAsUser = new(int64(c.dice.IntN(2) * 1000))
	}
	if c.chance(40) {
		s.Capabilities = &core.Capabilities{}
		if c.chance(50) {
			s.Capabilities.Drop = []core.Capability{"ALL"}
		}
		for _, capability := range []core.Capability{"NET_RAW", "NET_BIND_SERVICE", "SYS_ADMIN"} {
			if c.chance(30) {
				s.Capabilities.Add = append(s.Capabilities.Add, capability)
			}
		}
		if s.AllowPrivilegeEscalation != nil && !*s.AllowPrivilegeEscalation {
			s.Capabilities.Add = nil // nor SYS_ADMIN beside it
		}
	}
	return s
}
