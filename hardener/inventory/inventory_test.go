package inventory

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

var v228 = node.ReleaseRange{Min: "2.28", Max: "2.28"}

// profiling is a fix that one variable keeps up to 2.21, another since.
func profiling(nodes ...string) Fix {
	return Fix{Check: "1.4.1", Nodes: nodes, Decision: fix.Decision{
		State: fix.InForce, Settings: []string{"scheduler --profiling"}, Lost: "x",
		Variables: []fix.Variable{
			{Name: "kube_profiling", Value: "false", Since: "2.22", Without: []string{"kube_kubeadm_scheduler_extra_args.profiling"}},
			{Name: "kube_kubeadm_scheduler_extra_args", Value: `{profiling: "false"}`, Since: "2.12", Gone: "2.22", Adds: true},
		},
		Forecast: []fix.Fate{{On: fix.OnCluster, Survives: true}, {On: fix.OnUpgrade, Survives: true, Variable: true}},
	}}
}

func plugins(list string, nodes ...string) Fix {
	return Fix{Check: "1.2.9", Nodes: nodes, Decision: fix.Decision{
		State: fix.InForce, Settings: []string{"apiserver admission plugin EventRateLimit"}, Lost: "x",
		Variables: []fix.Variable{{Name: "kube_apiserver_enable_admission_plugins", Value: list, Since: "2.12", Adds: true}},
	}}
}

func backups(value string, nodes ...string) Fix {
	return Fix{Check: "1.2.18", Nodes: nodes, Decision: fix.Decision{
		State: fix.InForce, Settings: []string{"apiserver --audit-log-maxbackup"},
		Variables: []fix.Variable{{Name: "audit_log_maxbackups", Value: value, Since: "2.12"}},
	}}
}

func needs(t *testing.T, r node.ReleaseRange, fixes ...Fix) Plan {
	t.Helper()
	p, err := Needs(fixes, r)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func values(p Plan) map[string]any {
	all := map[string]any{}
	for _, n := range p.Variables {
		all[n.Name] = n.Value
	}
	return all
}

func TestNeeds(t *testing.T) {
	old := node.ReleaseRange{Min: "2.18", Max: "2.21"}
	if diff := cmp.Diff(map[string]any{"kube_kubeadm_scheduler_extra_args": map[string]any{"profiling": "false"}}, values(needs(t, old, profiling("a")))); diff != "" {
		t.Error(diff)
	}
	got := needs(t, v228, profiling("b", "a"), plugins("[NodeRestriction, EventRateLimit]", "a"), plugins("[NodeRestriction, AlwaysPullImages]", "b"), backups("10", "a", "c"), backups("20", "b"))
	want := map[string]any{
		"kube_profiling": false, "audit_log_maxbackups": 10,
		"kube_apiserver_enable_admission_plugins": []any{"NodeRestriction", "EventRateLimit", "AlwaysPullImages"},
	}
	if diff := cmp.Diff(want, values(got)); diff != "" {
		t.Error(diff)
	}
	var b bytes.Buffer
	if err := got.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"# apiserver --audit-log-maxbackup (1.2.18) on a, b, c\n# Note: not the same everywhere: 20 on b\naudit_log_maxbackups: 10\n",
		"# scheduler --profiling (1.4.1) on a, b\n# Survives cluster.yml, upgrade-cluster.yml.\nkube_profiling: false\n",
	} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("the file does not have %q:\n%s", text, b.String())
		}
	}
	var straddles *ReleaseError
	if _, err := Needs([]Fix{profiling("a")}, node.ReleaseRange{Min: "2.20", Max: "2.23"}); !errors.As(err, &straddles) || len(straddles.Variables) != 2 {
		t.Errorf("a range in which the variable changes: %v", err)
	}
}

