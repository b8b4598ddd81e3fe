package gate

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/systemd"
)

// kubelet restarts the kubelet of a node and proves that it runs, is heard by
// the cluster, has what its configuration file says, and turned no pod away.
type kubelet struct{ daemon }

// KubeletSnapshot is how the kubelet and its pods were before a change.
type KubeletSnapshot struct {
	Containers map[string]int `json:"containers"`            // running ones of every pod that was ready, by the pod's UID
	TurnedAway []string       `json:"turned_away,omitempty"` // UIDs of pods that were not admitted already
	Mute       bool           `json:"mute,omitempty"`        // it could not be asked for its configuration
	// Unsigned says that it was to ask the cluster for its serving certificate and
	// did not serve it.
	Unsigned bool `json:"unsigned,omitempty"`
}

// before refuses a kubelet that is not healthy now, or that would not come up
// again whatever its configuration says.
func (k *kubelet) before(ctx context.Context, s *Snapshot) error {
	if _, err := k.up(ctx); err != nil {
		return err
	}
	if err := k.kubeletHealthz(ctx, k.component); err != nil {
		return err
	}
	a, err := k.own(k.at.facts)
	if err != nil {
		return err
	}
	n, _, err := k.seen(ctx, a)
	if err != nil {
		return fmt.Errorf("this kubelet reaches no API server: %w", err)
	}
	if ready, why := n.ready(); !ready {
		return fmt.Errorf("node %s is not ready: %s", n.Metadata.Name, why)
	}
	if problems := k.preflight(n.Status.NodeInfo.KubeletVersion, time.Now()); len(problems) > 0 {
		return fmt.Errorf("it would not start again: %s", strings.Join(problems, "; "))
	}
	was := &KubeletSnapshot{Containers: map[string]int{}}
	containers, err := runningContainers(k.FS)
	if err != nil {
		return err
	}
	pods, err := k.pods(ctx, a)
	if err != nil {
		return err
	}
	for uid, p := range pods {
		if p.turnedAway() != "" {
			was.TurnedAway = append(was.TurnedAway, uid)
		}
		if p.ready() {
			was.Containers[uid] = containers[uid]
		}
	}
	if _, err := k.configz(ctx, a); err != nil {
		was.Mute = true
		why := err.Error()
		if forbidden(err) {
			why = noRights
		}
		k.once("kubelet: which configuration it has cannot be asked: %s", why)
	}
	bootstraps, err := k.bootstraps()
	if err != nil {
		return err
	}
	if bootstraps {
		if err := k.serves(ctx, n); err != nil {
			was.Unsigned = true
			k.once("kubelet: it has no serving certificate of the cluster, so that this is not asked for afterwards: %v", err)
		}
	}
	s.Kubelet = was
	return nil
}

// seen is how the cluster sees the kubelet now: its Node, and when it renewed
// its Lease.
func (k *kubelet) seen(ctx context.Context, a *api) (nodeObject, time.Time, error) {
	n, err := a.node(ctx, k.at.facts.NodeName)
	if err != nil {
		return n, time.Time{}, err
	}
	l, err := a.lease(ctx, "kube-node-lease", strings.ToLower(k.at.facts.NodeName))
	return n, l.Spec.RenewTime, err
}

// prove fails early when the kubelet exits again and again, does not have a
// value of its configuration file, or has turned a pod away.
func (k *kubelet) prove(ctx context.Context, before Snapshot) error {
	a, err := k.own(k.at.facts)
	if err != nil {
		return err
	}
	p := &kubeletProof{kubelet: k, api: a, before: before.Kubelet}
	l := looking{daemon: &k.daemon, stable: k.Limits.Stable, asks: p.asks, words: func(pid int) string { return kubeletWords(k.FS, pid) }}
	return l.wait(ctx)
}

// kubeletProof is what has been found of one process so far.
type kubeletProof struct {
	*kubelet
	api    *api
	before *KubeletSnapshot // may be nil

	pid        int
	renewed    time.Time // the Lease's, as first seen after the restart
	advanced   bool
	configured bool
}

