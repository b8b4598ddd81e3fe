package hardener

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// CheckName is a check of a benchmark as it is called.
type CheckName struct{ ID, Text string }

// CheckNames lists the checks of the benchmark that fits, in its order. It asks
// no API server: it is for shells that complete what is typed.
func CheckNames(o Options) ([]CheckName, error) {
	o.ServerVersion = nil
	in, err := look(o)
	if err != nil {
		return nil, err
	}
	if err := in.chooseToExplain(context.Background()); err != nil {
		return nil, err
	}
	known, err := in.known()
	if err != nil {
		return nil, err
	}
	var names []CheckName
	for _, k := range known {
		names = append(names, CheckName{k.check.ID, strings.Join(strings.Fields(k.check.Text), " ")})
	}
	return names, nil
}

// Explain tells about checks by number: what each wants, what the node has, what
// a fix would do there, and what the catalogue says of its risk, proof and undo.
// It never writes. Where there is no Kubernetes it explains from the profile and
// the catalogue, and says so. A number that the benchmark does not have is an
// *InputError.
func Explain(ctx context.Context, o Options, ids []string) (report.Explanation, error) {
	in, err := look(o)
	if err != nil {
		return report.Explanation{}, err
	}
	if err := in.chooseToExplain(ctx); err != nil {
		return report.Explanation{}, err
	}
	known, err := in.known()
	if err != nil {
		return report.Explanation{}, err
	}
	chosen, err := choose(known, ids, in.benchmark)
	if err != nil {
		return report.Explanation{}, err
	}
	e := report.Explanation{Benchmark: in.benchmark, BenchmarkNote: in.note}
	results := map[string][]report.Result{}
	if in.empty() {
		e.Notes = append(e.Notes, "no Kubernetes was found here, so no node was looked at: this is what the profile and the catalogue say")
	} else {
		r, err := in.evaluate(ctx, chosen)
		if err != nil {
			return report.Explanation{}, err
		}
		e.Node = &r.Node
		if err := in.broken(); err != nil {
			e.Notes = append(e.Notes, err.Error())
		}
		for section, result := range r.Results() {
			key := fix.Key(section.Target, result.ID)
			results[key] = append(results[key], *result)
		}
	}
	for _, k := range chosen {
		x := report.NewExplained(k.target, k.check)
		if d, ok := fix.DispositionOf(k.target, k.check); ok {
			x.Catalogue = &d
		}
		switch same := results[fix.Key(k.target, k.check.ID)]; {
		case len(same) > 0: // a number that stands twice keeps its order
			x.Result, results[fix.Key(k.target, k.check.ID)] = &same[0], same[1:]
		case e.Node != nil:
			x.NotHere = fmt.Sprintf("this node has no part in section %s: its roles are %s", k.target, cmp.Or(strings.Join(in.facts.Roles, ", "), "none"))
		}
		e.Checks = append(e.Checks, x)
	}
	return e, nil
}

// empty says that there is no Kubernetes here.
func (in *inspection) empty() bool { return in.facts.Distribution.Name == "none" }

// beyond is a version that no profile knows: the newest is chosen for it.
const beyond = "1.999"

// chooseToExplain is chooseBenchmark where there may be no node to choose for.
func (in *inspection) chooseToExplain(ctx context.Context) error {
	if in.Benchmark == "" && in.KubernetesVersion == "" {
		if !in.empty() {
			err := in.chooseBenchmark(ctx)
			if !errors.As(err, new(*InputError)) {
				return err
			}
		}
		selection, err := in.Catalog.ForVersion(beyond)
		if err != nil {
			return &InputError{Err: err}
		}
		in.benchmark = selection.Benchmark
		in.note = "the Kubernetes version is not known, so this is the newest benchmark"
		return nil
	}
	return in.chooseBenchmark(ctx)
}

// knownCheck is a check as its profile has it, with its section.
type knownCheck struct {
	target string
	check  *profile.Check
}

