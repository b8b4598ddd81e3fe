package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// LeaseName is the Lease that whoever changes nodes holds meanwhile.
const LeaseName = "kubespray-hardener"

// Holding says how a Lease is held.
type Holding struct {
	Identity string        // who holds it, for people: user@host, or a pod
	Lasts    time.Duration // without renewal, whole seconds; longer than an API server takes to restart; 0 for three minutes
	Renew    time.Duration // how often it is renewed; 0 for every ten seconds
	Wait     time.Duration // how long to wait for one that somebody else holds
}

// A Lease that is held like this outlives an API server's restart, and is renewed often
// enough to get over several failures.
const (
	leaseLasts = 3 * time.Minute
	leaseRenew = 10 * time.Second
)

func (h Holding) filled() Holding {
	h.Lasts, h.Renew = cmp.Or(h.Lasts, leaseLasts), cmp.Or(h.Renew, leaseRenew)
	return h
}

// HeldError says that somebody else holds the Lease.
type HeldError struct {
	By    string
	Since time.Time
	Until time.Time // unless it is renewed
}

func (e *HeldError) Error() string {
	return fmt.Sprintf("%s holds the Lease %s/%s since %s", e.By, Namespace, LeaseName, e.Since.UTC().Format(time.RFC3339))
}

// ErrLeaseLost ends the context of a Lease that is ours no more.
var ErrLeaseLost = errors.New("the Lease is lost")

// Lease is one that is held.
type Lease struct {
	api    *API
	hold   Holding
	mine   coordinationv1.Lease
	cancel context.CancelCauseFunc
	ended  chan struct{}
}

// Acquire takes the Lease and keeps it renewed until Release. The context that
// it returns ends with ErrLeaseLost when somebody else has taken it, or when it
// could not be renewed for as long as it lasts.
//
// One that looks expired is watched for two renewals before it is taken: clocks
// differ, and a holder that lives renews it meanwhile.
func Acquire(ctx context.Context, api *API, hold Holding) (context.Context, *Lease, error) {
	hold = hold.filled()
	until := time.Now().Add(hold.Wait)
	for {
		mine, err := take(ctx, api, hold)
		var held *HeldError
		if errors.As(err, &held) && time.Now().Add(hold.Renew).Before(until) {
			if err := sleep(ctx, hold.Renew); err != nil {
				return nil, nil, err
			}
			continue
		}
		if err != nil {
			return nil, nil, err
		}
		l := &Lease{api: api, hold: hold, mine: mine, ended: make(chan struct{})}
		ctx, l.cancel = context.WithCancelCause(ctx)
		go l.keep(ctx)
		return ctx, l, nil
	}
}

// take tries to get the Lease once.
func take(ctx context.Context, api *API, hold Holding) (coordinationv1.Lease, error) {
	mine, err := readLease(ctx, api)
	switch {
	case notFound(err):
		l := coordinationv1.Lease{
			TypeMeta:   metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"},
			ObjectMeta: metav1.ObjectMeta{Name: LeaseName, Namespace: Namespace},
		}
		hold.fill(&l)
		err := api.do(ctx, http.MethodPost, inNamespace("coordination.k8s.io/v1", "leases", ""), jsonType, &l, &mine)
		if exists(err) { // somebody else, or a repeated request of ours, which the next try finds
			return take(ctx, api, hold)
		}
		if err != nil {
			return mine, fmt.Errorf("Lease: %w", err)
		}
		return mine, nil
	case err != nil:
		return mine, fmt.Errorf("Lease: %w", err)
	}
	if by, since, until := holder(mine); by != "" && by != hold.Identity {
		held := &HeldError{By: by, Since: since, Until: until}
		if time.Now().Before(until) {
			return mine, held
		}
		if err := sleep(ctx, 2*hold.Renew); err != nil {
			return mine, err
		}
		now, err := readLease(ctx, api)
		if err != nil {
			return mine, fmt.Errorf("Lease: %w", err)
		}
		if now.ResourceVersion != mine.ResourceVersion {
			return mine, held
		}
	}
	hold.fill(&mine)
	err = putLease(ctx, api, &mine)
	if conflict(err) {
		return take(ctx, api, hold)
	}
	if err != nil {
		return mine, fmt.Errorf("Lease: %w", err)
	}
	return mine, nil
}

