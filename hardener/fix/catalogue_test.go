package fix

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

// catalogueEntry is one answer of the catalogue, with the checks it is given to.
type catalogueEntry struct {
	Disposition
	targets []string
	ids     map[string][]string // by benchmark
}

// catalogued is the catalogue over all benchmarks for upstream Kubernetes, in
// the order of their checks.
func catalogued(t *testing.T) []*catalogueEntry {
	t.Helper()
	cfg, err := profiles.FS()
	if err != nil {
		t.Skip(err)
	}
	catalog, err := profile.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	var all []*catalogueEntry
	for _, b := range benchmarks {
		targets, err := catalog.Targets(b.name)
		if err != nil {
			t.Fatal(err)
		}
		for _, target := range targets {
			controls, err := catalog.Controls(b.name, target, profile.Variables{})
			if err != nil {
				t.Fatal(err)
			}
			for _, g := range controls.Groups {
				for i := range g.Checks {
					c := &g.Checks[i]
					d, ok := DispositionOf(target, c)
					if !ok {
						t.Errorf("%s %s %s: nothing in particular is known: %s", b.name, target, c.ID, c.Text)
						continue
					}
					all = add(t, all, d, target, b.name, c)
				}
			}
		}
	}
	return all
}

// add files an answer under its setting: a setting has one answer, whatever the
// number of its check.
func add(t *testing.T, all []*catalogueEntry, d Disposition, target, benchmark string, c *profile.Check) []*catalogueEntry {
	t.Helper()
	for _, e := range all {
		if e.Component != d.Component || e.Setting != d.Setting || e.Answer != d.Answer || e.Reason != d.Reason || e.Note != d.Note {
			continue
		}
		if !reflect.DeepEqual(e.Disposition, d) {
			t.Errorf("%s %s: %s has two answers:\n%+v\n%+v", benchmark, c.ID, d.Setting, e.Disposition, d)
		}
		e.ids[benchmark] = append(e.ids[benchmark], c.ID)
		return all
	}
	return append(all, &catalogueEntry{Disposition: d, targets: []string{target}, ids: map[string][]string{benchmark: {c.ID}}})
}

// TestCatalogueIsComplete: every check of every profile has an answer that says
// something of its own.
func TestCatalogueIsComplete(t *testing.T) {
	checks, count := 0, map[Answer]int{}
	for _, e := range catalogued(t) {
		for _, ids := range e.ids {
			checks += len(ids)
			count[e.Answer] += len(ids)
		}
		missing := func(what string, is bool) {
			if is {
				t.Errorf("%s %s (%s): no %s", e.Component, e.Setting, e.Answer, what)
			}
		}
		missing("setting", e.Setting == "" || e.Component == "")
		missing("word on what it can break", e.Breaks == "" && e.Reason == "")
		switch e.Answer {
		case Fixed:
			missing("risk", riskRank(e.Risk) < 0)
			missing("breaks", e.Breaks == "")
			missing("guard", len(e.Guard) == 0 || e.Guard[len(e.Guard)-1] == "")
			missing("proof", len(e.Proof) == 0)
			missing("undo", len(e.Undo) == 0)
		case Explained, Judged, Person:
			missing("reason", len(e.Reason) < 20)
		default:
			t.Errorf("%s: answer %q", e.Setting, e.Answer)
		}
		for _, empty := range []string{"person has to look", "nothing is known", "not understood"} {
			missing("reason of its own: "+e.Reason, strings.Contains(e.Reason, empty))
		}
		for _, v := range e.Variables {
			missing("value or release of "+v.Name, v.Value == "" || v.Since == "")
		}
	}
	fmt.Printf("catalogue: %d checks of %d profiles have an answer: %d fixed, %d judged for the layout, %d explained, %d left to a person\n",
		checks, len(benchmarks), count[Fixed], count[Judged], count[Explained], count[Person])
}

// TestCatalogueAgreesWithThePlan: what the catalogue calls fixed is planned on a
// node where everything is wrong or right already, and nothing else is planned.
func TestCatalogueAgreesWithThePlan(t *testing.T) {
	m := sampleNode(t)
	for _, b := range benchmarks {
		facts := sampleFacts(false)
		facts.Kubernetes.Version = b.version
		findings := allFindings(t, b.name, m)
		plan, err := Make(Input{FS: m, Facts: facts, Findings: findings, MaxRisk: RiskWorkload})
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range findings {
			decision := plan.Decisions[Key(f.Target, f.Check.ID)]
			d, _ := DispositionOf(f.Target, f.Check)
			switch {
			case decision.State == Planned && d.Answer != Fixed:
				t.Errorf("%s %s: planned, and %s in the catalogue", b.name, f.Check.ID, d.Answer)
			case decision.State == Planned && decision.Risk != d.Risk:
				t.Errorf("%s %s: risk %s, and %s in the catalogue", b.name, f.Check.ID, decision.Risk, d.Risk)
			case decision.State == Never && d.Answer == Fixed && !refusable(f):
				t.Errorf("%s %s: never made, and %s in the catalogue", b.name, f.Check.ID, d.Answer)
			case decision.State == Manual && d.Answer == Explained:
				t.Errorf("%s %s: explained in the catalogue, %q on the node", b.name, f.Check.ID, decision.Reason)
			}
		}
	}
}

// refusable tells a check whose fix some releases do not know.
func refusable(f Finding) bool {
	for _, s := range f.Check.Settings() {
		if s.Name == "anonymous-auth" {
			return true
		}
	}
	return false
}
