package gate

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// answered holds when every probe of the manifest succeeds. A probe that is
// refused, or finds nobody where it asks, while the component is up, will not
// succeed later.
func (t *taking) answered(ctx context.Context) error {
	err := t.probe(ctx)
	var probe *probeError
	if !errors.As(err, &probe) || !probe.refused() && (probe.Status != 0 || t.up(ctx) != nil) {
		t.refused = time.Time{}
		return err
	}
	now := time.Now()
	if t.refused.IsZero() {
		t.refused = now
	}
	if lasted := now.Sub(t.refused); lasted > t.Limits.Refused {
		how := "answers elsewhere"
		if probe.refused() {
			how = "answers " + http.StatusText(probe.Status)
		}
		return certain{fmt.Errorf("%w, for %s, while the container runs and %s: the kubelet would kill it", err, lasted.Round(time.Second), how)}
	}
	return err
}

// up holds when the component answers at the address on which it is told to
// listen, whatever its probes ask.
func (t *taking) up(ctx context.Context) error {
	if t.p.component != node.APIServer {
		return t.healthz(ctx)
	}
	a, err := t.admin(t.at)
	if err != nil {
		return err
	}
	return a.readyz(ctx)
}

// probe replays the probes.
func (t *taking) probe(ctx context.Context) error {
	for _, p := range probes(t.p.main) {
		err := replay(ctx, p, t.p.main, t.at.address)
		if errors.Is(err, errNotReplayed) {
			t.once("%s: %s probe: %v; the kubelet's word is taken for it", t.p.component, p.kind, err)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}
