package gate

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// serves holds when the API server does, through this very instance, what it did
// before.
func (t *taking) serves(ctx context.Context) error {
	if t.served == t.c.id {
		return nil
	}
	a, err := t.admin(t.at)
	if err != nil {
		return err
	}
	if err := a.readyz(ctx); err != nil {
		return err
	}
	if err := a.read(ctx); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if t.before != nil && t.before.Create {
		if err := a.dryCreate(ctx); err != nil {
			return fmt.Errorf("dry-run create: %w", err)
		}
	}
	if t.before != nil && t.before.Logs != "" {
		if err := a.logs(ctx, t.before.Logs); err != nil {
			return untrusted(fmt.Errorf("logs of %s, which could be read before: %w", t.before.Logs, err))
		}
	}
	if t.before != nil && t.before.Exec != "" {
		if err := t.executes(ctx, a); err != nil {
			return err
		}
	}
	if t.before != nil {
		for _, file := range t.before.Ways {
			if err := t.goes(ctx, t.at, file); err != nil {
				return fmt.Errorf("%w, which worked before", err)
			}
		}
	}
	t.served = t.c.id
	return nil
}

// untrusted makes a failure certain when the API server tells that it does not
// trust the kubelet's certificate, as with a --kubelet-certificate-authority that
// has not signed it: every kubelet's logs and exec fail for as long as it runs so.
func untrusted(err error) error {
	var s *statusError
	if errors.As(err, &s) && strings.Contains(s.Message, "x509:") {
		return certain{err}
	}
	return err
}

// securePorts are the defaults of --secure-port.
var securePorts = map[string]string{node.ControllerManager: "10257", node.Scheduler: "10259"}

// healthz asks a controller manager or scheduler at the address on which it is
// told to listen, whatever its probes ask.
func (t *taking) healthz(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.Limits.Request)
	defer cancel()
	host := t.p.flag("bind-address", "")
	if ip := net.ParseIP(host); ip == nil || ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	u := "https://" + net.JoinHostPort(host, t.p.flag("secure-port", securePorts[t.p.component])) + "/healthz"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u, nil)
	if err != nil {
		return err
	}
	// Its certificate is self-signed when none is configured.
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true} //nolint:gosec // see above
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("healthz: %w", withoutURL(err))
	}
	defer resp.Body.Close()
	guarded := t.p.flag("authorization-always-allow-paths", "") != "" // by default it lets everybody ask
	if resp.StatusCode == http.StatusOK || guarded && (resp.StatusCode == http.StatusForbidden || resp.StatusCode == http.StatusUnauthorized) {
		return nil
	}
	return fmt.Errorf("healthz: %s is answered %d", u, resp.StatusCode)
}

// leaseOf is the Lease by which the instances of a component agree on a leader.
func leaseOf(p staticPod) (namespace, name string) {
	return p.flag("leader-elect-resource-namespace", "kube-system"), p.flag("leader-elect-resource-name", programs[p.component])
}

// leads holds when some instance of the component renews the leader Lease.
func (t *taking) leads(ctx context.Context) error {
	if strings.EqualFold(t.p.flag("leader-elect", "true"), "false") {
		return nil
	}
	if t.before != nil && !t.before.Lease {
		t.once("%s: there was no leader Lease before; it is not looked at", t.p.component)
		return nil
	}
	a, err := t.admin(t.at)
	if err != nil {
		return err
	}
	namespace, name := leaseOf(t.p)
	l, err := a.lease(ctx, namespace, name)
	if err != nil {
		return err
	}
	if t.renewed.IsZero() {
		t.renewed = l.Spec.RenewTime
	}
	if l.Spec.HolderIdentity == "" || !l.Spec.RenewTime.After(t.renewed) {
		return fmt.Errorf("Lease %s/%s of %q was last renewed at %s", namespace, name, l.Spec.HolderIdentity, l.Spec.RenewTime.Format(time.RFC3339))
	}
	return nil
}

// ready holds when the kubelet says through the API that this very container is
// started and ready.
func (t *taking) ready(ctx context.Context) error {
	if t.before != nil && !t.before.Mirror {
		t.once("%s: the API did not show its pod before; the kubelet is not asked", t.p.component)
		return nil
	}
	a, err := t.admin(t.at)
	if err != nil {
		return err
	}
	pod, err := a.pod(ctx, t.p.namespace, t.p.name)
	if err != nil {
		return err
	}
	if hash := pod.Metadata.Annotations[annotationHash]; hash != t.box.uid {
		return fmt.Errorf("the mirror pod is that of %s, the sandbox that of %s", cmp.Or(hash, "nothing"), t.box.uid)
	}
	c, ok := pod.container(t.p.main.Name)
	switch {
	case !ok || !strings.HasSuffix(c.ContainerID, "://"+t.c.id):
		return errors.New("the kubelet has not told of the container that runs")
	case c.Started != nil && !*c.Started:
		return errors.New("the kubelet says that the container is not started")
	case !c.Ready:
		return errors.New("the kubelet says that the container is not ready")
	}
	return nil
}
