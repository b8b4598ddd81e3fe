package rollout

import (
	"cmp"
	"context"
	"errors"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Stored puts the report of the last rollout together again, from what lies in
// the cluster. It may be under way.
func Stored(ctx context.Context, api *API) (report.Cluster, error) {
	s, err := api.readState(ctx)
	if err != nil {
		return report.Cluster{}, err
	}
	return api.collect(ctx, s, nil)
}

// collect puts the report of a rollout together from what the nodes' programs have
// delivered. Of some nodes more is known: why they failed.
func (a *API) collect(ctx context.Context, s state, failed map[string]string) (report.Cluster, error) {
	c := report.Cluster{Rollout: s.run()}
	for _, skipped := range s.Plan.Skipped {
		c.Add(report.ClusterNode{Name: skipped.Node, State: report.NodeSkipped, Reason: skipped.Reason}, nil)
	}
	for _, node := range s.Plan.Order() {
		o, err := a.outcome(ctx, s.ID, node)
		n := report.ClusterNode{Name: node, State: report.NodeDone}
		switch {
		case failed[node] != "":
			n.State, n.Reason = report.NodeFailed, failed[node]
		case errors.Is(err, errNoOutcome):
			n.State, n.Reason = report.NodeLeft, err.Error()
		case err != nil:
			return report.Cluster{}, err
		case o.Exit > 1:
			n.State, n.Reason = report.NodeFailed, cmp.Or(o.Error, "its program failed")
		}
		c.Add(n, o.Report)
	}
	c.Sort()
	return c, nil
}
