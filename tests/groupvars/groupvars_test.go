//go:build groupvars

package groupvars

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/inventory"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"gopkg.in/yaml.v3"
)

var clone = flag.String("kubespray", "", "a clone of Kubespray, with its tags")

// TestGroupVars prints a table of what became of each setting that a fix made, once
// Kubespray renders it with the file of hardener vars.
func TestGroupVars(t *testing.T) {
	if *clone == "" {
		t.Skip("no clone of Kubespray: make groupvars KUBESPRAY=DIR")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root: files are given away")
	}
	hardener := filepath.Join(t.TempDir(), "hardener")
	run(t, ".", "go", "build", "-o", hardener, "../../cmd/hardener")
	for _, r := range []struct{ tag, kubernetes string }{{"v2.24.3", "v1.28.14"}, {"v2.28.1", "1.32.5"}, {"v2.31.0", "1.35.4"}} {
		t.Run(r.tag, func(t *testing.T) { release(t, hardener, unpack(t, *clone, r.tag, r.kubernetes)) })
	}
}

func release(t *testing.T, hardener string, k kubespray) {
	root := t.TempDir()
	plain := k.render(t)
	install(t, plain, root, k.kubernetes)
	var fixed report.Report
	call(t, &fixed, hardener, "fix", "--root", root, "--max-risk", "workload", "--output", "json")

	// The file, merged with the inventory; written again, it stays the same.
	vars := []string{"vars", "--root", root, "--kubespray", k.release(), "--inventory", k.inventory()}
	call(t, nil, hardener, append(vars, "--output-file", k.variables())...)
	written := read(t, k.variables())
	call(t, nil, hardener, append(vars, "--output-file", k.variables())...)
	if diff := cmp.Diff(written, read(t, k.variables())); diff != "" {
		t.Errorf("written again with the file in place, it changes:\n%s", diff)
	}
	verify := []string{"vars", "--root", root, "--kubespray", k.release(), "--verify", k.inventory()}
	call(t, nil, hardener, verify...)
	var plan inventory.Plan
	call(t, &plan, hardener, "vars", "--root", root, "--kubespray", k.release(), "--output", "json")

	rendered := k.render(t)
	unique(t, filepath.Join(rendered, "etc/kubernetes/kubeadm-config.yaml"))
	unique(t, filepath.Join(rendered, "etc/kubernetes/kubelet-config.yaml"))
	c := comparison{t: t, root: root, rendered: rendered, plan: plan, is: regenerated(t, rendered)}
	c.table(k.tag, fixed)

	before := verdicts(t, hardener, root)
	upgrade(t, rendered, root, k.kubernetes)
	after := verdicts(t, hardener, root)
	for key, r := range before {
		if r.Status == check.Pass && after[key].Status != check.Pass && !c.announced(r.ID) {
			t.Errorf("%s %s: %s after the upgrade: %s %s", k.tag, r.ID, after[key].Status, after[key].Actual, after[key].VerdictReason)
		}
	}
	for key, r := range after {
		if why := r.Lost(); why != "" && r.Status == check.Pass {
			t.Errorf("%s %s: lost at the next upgrade once more: %s", k.tag, key, why)
		}
	}
}

// comparison holds a fixed node against what was rendered with the file.
type comparison struct {
	t              *testing.T
	root, rendered string
	plan           inventory.Plan
	is             map[string]node.Component
}

const (
	asFixed = "as fixed"
	notKept = "not kept, as the file says"
	wrong   = "WRONG"
)

