package report

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// maxNames is how many nodes are named in one place.
const maxNames = 6

// Text writes the report for a person to read: each node on a line, then each
// check that fails or needs a person, with the nodes where it does.
func (c *Cluster) Text(w io.Writer, s Style) error {
	var b bytes.Buffer
	p := page{w: &b, style: s}
	title := fmt.Sprintf("%s on %s", c.Rollout.Command, plural(len(c.Nodes), "node"))
	if c.Rollout.ID != "" {
		title = "Rollout " + c.Rollout.ID + ": " + title
	}
	p.line("%s", s.paint(ansiBold, oneLine(title)))
	if c.Rollout.Stopped != "" {
		p.block("  ended early  ", ansiRed, oneLine(c.Rollout.Stopped))
	}
	for _, address := range c.Rollout.EtcdOnly {
		p.block("  not reached  ", ansiYellow, oneLine("etcd member "+address+": it is on no Node, so that no Job can reach its host"))
	}
	p.clusterNodes(c.Nodes)
	p.clusterChecks(c.Checks, check.Fail, "FAIL")
	p.clusterChecks(c.Checks, check.Warn, "WARN: a person has to look")
	p.clusterLost(c.Kept)
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// clusterNodes is the table of nodes, with a reason below those that have one.
func (p page) clusterNodes(nodes []ClusterNode) {
	wide := len("node")
	for _, n := range nodes {
		wide = max(wide, text.StringWidth(oneLine(n.Name)))
	}
	p.line("")
	p.line("  %s  %s", text.Pad("node", wide, ' '), p.style.paint(ansiDim, "state     PASS  FAIL  WARN  INFO  changes"))
	for _, n := range nodes {
		counts := "   -     -     -     -"
		if t := n.Totals; t != nil {
			counts = fmt.Sprintf("%4d  %4d  %4d  %4d", t.Pass, t.Fail, t.Warn, t.Info)
		}
		p.line("  %s  %s  %s  %7d", text.Pad(oneLine(n.Name), wide, ' '), p.style.paint(colourOfNode(n.State), text.Pad(string(n.State), 8, ' ')), counts, len(n.Changes))
		if n.Reason != "" {
			p.block("      ", "", oneLine(n.Reason))
		}
	}
}

func colourOfNode(s NodeState) string {
	switch s {
	case NodeDone:
		return ansiGreen
	case NodeFailed:
		return ansiRed
	}
	return ansiYellow
}

// clusterChecks are the checks that have a status on some node.
func (p page) clusterChecks(checks []ClusterCheck, status check.State, heading string) {
	var n int
	for _, one := range checks {
		var nodes []string
		reasons := map[string]bool{}
		reason := ""
		for _, seen := range one.Nodes {
			if seen.Status == status {
				nodes = append(nodes, seen.Node)
				reasons[seen.Reason] = true
				reason = seen.Reason
			}
		}
		if len(nodes) == 0 {
			continue
		}
		if n++; n == 1 {
			p.heading(status, "%s", heading)
		}
		p.checkOn(one.ID, one.Text, nodes)
		if len(reasons) == 1 && reason != "" { // the same everywhere
			p.block("          why        ", ansiDim, oneLine(auditError(reason)))
		}
	}
}

// checkOn is a check with the nodes that something is said of.
func (p page) checkOn(id, text string, nodes []string) {
	p.block(fmt.Sprintf("  %-7s ", oneLine(id)), ansiBold, title(text))
	where := strings.Join(nodes[:min(len(nodes), maxNames)], ", ")
	if more := len(nodes) - maxNames; more > 0 {
		where += fmt.Sprintf(" and %d more", more)
	}
	p.block("          on         ", ansiDim, oneLine(where))
}