func (p *kubeletProof) asks(ctx context.Context, u systemd.Unit) (missing string, err error) {
	if u.MainPID != p.pid {
		p.pid, p.renewed, p.advanced = u.MainPID, time.Time{}, false
		// Where it could not be asked before the restart either, it is not asked.
		p.configured = p.before != nil && p.before.Mute
	}
	if err := p.kubeletHealthz(ctx, p.component); err != nil {
		return err.Error(), nil
	}
	if !p.configured {
		if p.configured, missing, err = p.agrees(ctx, p.api, u.MainPID); missing != "" || err != nil {
			return missing, err
		}
	}
	if missing := p.heard(ctx, u); missing != "" {
		return missing, nil
	}
	if missing, err := p.certified(ctx); missing != "" || err != nil {
		return missing, err
	}
	return p.complete(ctx)
}

// certified asks for a serving certificate of the cluster where the kubelet is to
// have one: until its request is approved it serves none, and logs, exec and
// metrics of the node fail.
func (p *kubeletProof) certified(ctx context.Context) (missing string, err error) {
	bootstraps, err := p.bootstraps()
	if err != nil || !bootstraps || p.before == nil || p.before.Unsigned {
		return "", err
	}
	n, err := p.api.node(ctx, p.at.facts.NodeName)
	if err == nil {
		err = p.serves(ctx, n)
	}
	if err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// heard asks for the signs of life that the cluster goes by.
func (p *kubeletProof) heard(ctx context.Context, u systemd.Unit) (missing string) {
	n, renewed, err := p.seen(ctx, p.api)
	if err != nil {
		return err.Error()
	}
	switch {
	case p.renewed.IsZero():
		p.renewed = renewed
	case !p.renewed.Equal(renewed):
		p.advanced = true
	}
	// The heartbeat is the kubelet's own clock, which is this node's, cut to
	// whole seconds.
	if ready, why := n.ready(); !ready || n.heartbeat().Before(u.ExecMainStart.Truncate(time.Second)) {
		return fmt.Sprintf("node %s is not reported ready since the restart: %s", n.Metadata.Name, why)
	}
	if !p.advanced {
		return fmt.Sprintf("the lease of node %s is not renewed since the restart", n.Metadata.Name)
	}
	return ""
}

// watch wants the node to stay ready too.
func (k *kubelet) watch(ctx context.Context, d time.Duration) error {
	a, err := k.own(k.at.facts)
	if err != nil {
		return err
	}
	return k.watchProcess(ctx, d, func(ctx context.Context) error {
		if err := k.kubeletHealthz(ctx, k.component); err != nil {
			return err
		}
		n, _, err := k.seen(ctx, a)
		if err != nil {
			return err
		}
		if ready, why := n.ready(); !ready {
			return fmt.Errorf("node %s: %s", n.Metadata.Name, why)
		}
		return nil
	})
}

// kubeletHealthz asks a kubelet about itself where its configuration says, by
// default on 127.0.0.1:10248 (KubeletConfiguration, healthzPort; 0 switches it
// off).
func (g *Gates) kubeletHealthz(ctx context.Context, kubelet node.Component) error {
	set, err := readSettings(g.FS, kubelet)
	if err != nil {
		return err
	}
	address, port := set.text("healthzBindAddress", "127.0.0.1"), set.text("healthzPort", "10248")
	if port == "0" {
		g.once("kubelet: its healthz is switched off")
		return nil
	}
	if slices.Contains([]string{"0.0.0.0", "::"}, address) {
		address = "localhost"
	}
	// No connection is kept: one to the process before a restart would only
	// fail. No proxy is asked.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: g.Limits.Request}
	said, err := (&api{http: client, base: "http://" + net.JoinHostPort(address, port)}).text(ctx, "/healthz")
	if err == nil && strings.TrimSpace(said) != "ok" {
		err = fmt.Errorf("healthz says %q", firstLines(said))
	}
	return err
}