func TestNotKept(t *testing.T) {
	f := Fix{Check: "1.2.1", Nodes: []string{"a"}, Decision: fix.Decision{
		State: fix.InForce, Settings: []string{"apiserver --anonymous-auth"}, Lost: "x",
		Variables: []fix.Variable{{Name: "kube_new", Value: "true", Since: "2.31", Note: "before, it is not to be had"}},
		Forecast:  []fix.Fate{{On: fix.OnCluster, Survives: true}, {On: fix.OnUpgrade, Survives: true, Variable: true}},
	}}
	p := needs(t, v228, f)
	if len(p.Variables) != 0 || len(p.NotKept) != 1 {
		t.Fatalf("%+v", p)
	}
	var b bytes.Buffer
	if err := p.WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"# apiserver --anonymous-auth (1.2.1) on a\n", "Does not survive upgrade-cluster.yml.", "no variable of Kubespray 2.28 keeps it; kube_new does (since 2.31): before, it is not to be had"} {
		if !strings.Contains(b.String(), text) {
			t.Errorf("no %q in\n%s", text, b.String())
		}
	}
	if p := needs(t, node.ReleaseRange{Min: "2.31", Max: "2.31"}, f); len(p.NotKept) != 0 || len(p.Variables) != 1 {
		t.Errorf("in 2.31: %+v", p)
	}
}

const listed = `{
 "_meta": {"hostvars": {
  "m1": {"kube_profiling": true, "kube_apiserver_enable_admission_plugins": ["PodSecurity"], "kube_kubeadm_scheduler_extra_args": {"profiling": "false", "v": 4}, "audit_log_maxbackups": "10"},
  "m2": {"kube_profiling": "False", "kube_apiserver_enable_admission_plugins": ["NodeRestriction", "EventRateLimit", "X"], "audit_log_maxbackups": "{{ n }}"},
  "w1": {"kube_profiling": true}
 }},
 "all": {"children": ["k8s_cluster"]}, "k8s_cluster": {"children": ["kube_control_plane", "kube_node"]},
 "kube_control_plane": {"hosts": ["m1", "m2"]}, "kube_node": {"hosts": ["w1"]}
}`

