package fix

import (
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// benchmarks are the profiles for upstream Kubernetes, with a release that each
// is meant for.
var benchmarks = []struct{ name, version string }{
	{"cis-1.5", "1.15.12"}, {"cis-1.6", "1.18.9"}, {"cis-1.20", "1.20.7"}, {"cis-1.23", "1.23.7"}, {"cis-1.24", "1.24.6"}, {"cis-1.7", "1.25.6"},
	{"cis-1.8", "1.26.5"}, {"cis-1.9", "1.27.5"}, {"cis-1.10", "1.28.6"}, {"cis-1.11", "1.29.5"}, {"cis-1.12", "1.34.4"},
}

// allFindings is every check of a benchmark as a failing one.
func allFindings(t *testing.T, benchmark string, m fstest.MapFS) []Finding {
	t.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		t.Skip(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	targets, err := catalog.Targets(benchmark)
	if err != nil {
		t.Fatal(err)
	}
	lookup := profile.Lookup{
		Exists: func(p string) (bool, error) {
			_, err := fs.Stat(m, node.Name(p))
			return err == nil, nil
		},
		Commands: func(name string) []string { return []string{name} },
	}
	var out []Finding
	for _, target := range targets {
		v, err := catalog.Variables(benchmark, target, lookup)
		if err != nil {
			v = profile.Variables{} // policies have no components
		}
		if v.DataDir != nil {
			v.DataDir["etcd"] = "/var/lib/etcd"
		}
		controls, err := catalog.Controls(benchmark, target, v)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range controls.Groups {
			for i := range g.Checks {
				c := &g.Checks[i]
				out = append(out, Finding{Target: target, Check: c, Result: check.Result{State: check.Fail}, Stats: statsOf(m, c)})
			}
		}
	}
	return out
}

var pathInAudit = regexp.MustCompile(`/(etc|var)/[A-Za-z0-9./_-]+`)

// statsOf is what the audits of modes and owners would look at.
func statsOf(m fstest.MapFS, c *profile.Check) []string {
	var out []string
	for _, s := range c.Settings() {
		if s.Kind != profile.Mode && s.Kind != profile.Owner {
			return nil
		}
	}
	roots := pathInAudit.FindAllString(c.Audit, -1)
	if strings.Contains(c.Audit, "cni-conf-dir") {
		roots = append(roots, "/etc/cni/net.d/")
	}
	for _, p := range roots {
		if _, err := fs.Stat(m, node.Name(p)); err != nil {
			continue
		}
		out = append(out, p)
		if !strings.HasSuffix(p, "/") {
			continue
		}
		entries, _ := fs.ReadDir(m, strings.Replace(node.Name(p), "/pki", "/ssl", 1))
		for _, e := range entries {
			for _, ext := range []string{".crt", ".key"} {
				if strings.Contains(c.Audit, "*"+ext) && path.Ext(e.Name()) != ext {
					continue
				}
			}
			out = append(out, p+e.Name())
		}
	}
	return out
}

func TestEveryCheckOfEveryProfile(t *testing.T) {
	total, counts := 0, map[State]int{}
	for _, b := range benchmarks {
		risks := []Risk{RiskWorkload}
		if b.name == "cis-1.12" {
			risks = []Risk{RiskFiles, RiskRestart, RiskCluster, RiskWorkload}
		}
		for _, risk := range risks {
			t.Run(fmt.Sprintf("%s/%s", b.name, risk), func(t *testing.T) {
				m := sampleNode(t)
				findings := allFindings(t, b.name, m)
				users, err := node.ReadUsers(m)
				if err != nil {
					t.Fatal(err)
				}
				facts := sampleFacts(false)
				facts.Kubernetes.Version = b.version
				in := Input{FS: m, Facts: facts, Users: users, Findings: findings, MaxRisk: risk}
				plan, err := Make(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range findings {
					d, ok := plan.Decisions[Key(f.Target, f.Check.ID)]
					total++
					counts[d.State]++
					if !ok || d.State == "" || d.Reason == "" && len(d.Paths) == 0 {
						t.Errorf("%s %s: no decision: %+v", f.Target, f.Check.ID, d)
					}
					if d.State == Planned && (len(d.Paths) == 0 || d.Diff == "" || riskRank(d.Risk) > riskRank(risk)) {
						t.Errorf("%s %s: planned without change or above the risk: %+v", f.Target, f.Check.ID, d)
					}
					if testing.Verbose() {
						t.Logf("%s %s [%s %s] %s | %s", f.Target, f.Check.ID, d.State, d.Risk, f.Check.Text, d.Reason)
					}
				}
				after := applied(t, m, plan)
				for p, f := range after {
					if strings.HasPrefix(p, "etc/kubernetes/manifests/") {
						pod, err := decodePod(f.Data)
						if err == nil {
							err = validatePod(pod)
						}
						if err != nil {
							t.Errorf("%s: %v", p, err)
						}
					}
				}
				in.FS = after
				again, err := Make(in)
				if err != nil {
					t.Fatal(err)
				}
				for _, g := range again.Groups {
					for _, c := range g.Changes {
						t.Errorf("a second plan changes %s for %v:\n%s", c.Path, c.Checks, c.Diff)
					}
				}
			})
		}
	}
	t.Logf("%d decisions: %v", total, counts)
}
