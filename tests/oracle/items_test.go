package oracle

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// corpus are the distinct tests of all profiles, each as a scored check.
func corpus(t *testing.T) []*profile.Check {
	t.Helper()
	catalog := openCatalog(t)
	seen := map[string]bool{}
	var out []*profile.Check
	for _, benchmark := range catalog.Names() {
		targets, err := catalog.Targets(benchmark)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets {
			controls, err := catalog.Controls(benchmark, target, profile.Variables{})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range controls.Groups {
				for _, c := range g.Checks {
					if c.Tests == nil || len(c.Tests.Items) == 0 {
						continue
					}
					key := fmt.Sprintf("%+v %v %v", *c.Tests, c.Multiple, c.AuditConfig != "")
					if !seen[key] {
						seen[key] = true
						out = append(out, subjectCheck(c.Tests, c.Multiple, c.AuditConfig != ""))
					}
				}
			}
		}
	}
	return out
}

func openCatalog(t *testing.T) *profile.Catalog {
	t.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		t.Skip(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

func subjectCheck(tests *profile.Tests, multiple, config bool) *profile.Check {
	c := &profile.Check{ID: "1", Audit: "audit", AuditEnv: "env", Tests: tests, Multiple: multiple, Scored: true}
	if config {
		c.AuditConfig = "config"
	}
	return c
}

// oddChecks are items that no profile has: patterns as flags, all operations,
// paths of every dialect, unknown words. Paths that print a map in the order of
// the day ({.*}, {..a}) are left out: kube-bench does not agree with itself there.
func oddChecks() []*profile.Check {
	flags := []string{"", "--x", "a+b", "a.b", "(a)(b)", "x|y", "[", ")(", "(?i)A", "--tls-cipher-suites", "permissions", "root:root", "^root", "é", "a b", "*", "\\d+", "--x=", "--read-only-port", "{{"}
	paths := []string{"", ".a", "{.a}", "{.a.b}", "{.a", "{.a[0]}", "{.a[*].b}", "{range .a[:]}{}{','}{end}", "{range .a}", "{.a[?(@.b==1)]}", "{['a']}", "x{.a}y", "{.a[-1]}", "{.a[5:1]}", "{'t'}", "{}", "{.readOnlyPort}", "{.tlsCipherSuites}", "{.authentication}", "{.a[1,2]}", "{\"\\"}
	ops := []string{"", "eq", "noteq", "gt", "gte", "lt", "lte", "has", "nothave", "regex", "valid_elements", "bitmask", "noteqx", "EQ"}
	values := []string{"", "true", "True", "false", "30", " 30 ", "a,b", "600", "9", "[", "^t", "a, b ,", "0"}
	envs := []string{"", "A", "A+", "(", "ETCD_CERT_FILE", "A=B"}
	r := rand.New(rand.NewPCG(7, 7))
	var out []*profile.Check
	for range 900 {
		tests := &profile.Tests{BinOp: pick(r, []string{"", "", "and", "or", "xor", "AND"})}
		for range 1 + r.IntN(3) {
			tests.Items = append(tests.Items, profile.TestItem{
				Flag: pick(r, flags), Path: pick(r, paths), Env: pick(r, envs), Set: r.IntN(4) > 0,
				Compare: profile.Compare{Op: pick(r, ops), Value: pick(r, values)},
			})
		}
		c := subjectCheck(tests, r.IntN(3) == 0, r.IntN(2) == 0)
		c.Scored = r.IntN(3) > 0
		out = append(out, c)
	}
	return out
}

func TestSameVerdictAsKubeBench(t *testing.T) {
	quiet(t)
	fromProfiles := corpus(t)
	checks := append(fromProfiles, oddChecks()...)
	rounds := 60
	if testing.Short() {
		rounds = 10
	}
	all := subjects(t, checks)
	e := new(check.Evaluator)
	r := rand.New(rand.NewPCG(1, 2))
	compared := 0
	try := func(s subject, out outputs) {
		s.compare(t, e, out)
		compared++
		if t.Failed() && compared > 100 {
			t.FailNow()
		}
	}
	for i, s := range all {
		if i%50 == 0 {
			e = new(check.Evaluator) // drop the parsed texts
		}
		for _, text := range commonTexts {
			try(s, outputs{audit: text})
			try(s, outputs{config: text, env: text})
		}
		items := s.ours.Tests.Items
		for range rounds {
			out := targeted(r, items[r.IntN(len(items))])
			try(s, out)
			try(s, outputs{mutated(r, out.audit), mutated(r, out.config), mutated(r, out.env)})
		}
	}
	fmt.Printf("oracle: %d comparisons of %d distinct tests, %d of them from the profiles, all equal\n", compared, len(all), len(fromProfiles))
}