func inventoryOf(t *testing.T, text string) Inventory {
	t.Helper()
	inv, err := Read([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func TestMerge(t *testing.T) {
	p := needs(t, v228, profiling("a"), plugins("[NodeRestriction, EventRateLimit]", "a"))
	merged, err := Merge(p, inventoryOf(t, listed))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"kube_profiling": false,
		"kube_apiserver_enable_admission_plugins": []any{"NodeRestriction", "EventRateLimit", "X", "PodSecurity"},
		"kube_kubeadm_scheduler_extra_args":       map[string]any{"v": 4}, // without what kube_profiling renders
	}
	got := values(merged)
	if list, ok := got["kube_apiserver_enable_admission_plugins"].([]any); !ok || !equal(list, want["kube_apiserver_enable_admission_plugins"]) {
		t.Errorf("plugins: %v", list)
	}
	delete(got, "kube_apiserver_enable_admission_plugins")
	delete(want, "kube_apiserver_enable_admission_plugins")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	// With the file in place the inventory says what the file says, and the file stays.
	again := strings.NewReplacer(`["PodSecurity"]`, plain, `["NodeRestriction", "EventRateLimit", "X"]`, plain, `{"profiling": "false", "v": 4}`, `{"v": 4}`).Replace(listed)
	twice, err := Merge(p, inventoryOf(t, again))
	if err != nil || !equal(values(twice), values(merged)) {
		t.Errorf("not the same again: %v, %v", values(twice), err)
	}
	only := strings.Replace(listed, `{"profiling": "false", "v": 4}`, `{"profiling": "false"}`, 1)
	emptied, err := Merge(p, inventoryOf(t, only))
	var b bytes.Buffer
	if err == nil {
		err = emptied.WriteYAML(&b)
	}
	if err != nil || !strings.Contains(b.String(), "\nkube_kubeadm_scheduler_extra_args: {}\n") {
		t.Errorf("what is left of it has to be said, or the inventory's own counts: %v\n%s", err, b.String())
	}
}

const plain = `["NodeRestriction", "EventRateLimit", "X", "PodSecurity"]`

// TestMergeKeepsSecretsOut: what may be one is not copied, and its value not told.
func TestMergeKeepsSecretsOut(t *testing.T) {
	p := needs(t, node.ReleaseRange{Min: "2.20", Max: "2.20"}, profiling("a"))
	for name, value := range map[string]string{
		"vault":      `{"a": {"__ansible_vault": "$ANSIBLE_VAULT;hunter2"}}`,
		"whole":      `{"__ansible_vault": "$ANSIBLE_VAULT;hunter2"}`,
		"by name":    `{"client-secret": "hunter2"}`,
		"by content": `{"x": "-----BEGIN PRIVATE KEY----- hunter2"}`,
		"expression": `"{{ hunter2 }}"`,
	} {
		_, err := Merge(p, inventoryOf(t, strings.Replace(listed, `{"profiling": "false", "v": 4}`, value, 1)))
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerify(t *testing.T) {
	p := needs(t, v228, profiling("a"), plugins("[NodeRestriction, EventRateLimit]", "a"), backups("10", "a"), Fix{Check: "4.2.4", Nodes: []string{"a"}, Decision: fix.Decision{
		State: fix.InForce, Settings: []string{"kubelet readOnlyPort"}, Variables: []fix.Variable{{Name: "kube_read_only_port", Value: "0", Since: "2.12"}},
	}})
	sources := Sources(fstest.MapFS{
		"group_vars/k8s_cluster/k8s-cluster.yml":  {Data: []byte("kube_profiling: true\n")},
		"group_vars/k8s_cluster/aa-hardening.yml": {Data: []byte("kube_profiling: false\n")},
		"group_vars/all/vault.yml":                {Data: []byte("$ANSIBLE_VAULT;1.1;AES256\n3132\n")},
	})
	got := map[string]string{}
	for _, q := range Verify(p, inventoryOf(t, listed), sources) {
		got[string(q.Kind)+" "+q.Variable] = strings.Join(q.Hosts, ",") + ": " + q.Why
	}
	want := map[string]string{
		"shadowed kube_profiling":                              "m1: group_vars/k8s_cluster/aa-hardening.yml has it, and group_vars/k8s_cluster/k8s-cluster.yml wins",
		"contradicted kube_apiserver_enable_admission_plugins": "m1: it is [PodSecurity]",
		"contradicted audit_log_maxbackups":                    "m2: an expression or in a vault: only a run tells what it comes to",
		"missing kube_read_only_port":                          "m1,m2,w1: ",
		"twice kube_profiling":                                 "m1: kube_kubeadm_scheduler_extra_args sets profiling as well: take it out there",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// TestValues: a value is what Ansible's templates make of it.
func TestValues(t *testing.T) {
	for _, tt := range []struct {
		has, needed any
		adds, want  bool
	}{
		{"False", false, false, true}, {"yes", true, false, true}, {10, "10", false, true}, {10.0, 10, false, true}, {nil, false, false, false},
		{[]any{"b", "a"}, []any{"a", "b"}, false, true}, {[]any{"a", "c"}, []any{"a", "b"}, false, false},
		{[]any{"a", "b", "c"}, []any{"c"}, true, true}, {[]any{"Gate=false"}, []any{"Gate=true"}, true, false},
		{map[string]any{"a": 1, "b": 2}, map[string]any{"b": "2"}, true, true}, {map[string]any{"a": 1}, map[string]any{"a": 2}, true, false},
	} {
		if got := holds(tt.has, tt.needed, tt.adds); got != tt.want {
			t.Errorf("%v for %v: %v", tt.has, tt.needed, got)
		}
	}
	gates, _ := union([]any{"A=true", "B=false"}, []any{"B=true"})
	if diff := cmp.Diff([]any{"A=true", "B=true"}, gates); diff != "" {
		t.Error(diff)
	}
}

// TestCommentsStayComments: nothing that a report holds gets out of its comment.
func TestCommentsStayComments(t *testing.T) {
	f := backups("10", "a\nkube_evil: true\rkube_worse: true\u2028x: 1")
	f.Variables[0].Note = "one\n\ntwo: 2\n"
	var b bytes.Buffer
	if err := needs(t, v228, f).WriteYAML(&b); err != nil {
		t.Fatal(err)
	}
	var keys []string
	for l := range strings.FieldsFuncSeq(b.String(), func(r rune) bool { return r == '\n' || r == '\r' || r == '\u2028' || r == '\u0085' }) {
		if !strings.HasPrefix(l, "#") {
			keys = append(keys, l)
		}
	}
	if diff := cmp.Diff([]string{"audit_log_maxbackups: 10"}, keys); diff != "" {
		t.Errorf("%s\n%s", diff, b.String())
	}
}