func (c comparison) table(tag string, fixed report.Report) {
	count := map[string]int{}
	seen := map[string]bool{}
	for _, r := range fixed.Results() {
		if r.Fix == nil || r.Fix.State != fix.Applied {
			continue
		}
		for _, setting := range r.Fix.Settings {
			if seen[setting] {
				continue
			}
			seen[setting] = true
			outcome, detail := asFixed, ""
			if was, is := c.both(setting); was != is {
				outcome, detail = wrong, fmt.Sprintf(": %q, and by the fix %q", is, was)
				if c.announced(r.ID) {
					outcome, detail = notKept, ""
				}
			}
			count[outcome]++
			fmt.Printf("groupvars: %s  %-60s  %s%s\n", tag, setting, outcome, detail)
			if outcome == wrong {
				c.t.Errorf("%s %s%s", tag, setting, detail)
			}
		}
	}
	fmt.Printf("groupvars: %s  %d as fixed, %d not kept as the file says, %d wrong\n", tag, count[asFixed], count[notKept], count[wrong])
	compared := map[string]int{}
	for setting := range seen {
		component, _, _ := strings.Cut(setting, " ")
		compared[component]++
	}
	for _, component := range []string{fix.FilesGroup, node.APIServer, node.ControllerManager, node.Scheduler, node.Kubelet, node.Etcd} {
		if compared[component] == 0 {
			c.t.Errorf("%s: no setting of %s was fixed and compared", tag, component)
		}
	}
	if !c.t.Failed() {
		return
	}
	for s, r := range fixed.Results() {
		if r.Status != check.Pass && r.Fix != nil {
			c.t.Logf("%s %s: %s, %s: %s", s.Target, r.ID, r.Status, r.Fix.State, r.Fix.Reason)
		}
	}
}

// announced tells whether the file says that nothing keeps a check's fix.
func (c comparison) announced(id string) bool {
	return slices.ContainsFunc(c.plan.NotKept, func(n inventory.NotKept) bool { return slices.Contains(n.Checks, id) })
}

// both is a setting on the fixed node and as rendered.
func (c comparison) both(setting string) (was, is string) {
	component, name, _ := strings.Cut(setting, " ")
	switch component {
	case fix.FilesGroup:
		return c.file(name)
	case node.Kubelet:
		return field(c.t, filepath.Join(c.root, "etc/kubernetes/kubelet-config.yaml"), name), field(c.t, filepath.Join(c.rendered, "etc/kubernetes/kubelet-config.yaml"), name)
	case node.Etcd:
		return line(c.t, c.root, name), line(c.t, c.rendered, name)
	}
	m, err := node.ReadManifest([]byte(read(c.t, filepath.Join(c.root, c.is[component].Manifest))))
	if err != nil {
		c.t.Fatal(err)
	}
	live := node.Component{Manifest: c.is[component].Manifest, Configured: m.Containers[0].Argv(), Mounts: m.HostMounts(m.Containers[0])}
	return c.pod(c.root, live, name), c.pod(c.rendered, c.is[component], name)
}

// pod is a setting of a static pod; what a flag names is looked at by its content.
func (c comparison) pod(root string, component node.Component, name string) string {
	flagOf := func(name string) string { v, _ := node.FlagValue(component.Configured, name); return v }
	content := func(inside string) map[string]any {
		host, ok := component.HostPath(inside)
		if !ok {
			return nil
		}
		var v map[string]any
		data, err := os.ReadFile(filepath.Join(root, host))
		if err != nil || sigsyaml.Unmarshal(data, &v) != nil {
			return nil
		}
		return v
	}
	if plugin, ok := strings.CutPrefix(name, "admission plugin "); ok {
		plugin = strings.TrimSuffix(plugin, " (not disabled)")
		text := fmt.Sprintf("%v %v", slices.Contains(strings.Split(flagOf("enable-admission-plugins"), ","), plugin), slices.Contains(strings.Split(flagOf("disable-admission-plugins"), ","), plugin))
		if plugin == "EventRateLimit" {
			text += limits(content(flagOf("admission-control-config-file")), content)
		}
		return text
	}
	name = strings.TrimPrefix(name, "--")
	value := normal(flagOf(name))
	switch name {
	case "anonymous-auth":
		anonymous, _ := json.Marshal(content(flagOf("authentication-config"))["anonymous"])
		return value + " " + string(anonymous)
	case "audit-policy-file":
		p := content(value)
		rules, _ := p["rules"].([]any)
		for _, r := range rules {
			if r, ok := r.(map[string]any); ok && r["omitStages"] == nil {
				r["omitStages"] = p["omitStages"]
			}
		}
		text, _ := json.Marshal(rules)
		return value + " " + string(text)
	case "profiling":
		if file := flagOf("config"); file != "" {
			return value + fmt.Sprint(content(file)["enableProfiling"])
		}
	case "feature-gates": // the gate is on by default: the fix takes the false away
		return fmt.Sprint(!strings.Contains(value, "RotateKubeletServerCertificate=false"))
	case "encryption-provider-config":
		return fmt.Sprint(value != "")
	}
	return value
}

