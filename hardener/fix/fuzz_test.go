package fix

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// FuzzManifestEdit edits a flag in arbitrary bytes: either that is refused, or
// the outcome is the same pod but for the flag, in a manifest in which only lines
// with the flag have changed.
func FuzzManifestEdit(f *testing.F) {
	for _, name := range []string{"kube-apiserver.yaml", "kube-controller-manager.yaml", "kube-scheduler.yaml"} {
		f.Add([]byte(testdata(f, name)), "profiling", "false", false)
		f.Add([]byte(testdata(f, name)), "bind-address", "", true)
	}
	for _, in := range []string{
		pod("    - --a=1\n    - --b\n    - x\n    - --a=2\n"), pod("    - '--a=::'\n"), pod("    - \"--a=1\" # x\n"), pod(""),
		strings.ReplaceAll(pod("    - --a=1\n"), "    - ", "        - "), "apiVersion: v1\nkind: Pod\nspec: {containers: [{command: [kube-apiserver]}]}\n",
		pod("    - |\n      --a=1\n"), pod("    - &x --a=1\n    - *x\n"), "\xff", "", "---\n...\n",
	} {
		f.Add([]byte(in), "a", "3", false)
		f.Add([]byte(in), "a", "", true)
	}
	f.Fuzz(func(t *testing.T, data []byte, name, value string, remove bool) {
		if flagName("--"+name) != name || strings.ContainsAny(name, " \n") { // the table's names are plain
			return
		}
		change := podChange{flags: map[string]*string{name: &value}}
		if remove {
			change.flags[name] = nil
		}
		binary := "kube-apiserver"
		for _, b := range []string{"kube-controller-manager", "kube-scheduler"} {
			if strings.Contains(string(data), "- "+b+"\n") {
				binary = b
			}
		}
		original := slices.Clone(data)
		out, err := editManifest(data, binary, change)
		if !slices.Equal(original, data) {
			t.Fatal("the input was modified")
		}
		if err != nil {
			if out != nil {
				t.Fatal("refused, and yet something came out")
			}
			return
		}
		checkFuzzed(t, data, out, name, value, remove)
		again, err := editManifest(out, binary, change)
		if err != nil || string(again) != string(out) {
			t.Fatalf("a second edit changes something: %v\n%s", err, again)
		}
	})
}

// checkFuzzed decodes both sides by itself, without the code under test.
func checkFuzzed(t *testing.T, before, after []byte, name, value string, remove bool) {
	t.Helper()
	var was, is corev1.Pod
	if err := yaml.Unmarshal(before, &was); err != nil {
		t.Fatalf("accepted what is no pod: %v", err)
	}
	if err := yaml.UnmarshalStrict(after, &is); err != nil {
		t.Fatalf("the outcome is not a pod: %v\n%s", err, after)
	}
	count := 0
	for _, c := range is.Spec.Containers {
		for _, a := range slices.Concat(c.Command, c.Args) {
			if a == "--"+name+"="+value {
				count++
			}
			if remove && (a == "--"+name || strings.HasPrefix(a, "--"+name+"=")) && len(is.Spec.Containers) == 1 {
				t.Fatalf("--%s is still there", name)
			}
		}
	}
	if !remove && count == 0 {
		t.Fatalf("--%s=%s is not there\n%s", name, value, after)
	}
	if len(was.Spec.Containers) != len(is.Spec.Containers) || len(was.Spec.Volumes) != len(is.Spec.Volumes) || was.Name != is.Name {
		t.Fatal("something else changed")
	}
	if diff := len(strings.Split(string(after), "\n")) - len(strings.Split(string(before), "\n")); diff > 1 {
		t.Fatalf("%d new lines for one flag", diff)
	}
}

// editKubelet sets one field of a KubeletConfiguration and returns the new
// bytes, verified. An error means that nothing may be changed.
func editKubelet(data []byte, field, value string) ([]byte, error) {
	doc, err := parseDocument(data)
	if err != nil {
		return nil, err
	}
	k := &kubeletPlace{doc: doc, was: data, settings: map[string]any{}, notes: map[string]string{}}
	if err := k.setField(field, value); err != nil {
		return nil, err
	}
	out := k.doc.bytes()
	if _, err := verifyKubelet(data, out, k.settings); err != nil {
		return nil, err
	}
	return out, nil
}

// FuzzKubeletEdit sets a field in arbitrary bytes: refused, or only that field is
// another.
func FuzzKubeletEdit(f *testing.F) {
	config := testdata(f, "kubelet-config.yaml")
	for _, kv := range [][2]string{{"readOnlyPort", "0"}, {"authentication.anonymous.enabled", "false"}, {"protectKernelDefaults", "true"}, {"featureGates.X", "true"}, {"tlsCipherSuites", "A,B"}, {"authorization.mode", "Webhook"}} {
		f.Add([]byte(config), kv[0], kv[1])
		f.Add([]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n"), kv[0], kv[1])
		f.Add([]byte("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfeatureGates: {}\nauthentication: {anonymous: {enabled: true}}\ntlsCipherSuites:\n  - C\n  - D\n"), kv[0], kv[1])
	}
	f.Add([]byte("\x00"), "a", "b")
	f.Fuzz(func(t *testing.T, data []byte, field, value string) {
		original := slices.Clone(data)
		out, err := editKubelet(data, field, value)
		if !slices.Equal(original, data) {
			t.Fatal("the input was modified")
		}
		if err != nil {
			return
		}
		var was, is map[string]any
		if err := yaml.Unmarshal(data, &was); err != nil {
			t.Fatalf("accepted what is no YAML: %v", err)
		}
		if err := yaml.Unmarshal(out, &is); err != nil {
			t.Fatalf("the outcome is not YAML: %v\n%s", err, out)
		}
		top, _, _ := strings.Cut(field, ".")
		for k := range was {
			if _, ok := is[k]; !ok {
				t.Fatalf("%s is lost", k)
			}
		}
		for k := range is {
			if _, ok := was[k]; !ok && k != top {
				t.Fatalf("%s came along", k)
			}
		}
		again, err := editKubelet(out, field, value)
		if err != nil || string(again) != string(out) {
			t.Fatalf("a second edit changes something: %v\n%s", err, again)
		}
	})
}
