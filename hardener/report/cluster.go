package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Cluster is one report on many nodes: per node, and per check. It holds what
// differs from node to node and no whole reports, so that a thousand nodes fit.
type Cluster struct {
	Rollout ClusterRun     `json:"rollout"`
	Totals  Totals         `json:"totals"` // over all nodes
	Nodes   []ClusterNode  `json:"nodes"`
	Checks  []ClusterCheck `json:"checks"`
	Kept    []ClusterKept  `json:"kept,omitempty"`

	at   map[clusterKey]int // places in Checks
	kept map[string]int     // places in Kept
}

// ClusterRun says what was rolled out and how that ended. Of reports that were merged
// without a rollout only the command is known.
type ClusterRun struct {
	ID       string   `json:"id"`
	Command  string   `json:"command"` // check, fix or undo
	Args     []string `json:"args,omitempty"`
	Image    string   `json:"image"`
	Started  string   `json:"started"`           // RFC 3339
	Ended    string   `json:"ended,omitempty"`   // RFC 3339
	Stopped  string   `json:"stopped,omitempty"` // why it did not get to all nodes
	EtcdOnly []string `json:"etcd_only,omitempty"`
}

// NodeState is how far a rollout got with a node.
type NodeState string

// The states.
const (
	NodeDone    NodeState = "done"    // its program did its work, whatever it found
	NodeFailed  NodeState = "failed"  // its program did not
	NodeSkipped NodeState = "skipped" // left alone, with a reason
	NodeLeft    NodeState = "left"    // not begun: the rollout stopped before
)

// ClusterNode is what a rollout did to a node.
type ClusterNode struct {
	Name              string    `json:"name"`
	State             NodeState `json:"state"`
	Reason            string    `json:"reason,omitempty"`
	KubernetesVersion string    `json:"kubernetes_version,omitempty"`
	Benchmark         string    `json:"benchmark,omitempty"`
	Run               string    `json:"run,omitempty"` // the ID that hardener rollback takes on the node
	Changes           []string  `json:"changes,omitempty"`
	Totals            *Totals   `json:"totals,omitempty"` // nil without a report

	Kubespray *node.ReleaseRange `json:"kubespray_release,omitempty"`
}

// ClusterKept is what a fix or a plan came to, on the nodes where it is the same.
type ClusterKept struct {
	Target string       `json:"node_type"`
	ID     string       `json:"test_number"`
	Text   string       `json:"test_desc"`
	Nodes  []string     `json:"nodes"`
	Fix    fix.Decision `json:"fix"` // in force, applied or planned, without what is one node's: paths and diffs
}

// ClusterCheck is one check on all nodes that have it.
type ClusterCheck struct {
	Target string        `json:"node_type"` // the section, as in a node's report
	ID     string        `json:"test_number"`
	Text   string        `json:"test_desc"`
	Totals Totals        `json:"totals"` // nodes
	Nodes  []ClusterSeen `json:"nodes"`  // those where it does not simply pass
}

// ClusterSeen is a verdict on one node.
type ClusterSeen struct {
	Node   string      `json:"node"`
	Status check.State `json:"status"`
	Before check.State `json:"status_before,omitempty"`
	Reason string      `json:"reason,omitempty"`
	Fix    fix.State   `json:"fix,omitempty"`
}

type clusterKey struct {
	target, id string
	n          int // duplicates of an id are kept apart by their order
}

// Add adds a node, with its report unless there is none.
func (c *Cluster) Add(n ClusterNode, r *Report) {
	if r != nil {
		n.KubernetesVersion, n.Benchmark, n.Run = r.Node.KubernetesVersion, r.Node.Benchmark, r.Run.ID
		if !r.Run.DryRun {
			for _, change := range r.Run.Changes {
				n.Changes = append(n.Changes, change.Path)
			}
		}
		totals := r.Totals
		n.Totals = &totals
		c.Totals.sum(totals)
		n.Kubespray = r.Layout.Kubespray
		c.addChecks(n.Name, r)
	}
	c.Nodes = append(c.Nodes, n)
}

func (c *Cluster) addChecks(node string, r *Report) {
	seen := map[clusterKey]int{}
	for s, res := range r.Results() {
		one := c.check(seen, s.Target, res.ID, res.Text)
		one.Totals.add(res.Status)
		c.addKept(node, s.Target, res)
		if res.Status == check.Pass && !res.moved() {
			continue
		}
		entry := ClusterSeen{Node: node, Status: res.Status, Before: res.StatusBefore}
		if res.Type != "manual" {
			entry.Reason = shorten(cmp.Or(res.VerdictReason, res.Reason), longReason)
		}
		if res.Fix != nil {
			entry.Fix = res.Fix.State
		}
		one.Nodes = append(one.Nodes, entry)
	}
}

