package rollout

import (
	"context"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// eventTime is how long an Event may take.
const eventTime = 5 * time.Second

// announce sends what happened to a node as Events on the Node and on its Job.
// Those that are refused are lost: an API server that limits Events, or a user
// who may not make any, must not end a rollout.
func (r *rollout) announce(ctx context.Context, phase fix.Phase, node string, all []events.Event) {
	about := []corev1.ObjectReference{
		{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(r.in.uids[node])},
		{APIVersion: "batch/v1", Kind: "Job", Namespace: Namespace, Name: jobName(r.state.ID, phase, node)},
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), eventTime)
	defer cancel()
	for _, e := range all {
		for _, object := range about {
			if err := r.api.Announce(ctx, events.NewName(), e, object, r.o.Holding.Identity, time.Now()); err != nil {
				return // the others would be refused as well
			}
		}
	}
}

// story is what Events tell of how a node fared: what its program did, and why
// the rollout stopped there, nil if it did not.
func story(o Outcome, failure error) (all []events.Event) {
	if o.Report != nil {
		all = events.FromReport(*o.Report)
	}
	if failure != nil {
		all = append(all, events.Event{Reason: events.RolloutStopped, Warning: true, Note: failure.Error()})
	}
	return all
}

// Announce sends one Event, once. One that is there by its name already, as after
// an answer that was lost, is sent.
func (a *API) Announce(ctx context.Context, name string, e events.Event, about corev1.ObjectReference, instance string, at time.Time) error {
	path, event := e.Object(name, about, instance, at)
	if err := a.once(ctx, http.MethodPost, path, jsonType, &event, nil); err != nil && !exists(err) {
		return fmt.Errorf("Event: %w", err)
	}
	return nil
}

// Refused tells whether an error says that the API server will not have a request,
// however often it comes, unlike one that is away or has too much to do.
func Refused(err error) bool { return !passing(err) && code(err) != 0 }
