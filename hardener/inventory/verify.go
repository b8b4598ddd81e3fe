package inventory

import (
	"fmt"
	"slices"
	"strings"
)

// Kind is how an inventory falls short of a plan.
type Kind string

// The kinds of a Problem.
const (
	Missing      Kind = "missing"      // nothing sets the variable
	Contradicted Kind = "contradicted" // it has another value
	Shadowed     Kind = "shadowed"     // some file has the right value, and another one wins
	Twice        Kind = "twice"        // what the variable renders is set a second time
)

// Problem is a variable of a plan that an inventory does not give to some hosts.
type Problem struct {
	Kind     Kind     `json:"kind"`
	Variable string   `json:"variable"`
	Value    any      `json:"value,omitempty"` // what is needed
	Hosts    []string `json:"hosts"`
	Why      string   `json:"why,omitempty"`
	Checks   []string `json:"checks"`
}

// Source is one file of group_vars or host_vars.
type Source struct {
	File   string
	Values map[string]any
}

// Verify says where an inventory does not set what a plan needs, in the plan's
// order. Sources name the files behind what is shadowed; they need not be all.
// What -e gives a playbook beats every inventory and is not seen here.
func Verify(p Plan, inv Inventory, sources []Source) []Problem {
	var all []Problem
	add := func(kind Kind, n Need, host, why string) {
		for i := range all {
			if q := &all[i]; q.Kind == kind && q.Variable == n.Name && q.Why == why {
				q.Hosts = append(q.Hosts, host)
				return
			}
		}
		all = append(all, Problem{Kind: kind, Variable: n.Name, Value: n.Value, Hosts: []string{host}, Why: why, Checks: n.Checks})
	}
	for _, n := range p.Variables {
		if n.empty() {
			continue
		}
		for _, host := range inv.hostsOf(n) {
			has, ok := inv.value(host, n.Name)
			right := files(sources, func(v map[string]any) bool { has, set := v[n.Name]; return set && holds(has, n.Value, n.Adds) })
			switch {
			case ok && holds(has, n.Value, n.Adds):
			case ok && open(has):
				add(Contradicted, n, host, "an expression or in a vault: only a run tells what it comes to")
			case ok && len(right) > 0:
				winner := files(sources, func(v map[string]any) bool { other, set := v[n.Name]; return set && equal(other, has) })
				why := strings.Join(right, ", ") + " has it, and another place wins"
				if len(winner) > 0 {
					why = strings.Join(right, ", ") + " has it, and " + strings.Join(winner, ", ") + " wins"
				}
				add(Shadowed, n, host, why)
			case ok:
				add(Contradicted, n, host, "it is "+shown(has, n.Value))
			case len(right) > 0:
				add(Shadowed, n, host, strings.Join(right, ", ")+" has it, and is not read for the host")
			default:
				add(Missing, n, host, "")
			}
		}
	}
	for _, duplicate := range p.duplicates() {
		name, key, _ := strings.Cut(duplicate, ".")
		for _, n := range p.Variables {
			if !slices.Contains(n.Without, duplicate) {
				continue
			}
			for _, host := range inv.hostsOf(n) {
				has, _ := inv.value(host, name)
				if dict, ok := has.(map[string]any); ok {
					if _, set := dict[key]; set {
						add(Twice, n, host, name+" sets "+key+" as well: take it out there")
					}
				}
			}
		}
	}
	return all
}

// empty reports a need that only keeps something out.
func (n Need) empty() bool {
	switch v := n.Value.(type) {
	case map[string]any:
		return n.Adds && len(v) == 0
	case []any:
		return n.Adds && len(v) == 0
	}
	return false
}

func files(sources []Source, has func(map[string]any) bool) []string {
	var all []string
	for _, s := range sources {
		if has(s.Values) {
			all = append(all, s.File)
		}
	}
	return all
}

// shown is the inventory's value as far as the needed one goes: of a dictionary only
// its keys, as the rest is no business of a report.
func shown(has, needed any) string {
	dict, ok := has.(map[string]any)
	wants, both := needed.(map[string]any)
	if !ok || !both {
		return oneLine(fmt.Sprint(has))
	}
	var parts []string
	for _, key := range sortedKeys(wants) {
		if v, set := dict[key]; set {
			parts = append(parts, fmt.Sprintf("%s: %v", key, v))
		} else {
			parts = append(parts, "without "+key)
		}
	}
	return strings.Join(parts, ", ")
}
