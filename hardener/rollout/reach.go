package rollout

import (
	"context"
	"errors"
	"time"
)

// reachTime is how long an API server may take to answer on its own address as a
// rollout begins.
const reachTime = time.Minute

// UnreachedError says that an API server does not answer on its own address from
// where the rollout runs.
type UnreachedError struct{ Err error }

func (e *UnreachedError) Error() string { return "not begun: " + e.Err.Error() }
func (e *UnreachedError) Unwrap() error { return e.Err }

// reach finds out before the first node whether the control plane's turn can come
// at all: from behind a load balancer or a tunnel it cannot.
func (r *rollout) reach(ctx context.Context, servers []string) error {
	err := until(ctx, min(reachTime, r.o.Times.Settle), func(ctx context.Context) error {
		var all []error
		for _, address := range servers {
			all = append(all, r.api.readyz(ctx, address))
		}
		return errors.Join(all...)
	})
	if err != nil {
		return &UnreachedError{errors.New(oneLine(err.Error()))}
	}
	return nil
}

// whole waits until the cluster is as whole as it was.
func (r *rollout) whole(ctx context.Context) error {
	return until(ctx, r.o.Times.Settle, func(ctx context.Context) error {
		return r.api.whole(ctx, r.in.servers, r.in.ready)
	})
}
