package rollout

import (
	"fmt"
	"slices"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// Step is a change that is only safe in phases over all nodes: each phase on every
// node that has a part in it, before the next one begins on any. A node's part is
// one of package fix's phases, made by the node's own Job with its own gates; what
// no node can know, how far the others are, is the rollout's business.
//
// A rollout makes steps once it is done with all nodes, and only when every node
// of the cluster is in its plan and none was skipped. The phase that it is in lies
// in its state; how far it got in it, in the nodes' reports. A phase that a node has
// made already changes nothing there and is proven again, so that a step goes on
// from wherever it stopped.
type Step string

// The steps.
const (
	// ServingCertificates gives each kubelet a serving certificate of the cluster,
	// has every control plane look at all of them, and only then the API servers
	// demand it, one by one. Undone, the API servers come first.
	ServingCertificates Step = "serving-certificates"
	// EncryptionAtRest gives every API server the key to read with, then has each
	// write with it, and then one write every Secret anew. Undone, they write plainly
	// first, and give the key up when nothing is left that needs it.
	EncryptionAtRest Step = "encryption-at-rest"
)

// Steps are all of them, in their order.
func Steps() []Step { return []Step{ServingCertificates, EncryptionAtRest} }

// part is what is done on some nodes in an order: the command itself, or a phase.
type part struct {
	phase    fix.Phase // "" for the command
	workers  []string
	serial   []string
	parallel int
	approve  bool // requests for kubelets' serving certificates meanwhile
}

func (p part) nodes() []string { return slices.Concat(p.workers, p.serial) }

// parts are those of a rollout, in their order.
func parts(o Options, plan Plan) (all []part) {
	every := func(phase fix.Phase, approve bool) part {
		return part{phase: phase, workers: plan.Workers, serial: plan.Serial, parallel: plan.Parallel, approve: approve}
	}
	control := func(phase fix.Phase) part { return part{phase: phase, serial: plan.Control, parallel: 1} }
	one := func(phase fix.Phase) part {
		return part{phase: phase, serial: plan.Control[:min(1, len(plan.Control))], parallel: 1}
	}
	if !o.Undo {
		all = append(all, every("", false))
	}
	steps := Steps()
	if o.Undo {
		slices.Reverse(steps)
	}
	for _, step := range steps {
		switch {
		case !slices.Contains(o.Steps, step):
		case step == ServingCertificates && !o.Undo:
			all = append(all, every(fix.ServingKubelet, true), control(fix.ServingVerify), control(fix.ServingAPIServer))
		case step == ServingCertificates:
			all = append(all, control(fix.ServingUndoAPIServer), every(fix.ServingUndoKubelet, false))
		case step == EncryptionAtRest && !o.Undo:
			all = append(all, control(fix.EncryptionLook), control(fix.EncryptionRead), control(fix.EncryptionWrite), one(fix.EncryptionRewrite))
		case step == EncryptionAtRest:
			all = append(all, control(fix.EncryptionUndoWrite), one(fix.EncryptionUndoRewrite), control(fix.EncryptionUndoRead))
		}
	}
	return all
}

// checkSteps refuses steps that are none, or not over all nodes.
func checkSteps(o Options) error {
	for _, s := range o.Steps {
		if !slices.Contains(Steps(), s) {
			return fmt.Errorf("step %q: there is none of this name", s)
		}
	}
	switch {
	case o.Undo && len(o.Steps) == 0:
		return fmt.Errorf("no step is named that is to be undone")
	case len(o.Steps) > 0 && (len(o.Choice.Nodes) > 0 || o.Choice.Selector != ""):
		return fmt.Errorf("steps across nodes take all nodes: --nodes and --selector do not go with them")
	}
	return nil
}

// unfit says why a cluster is not in a state for a step, nil when it is.
func (p Plan) unfit() error {
	switch {
	case len(p.Skipped) > 0:
		return fmt.Errorf("steps across nodes need every node: %s is left alone, because %s", p.Skipped[0].Node, p.Skipped[0].Reason)
	case len(p.Control) == 0:
		return fmt.Errorf("steps across nodes need the API servers on Nodes: no Node has one")
	case len(p.Elsewhere) > 0:
		return fmt.Errorf("steps across nodes need every API server on a Node: %s is on none", names(p.Elsewhere))
	}
	return nil
}
