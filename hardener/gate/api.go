package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"k8s.io/client-go/rest"
)

// maxAnswer limits one answer, in bytes: the pods of one node.
const maxAnswer = 64 << 20

// api is one server that is asked over HTTP, as plain JSON: an API server or a
// kubelet with somebody's credentials, or the JSON gateway of an etcd member.
type api struct {
	http   *http.Client
	base   string       // https://10.0.0.1:6443
	config *rest.Config // of an API server, for streams
}

// newAPI makes a client. Where address ("10.0.0.1:6443") is not empty it is
// dialled instead of the server of the kubeconfig, whose name must still be in
// the certificate. Every request has a connection of its own: a kept one may
// lead to the instance that is just about to end.
func newAPI(config *rest.Config, address string, limit time.Duration) (*api, error) {
	config = rest.CopyConfig(config)
	u, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	if address != "" {
		if config.ServerName == "" {
			config.ServerName = u.Hostname()
		}
		u.Host = address
	}
	tls, err := rest.TLSConfigFor(config)
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	// That of the kubeconfig; never of the environment.
	if config.Proxy == nil || address != "" {
		config.Proxy = func(*http.Request) (*url.URL, error) { return nil, nil }
	}
	transport, err := rest.HTTPWrappersForConfig(config, &http.Transport{
		Proxy: config.Proxy, TLSClientConfig: tls, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: limit}).DialContext,
	})
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return &api{http: &http.Client{Transport: transport, Timeout: limit}, base: strings.TrimSuffix(u.String(), "/"), config: config}, nil
}

// statusError is an answer that is no success. Anything else that a request fails
// with means that the server could not be reached, or was not understood.
type statusError struct {
	Code    int
	Message string
}

func (e *statusError) Error() string { return fmt.Sprintf("answered %d: %s", e.Code, e.Message) }

// forbidden tells whether an answer says that the caller lacks the right to ask,
// which is no sign of anything else.
func forbidden(err error) bool {
	var s *statusError
	return errors.As(err, &s) && (s.Code == http.StatusUnauthorized || s.Code == http.StatusForbidden)
}

// unreachable tells whether no API server answered at all.
func unreachable(err error) bool {
	var network *url.Error
	return errors.As(err, &network)
}

// do makes one request. into, when not nil, takes the JSON of the answer.
func (a *api) do(ctx context.Context, method, path string, body, into any) ([]byte, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "kubespray-hardener")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if into != nil {
		req.Header.Set("Accept", "application/json")
	}
	resp, err := a.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("%s %s%s: %w", method, a.base, path, err)
	}
	if resp.StatusCode >= 300 {
		var s struct {
			Message string `json:"message"`
		}
		if json.Unmarshal(data, &s) != nil || s.Message == "" {
			s.Message = firstLines(string(data))
		}
		return data, fmt.Errorf("%s %s%s: %w", method, a.base, path, &statusError{resp.StatusCode, s.Message})
	}
	if into != nil {
		if err := json.Unmarshal(data, into); err != nil {
			return nil, fmt.Errorf("%s %s%s: %w", method, a.base, path, err)
		}
	}
	return data, nil
}

func (a *api) get(ctx context.Context, path string, into any) error {
	_, err := a.do(ctx, http.MethodGet, path, nil, into)
	return err
}

func (a *api) text(ctx context.Context, path string) (string, error) {
	data, err := a.do(ctx, http.MethodGet, path, nil, nil)
	return string(data), err
}

// readyz asks an API server how it feels, its etcd included. The list of checks
// is in the answer of a failure too; those that failed are named.
func (a *api) readyz(ctx context.Context) error {
	data, err := a.do(ctx, http.MethodGet, "/readyz?verbose", nil, nil)
	var failed []string
	var etcd bool
	for line := range strings.Lines(string(data)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[-]") {
			failed = append(failed, line)
		}
		etcd = etcd || line == "[+]etcd ok"
	}
	var s *statusError
	switch {
	case errors.As(err, &s) && failed != nil:
		return fmt.Errorf("%s/readyz: answered %d: %s", a.base, s.Code, strings.Join(failed, "; "))
	case err != nil:
		return err
	case !etcd:
		return fmt.Errorf("%s/readyz: it does not say that etcd is ok", a.base)
	}
	return nil
}

// read reads something that lies in etcd.
func (a *api) read(ctx context.Context) error {
	return a.get(ctx, "/api/v1/namespaces/kube-system", &struct{}{})
}

// dryCreate has a ConfigMap pass admission and validation; nothing is stored.
func (a *api) dryCreate(ctx context.Context) error {
	_, err := a.do(ctx, http.MethodPost, "/api/v1/namespaces/kube-system/configmaps?dryRun=All", map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"generateName": "kubespray-hardener-"},
	}, nil)
	return err
}

// logs reads a line of a pod's log, which the API server fetches from a kubelet.
func (a *api) logs(ctx context.Context, pod string) error {
	namespace, name, _ := strings.Cut(pod, "/")
	_, err := a.do(ctx, http.MethodGet, "/api/v1/namespaces/"+namespace+"/pods/"+name+"/log?tailLines=1&limitBytes=1000", nil, nil)
	return err
}
