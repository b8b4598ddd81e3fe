package main

import (
	"context"
	"fmt"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// phaseGate adds to a node's gates what a phase of a step across nodes needs: a
// look at other nodes before and after.
type phaseGate struct {
	*liveNode
	phase fix.Phase
}

// Fit is the gates', and of a phase that it can be made at all: nothing is written
// before.
func (g phaseGate) Fit(ctx context.Context, components []string) error {
	if err := g.liveNode.Fit(ctx, components); err != nil {
		return err
	}
	if g.phase == fix.ServingAPIServer {
		return g.gates.KubeletsTrusted(ctx)
	}
	return nil
}

// Before is the gates'. An API server that takes or gives up the authority of
// kubelets has to reach each of them afterwards as it did before.
func (g phaseGate) Before(ctx context.Context, component string) (func(context.Context) error, error) {
	take, err := g.liveNode.Before(ctx, component)
	if err != nil || component != node.APIServer || g.phase != fix.ServingAPIServer && g.phase != fix.ServingUndoAPIServer {
		return take, err
	}
	reached, err := g.gates.ReachKubelets(ctx)
	if err != nil {
		return take, err
	}
	return func(ctx context.Context) error {
		if err := take(ctx); err != nil {
			return err
		}
		return g.gates.StillReach(ctx, reached)
	}, nil
}

// trustTime is how long a kubelet may take to answer that has just been restarted.
const trustTime = time.Minute

// holds proves a phase that there was nothing to do for: made before, by this
// program or another, or one that changes nothing.
func (n *liveNode) holds(ctx context.Context, phase fix.Phase) (err error) {
	switch phase {
	case fix.ServingKubelet:
		err = n.gates.ServingCertificate(ctx)
	case fix.ServingVerify, fix.ServingAPIServer:
		for end := time.Now().Add(trustTime); ; {
			if err = n.gates.KubeletsTrusted(ctx); err == nil || time.Now().After(end) || ctx.Err() != nil {
				break
			}
			time.Sleep(2 * time.Second)
		}
		if err == nil && phase == fix.ServingAPIServer {
			_, err = n.gates.ReachKubelets(ctx)
		}
	}
	if err != nil {
		return fmt.Errorf("phase %s: %w", phase, err)
	}
	return nil
}