// known are all checks of the benchmark.
func (in *inspection) known() ([]knownCheck, error) {
	targets, err := in.Catalog.Targets(in.benchmark)
	if err != nil {
		return nil, &InputError{Err: err, Hint: "known benchmarks: " + strings.Join(in.Catalog.Names(), ", ")}
	}
	var all []knownCheck
	for _, target := range targets {
		controls, err := in.Catalog.Controls(in.benchmark, target, profile.Variables{})
		if err != nil {
			return nil, &InputError{Err: err}
		}
		for g := range controls.Groups {
			for i := range controls.Groups[g].Checks {
				all = append(all, knownCheck{target, &controls.Groups[g].Checks[i]})
			}
		}
	}
	return all, nil
}

// choose finds checks by number, in the order in which they are asked for.
func choose(known []knownCheck, ids []string, benchmark string) ([]knownCheck, error) {
	var chosen []knownCheck
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			continue
		}
		before := len(chosen)
		for _, k := range known {
			if k.check.ID == id {
				chosen = append(chosen, k)
			}
		}
		if len(chosen) == before {
			return nil, &InputError{Err: fmt.Errorf("benchmark %s has no check %q", benchmark, id), Hint: didYouMean(known, id)}
		}
	}
	return chosen, nil
}

// evaluate checks the node for the chosen checks and plans what a fix would do.
func (in *inspection) evaluate(ctx context.Context, chosen []knownCheck) (report.Report, error) {
	if err := in.chooseTargets(); err != nil {
		in.targets = nil // a node without a role in this benchmark
	}
	in.targets = slices.DeleteFunc(in.targets, func(target string) bool {
		return !slices.ContainsFunc(chosen, func(k knownCheck) bool { return k.target == target })
	})
	in.Checks = nil
	for _, k := range chosen {
		in.Checks = append(in.Checks, k.check.ID)
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return report.Report{}, err
	}
	plan, err := in.plan(sections, FixOptions{MaxRisk: fix.RiskWorkload, DryRun: true})
	if err != nil {
		return report.Report{}, err
	}
	return in.report(sections, plan.Decisions), nil
}

// maxMisses is how many checks a hint offers.
const maxMisses = 5

// didYouMean offers checks whose number is nearly the one that was asked for,
// or that are about the word.
func didYouMean(known []knownCheck, asked string) string {
	type miss struct {
		id   string
		away int
	}
	var misses []miss
	word := strings.ToLower(strings.TrimLeft(asked, "-"))
	for _, k := range known {
		d, _ := fix.DispositionOf(k.target, k.check)
		away := distance(asked, k.check.ID)
		if asked[:strings.LastIndexByte(asked, '.')+1] != k.check.ID[:strings.LastIndexByte(k.check.ID, '.')+1] {
			away++ // rather the right group than the right last digit
		}
		switch {
		case strings.HasPrefix(k.check.ID, asked+"."):
			misses = append(misses, miss{k.check.ID, 0})
		case away <= 2 && away < len(asked):
			misses = append(misses, miss{k.check.ID, away})
		case len(word) > 2 && (strings.Contains(strings.ToLower(d.Setting), word) || strings.Contains(strings.ToLower(k.check.Text), word)):
			misses = append(misses, miss{k.check.ID, 0})
		}
	}
	slices.SortStableFunc(misses, func(a, b miss) int { return a.away - b.away })
	var ids []string
	for _, m := range misses {
		if !slices.Contains(ids, m.id) && len(ids) < maxMisses {
			ids = append(ids, m.id)
		}
	}
	if len(ids) == 0 {
		return "checks are called by number, such as 1.2.1; --benchmark NAME chooses another profile"
	}
	return "did you mean " + strings.Join(ids, ", ") + "?"
}

// distance is how many characters have to be put in, taken out or replaced to
// make one text of another (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
