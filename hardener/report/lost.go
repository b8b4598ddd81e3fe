package report

import (
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// Lost says why the next upgrade takes back what makes the check pass, "" when it
// does not or nobody knows.
func (r Result) Lost() string {
	if r.Fix == nil || r.Fix.State != fix.InForce && r.Fix.State != fix.Applied {
		return ""
	}
	return r.Fix.Lost
}

// keepHint is where the variables of what is lost come from.
const keepHint = "hardener vars writes the variables that keep them."

// lost are the checks that pass until the next upgrade.
func (p page) lost(r Report) {
	var n int
	for _, res := range r.Results() {
		if res.Lost() != "" {
			n++
		}
	}
	if n == 0 {
		return
	}
	p.heading("", "%s lost at the next upgrade (upgrade-cluster.yml)", plural(n, "check"))
	p.grouped(r, func(res Result) bool { return res.Lost() != "" }, func(all []Result) {
		for _, res := range all {
			p.head(res)
			if !p.style.Brief {
				p.block("          lost       ", ansiYellow, oneLine(res.Lost()))
			}
		}
	})
	p.block("  ", "", keepHint)
}

// clusterLost are the same on many nodes.
func (p page) clusterLost(all []ClusterKept) {
	var n int
	for _, kept := range all {
		if kept.Fix.Lost == "" || kept.Fix.State == fix.Planned {
			continue
		}
		if n++; n == 1 {
			p.heading("", "lost at the next upgrade (upgrade-cluster.yml)")
		}
		p.checkOn(kept.ID, kept.Text, kept.Nodes)
		p.block("          lost       ", ansiYellow, oneLine(kept.Fix.Lost))
	}
	if n > 0 {
		p.block("  ", "", keepHint)
	}
}