// addKept adds what keeps a fix, to that of other nodes where it is the same.
func (c *Cluster) addKept(node, target string, res *Result) {
	if res.Fix == nil || len(res.Fix.Settings) == 0 {
		return
	}
	kept := ClusterKept{Target: target, ID: res.ID, Text: res.Text, Fix: *res.Fix}
	switch kept.Fix.State {
	case fix.Applied: // which of them is no matter once it is over
		kept.Fix.State = fix.InForce
	case fix.InForce, fix.Planned:
	default:
		return
	}
	kept.Fix.Reason, kept.Fix.Breaks, kept.Fix.Touches, kept.Fix.Paths, kept.Fix.Diff = "", "", nil, nil, ""
	kept.Nodes = []string{node}
	c.keep(kept)
}

// keep adds to what is kept, which may be the same on other nodes.
func (c *Cluster) keep(k ClusterKept) {
	if c.kept == nil { // also after Sort, and of a report that was read
		c.kept = map[string]int{}
		for i, known := range c.Kept {
			c.kept[known.same()] = i
		}
	}
	i, ok := c.kept[k.same()]
	if !ok {
		i = len(c.Kept)
		c.kept[k.same()] = i
		fresh := k
		fresh.Nodes = nil
		c.Kept = append(c.Kept, fresh)
	}
	for _, node := range k.Nodes {
		if !slices.Contains(c.Kept[i].Nodes, node) {
			c.Kept[i].Nodes = append(c.Kept[i].Nodes, node)
		}
	}
}

// same is all of it but the nodes.
func (k ClusterKept) same() string {
	k.Nodes = nil
	b, _ := json.Marshal(k) // it has nothing that cannot be written
	return string(b)
}

// check is the entry of a check, made when there is none. seen counts the duplicates
// of an id in the report that is being added.
func (c *Cluster) check(seen map[clusterKey]int, target, id, text string) *ClusterCheck {
	if c.at == nil { // also after Sort, and of a report that was read
		c.at = map[clusterKey]int{}
		count := map[clusterKey]int{}
		for i, one := range c.Checks {
			key := clusterKey{one.Target, one.ID, 0}
			count[key]++
			key.n = count[key]
			c.at[key] = i
		}
	}
	key := clusterKey{target, id, 0}
	seen[key]++
	key.n = seen[key]
	i, ok := c.at[key]
	if !ok {
		i = len(c.Checks)
		c.at[key] = i
		c.Checks = append(c.Checks, ClusterCheck{Target: target, ID: id, Text: text})
	}
	return &c.Checks[i]
}

// longReason keeps the report of a large cluster readable, in runes.
const longReason = 300

// Sort puts nodes and checks into their order, whatever order they came in.
func (c *Cluster) Sort() {
	slices.SortFunc(c.Nodes, func(a, b ClusterNode) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortStableFunc(c.Checks, func(a, b ClusterCheck) int { return compareIDs(a.ID, b.ID) })
	for i := range c.Checks {
		slices.SortFunc(c.Checks[i].Nodes, func(a, b ClusterSeen) int { return cmp.Compare(a.Node, b.Node) })
	}
	for i := range c.Kept {
		slices.Sort(c.Kept[i].Nodes)
	}
	slices.SortStableFunc(c.Kept, func(a, b ClusterKept) int {
		return cmp.Or(compareIDs(a.ID, b.ID), cmp.Compare(a.Target, b.Target), slices.Compare(a.Nodes, b.Nodes), cmp.Compare(a.Fix.State, b.Fix.State))
	})
	c.at, c.kept = nil, nil
}

// compareIDs compares numbers such as 1.2.10 part by part.
func compareIDs(a, b string) int {
	number := func(part string) int {
		n, err := strconv.Atoi(part)
		if err != nil {
			return -1
		}
		return n
	}
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		return cmp.Or(cmp.Compare(number(x), number(y)), cmp.Compare(x, y))
	})
}

// Count is how many nodes are in a state.
func (c *Cluster) Count(state NodeState) (n int) {
	for _, node := range c.Nodes {
		if node.State == state {
			n++
		}
	}
	return n
}

// WriteJSON writes the report on one line.
func (c *Cluster) WriteJSON(w io.Writer) error {
	if err := json.NewEncoder(w).Encode(c); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}
