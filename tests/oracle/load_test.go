package oracle

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	kubebench "github.com/aquasecurity/kube-bench/check"
	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// values are sets of variables: plain ones, several words, and such that change
// the YAML where they stand.
func values() map[string]profile.Variables {
	all := func(f func(component, kind string) string) profile.Variables {
		kinds := map[string]map[string]string{}
		for _, kind := range []string{"bin", "conf", "svc", "kubeconfig", "cafile", "datadir"} {
			kinds[kind] = map[string]string{}
			for _, component := range []string{"apiserver", "controllermanager", "scheduler", "etcd", "kubelet", "proxy", "kubernetes", "flanneld", "policies"} {
				kinds[kind][component] = f(component, kind)
			}
		}
		return profile.Variables{Bin: kinds["bin"], Conf: kinds["conf"], Svc: kinds["svc"], Kubeconfig: kinds["kubeconfig"], CAFile: kinds["cafile"], DataDir: kinds["datadir"]}
	}
	return map[string]profile.Variables{
		"none":          {},
		"plain":         all(func(component, kind string) string { return "/etc/" + component + "/" + kind }),
		"names":         all(func(component, _ string) string { return component }),
		"several words": all(func(component, _ string) string { return "hyperkube " + component }),
		"no kind bin":   {Conf: map[string]string{"kubelet": "/var/lib/kubelet/config.yaml"}},
		"odd":           all(func(component, kind string) string { return "null" }),
	}
}

// substituted is kube-bench's makeSubstitutions over all kinds, in its order
// (cmd/common.go:101-107, cmd/util.go:270).
func substituted(text string, v profile.Variables) string {
	kinds := []struct {
		suffix string
		values map[string]string
	}{{"bin", v.Bin}, {"conf", v.Conf}, {"svc", v.Svc}, {"kubeconfig", v.Kubeconfig}, {"cafile", v.CAFile}, {"datadir", v.DataDir}}
	for _, k := range kinds {
		for component, value := range k.values {
			if len(strings.Fields(value)) > 1 {
				value = "'" + value + "'"
			}
			text = strings.ReplaceAll(text, "$"+component+k.suffix, value)
		}
	}
	return text
}

func TestSameChecksAsKubeBench(t *testing.T) {
	catalog := openCatalog(t)
	cfg, err := profiles.FS()
	if err != nil {
		t.Fatal(err)
	}
	loaded, refused := 0, 0
	for _, benchmark := range catalog.Names() {
		targets, err := catalog.Targets(benchmark)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets {
			text, err := fs.ReadFile(cfg, benchmark+"/"+target+".yaml")
			if err != nil {
				t.Fatal(err)
			}
			for name, v := range values() {
				theirs, theirErr := kubebench.NewControls(kubebench.NodeType(target), []byte(substituted(string(text), v)), "")
				ours, ourErr := catalog.Controls(benchmark, target, v)
				if (theirErr == nil) != (ourErr == nil) {
					t.Fatalf("%s/%s with %s: kube-bench %v, ours %v", benchmark, target, name, theirErr, ourErr)
				}
				if theirErr != nil {
					refused++
					continue
				}
				if d := cmp.Diff(flatTheirs(theirs), flatOurs(ours)); d != "" {
					t.Fatalf("%s/%s with %s (-kube-bench +ours):\n%s", benchmark, target, name, d)
				}
				loaded++
			}
		}
	}
	fmt.Printf("oracle: %d loads equal, %d refused by both\n", loaded, refused)
}

// flatTheirs and flatOurs print every field of controls but the audits that are
// made up later.
func flatTheirs(c *kubebench.Controls) []string {
	out := []string{fmt.Sprintf("%q %q %q %q", c.ID, c.Version, c.Text, c.Type)}
	for _, g := range c.Groups {
		out = append(out, fmt.Sprintf("%q %q %q", g.ID, g.Type, g.Text))
		for _, k := range g.Checks {
			out = append(out, fmt.Sprintf("%q %q %q %q %q %q %v %v", k.ID, k.Text, k.Audit, k.AuditConfig, k.Type, k.Remediation, k.Scored, k.IsMultiple))
			if k.Tests == nil {
				continue
			}
			out = append(out, "tests "+string(k.Tests.BinOp))
			for _, i := range k.Tests.TestItems {
				out = append(out, fmt.Sprintf("%q %q %q %v %q %q", i.Flag, i.Env, i.Path, i.Set, i.Compare.Op, i.Compare.Value))
			}
		}
	}
	return out
}

func flatOurs(c *profile.Controls) []string {
	out := []string{fmt.Sprintf("%q %q %q %q", c.ID, c.Version, c.Text, c.Type)}
	for _, g := range c.Groups {
		out = append(out, fmt.Sprintf("%q %q %q", g.ID, g.Type, g.Text))
		for _, k := range g.Checks {
			out = append(out, fmt.Sprintf("%q %q %q %q %q %q %v %v", k.ID, k.Text, k.Audit, k.AuditConfig, k.Type, k.Remediation, k.Scored, k.Multiple))
			if k.Tests == nil {
				continue
			}
			out = append(out, "tests "+k.Tests.BinOp)
			for _, i := range k.Tests.Items {
				out = append(out, fmt.Sprintf("%q %q %q %v %q %q", i.Flag, i.Env, i.Path, i.Set, i.Compare.Op, i.Compare.Value))
			}
		}
	}
	return out
}