// fill makes a Lease ours.
func (h Holding) fill(l *coordinationv1.Lease) {
	now := metav1.NowMicro()
	seconds := int32(h.Lasts / time.Second)
	transitions := int32(0)
	if l.Spec.LeaseTransitions != nil {
		transitions = *l.Spec.LeaseTransitions
	}
	if l.Spec.HolderIdentity != nil && *l.Spec.HolderIdentity != h.Identity {
		transitions++
	}
	l.Spec = coordinationv1.LeaseSpec{
		HolderIdentity: &h.Identity, LeaseDurationSeconds: &seconds, AcquireTime: &now, RenewTime: &now, LeaseTransitions: &transitions,
	}
}

// holder is who holds a Lease, since when, and until when unless it is renewed.
func holder(l coordinationv1.Lease) (by string, since, until time.Time) {
	s := l.Spec
	if s.HolderIdentity == nil || *s.HolderIdentity == "" || s.RenewTime == nil {
		return "", since, until
	}
	if s.AcquireTime != nil {
		since = s.AcquireTime.Time
	}
	until = s.RenewTime.Time
	if s.LeaseDurationSeconds != nil {
		until = until.Add(time.Duration(*s.LeaseDurationSeconds) * time.Second)
	}
	return *s.HolderIdentity, since, until
}

func readLease(ctx context.Context, api *API) (l coordinationv1.Lease, err error) {
	err = api.get(ctx, inNamespace("coordination.k8s.io/v1", "leases", LeaseName), &l)
	return l, err
}

// putLease writes a Lease unless it has changed since it was read.
func putLease(ctx context.Context, api *API, l *coordinationv1.Lease) error {
	l.TypeMeta = metav1.TypeMeta{APIVersion: "coordination.k8s.io/v1", Kind: "Lease"}
	var now coordinationv1.Lease
	if err := api.once(ctx, http.MethodPut, inNamespace("coordination.k8s.io/v1", "leases", LeaseName), jsonType, l, &now); err != nil {
		return err
	}
	*l = now
	return nil
}

// keep renews the Lease until the context ends.
func (l *Lease) keep(ctx context.Context) {
	defer close(l.ended)
	renewed := time.Now()
	for sleep(ctx, l.hold.Renew) == nil {
		err := l.renew(ctx)
		switch {
		case err == nil:
			renewed = time.Now()
		case errors.Is(err, ErrLeaseLost):
			l.cancel(err)
			return
		case notFound(err):
			l.cancel(fmt.Errorf("%w: %w", ErrLeaseLost, err))
			return
		case time.Since(renewed) > l.hold.Lasts:
			l.cancel(fmt.Errorf("%w: it could not be renewed since %s: %w", ErrLeaseLost, renewed.UTC().Format(time.RFC3339), err))
			return
		}
	}
}

// renew renews the Lease once, and does not wait for an API server that is away.
func (l *Lease) renew(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, l.hold.Renew)
	defer cancel()
	now := metav1.NowMicro()
	l.mine.Spec.RenewTime = &now
	err := putLease(ctx, l.api, &l.mine)
	if !conflict(err) {
		return err
	}
	// Somebody else's, or a renewal of ours whose answer was lost.
	fresh, err := readLease(ctx, l.api)
	if err != nil {
		return err
	}
	if by, _, _ := holder(fresh); by != l.hold.Identity {
		return fmt.Errorf("%w: %s has taken it", ErrLeaseLost, cmp.Or(by, "nobody"))
	}
	l.mine = fresh
	return nil
}

// Release gives the Lease back, as far as it is still ours and the API server
// answers; else it expires.
func (l *Lease) Release(ctx context.Context) error {
	l.cancel(nil)
	<-l.ended
	for range 3 {
		fresh, err := readLease(ctx, l.api)
		if err != nil {
			return fmt.Errorf("Lease: %w", err)
		}
		if by, _, _ := holder(fresh); by != l.hold.Identity {
			return nil
		}
		nobody, second := "", int32(1)
		fresh.Spec.HolderIdentity, fresh.Spec.LeaseDurationSeconds = &nobody, &second
		if err = putLease(ctx, l.api, &fresh); !conflict(err) {
			if err != nil {
				return fmt.Errorf("Lease: %w", err)
			}
			return nil
		}
	}
	return errors.New("Lease: it changes all the time")
}
