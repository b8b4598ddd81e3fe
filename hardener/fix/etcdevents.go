package fix

import (
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// changeEvents makes what etcd needs in Kubespray's second etcd as well, the one
// for Events (etcd_events_cluster_enabled), which has a unit and an environment
// file of its own. It is a cluster of its own too: a group of its own restarts and
// proves it. why says what keeps its part, and so the whole, from being made.
func (p *planner) changeEvents(f Finding, picks []pick, tx *workspace) (notes []string, why string, err error) {
	events, here := p.in.Facts.Components[node.EtcdEvents]
	if !here || events.Manifest != "" {
		return nil, "", nil
	}
	at, err := openEtcd(tx, node.EtcdEvents, events)
	if err != nil {
		return nil, "", fmt.Errorf("etcd-events: %w", err)
	}
	on := func(k pick) *attempt {
		return &attempt{facts: p.in.Facts, component: events, tx: tx, place: at, setting: k.setting, item: k.item, free: p.in.FreeBytes}
	}
	for _, k := range choose(picks, func(k pick) bool { return k.holds(on(k)) }, f.Check.Tests.BinOp == "or") {
		c := on(k)
		if k.holds(c) {
			continue
		}
		if k.rule.guard != nil {
			why = k.rule.guard(c)
		}
		if why == "" {
			why, err = k.satisfy(c)
		}
		if err != nil {
			return nil, "", fmt.Errorf("etcd-events: %w", err)
		}
		if why != "" {
			return nil, "etcd-events: " + why, nil
		}
	}
	if err := at.apply(tx); err != nil {
		return nil, "", fmt.Errorf("etcd-events: %w", err)
	}
	if len(at.notes) > 0 {
		notes = []string{strings.Join(at.notes, "; ") + " in " + at.file()}
	}
	return notes, "", nil
}
