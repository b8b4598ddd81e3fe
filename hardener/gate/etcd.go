package gate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// etcd restarts the member of a node, which files of environment variables
// configure, and proves that it has them and that its cluster is whole.
type etcd struct {
	daemon
	restarted time.Time
}

// etcdHealth asks every member of the cluster of this node's. It changes
// nothing, and is a precondition for whatever restarts a part of a control plane.
func (g *Gates) etcdHealth(ctx context.Context, c node.Component) (cluster, error) {
	m, err := g.members(c)
	if err == nil {
		var s cluster
		if s, err = m.healthy(ctx); err == nil {
			return s, nil
		}
	}
	return cluster{}, fmt.Errorf("not healthy: %w", err)
}

// before refuses a member that is not running, or whose cluster is not whole.
func (e *etcd) before(ctx context.Context, s *Snapshot) error {
	if _, err := e.up(ctx); err != nil {
		return err
	}
	now, err := e.etcdHealth(ctx, e.component)
	s.Members = now.members
	return err
}

// restart waits until the member has joined, as its unit is of Type=notify.
// Another member becomes the leader first if this one is.
func (e *etcd) restart(ctx context.Context) error {
	if err := e.giveUpLead(ctx); err != nil {
		// An election decides it as well, only later. A member that failed the
		// proof may be down when it is restarted again.
		e.once("etcd: its leadership could not be moved: %v", err)
	}
	e.restarted = time.Now().Add(-time.Second)
	if err := e.daemon.restart(ctx); err != nil {
		return fmt.Errorf("%w%s", err, etcdWords(e.FS, e.restarted))
	}
	return nil
}

// giveUpLead makes another member the leader and waits until this one knows it.
func (e *etcd) giveUpLead(ctx context.Context) error {
	m, err := e.members(e.component)
	if err != nil {
		return err
	}
	s, err := m.look(ctx)
	if err != nil {
		return err
	}
	to := s.successor()
	if s.leader != s.own || to == "" {
		return nil
	}
	if err := m.moveLeader(ctx, to); err != nil {
		return err
	}
	for began := time.Now(); time.Since(began) < e.Limits.Request; {
		if now, err := m.status(ctx, m.own); err == nil && now.Leader == to {
			e.log("etcd: member %s leads now; it was this one", to)
			return nil
		}
		if err := sleep(ctx, e.Limits.Poll/5); err != nil {
			return err
		}
	}
	return fmt.Errorf("member %s does not become the leader", to)
}

func (e *etcd) prove(ctx context.Context, before Snapshot) error {
	l := looking{
		// systemd says that it runs only when it has joined.
		daemon: &e.daemon, stable: e.Limits.Stable / 2, words: func(int) string { return etcdWords(e.FS, e.restarted) },
		asks: func(ctx context.Context, u systemd.Unit) (missing string, err error) {
			if err := environmentInForce(e.FS, e.component, u.MainPID); err != nil {
				return "", err
			}
			s, err := e.etcdHealth(ctx, e.component)
			if err != nil {
				return err.Error(), nil
			}
			if before.Members > 0 && s.members != before.Members {
				return "", fmt.Errorf("the cluster has %d members, before %d", s.members, before.Members)
			}
			if err := e.apiServer(ctx); err != nil {
				return "the API server of this node: " + err.Error(), nil
			}
			return "", nil
		},
	}
	return l.wait(ctx)
}

// apiServer asks the API server of this node, and not what a load balancer
// chooses, whether it reaches etcd.
func (e *etcd) apiServer(ctx context.Context) error {
	if e.at.server == "" {
		return nil
	}
	if e.adminConf(e.at.facts) == "" {
		e.once("etcd: whether the API server of this node reaches it could not be asked: no kubeconfig")
		return nil
	}
	a, err := e.admin(e.at)
	if err != nil {
		return err
	}
	said, err := a.text(ctx, "/readyz/etcd")
	if forbidden(err) {
		e.once("etcd: whether the API server of this node reaches it could not be asked: %v", err)
		return nil
	}
	if err == nil && strings.TrimSpace(said) != "ok" {
		err = fmt.Errorf("/readyz/etcd says %q", firstLines(said))
	}
	return err
}

func (e *etcd) watch(ctx context.Context, d time.Duration) error {
	return e.watchProcess(ctx, d, func(ctx context.Context) error {
		if _, err := e.etcdHealth(ctx, e.component); err != nil {
			return err
		}
		return e.apiServer(ctx)
	})
}
