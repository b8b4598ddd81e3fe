package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// DecodeCluster reads a report on many nodes that WriteJSON wrote. ok is false for
// any other document.
func DecodeCluster(b []byte) (c Cluster, ok bool, err error) {
	var keys struct {
		Rollout *json.RawMessage `json:"rollout"`
		Nodes   *json.RawMessage `json:"nodes"`
	}
	if json.Unmarshal(b, &keys) != nil || keys.Rollout == nil || keys.Nodes == nil {
		return Cluster{}, false, nil
	}
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&c); err != nil {
		return Cluster{}, true, fmt.Errorf("read report: %w", err)
	}
	return c, true, nil
}

// Merge adds all that another report of the same cluster says.
func (c *Cluster) Merge(other Cluster) error {
	if other.Rollout.ID != "" || other.Rollout.Command != "" {
		if c.Rollout.ID != "" && other.Rollout.ID != "" && c.Rollout.ID != other.Rollout.ID {
			return fmt.Errorf("they are of two rollouts, %s and %s", c.Rollout.ID, other.Rollout.ID)
		}
		c.Rollout = other.Rollout
	}
	for _, n := range other.Nodes {
		if c.index(n.Name) >= 0 {
			return fmt.Errorf("node %s is in two of them", n.Name)
		}
	}
	c.Totals.sum(other.Totals)
	c.Nodes = append(c.Nodes, other.Nodes...)
	seen := map[clusterKey]int{}
	for _, more := range other.Checks {
		one := c.check(seen, more.Target, more.ID, more.Text)
		one.Totals.sum(more.Totals)
		one.Nodes = append(one.Nodes, more.Nodes...)
	}
	for _, k := range other.Kept {
		c.keep(k)
	}
	return nil
}

// Put adds the report of a node. One that is known already, of which there is no
// report yet, keeps its state and its reason.
func (c *Cluster) Put(name string, r *Report) {
	n := ClusterNode{Name: name, State: NodeDone}
	if i := c.index(name); i >= 0 {
		n = c.Nodes[i]
		c.Nodes = slices.Delete(c.Nodes, i, i+1)
	}
	c.Add(n, r)
}

// Bare is the report without what it has from the reports of its nodes: what was
// rolled out, and how far each node got. The names are of those that had one.
func (c *Cluster) Bare() (bare Cluster, reported []string) {
	bare.Rollout = c.Rollout
	for _, n := range c.Nodes {
		if n.Totals != nil {
			reported = append(reported, n.Name)
		}
		bare.Nodes = append(bare.Nodes, ClusterNode{Name: n.Name, State: n.State, Reason: n.Reason})
	}
	return bare, reported
}

// WithSections is the report with the sections of another one on the same node, such
// as its policies, which no Job may read. They take the place of its own.
func (r Report) WithSections(other Report) Report {
	sections := slices.DeleteFunc(slices.Clone(r.Controls), func(s Section) bool {
		return slices.ContainsFunc(other.Controls, func(o Section) bool { return o.Target == s.Target })
	})
	all := New(slices.Concat(sections, other.Controls))
	r.Controls, r.Totals = all.Controls, all.Totals
	return r
}

// Fail says that a node could not be done, whatever else is known of it.
func (c *Cluster) Fail(name, reason string) {
	if i := c.index(name); i >= 0 {
		c.Nodes[i].State, c.Nodes[i].Reason = NodeFailed, reason
		return
	}
	c.Nodes = append(c.Nodes, ClusterNode{Name: name, State: NodeFailed, Reason: reason})
}

// Reach says that the host of an etcd member, which no Job could reach, was reached in
// another way.
func (c *Cluster) Reach(addresses ...string) {
	c.Rollout.EtcdOnly = slices.DeleteFunc(c.Rollout.EtcdOnly, func(a string) bool { return slices.Contains(addresses, a) })
}

// index is the place of a node, -1 for none.
func (c *Cluster) index(name string) int {
	return slices.IndexFunc(c.Nodes, func(n ClusterNode) bool { return n.Name == name })
}

// Threshold is from what on findings are too many.
type Threshold struct {
	word string
	most int // with no word
}

// Thresholds are the words of a Threshold, beside a number.
func Thresholds() []string { return []string{"never", "unfixed", "fail", "warn"} }

// ParseThreshold reads a threshold: never, unfixed (a check fails for which a fix was
// to be made), fail (any fails), warn (any fails or needs a person), or how many
// verdicts of FAIL are one too many less one.
func ParseThreshold(text string) (Threshold, error) {
	if slices.Contains(Thresholds(), text) {
		return Threshold{word: text}, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return Threshold{}, errors.New("must be never, unfixed, fail, warn or a number")
	}
	return Threshold{most: n}, nil
}

// Exceeded tells whether a report has more findings than a threshold lets pass, and
// which.
func (c *Cluster) Exceeded(t Threshold) (why string, exceeded bool) {
	switch t.word {
	case "never":
		return "", false
	case "fail":
		return plural(c.Totals.Fail, "verdict") + " of FAIL", c.Totals.Fail > 0
	case "warn":
		return plural(c.Totals.Fail+c.Totals.Warn, "verdict") + " of FAIL or WARN", c.Totals.Fail+c.Totals.Warn > 0
	case "unfixed":
		n, first := c.unfixed()
		return plural(n, "verdict") + " of FAIL that was to be fixed, the first " + first, n > 0
	}
	return fmt.Sprintf("%s of FAIL, and %d may be", plural(c.Totals.Fail, "verdict"), t.most), c.Totals.Fail > t.most
}

// unfixed counts what fails although a fix was to be made.
func (c *Cluster) unfixed() (n int, first string) {
	for _, one := range c.Checks {
		for _, seen := range one.Nodes {
			switch seen.Fix {
			case fix.Planned, fix.Applied, fix.Undone, fix.Refused:
			default:
				continue
			}
			if seen.Status != check.Fail {
				continue
			}
			if n++; n == 1 {
				first = one.ID + " on " + seen.Node
			}
		}
	}
	return n, first
}
