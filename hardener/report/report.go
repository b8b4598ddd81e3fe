// Package report owns the Report: what a run found out about a node and did to
// it, as JSON that kube-bench's consumers can read, and as text for a person.
//
// It leaves to others how verdicts come about (packages check and adjudicate),
// what a plan is (package fix), and everything about terminals: the caller says
// how wide the text may be and whether it may be coloured.
package report

import (
	"cmp"
	"iter"
	"slices"
	"strconv"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Mode says whose verdicts a Report holds.
type Mode string

// The modes.
const (
	Raw         Mode = "raw"         // kube-bench's, and nothing else
	Adjudicated Mode = "adjudicated" // true for the layout of the node, with kube-bench's beside them
)

// Report is the outcome of one run on one node. Its JSON is that of kube-bench
// (check/controls.go, OverallControls) and, unless the mode is Raw, more keys
// after kube-bench's own.
type Report struct {
	Controls []Section
	Totals   Totals
	Node     NodeInfo
	Layout   node.Facts
	Run      RunInfo
}

// Section is one control file: master, etcd, controlplane, node, policies or
// managedservices (kube-bench's Controls).
type Section struct {
	ID              string  `json:"id"`
	Version         string  `json:"version"`
	DetectedVersion string  `json:"detected_version,omitempty"`
	Text            string  `json:"text"`
	Target          string  `json:"node_type"`
	Groups          []Group `json:"tests"` // nil, which is null, when every check was filtered out
	Totals
}

// Group is one numbered group of checks of a Section.
type Group struct {
	ID      string   `json:"section"`
	Type    string   `json:"type"` // always empty, as kube-bench leaves it (check/controls.go:125)
	Pass    int      `json:"pass"`
	Fail    int      `json:"fail"`
	Warn    int      `json:"warn"`
	Info    int      `json:"info"`
	Text    string   `json:"desc"`
	Results []Result `json:"results"`
}

// Totals counts states.
type Totals struct {
	Pass int `json:"total_pass"`
	Fail int `json:"total_fail"`
	Warn int `json:"total_warn"`
	Info int `json:"total_info"`
}

// Result is one check and its verdict. The keys up to reason are kube-bench's,
// in its order; the others are absent under Raw.
type Result struct {
	ID          string      `json:"test_number"`
	Text        string      `json:"test_desc"`
	Audit       string      `json:"audit"`
	AuditEnv    string      `json:"AuditEnv"`
	AuditConfig string      `json:"AuditConfig"`
	Type        string      `json:"type"`
	Remediation string      `json:"remediation"`
	TestInfo    []string    `json:"test_info"` // the remediation once more
	Status      check.State `json:"status"`
	Actual      string      `json:"actual_value"`
	Scored      bool        `json:"scored"`
	Multiple    bool        `json:"IsMultiple"`
	Expected    string      `json:"expected_result"`
	Reason      string      `json:"reason,omitempty"`

	StatusBefore    check.State   `json:"status_before,omitempty"`     // of the same check before a fix
	KubeBenchStatus check.State   `json:"kube_bench_status,omitempty"` // what kube-bench says
	VerdictReason   string        `json:"verdict_reason,omitempty"`    // why Status is not just kube-bench's
	Evidence        []string      `json:"evidence,omitempty"`          // what was seen on the node
	Fix             *fix.Decision `json:"fix,omitempty"`
}

// NodeInfo says which node was looked at, and by which benchmark.
type NodeInfo struct {
	Name              string   `json:"name,omitempty"`
	KubernetesVersion string   `json:"kubernetes_version,omitempty"` // without a leading v
	Benchmark         string   `json:"benchmark"`                    // cis-1.12, ...
	BenchmarkNote     string   `json:"benchmark_note,omitempty"`     // such as: Kubernetes is newer than the newest profile
	Targets           []string `json:"targets,omitempty"`            // the sections that ran
}

// RunInfo says what ran and what it did.
type RunInfo struct {
	ID         string          `json:"id,omitempty"` // of a run that wrote, for rollback
	Command    string          `json:"command"`      // check or fix
	Mode       Mode            `json:"mode"`
	Version    string          `json:"version,omitempty"` // of the program
	Started    string          `json:"started,omitempty"` // RFC 3339
	DurationMS int64           `json:"duration_ms"`       // milliseconds
	MaxRisk    fix.Risk        `json:"max_risk,omitempty"`
	Phase      fix.Phase       `json:"phase,omitempty"` // of a step across nodes, made instead of fixes
	DryRun     bool            `json:"dry_run,omitempty"`
	State      string          `json:"state,omitempty"`   // of a run that wrote: committed, undone, ...
	Changes    []ChangeSummary `json:"changes,omitempty"` // made, or with DryRun planned, in order
	Notes      []string        `json:"notes,omitempty"`   // what the reader should know, one sentence each
}

// ChangeSummary is one change to one path.
type ChangeSummary struct {
	Path      string         `json:"path"`
	Kind      fix.ChangeKind `json:"kind"`
	Component string         `json:"component"`
	Checks    []string       `json:"checks"`            // keys "target/id" of the checks it answers
	Diff      string         `json:"diff,omitempty"`    // unified; of modes and owners one line
	Refused   string         `json:"refused,omitempty"` // why a run without DryRun would not make it
}

// Outcome is what the pipeline found out about one check.
type Outcome struct {
	Result        check.Result // the verdict to report, with its actual and expected values
	KubeBench     check.State  // kube-bench's verdict; empty under Raw
	VerdictReason string
	Evidence      []string
	Fix           *fix.Decision
}

// NewSection puts the outcomes of the checks of c in kube-bench's form. A check
// for which outcome returns false was filtered out and leaves no trace; groups
// with the same number become one (check/controls.go:111-149).
func NewSection(c *profile.Controls, detectedVersion string, outcome func(*profile.Group, *profile.Check) (Outcome, bool)) Section {
	s := Section{ID: c.ID, Version: c.Version, DetectedVersion: detectedVersion, Text: c.Text, Target: c.Type}
	at := map[string]int{}
	for i := range c.Groups {
		g := &c.Groups[i]
		for j := range g.Checks {
			ck := &g.Checks[j]
			o, ran := outcome(g, ck)
			if !ran {
				continue
			}
			n, ok := at[g.ID]
			if !ok {
				n = len(s.Groups)
				at[g.ID] = n
				s.Groups = append(s.Groups, Group{ID: g.ID, Text: g.Text})
			}
			s.Groups[n].Results = append(s.Groups[n].Results, newResult(ck, o))
		}
	}
	s.count()
	return s
}

func newResult(ck *profile.Check, o Outcome) Result {
	return Result{
		ID: ck.ID, Text: ck.Text, Audit: ck.Audit, AuditEnv: ck.AuditEnv, AuditConfig: ck.AuditConfig,
		Type: ck.Type, Remediation: ck.Remediation, TestInfo: []string{ck.Remediation},
		Status: o.Result.State, Actual: o.Result.Actual, Scored: ck.Scored, Multiple: ck.Multiple,
		Expected: o.Result.Expected, Reason: o.Result.Reason,
		KubeBenchStatus: o.KubeBench, VerdictReason: o.VerdictReason, Evidence: o.Evidence, Fix: o.Fix,
	}
}

// count fills in the counts of a section and its groups.
func (s *Section) count() {
	s.Totals = Totals{}
	for i := range s.Groups {
		g := &s.Groups[i]
		var t Totals
		for _, r := range g.Results {
			t.add(r.Status)
		}
		g.Pass, g.Fail, g.Warn, g.Info = t.Pass, t.Fail, t.Warn, t.Info
		s.Pass, s.Fail, s.Warn, s.Info = s.Pass+t.Pass, s.Fail+t.Fail, s.Warn+t.Warn, s.Info+t.Info
	}
}

func (t *Totals) add(s check.State) {
	switch s {
	case check.Pass:
		t.Pass++
	case check.Fail:
		t.Fail++
	case check.Warn:
		t.Warn++
	case check.Info:
		t.Info++
	}
}

// sum adds other totals.
func (t *Totals) sum(other Totals) {
	t.Pass += other.Pass
	t.Fail += other.Fail
	t.Warn += other.Warn
	t.Info += other.Info
}

// New is the report on the sections, which it puts into kube-bench's order: by
// number, what is no number first (cmd/common.go:397-402). The caller fills in
// Node, Layout and Run.
func New(sections []Section) Report {
	sorted := slices.Clone(sections)
	slices.SortStableFunc(sorted, func(a, b Section) int {
		x, _ := strconv.Atoi(a.ID)
		y, _ := strconv.Atoi(b.ID)
		return x - y
	})
	r := Report{Controls: sorted}
	for _, s := range sorted {
		r.Totals.sum(s.Totals)
	}
	return r
}

// Results are all results with their sections, in order.
func (r Report) Results() iter.Seq2[*Section, *Result] {
	return func(yield func(*Section, *Result) bool) {
		for i := range r.Controls {
			s := &r.Controls[i]
			for j := range s.Groups {
				for k := range s.Groups[j].Results {
					if !yield(s, &s.Groups[j].Results[k]) {
						return
					}
				}
			}
		}
	}
}

// WithBefore is the report with StatusBefore taken from an earlier report on
// the same node, and with its decisions for the checks that have none now: a
// check that a fix made pass is no finding any more.
func (r Report) WithBefore(before Report) Report {
	type key struct {
		target, id string
		n          int // duplicates of an id are kept apart by their order
	}
	seen := map[[2]string]int{}
	next := func(s *Section, res *Result) key {
		k := [2]string{s.Target, res.ID}
		seen[k]++
		return key{s.Target, res.ID, seen[k]}
	}
	earlier := map[key]*Result{}
	for s, res := range before.Results() {
		earlier[next(s, res)] = res
	}
	clear(seen)
	r.Controls = cloneSections(r.Controls)
	for s, res := range r.Results() {
		old := earlier[next(s, res)]
		if old == nil {
			continue
		}
		res.StatusBefore = old.Status
		if res.Fix == nil {
			res.Fix = old.Fix
		}
	}
	return r
}

// Following is the report with what an earlier one of the same node and the same
// rollout tells of: the changes that were made, and how each check was before all
// of them.
func (r Report) Following(earlier Report) Report {
	first := earlier
	first.Controls = cloneSections(earlier.Controls)
	for _, res := range first.Results() {
		res.Status = cmp.Or(res.StatusBefore, res.Status)
	}
	r = r.WithBefore(first)
	r.Run.ID = cmp.Or(r.Run.ID, earlier.Run.ID)
	r.Run.Changes = slices.Concat(earlier.Run.Changes, r.Run.Changes)
	r.Run.Notes = slices.Concat(earlier.Run.Notes, r.Run.Notes)
	return r
}

// cloneSections copies what WithBefore and the JSON of Raw change.
func cloneSections(sections []Section) []Section {
	out := slices.Clone(sections)
	for i := range out {
		out[i].Groups = slices.Clone(out[i].Groups)
		for j := range out[i].Groups {
			out[i].Groups[j].Results = slices.Clone(out[i].Groups[j].Results)
		}
	}
	return out
}

// Failing says whether a check fails. WARN is none: it needs a person.
func (r Report) Failing() bool { return r.Totals.Fail > 0 }

// ExitCode is 1 when a check fails and 0 otherwise.
func (r Report) ExitCode() int {
	if r.Failing() {
		return 1
	}
	return 0
}
