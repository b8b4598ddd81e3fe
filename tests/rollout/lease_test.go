//go:build e2e

package rollout

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

func TestLease(t *testing.T) {
	s := start(t)
	api := connect(t, s.As(rollout.Namespace, account)) // its rights must do
	hold := func(who string) rollout.Holding {
		return rollout.Holding{Identity: who, Lasts: 3 * time.Second, Renew: 500 * time.Millisecond}
	}
	acquire := func(h rollout.Holding) (context.Context, *rollout.Lease) {
		t.Helper()
		ctx, l, err := rollout.Acquire(t.Context(), api, h)
		if err != nil {
			t.Fatal(err)
		}
		return ctx, l
	}
	refused := func(h rollout.Holding, by string) {
		t.Helper()
		_, _, err := rollout.Acquire(t.Context(), api, h)
		var held *rollout.HeldError
		if !errors.As(err, &held) || held.By != by || time.Since(held.Since) > time.Minute {
			t.Fatalf("got %v, want that %s holds it", err, by)
		}
	}

	first, lease := acquire(hold("first"))
	refused(hold("second"), "first")
	// It is renewed: past its first end it is still held.
	if err := wait(first, 4*time.Second); err != nil {
		t.Fatalf("lost while nobody else wanted it: %v", err)
	}
	refused(hold("second"), "first")

	// Given back, it is free at once.
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	second, lease := acquire(hold("second"))

	// Somebody waits for it and gets it.
	patient := hold("third")
	patient.Wait = time.Minute
	got := make(chan error, 1)
	go func() {
		_, l, err := rollout.Acquire(t.Context(), api, patient)
		if err == nil {
			err = l.Release(t.Context())
		}
		got <- err
	}()
	if err := wait(second, time.Second); err != nil {
		t.Fatal(err)
	}
	if err := lease.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := <-got; err != nil {
		t.Fatalf("who waited: %v", err)
	}

	// A holder that died: it expires, and another takes it over.
	died, cancel := context.WithCancel(t.Context())
	if _, _, err := rollout.Acquire(died, api, hold("dead")); err != nil {
		t.Fatal(err)
	}
	cancel()
	refused(hold("heir"), "dead")
	heir := hold("heir")
	heir.Wait = time.Minute
	held, _ := acquire(heir)

	// Without the API server it is lost once it cannot be ours any more, and the
	// rollout knows.
	s.Stop()
	select {
	case <-held.Done():
	case <-time.After(2 * time.Minute):
		t.Fatal("not told that the Lease is lost")
	}
	if err := context.Cause(held); !errors.Is(err, rollout.ErrLeaseLost) {
		t.Errorf("ended because %v", err)
	}
}

func TestLeaseTakenAway(t *testing.T) {
	s := start(t)
	api := connect(t, s.Admin())
	ctx, _, err := rollout.Acquire(t.Context(), api, rollout.Holding{Identity: "first", Lasts: time.Hour, Renew: 300 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	s.Apply([]byte(`{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {name: kubespray-hardener, namespace: kubespray-hardener},
spec: {holderIdentity: thief}}`))
	select {
	case <-ctx.Done():
	case <-time.After(time.Minute):
		t.Fatal("not told that the Lease is lost")
	}
	if err := context.Cause(ctx); !errors.Is(err, rollout.ErrLeaseLost) || !strings.Contains(err.Error(), "thief") {
		t.Errorf("ended because %v", err)
	}
}

// wait lets a time pass in which something must not happen to the context.
func wait(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(d):
		return nil
	}
}
