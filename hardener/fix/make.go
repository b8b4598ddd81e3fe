package fix

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// FilesGroup is the Component of the group that holds modes and owners.
const FilesGroup = "files"

// groupOrder is the order in which groups are applied, safest first: what is wrong
// with a change of etcd shows in the one for Events, should there be one, before.
var groupOrder = [...]string{FilesGroup, node.Kubelet, node.Scheduler, node.ControllerManager, node.APIServer, node.EtcdEvents, node.Etcd}

// planner is one call of Make.
type planner struct {
	in    Input
	rules []rule
	ws    *workspace
	plan  Plan

	unread   map[string]*unread // by component
	restarts map[string]Change  // of components that have not read their files
	blocked  map[string]string  // why a component must not be restarted

	again map[string]node.Component // see regenerated
}

// Make decides about every finding and collects the changes. It reads the node
// and writes nothing. The error is for input that makes no sense; what cannot be
// fixed is a Decision.
func Make(in Input) (Plan, error) {
	if in.FS == nil {
		return Plan{}, errors.New("fix: no file system")
	}
	if in.MaxRisk == "" {
		in.MaxRisk = RiskRestart
	}
	if riskRank(in.MaxRisk) < 0 {
		return Plan{}, fmt.Errorf("fix: unknown risk %q", in.MaxRisk)
	}
	for _, f := range slices.Concat(in.Findings, in.Passing) {
		if f.Check == nil {
			return Plan{}, fmt.Errorf("fix: finding without a check in %s", f.Target)
		}
	}
	if in.Phase != "" {
		return makePhase(in)
	}
	p := newPlanner(in)
	// Owners first: what a mode may become depends on whose the file then is.
	for _, owners := range []bool{true, false} {
		for _, f := range in.Findings {
			if judgesOwner(f.Check) == owners {
				p.plan.Decisions[Key(f.Target, f.Check.ID)] = p.decide(f)
			}
		}
	}
	for _, f := range in.Passing {
		key := Key(f.Target, f.Check.ID)
		if _, found := p.plan.Decisions[key]; found {
			continue // a number that stands twice
		}
		if d, ok := p.inForce(f); ok {
			p.plan.Decisions[key] = d
		}
	}
	p.unitePlugins()
	p.settleUnread()
	p.group()
	return p.plan, nil
}

func newPlanner(in Input) *planner {
	return &planner{in: in, rules: allRules(), ws: &workspace{fsys: in.FS, edits: map[string]edit{}, known: newMemory()}, plan: Plan{Decisions: map[string]Decision{}},
		unread: map[string]*unread{}, restarts: map[string]Change{}, blocked: map[string]string{}}
}

// unitePlugins makes every variable that replaces the list of admission plugins
// name all of them: those that the plan leaves in place and the finding's own. A
// list without one of them would take it away at the next playbook run.
func (p *planner) unitePlugins() {
	at, err := p.place(node.APIServer, p.in.Facts.Components[node.APIServer], p.ws)
	if err != nil {
		return // nothing was planned there either
	}
	enabled, _ := at.get(profile.Setting{Component: node.APIServer, Kind: profile.Flag, Name: "enable-admission-plugins"})
	for key, d := range p.plan.Decisions {
		for i, v := range d.Variables {
			if v.Name != pluginVariable {
				continue
			}
			all := splitList(enabled)
			for _, own := range splitList(strings.Trim(v.Value, "[]")) {
				if own = strings.TrimSpace(own); !slices.Contains(all, own) {
					all = append(all, own)
				}
			}
			d.Variables = slices.Clone(d.Variables)
			d.Variables[i].Value = "[" + strings.Join(all, ", ") + "]"
		}
		p.plan.Decisions[key] = d
	}
}

func judgesOwner(c *profile.Check) bool {
	return slices.ContainsFunc(c.Settings(), func(s profile.Setting) bool { return s.Kind == profile.Owner })
}

func riskRank(r Risk) int {
	return slices.Index([]Risk{RiskFiles, RiskRestart, RiskCluster, RiskWorkload}, r)
}

func (p *planner) decide(f Finding) Decision {
	settings := f.Check.Settings()
	for _, s := range settings {
		if s.Kind == profile.Mode || s.Kind == profile.Owner {
			return p.decideFiles(f, settings)
		}
	}
	for _, s := range settings {
		if isSetting(s) {
			return p.decideSettings(f, settings)
		}
	}
	return p.decideText(f)
}

// isSetting reports what a component's configuration holds: flags, and fields
// whose item names no flag, such as a feature gate.
func isSetting(s profile.Setting) bool {
	return s.Component != "" && (s.Kind == profile.Flag || s.Kind == profile.Other && s.Path != "")
}

