package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// The key of encryption at rest on its way from control plane to control plane. The
// rollout never sees it: what it carries is sealed with the key of the cluster's
// authority, which control planes have (package fix, SealKey).

// took takes down what a node has handed over in a phase.
func (r *rollout) took(ctx context.Context, phase fix.Phase, node string, o Outcome) error {
	if !phase.Encrypts() {
		return nil
	}
	if len(r.state.Plan.Control) > 1 && o.Handover == "" {
		return errors.New("it has no ca.key, by which control planes could hand the key over to each other")
	}
	if r.handed == nil {
		r.handed = map[string]string{}
	}
	r.handed[node] = o.Handover
	sealed, ok := strings.CutPrefix(o.Handover, HandoverKey)
	switch {
	case phase == fix.EncryptionRead && !ok && len(r.state.Plan.Control) > 1:
		return errors.New("it has not said which key it has now")
	case !ok || r.state.Sealed == sealed:
		return nil
	case r.state.Sealed != "":
		return errors.New("it has another key, or another ca.key, than the other control planes")
	}
	r.state.Sealed = sealed
	return r.api.writeState(ctx, r.state)
}

// compare wants every control plane to be able to open what another has sealed: the
// same word is the same text under the same authority.
func (r *rollout) compare() error {
	var first string
	for _, node := range slices.Sorted(slices.Values(r.state.Plan.Control)) {
		word, ok := strings.CutPrefix(r.handed[node], HandoverNone)
		if !ok {
			continue // has the key: to open it is the others' proof
		}
		if first == "" {
			first = word
		}
		if word != first {
			return fmt.Errorf("node %s has another ca.key than other control planes", node)
		}
	}
	return nil
}
