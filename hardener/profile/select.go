package profile

import "strings"

// Select leaves the checks that --check, --group and --skip ask for, as
// kube-bench does it (cmd/common.go:33-64, check/controls.go:98-154). Checks and
// groups are exact ids; empty lists take everything; with both, a check must be
// in both. Then skip, which may hold check and group ids, and groups of type
// skip make the type of their checks "skip".
//
// As in kube-bench's output, a filtered check leaves no trace, a group without
// checks disappears, groups with the same id are one, and the type of a group is
// empty.
func (c *Controls) Select(checks, groups, skip []string) *Controls {
	wantCheck, wantGroup, skipped := idSet(checks), idSet(groups), idSet(skip)
	out := *c
	out.Groups = nil
	at := map[string]int{}
	for _, g := range c.Groups {
		if len(wantGroup) > 0 && !wantGroup[g.ID] {
			continue
		}
		for _, check := range g.Checks {
			if len(wantCheck) > 0 && !wantCheck[check.ID] {
				continue
			}
			if g.Type == "skip" || skipped[g.ID] || skipped[check.ID] {
				check.Type = "skip"
			}
			i, ok := at[g.ID]
			if !ok {
				i = len(out.Groups)
				at[g.ID] = i
				out.Groups = append(out.Groups, Group{ID: g.ID, Text: g.Text})
			}
			out.Groups[i].Checks = append(out.Groups[i].Checks, check)
		}
	}
	return &out
}

// idSet trims blanks, as kube-bench does (cmd/util.go:68-80), and is empty for no
// ids.
func idSet(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[strings.Trim(id, " ")] = true
	}
	return set
}
