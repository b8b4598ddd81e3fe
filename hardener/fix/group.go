package fix

import "slices"

// group turns the edits into changes, one per path, in the order of application.
// Modes and owners of a file whose new content is refused are still changed: they
// restart nothing.
func (p *planner) group() {
	groups := map[string]*Group{}
	add := func(component string, c Change, risk Risk) {
		g := groups[component]
		if g == nil {
			g = &Group{Component: component, Risk: RiskFiles}
			groups[component] = g
		}
		if riskRank(risk) > riskRank(g.Risk) {
			g.Risk = risk
		}
		g.Changes = append(g.Changes, c)
	}
	for _, path := range p.order() {
		e := p.ws.edits[path]
		if e.before != nil && sameFile(*e.before, e.after) && e.kind != MkdirK {
			continue
		}
		if e.component == "" {
			add(FilesGroup, p.newChange(path, e, p.checks(e, true)), RiskFiles)
			continue
		}
		if meta, rest, split := p.split(e); split {
			add(FilesGroup, p.newChange(path, meta, p.checks(e, true)), RiskFiles)
			e = rest
		}
		add(e.component, p.newChange(path, e, p.checks(e, false)), p.risk(e))
	}
	for _, component := range groupOrder {
		if c, ok := p.restarts[component]; ok {
			add(component, c, p.unread[component].risk)
		}
		if g := groups[component]; g != nil {
			g.Refused = p.refused(*g)
			p.plan.Groups = append(p.plan.Groups, *g)
		}
	}
}

// refused says why a group is shown and not made, "" when it is made.
func (p *planner) refused(g Group) string {
	if p.live(g.Component) && !p.in.Gated {
		return refusedReason
	}
	why := p.blocked[g.Component]
	if failed, ok := p.in.Failed[g.Digest()]; ok && why == "" {
		why = "it was tried on this node and taken back (" + failed + "): it is tried again when what it rests on has changed, or with --retry"
		if !g.Writes() {
			why = "the restart was tried on this node and failed (" + failed + "): it is tried again when what it rests on has changed, or with --retry"
		}
	}
	if why == "" {
		return ""
	}
	for _, c := range g.Changes {
		for _, key := range c.Checks {
			if d, ok := p.plan.Decisions[key]; ok && d.State == Planned {
				d.State, d.Reason = Refused, joinReason(why, d.Reason)
				p.plan.Decisions[key] = d
			}
		}
	}
	return why
}

// live reports a component that runs here and takes a changed file only when it
// is restarted.
func (p *planner) live(component string) bool {
	return component != FilesGroup && p.in.Facts.Components[component].Running
}

// split separates mode and owner from content that is going to be refused.
func (p *planner) split(e edit) (meta, rest edit, ok bool) {
	metaOnly := e.before != nil && (e.before.Mode != e.after.Mode || e.before.UID != e.after.UID || e.before.GID != e.after.GID)
	if !metaOnly || !p.live(e.component) {
		return edit{}, e, false
	}
	before := *e.before
	meta = edit{kind: Meta, before: &File{Mode: before.Mode, UID: before.UID, GID: before.GID}, after: File{Mode: e.after.Mode, UID: e.after.UID, GID: e.after.GID}}
	before.Mode, before.UID, before.GID = e.after.Mode, e.after.UID, e.after.GID
	e.before = &before
	return meta, e, true
}

// checks are the findings of an edit whose risk is files, or is not, when the
// two are in different groups.
func (p *planner) checks(e edit, files bool) []string {
	var out []string
	for _, c := range e.checks {
		if e.component == "" || (p.plan.Decisions[c].Risk == RiskFiles) == files || !p.live(e.component) && !files {
			out = append(out, c)
		}
	}
	return out
}

func (p *planner) risk(e edit) Risk {
	risk := RiskRestart
	for _, c := range e.checks {
		if r := p.plan.Decisions[c].Risk; riskRank(r) > riskRank(risk) {
			risk = r
		}
	}
	return risk
}

// order is every edited path in the order of writing: directories before what
// is in them, companions before manifests, because a manifest starts its
// component as soon as it is written.
func (p *planner) order() []string {
	manifests := map[string]bool{}
	for _, c := range p.in.Facts.Components {
		if real, err := p.ws.resolve(c.Manifest); err == nil && c.Manifest != "" {
			manifests[real] = true
		}
	}
	rank := func(path string) int {
		switch {
		case p.ws.edits[path].kind == MkdirK:
			return 0
		case manifests[path]:
			return 2
		}
		return 1
	}
	out := sortedKeys(p.ws.edits)
	slices.SortStableFunc(out, func(a, b string) int { return rank(a) - rank(b) })
	return out
}

func (p *planner) newChange(path string, e edit, checks []string) Change {
	c := Change{Path: path, Kind: e.kind, Before: e.before, After: e.after, Checks: checks, Diff: p.ws.known.describe(path, e, p.in.Users)}
	if c.Kind == Meta {
		c.After.Content = nil
	}
	return c
}