// pick is one test item that has to be satisfied, with its rule.
type pick struct {
	setting profile.Setting
	item    profile.TestItem
	rule    rule
	known   bool
}

func (p *planner) picks(f Finding, settings []profile.Setting) []pick {
	var out []pick
	for i, s := range settings {
		if !isSetting(s) || f.Check.Tests == nil || i >= len(f.Check.Tests.Items) {
			continue
		}
		item := f.Check.Tests.Items[i]
		r, ok := findRule(p.rules, s, item.Compare.Value)
		out = append(out, pick{s, item, r, ok})
	}
	for i, k := range out { // "or it is not set": the same setting without an element
		for _, other := range out {
			if !k.known && other.known && other.setting == k.setting {
				out[i].rule, out[i].known = other.rule, true
			}
		}
	}
	return out
}

// decideSettings is for flags, config fields and environment variables.
func (p *planner) decideSettings(f Finding, settings []profile.Setting) Decision {
	picks := p.picks(f, settings)
	for _, k := range picks {
		switch {
		case !k.known:
			return Decision{State: Manual, Reason: fmt.Sprintf("nothing is known here about what changing %s of %s can break, so it is left to a person", k.setting.Name, k.setting.Component)}
		case k.rule.state != "":
			return k.rule.decision(k.rule.state, k.rule.reason)
		case k.rule.unless != nil && k.rule.unless(k.item) != "":
			return k.rule.refused(k.rule.unless(k.item))
		}
	}
	component := picks[0].setting.Component
	comp, ok := p.in.Facts.Components[component]
	if !ok {
		return picks[0].rule.decision(Manual, component+" is not configured on this node")
	}
	tx := p.ws.clone()
	at, err := p.place(component, comp, tx)
	if err != nil {
		return picks[0].rule.decision(Manual, err.Error())
	}
	d, err := p.change(f, picks, comp, at, tx)
	if err != nil {
		return picks[0].rule.decision(Manual, fmt.Sprintf("not changed: %s: %v", at.file(), err))
	}
	return d
}

// place opens the configuration of a component.
func (p *planner) place(component string, comp node.Component, tx *workspace) (place, error) {
	switch {
	case component == node.Kubelet:
		return openKubelet(tx, comp)
	case component == node.Proxy:
		return nil, errors.New("kube-proxy is configured by a ConfigMap of the cluster, not by a file of this node")
	case comp.Manifest != "":
		return openPod(tx, component, comp.Manifest)
	case component == node.Etcd:
		return openEtcd(tx, component, comp)
	}
	return nil, fmt.Errorf("%s is not a static pod here: only manifests are edited", component)
}

// keep takes tx over as the plan when the risk allows.
func (p *planner) keep(f Finding, d Decision, tx *workspace, running bool) Decision {
	if riskRank(d.Risk) > riskRank(p.in.MaxRisk) {
		d.State = AboveRisk
		d.Paths, d.Diff = nil, ""
		d.Reason = joinReason(fmt.Sprintf("its risk is %s, above the allowed %s", d.Risk, p.in.MaxRisk), d.Reason)
		return d
	}
	key := Key(f.Target, f.Check.ID)
	for _, path := range d.Paths {
		e, ok := tx.edits[path]
		if !ok {
			continue
		}
		if !slices.Contains(e.checks, key) {
			e.checks = append(slices.Clone(e.checks), key)
		}
		tx.edits[path] = e
	}
	p.ws = tx
	if running && !p.in.Gated {
		d.State = Refused
		d.Reason = joinReason(refusedReason, d.Reason)
	}
	return d
}

const refusedReason = "the component runs on this node, which cannot be restarted and proven from here: the change is shown, not made"

func joinReason(parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), ": ")
}

// refused is the decision about what unless or guard keeps from being made.
func (r rule) refused(why string) Decision {
	if r.refusal != "" {
		return r.decision(r.refusal, why)
	}
	return r.decision(Manual, why)
}

func (r rule) decision(state State, reason string) Decision {
	return Decision{State: state, Risk: r.riskOf(), Reason: reason, Breaks: r.breaks, Variables: r.filled(nil)}
}

func (p *planner) diffBetween(from, to *workspace, paths []string) string {
	var b strings.Builder
	for _, path := range paths {
		e, ok := to.edits[path]
		if !ok {
			continue
		}
		if old, ok := from.edits[path]; ok {
			e.notes = e.notes[len(old.notes):]
			e.before = &old.after
			if old.kind != Write {
				e.before = &File{Content: to.edits[path].before.Content, Mode: old.after.Mode, UID: old.after.UID, GID: old.after.GID}
			}
		}
		b.WriteString(p.ws.known.describe(path, e, p.in.Users))
	}
	return b.String()
}
