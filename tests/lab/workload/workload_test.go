package workload

import (
	"reflect"
	"testing"

	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
)

func TestGenerate(t *testing.T) {
	c := generate(Mixed)
	if n := len(c.namespaces); n != Mixed.Namespaces {
		t.Errorf("%d namespaces, want %d", n, Mixed.Namespaces)
	}
	if n := len(c.pods); n != Mixed.Pods {
		t.Errorf("%d pods, want %d", n, Mixed.Pods)
	}
	if n := len(c.roles) + len(c.clusterRoles); n != Mixed.Roles || n != len(c.bindings)+len(c.clusterBindings) {
		t.Errorf("%d roles, want %d and as many bindings", n, Mixed.Roles)
	}
	if n := len(c.accounts); n != Mixed.Namespaces+Mixed.ServiceAccounts {
		t.Errorf("%d service accounts, want %d and one for each namespace", n, Mixed.ServiceAccounts)
	}
	again := generate(Mixed)
	c.dice, again.dice = nil, nil
	if !reflect.DeepEqual(c, again) {
		t.Error("the same size and seed made something else")
	}
}

// TestMixed wants of everything that a check can tell apart at least one object
// of each kind.
func TestMixed(t *testing.T) {
	c := generate(Mixed)
	seen := map[string]bool{}
	flag := func(what string, b *bool) {
		switch {
		case b == nil:
			seen[what+" unset"] = true
		case *b:
			seen[what+" true"] = true
		default:
			seen[what+" false"] = true
		}
	}
	for _, p := range c.pods {
		flag("pod automount", p.Spec.AutomountServiceAccountToken)
		flag("hostPID", &p.Spec.HostPID)
		flag("hostIPC", &p.Spec.HostIPC)
		flag("hostNetwork", &p.Spec.HostNetwork)
		if p.Namespace == core.NamespaceDefault {
			seen["pod in default"] = true
		}
		for _, box := range p.Spec.Containers {
			if s := box.SecurityContext; s != nil {
				flag("privileged", s.Privileged)
				flag("escalation", s.AllowPrivilegeEscalation)
				seen["added capability"] = seen["added capability"] || s.Capabilities != nil && len(s.Capabilities.Add) > 0
			}
		}
	}
	for _, a := range c.accounts {
		what := "account automount"
		if a.Name == "default" {
			what = "default account automount"
		}
		flag(what, a.AutomountServiceAccountToken)
	}
	wildcard := func(rules []rbac.PolicyRule) bool {
		return len(rules) > 0 && len(rules[0].Verbs) == 1 && rules[0].Verbs[0] == "*"
	}
	for _, r := range c.roles {
		seen["wildcard role"] = seen["wildcard role"] || wildcard(r.Rules)
		seen["role without rules"] = seen["role without rules"] || len(r.Rules) == 0
	}
	for _, r := range c.clusterRoles {
		seen["wildcard cluster role"] = seen["wildcard cluster role"] || wildcard(r.Rules)
	}
	for _, b := range c.clusterBindings {
		seen["cluster-admin binding"] = seen["cluster-admin binding"] || b.RoleRef.Name == "cluster-admin"
		seen["binding without subjects"] = seen["binding without subjects"] || len(b.Subjects) == 0
	}
	var want []string
	for _, what := range []string{"pod automount", "privileged", "escalation", "account automount", "default account automount"} {
		want = append(want, what+" true", what+" false", what+" unset")
	}
	for _, what := range []string{"hostPID", "hostIPC", "hostNetwork"} {
		want = append(want, what+" true", what+" false")
	}
	want = append(want, "pod in default", "added capability", "wildcard role", "role without rules", "wildcard cluster role", "cluster-admin binding", "binding without subjects")
	for _, what := range want {
		if !seen[what] {
			t.Errorf("there is no %s", what)
		}
	}
}
