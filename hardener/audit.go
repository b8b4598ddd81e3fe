package hardener

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/adjudicate"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// outcome is one check with its verdicts.
type outcome struct {
	target  string
	check   *profile.Check // as kube-bench substitutes it: what reports print
	raw     check.Result   // kube-bench's verdict
	truth   *profile.Check // substituted for the real layout: what fixes follow from
	result  check.Result   // what truth gave
	verdict adjudicate.Verdict
	quirk   bool     // the shell has its part in raw
	stats   []string // files whose mode or owner its audits printed
	reads   []string // absolute paths that its audits looked at
}

// section is one control file with the outcomes of its checks, in order.
type section struct {
	target   string
	controls *profile.Controls
	outcomes []outcome
}

// auditor runs audits against one view of the node. Checks share scripts (30
// checks of a control plane look at the same ps line), and the node is taken as
// it is at one moment, so each script runs once.
type auditor struct {
	mu     sync.Mutex // of runner and done: another auditor may share them
	runner shell.Runner
	judge  check.Evaluator
	done   map[string]shell.Result
	shared *auditor // takes the scripts that do not look at processes
}

func (in *inspection) newAuditor(procs node.Processes, commands map[string]shell.Command, shared *auditor) *auditor {
	a := &auditor{done: map[string]shell.Result{}, shared: shared}
	a.runner = shell.Runner{FS: in.FS, Processes: procs, Users: in.users, Env: in.Env, Commands: commands}
	return a
}

func (a *auditor) run(ctx context.Context, script string) shell.Result {
	if a.shared != nil && !strings.Contains(script, "ps") {
		if result := a.shared.run(ctx, script); !result.Quirk {
			return result
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	result, ok := a.done[script]
	if !ok {
		result = a.runner.Run(ctx, script)
		a.done[script] = result
	}
	return result
}

// evaluate runs a check's audits, and tells of all of them together what their
// shell did.
func (a *auditor) evaluate(ctx context.Context, c *profile.Check) (result check.Result, did shell.Result) {
	result = a.judge.Run(ctx, c, func(ctx context.Context, script string) (string, error) {
		r := a.run(ctx, script)
		did.Stats, did.Reads = append(did.Stats, r.Stats...), append(did.Reads, r.Reads...)
		did.Quirk = did.Quirk || r.Quirk
		return r.Output, r.Err
	})
	return result, did
}

// audit runs every selected check, as kube-bench sees the node and as it is, at
// the same time.
func (in *inspection) audit(ctx context.Context) ([]section, error) {
	var view *adjudicate.View
	if !in.Raw {
		procs := in.procs
		if in.Picture {
			procs = nil
		}
		view = adjudicate.New(in.FS, in.facts, procs, in.users)
	}
	sections, err := in.sections(view)
	if err != nil {
		return nil, err
	}
	var commands map[string]shell.Command
	if in.Commands != nil {
		commands = in.Commands()
	}
	// kube-bench gets the shell of this node, what is true comes from the one
	// that the audits are written for.
	asSeen := in.newAuditor(in.procs, commands, nil)
	asSeen.runner.Dialect = shell.DialectOf(in.FS)
	var wait sync.WaitGroup
	wait.Go(func() {
		each(ctx, sections, func(o *outcome) {
			var did shell.Result
			o.raw, did = asSeen.evaluate(ctx, o.check)
			o.quirk = did.Quirk
		})
	})
	if view != nil {
		asIs := in.newAuditor(view.Processes(), commands, asSeen)
		wait.Go(func() {
			each(ctx, sections, func(o *outcome) {
				var did shell.Result
				o.result, did = asIs.evaluate(ctx, o.truth)
				o.stats, o.reads = did.Stats, did.Reads
			})
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("audit: %w", err)
	}
	each(ctx, sections, func(o *outcome) {
		if view == nil {
			o.verdict, o.result = adjudicate.Verdict{State: o.raw.State}, o.raw
			return
		}
		o.verdict = view.Judge(o.target, o.truth, o.raw, o.result)
		if o.verdict.State != o.raw.State && o.quirk && o.check.Audit == o.truth.Audit {
			o.verdict.Reason = "the audit is not written for this node's /bin/sh"
			o.verdict.Evidence = []string{"/bin/sh: dash"}
		}
	})
	return sections, nil
}

// each calls f for the outcomes in order until ctx ends.
func each(ctx context.Context, sections []section, f func(*outcome)) {
	for _, s := range sections {
		for i := range s.outcomes {
			if ctx.Err() != nil {
				return
			}
			f(&s.outcomes[i])
		}
	}
}

// sections are the selected checks, yet without verdicts.
func (in *inspection) sections(view *adjudicate.View) ([]section, error) {
	var sections []section
	for _, target := range in.targets {
		raw, truth, err := in.controls(target, view)
		if err != nil {
			return nil, err
		}
		s := section{target: target, controls: raw}
		for g := range raw.Groups {
			for i := range raw.Groups[g].Checks {
				o := outcome{target: target, check: &raw.Groups[g].Checks[i]}
				if truth != nil {
					o.truth = &truth.Groups[g].Checks[i]
				}
				s.outcomes = append(s.outcomes, o)
			}
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// controls loads one section as kube-bench substitutes it and, when there is a
// view, as it is true for the layout. Both have the same groups and checks.
func (in *inspection) controls(target string, view *adjudicate.View) (raw, truth *profile.Controls, err error) {
	variables, err := in.Catalog.Variables(in.benchmark, target, in.lookup(in.procs))
	if err != nil {
		return nil, nil, fmt.Errorf("benchmark %s: %s: %w", in.benchmark, target, err)
	}
	if raw, err = in.load(target, variables); err != nil || view == nil {
		return raw, nil, err
	}
	if variables, err = in.Catalog.Variables(in.benchmark, target, in.lookup(view.Processes())); err != nil {
		return nil, nil, fmt.Errorf("benchmark %s: %s: %w", in.benchmark, target, err)
	}
	if truth, err = in.load(target, view.Variables(target, variables)); err != nil {
		return nil, nil, err
	}
	for g := range truth.Groups {
		for i := range truth.Groups[g].Checks {
			c := &truth.Groups[g].Checks[i]
			*c = view.Check(*c)
		}
	}
	return raw, truth, nil
}

func (in *inspection) load(target string, v profile.Variables) (*profile.Controls, error) {
	controls, err := in.Catalog.Controls(in.benchmark, target, v)
	if err != nil {
		return nil, &InputError{Err: err}
	}
	return controls.Select(in.Checks, in.Groups, in.Skip), nil
}

// findings are the outcomes that a fix may answer: what fails, and what is left
// to a person; only those of some checks, by key, where any are named.
func findings(sections []section, only []string) []fix.Finding {
	var all []fix.Finding
	for _, s := range sections {
		for _, o := range s.outcomes {
			if o.verdict.State != check.Fail && o.verdict.State != check.Warn {
				continue
			}
			if len(only) > 0 && !slices.Contains(only, fix.Key(o.target, o.check.ID)) {
				continue
			}
			all = append(all, o.finding())
		}
	}
	return all
}

// passing are the outcomes that pass by what the node has.
func passing(sections []section) []fix.Finding {
	var all []fix.Finding
	for _, s := range sections {
		for _, o := range s.outcomes {
			if o.verdict.State == check.Pass {
				all = append(all, o.finding())
			}
		}
	}
	return all
}

func (o outcome) finding() fix.Finding {
	return fix.Finding{
		Target: o.target, Check: o.truth, Stats: slices.Clone(o.stats),
		Result: check.Result{State: o.verdict.State, Reason: o.verdict.Reason},
	}
}
