package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// parts takes the nodes by themselves, and then in the phases of steps. It returns
// the nodes of a part that were not begun, and why it did not get to its end.
func (r *rollout) parts(ctx, begin context.Context, stop context.CancelCauseFunc) (left []string, result error) {
	p := r.state.Plan
	all := parts(r.o, p)
	if i := slices.IndexFunc(all, func(one part) bool { return one.phase == r.state.Phase }); i > 0 {
		all = all[i:] // where an earlier process was
	}
	for _, one := range all {
		if one.phase != "" {
			if err := errors.Join(p.unfit(), r.in.mixed(one.phase)); err != nil {
				return nil, &StoppedError{Why: fmt.Errorf("phase %s is not begun: %w", one.phase, err)}
			}
			if r.state.Phase != one.phase {
				r.done, r.state.Phase = nil, one.phase
				if err := r.api.writeState(ctx, r.state); err != nil {
					return nil, err
				}
			}
			r.tell(Progress{State: Note, Text: "phase " + string(one.phase)})
		}
		r.behind, r.total = 0, len(one.nodes())
		left := r.part(ctx, begin, stop, one)
		if why := r.failed; why != nil || len(left) > 0 {
			return left, &StoppedError{Why: cmp.Or(why, context.Cause(begin)), Left: left}
		}
		if err := r.after(one.phase); err != nil {
			return nil, &StoppedError{Why: err}
		}
	}
	return nil, nil
}

// after is what follows when every node of a phase is done.
func (r *rollout) after(phase fix.Phase) error {
	switch phase {
	case fix.EncryptionLook:
		return r.compare()
	case fix.EncryptionRewrite:
		r.tell(Progress{State: Note, Text: "Secrets are encrypted. The key is in secrets_encryption.yaml, beside the certificates of each control plane: keep a copy off the nodes, " +
			"and before Kubespray runs again set kube_encrypt_secret_data: true, kube_encryption_algorithm: secretbox and kube_encrypt_token, or it makes them unreadable"})
	case fix.EncryptionUndoRead:
		r.tell(Progress{State: Note, Text: "secrets_encryption.yaml stays on each control plane: snapshots of etcd from before cannot be read without its key"})
	}
	return nil
}

// part takes the nodes of a part.
func (r *rollout) part(ctx, begin context.Context, stop context.CancelCauseFunc, p part) (left []string) {
	if p.approve {
		approving, err := r.approve(begin)
		if err != nil {
			r.failed = fmt.Errorf("phase %s is not begun: %w", p.phase, err)
			return p.nodes()
		}
		defer approving()
	}
	left = r.take(ctx, begin, stop, p, p.workers, p.parallel, false)
	return append(left, r.take(ctx, begin, stop, p, p.serial, 1, true)...)
}

// mixed says that API servers differ, which encryption must not meet.
func (in inventory) mixed(phase fix.Phase) error {
	if images := in.cluster.Images; phase.Encrypts() && len(images) > 1 {
		return fmt.Errorf("API servers are not of one version: %s", names(images))
	}
	return nil
}

// elsewhere are the addresses of API servers that are on no Node.
func (in inventory) elsewhere(servers []string) []string {
	var hosts []string
	for _, address := range servers {
		if host, _, err := net.SplitHostPort(address); err == nil {
			hosts = append(hosts, host)
		}
	}
	_, missing := place(in.cluster, hosts)
	return missing
}