// limits are those of EventRateLimit, in the configuration or beside it.
func limits(config map[string]any, content func(string) map[string]any) string {
	plugins, _ := config["plugins"].([]any)
	for _, p := range plugins {
		p, _ := p.(map[string]any)
		if p["name"] != "EventRateLimit" {
			continue
		}
		c, _ := p["configuration"].(map[string]any)
		if file, ok := p["path"].(string); ok {
			c = content(file)
		}
		text, _ := json.Marshal(c["limits"])
		return string(text)
	}
	return "none"
}

// file is an owner that Kubespray's variables give; what it renders no mode for is
// taken as it is.
func (c comparison) file(name string) (was, is string) {
	kind, path, _ := strings.Cut(name, " of ")
	if kind != "owner" || !strings.HasPrefix(path, "/etc/") {
		return "", ""
	}
	var owner struct {
		Owner string `json:"kube_owner"`
		Group string `json:"kube_cert_group"`
	}
	decode(c.t, filepath.Join(c.rendered, "owners.yaml"), &owner)
	if !strings.HasPrefix(path, "/etc/kubernetes/ssl") {
		owner.Group = "root"
	}
	return "root:root", owner.Owner + ":" + owner.Group
}

// field is a dotted field of a kubelet's file.
func field(t *testing.T, file, name string) string {
	var v any
	decode(t, file, &v)
	for _, key := range strings.Split(name, ".") {
		m, _ := v.(map[string]any)
		v = m[key]
	}
	if list, ok := v.([]any); ok {
		var words []string
		for _, e := range list {
			words = append(words, fmt.Sprint(e))
		}
		return strings.Join(words, ",")
	}
	return normal(fmt.Sprint(v))
}

// line is an option of etcd in its environment file.
func line(t *testing.T, root, name string) string {
	key := "ETCD_" + strings.ToUpper(strings.ReplaceAll(strings.TrimPrefix(name, "--"), "-", "_")) + "="
	for l := range strings.Lines(read(t, filepath.Join(root, "etc/etcd.env"))) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(l), key); ok {
			return normal(v)
		}
	}
	return ""
}

func normal(value string) string {
	if lower := strings.ToLower(value); lower == "true" || lower == "false" {
		return lower
	}
	return value
}

// unique fails where a key, or a flag of a list, is there twice.
func unique(t *testing.T, file string) {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(read(t, file)))
	for {
		var doc yaml.Node
		err := decoder.Decode(&doc)
		if err != nil {
			break
		}
		var all map[string]any
		if err := doc.Decode(&all); err != nil { // a key that stands twice
			t.Errorf("%s: %v", filepath.Base(file), err)
		}
		for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
			section, _ := all[component].(map[string]any)
			args, _ := section["extraArgs"].([]any)
			seen := map[any]bool{}
			for _, a := range args {
				name := a.(map[string]any)["name"]
				if seen[name] {
					t.Errorf("%s: --%v twice for %s", filepath.Base(file), name, component)
				}
				seen[name] = true
			}
		}
	}
}

func verdicts(t *testing.T, hardener, root string) map[string]report.Result {
	t.Helper()
	var r report.Report
	call(t, &r, hardener, "check", "--root", root, "--output", "json")
	all := map[string]report.Result{}
	for s, res := range r.Results() {
		all[fix.Key(s.Target, res.ID)] = *res
	}
	return all
}

// call runs hardener; findings are no failure.
func call(t *testing.T, into any, hardener string, args ...string) {
	t.Helper()
	c := exec.CommandContext(t.Context(), hardener, args...)
	out, err := c.Output()
	if exit, ok := err.(*exec.ExitError); ok && (exit.ExitCode() != 1 || args[0] == "vars") {
		t.Fatalf("hardener %s: %v\n%s%s", strings.Join(args, " "), err, exit.Stderr, out)
	} else if !ok && err != nil {
		t.Fatal(err)
	}
	if into != nil {
		if err := json.Unmarshal(out, into); err != nil {
			t.Fatalf("hardener %s: %v", strings.Join(args, " "), err)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
