package fix

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// change satisfies the items on a copy of the plan and keeps it when all went
// well and the risk allows.
func (p *planner) change(f Finding, picks []pick, comp node.Component, at place, tx *workspace) (Decision, error) {
	on := func(k pick, tx *workspace) *attempt {
		return &attempt{facts: p.in.Facts, component: comp, tx: tx, place: at, setting: k.setting, item: k.item, free: p.in.FreeBytes}
	}
	or := f.Check.Tests.BinOp == "or"
	todo := choose(picks, func(k pick) bool { return k.holds(on(k, tx)) }, or)
	risk, first := RiskRestart, picks[0].rule
	var touches []string
	for _, k := range todo {
		c := on(k, tx)
		if done := k.holds(c); k.rule.guard != nil && (!done || k.rule.also != nil) {
			if why := k.rule.guard(c); why != "" {
				return k.rule.refused(why), nil
			}
		}
		if k.rule.touches != nil {
			touches = append(touches, k.rule.touches(c)...)
		}
		if why, err := k.satisfy(c); err != nil {
			return Decision{}, err
		} else if why != "" {
			return k.rule.decision(Manual, why), nil
		}
		if k.rule.also != nil {
			if err := k.rule.also(c); err != nil {
				return Decision{}, err
			}
		}
		if riskRank(k.rule.riskOf()) > riskRank(risk) {
			risk = k.rule.riskOf()
		}
	}
	if why := p.refuseFlags(picks[0].setting.Component, at); why != "" && len(at.changes()) > 0 {
		return first.decision(Manual, why), nil
	}
	if err := at.apply(tx); err != nil {
		return Decision{}, err
	}
	var changes []string
	if made := at.changes(); len(made) > 0 {
		changes = []string{strings.Join(made, "; ") + " in " + at.file()}
	}
	if picks[0].setting.Component == node.Etcd {
		more, why, err := p.changeEvents(f, picks, tx)
		if err != nil {
			return Decision{}, err
		}
		if why != "" {
			return first.decision(Manual, why), nil
		}
		changes = slices.Concat(changes, more)
	}
	for _, k := range todo {
		if !slices.ContainsFunc(alternatives(k, picks, or), func(k pick) bool { return k.holds(on(k, tx)) }) {
			return k.rule.decision(Manual, "no value was found that satisfies the check"), nil
		}
	}
	d := first.decision(Planned, "")
	d.Risk, d.Touches = risk, unique(touches)
	p.keepSettings(&d, todo, or, func(k pick) *attempt { return on(k, tx) })
	if paths := tx.changed(p.ws); len(paths) > 0 {
		d.Paths, d.Diff = paths, p.diffBetween(p.ws, tx, paths)
		d.Reason = joinReason(strings.Join(changes, "; "), first.reason)
		return p.settled(f, d, todo, tx, comp), nil
	}
	if p.heldBefore(todo, picks[0].setting.Component, comp) {
		return p.held(f, d, todo, comp, at, tx), nil
	}
	d.Paths = []string{at.file()}
	d.Diff = p.diffBetween(p.pristine(), tx, d.Paths)
	d.Reason = joinReason("comes with the change for another check in "+at.file(), first.reason)
	return p.settled(f, d, todo, tx, comp), nil
}

// settled is keep for a change of settings.
func (p *planner) settled(f Finding, d Decision, todo []pick, tx *workspace, comp node.Component) Decision {
	if d = p.keep(f, d, tx, comp.Running); d.State != AboveRisk {
		p.ask(todo[0].setting.Component, todo)
	}
	return d
}

// pristine is the node before any change.
func (p *planner) pristine() *workspace {
	return &workspace{fsys: p.in.FS, edits: map[string]edit{}, known: p.ws.known}
}

// heldBefore reports that the items hold on the node as it is, not only once the
// rest of the plan is made.
func (p *planner) heldBefore(todo []pick, component string, comp node.Component) bool {
	tx := p.pristine()
	at, err := p.place(component, comp, tx)
	if err != nil {
		return true
	}
	for _, k := range todo {
		if !k.holds(&attempt{facts: p.in.Facts, component: comp, tx: tx, place: at, setting: k.setting, item: k.item}) {
			return false
		}
	}
	return true
}

// holds reports that an item is satisfied by the place as it is now.
func (k pick) holds(c *attempt) bool {
	if k.rule.instead != nil && k.rule.instead.holds(c) {
		return true
	}
	value, set := c.place.get(k.setting)
	return holds(k.item, k.rule, value, set)
}

// satisfy sets or removes one setting, unless its item already holds.
func (k pick) satisfy(c *attempt) (why string, err error) {
	if k.holds(c) {
		return "", nil
	}
	if k.rule.instead != nil {
		return "", k.rule.instead.make(c)
	}
	current, set := c.place.get(k.setting)
	value, remove, err := derive(k.item, k.rule, current, set)
	if err != nil {
		return err.Error(), nil
	}
	if remove {
		if !set {
			return fmt.Sprintf("%s is not set in %s", k.setting.Name, c.place.file()), nil
		}
		return "", c.place.remove(k.setting)
	}
	// A field of a file goes by its flag's name; removing is always possible.
	if why := notIn(c.facts.Kubernetes.Version, k.setting.Component, flagLimit, k.rule.name); why != "" {
		return why, nil
	}
	return "", c.place.set(k.setting, value)
}

// choose is the items to work on: all of them, or for an `or` the one that holds
// already or else the first that sets a value rather than removes it.
func choose(picks []pick, done func(pick) bool, or bool) []pick {
	if !or || len(picks) < 2 {
		return picks
	}
	for _, k := range picks {
		if done(k) {
			return []pick{k}
		}
	}
	for _, k := range picks {
		if k.item.Set != k.rule.remove {
			return []pick{k}
		}
	}
	return picks[:1]
}

// alternatives are what may hold in the place of an item: for an `or` any of
// them, because what a list must not have may leave nothing of the list.
func alternatives(k pick, picks []pick, or bool) []pick {
	if or {
		return picks
	}
	return []pick{k}
}
