package gate

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// namedProbe is one probe of a container, with what the kubelet uses it for.
type namedProbe struct {
	kind  string
	probe *corev1.Probe
}

// probes are the probes of a container in the order in which they begin.
func probes(c corev1.Container) []namedProbe {
	var all []namedProbe
	for _, p := range []namedProbe{{"startup", c.StartupProbe}, {"liveness", c.LivenessProbe}, {"readiness", c.ReadinessProbe}} {
		if p.probe != nil {
			all = append(all, p)
		}
	}
	return all
}

// probeError is a probe that failed. Status is 0 when there was no answer.
type probeError struct {
	Kind, Target string
	Status       int
	Err          error
}

func (e *probeError) Error() string {
	if e.Status != 0 {
		return fmt.Sprintf("%s probe %s is answered %d", e.Kind, e.Target, e.Status)
	}
	return fmt.Sprintf("%s probe %s: %v", e.Kind, e.Target, e.Err)
}

func (e *probeError) Unwrap() error { return e.Err }

// refused tells that the component answers and does not want to answer this: it
// is up, and waiting will not help.
func (e *probeError) refused() bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden || e.Status == http.StatusNotFound
}

// errNotReplayed is for a probe that only the kubelet can make.
var errNotReplayed = errors.New("only the kubelet can make this probe")

// replay makes a probe as the kubelet does (pkg/probe/http, pkg/probe/tcp, v1.35):
// from the host, without credentials, without a proxy, on a connection of its
// own, the certificate not verified. address is that of the pod.
func replay(ctx context.Context, p namedProbe, c corev1.Container, address string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(cmp.Or(p.probe.TimeoutSeconds, 1))*time.Second)
	defer cancel()
	switch {
	case p.probe.HTTPGet != nil:
		return replayHTTP(ctx, p.kind, p.probe.HTTPGet, c, address)
	case p.probe.TCPSocket != nil:
		port, err := portOf(p.probe.TCPSocket.Port, c)
		if err != nil {
			return &probeError{Kind: p.kind, Err: err}
		}
		target := net.JoinHostPort(cmp.Or(p.probe.TCPSocket.Host, address), port)
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", target)
		if err != nil {
			return &probeError{Kind: p.kind, Target: "tcp://" + target, Err: err}
		}
		return conn.Close()
	}
	return errNotReplayed
}

func replayHTTP(ctx context.Context, kind string, get *corev1.HTTPGetAction, c corev1.Container, address string) error {
	port, err := portOf(get.Port, c)
	if err != nil {
		return &probeError{Kind: kind, Err: err}
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path} // as the kubelet does
	}
	u.Scheme = strings.ToLower(cmp.Or(string(get.Scheme), "http"))
	u.Host = net.JoinHostPort(cmp.Or(get.Host, address), port)
	fails := func(status int, err error) error {
		return &probeError{Kind: kind, Target: u.String(), Status: status, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fails(0, err)
	}
	for _, h := range get.HTTPHeaders {
		req.Header.Add(h.Name, h.Value)
	}
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "kube-probe/1") // some servers tell probes by the beginning
	}
	if req.Header.Get("Accept") == "" {
		req.Header.Set("Accept", "*/*")
	}
	req.Host = req.Header.Get("Host")
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the kubelet does not verify either
		DisableKeepAlives: true, DisableCompression: true, ForceAttemptHTTP2: true,
	}
	defer transport.CloseIdleConnections()
	client := http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != via[0].URL.Hostname() {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return fails(0, withoutURL(err))
	}
	defer resp.Body.Close()
	_, _ = io.CopyN(io.Discard, resp.Body, 10<<10)
	if resp.StatusCode < 200 || resp.StatusCode >= 400 {
		return fails(resp.StatusCode, nil)
	}
	return nil
}

// withoutURL drops what the caller says better.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// portOf is a port by number or by the name that the container gives it.
func portOf(port intstr.IntOrString, c corev1.Container) (string, error) {
	if port.Type == intstr.Int {
		return strconv.Itoa(port.IntValue()), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return strconv.Itoa(int(p.ContainerPort)), nil
		}
	}
	if n, err := strconv.Atoi(port.StrVal); err == nil {
		return strconv.Itoa(n), nil
	}
	return "", fmt.Errorf("the container has no port named %q", port.StrVal)
}
