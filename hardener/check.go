package hardener

import (
	"context"
	"fmt"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Check evaluates a node and never writes. Unless the verdicts are raw, every
// finding carries what fix would do about it. The report is complete also when
// the error is a *BrokenError.
func Check(ctx context.Context, o Options) (report.Report, error) {
	started := time.Now()
	in, err := inspect(ctx, o)
	if err != nil {
		return report.Report{}, err
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return report.Report{}, err
	}
	var decisions map[string]fix.Decision
	if !o.Raw {
		plan, err := in.plan(sections, FixOptions{MaxRisk: fix.RiskWorkload, DryRun: true})
		if err != nil {
			return report.Report{}, err
		}
		decisions = plan.Decisions
	}
	r := in.report(sections, decisions)
	r.Run = in.runInfo("check", started)
	if o.Raw {
		return r, nil
	}
	return r, in.broken()
}

func (in *inspection) plan(sections []section, f FixOptions) (fix.Plan, error) {
	input := fix.Input{
		FS: in.FS, Facts: in.facts, Users: in.users, Findings: findings(sections, f.Only), Passing: passing(sections), MaxRisk: f.MaxRisk, Phase: f.Phase, EncryptionKey: f.EncryptionKey, Gated: f.Gate != nil || f.DryRun,
		FreeBytes: in.FreeBytes, Pending: f.Pending,
	}
	if in.Made != nil {
		input.Made = in.Made()
	}
	if f.UnknownFlags != nil {
		input.UnknownFlags = func(component string, names []string) ([]string, error) {
			if pid := in.facts.Components[component].PID; pid > 0 {
				return f.UnknownFlags(pid, names)
			}
			return nil, nil // what does not run cannot be asked
		}
	}
	if !f.Retry {
		input.Failed = map[string]string{}
		for _, failure := range f.Failed {
			input.Failed[failure.Digest] = fmt.Sprintf("%s, on %s", failure.Reason, failure.Time.Format(time.DateOnly))
		}
	}
	return fix.Make(input)
}

func (in *inspection) runInfo(command string, started time.Time) report.RunInfo {
	mode := report.Adjudicated
	if in.Raw {
		mode = report.Raw
	}
	return report.RunInfo{
		Command: command, Mode: mode, Version: in.Program,
		Started: started.UTC().Format(time.RFC3339), DurationMS: time.Since(started).Milliseconds(),
	}
}

// report puts the outcomes into a Report; the caller fills in Run.
func (in *inspection) report(sections []section, decisions map[string]fix.Decision) report.Report {
	var all []report.Section
	for _, s := range sections {
		next := 0
		all = append(all, report.NewSection(s.controls, in.detected, func(*profile.Group, *profile.Check) (report.Outcome, bool) {
			o := s.outcomes[next]
			next++
			return in.reported(o, decisions), true
		}))
	}
	r := report.New(all)
	r.Layout = in.facts
	r.Node = report.NodeInfo{
		Name: in.facts.NodeName, KubernetesVersion: in.facts.Kubernetes.Version, Benchmark: in.benchmark, BenchmarkNote: in.note, Targets: in.targets,
	}
	return r
}

func (in *inspection) reported(o outcome, decisions map[string]fix.Decision) report.Outcome {
	if in.Raw {
		return report.Outcome{Result: o.raw}
	}
	out := report.Outcome{
		Result: o.result, KubeBench: o.raw.State, VerdictReason: o.verdict.Reason, Evidence: o.verdict.Evidence,
	}
	out.Result.State = o.verdict.State
	if in.AsKubeBench {
		if o.raw.State != o.verdict.State {
			out.VerdictReason = string(o.verdict.State) + " for this layout: " + o.verdict.Reason
		}
		out.Result = o.raw
	}
	if decision, ok := decisions[fix.Key(o.target, o.check.ID)]; ok && (o.verdict.State != check.Pass) == (decision.State != fix.InForce) {
		out.Fix = &decision
	}
	return out
}
