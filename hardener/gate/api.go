package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// maxAnswer limits one answer of the API server, in bytes.
const maxAnswer = 32 << 20

// api is one API server, with somebody's credentials, as plain JSON.
type api struct {
	http *http.Client
	base string // https://10.0.0.1:6443
}

// kubeconfig reads the current context of a kubeconfig of the host, with the
// files it names. Credentials that come from a program are refused: nothing is
// run here.
func kubeconfig(fsys fs.FS, file string) (*rest.Config, error) {
	data, err := fs.ReadFile(fsys, node.Name(file))
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	config, err := clientcmd.Load(data)
	if err != nil {
		// clientcmd's errors quote the text, which may be a key.
		return nil, fmt.Errorf("kubeconfig %s: cannot be parsed", file)
	}
	inline := func(name *string, data *[]byte) error {
		if *name == "" || len(*data) > 0 {
			*name = ""
			return nil
		}
		p := *name
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(file), p)
		}
		*name = ""
		*data, err = fs.ReadFile(fsys, node.Name(p))
		return err
	}
	for _, c := range config.Clusters {
		if err := inline(&c.CertificateAuthority, &c.CertificateAuthorityData); err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
		}
	}
	for _, u := range config.AuthInfos {
		if u.Exec != nil || u.AuthProvider != nil {
			return nil, fmt.Errorf("kubeconfig %s: its credentials come from a program", file)
		}
		var token []byte
		err := errors.Join(inline(&u.ClientCertificate, &u.ClientCertificateData),
			inline(&u.ClientKey, &u.ClientKeyData), inline(&u.TokenFile, &token))
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
		}
		if len(token) > 0 {
			u.Token = strings.TrimSpace(string(token))
		}
	}
	r, err := clientcmd.NewNonInteractiveClientConfig(*config, config.CurrentContext, &clientcmd.ConfigOverrides{
		ClusterDefaults: clientcmdapi.Cluster{}, // not the KUBERNETES_MASTER of the environment
	}, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("kubeconfig %s: %w", file, err)
	}
	return r, nil
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
	transport, err := rest.HTTPWrappersForConfig(config, &http.Transport{
		TLSClientConfig: tls, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		DialContext: (&net.Dialer{Timeout: limit}).DialContext,
	})
	if err != nil {
		return nil, fmt.Errorf("API server: %w", err)
	}
	return &api{http: &http.Client{Transport: transport, Timeout: limit}, base: strings.TrimSuffix(u.String(), "/")}, nil
}

// statusError is an answer of the API server that is no success. Anything else
// that a request fails with means that the server could not be reached.
type statusError struct {
	Code    int
	Message string
}

func (e *statusError) Error() string { return fmt.Sprintf("answered %d: %s", e.Code, e.Message) }

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

// firstLines shortens a text that somebody else wrote: three lines, 300 bytes.
func firstLines(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return short(strings.Join(lines[:min(3, len(lines))], " | "))
}

// most is how much of somebody else's text an error repeats, in bytes.
const most = 300

func short(s string) string {
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most-3], "") + "..."
	}
	return s
}
