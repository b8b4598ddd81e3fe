package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// reportPage is how many reports are read at once: as many of the largest
// (maxReport, in base64) as one answer may have (maxAnswer).
const reportPage = 50

// Stored puts the report of the last rollout together again, from what lies in
// the cluster. It may be under way.
func Stored(ctx context.Context, api *API) (report.Cluster, error) {
	s, err := api.readState(ctx)
	if err != nil {
		return report.Cluster{}, err
	}
	return api.collect(ctx, s, nil)
}

// Reports gives each what the nodes have reported themselves in the last rollout, some
// at a time.
func Reports(ctx context.Context, api *API, each func(node string, r report.Report) error) error {
	s, err := api.readState(ctx)
	if err != nil {
		return err
	}
	var failure error
	err = api.outcomes(ctx, s.ID, func(node string, o Outcome) {
		if failure == nil && o.Report != nil {
			failure = each(node, *o.Report)
		}
	})
	return errors.Join(err, failure)
}

// collect puts the report of a rollout together from what the nodes' programs have
// delivered. Of some nodes more is known: why they failed.
func (a *API) collect(ctx context.Context, s state, failed map[string]string) (report.Cluster, error) {
	c := report.Cluster{Rollout: s.run()}
	for _, skipped := range s.Plan.Skipped {
		c.Add(report.ClusterNode{Name: skipped.Node, State: report.NodeSkipped, Reason: skipped.Reason}, nil)
	}
	left := map[string]bool{}
	for _, node := range s.Plan.Order() {
		left[node] = true
	}
	err := a.outcomes(ctx, s.ID, func(node string, o Outcome) {
		if !left[node] {
			return
		}
		delete(left, node)
		n := report.ClusterNode{Name: node, State: report.NodeDone}
		if why := failed[node]; why != "" {
			n.State, n.Reason = report.NodeFailed, why
		} else if o.Exit > 1 {
			n.State, n.Reason = report.NodeFailed, cmp.Or(o.Error, "its program failed")
		}
		c.Add(n, o.Report)
	})
	if err != nil {
		return report.Cluster{}, err
	}
	for node := range left {
		n := report.ClusterNode{Name: node, State: report.NodeLeft, Reason: errNoOutcome.Error()}
		if why := failed[node]; why != "" {
			n.State, n.Reason = report.NodeFailed, why
		}
		c.Add(n, nil)
	}
	c.Sort()
	return c, nil
}

// outcomes reads what the programs of nodes have delivered in a rollout, some at a
// time: neither a request for each of a thousand nodes, nor all in memory.
func (a *API) outcomes(ctx context.Context, id string, each func(node string, o Outcome)) error {
	for next := ""; ; {
		var page struct {
			Metadata struct {
				Continue string `json:"continue"`
			} `json:"metadata"`
			Items []stored `json:"items"`
		}
		path := fmt.Sprintf("%s?labelSelector=%s&limit=%d&continue=%s", inNamespace("", "configmaps", ""), url.QueryEscape(labelRollout+"="+id), reportPage, url.QueryEscape(next))
		if err := a.get(ctx, path, &page); err != nil {
			return fmt.Errorf("reports: %w", err)
		}
		for _, one := range page.Items {
			switch o, err := one.outcome(); {
			case errors.Is(err, errNoOutcome):
			case err != nil:
				return fmt.Errorf("ConfigMap %s/%s: %w", Namespace, one.Metadata.Name, err)
			default:
				each(one.Metadata.Annotations[annotationNode], o)
			}
		}
		if next = page.Metadata.Continue; next == "" {
			return nil
		}
	}
}
