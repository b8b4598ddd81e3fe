package gate

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Every request to a component is bounded by these: an answer is small, and one
// that does not come soon is the answer "not healthy".
const (
	plainTimeout = 10 * time.Second
	plainMaxBody = 64 << 20 // bytes; the pods of one node
)

// plainAPI asks an API server, or a kubelet, for JSON with the credentials of a
// kubeconfig of the node.
type plainAPI struct {
	http *http.Client
	base string
}

// plainStatus is an answer that is not 200.
type plainStatus struct {
	Code    int
	Message string
}

func (e *plainStatus) Error() string { return fmt.Sprintf("%d: %s", e.Code, e.Message) }

// plainForbidden tells whether an answer says that the caller lacks the right to
// ask, which is no sign of anything else.
func plainForbidden(err error) bool {
	var status *plainStatus
	return errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden)
}

// openPlainAPI reads a kubeconfig of the node, with the files that it names, all
// from the node's tree. server, when set, is asked instead of the kubeconfig's:
// an API server of this node and not what a load balancer chooses.
func openPlainAPI(fsys fs.FS, kubeconfig, server string) (*plainAPI, error) {
	config, err := plainConfig(fsys, kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", kubeconfig, err)
	}
	if server != "" {
		config.Host = server
	}
	return newPlainAPI(config)
}

func newPlainAPI(config *rest.Config) (*plainAPI, error) {
	config = rest.CopyConfig(config)
	config.Timeout = plainTimeout
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, err
	}
	return &plainAPI{h, strings.TrimSuffix(base.String(), "/")}, nil
}

// plainConfig is a kubeconfig with the content of the files that it names.
func plainConfig(fsys fs.FS, kubeconfig string) (*rest.Config, error) {
	data, err := fs.ReadFile(fsys, strings.TrimPrefix(kubeconfig, "/"))
	if err != nil {
		return nil, err
	}
	loaded, err := clientcmd.Load(data)
	if err != nil {
		return nil, err
	}
	inline := func(file *string, content *[]byte) error {
		if *file == "" {
			return nil
		}
		p := *file
		if !path.IsAbs(p) {
			p = path.Join(path.Dir(kubeconfig), p)
		}
		b, err := fs.ReadFile(fsys, strings.TrimPrefix(path.Clean(p), "/"))
		*file, *content = "", b
		return err
	}
	if use := loaded.Contexts[loaded.CurrentContext]; use != nil {
		if c := loaded.Clusters[use.Cluster]; c != nil {
			if err := inline(&c.CertificateAuthority, &c.CertificateAuthorityData); err != nil {
				return nil, err
			}
		}
		if u := loaded.AuthInfos[use.AuthInfo]; u != nil {
			if err := inline(&u.ClientCertificate, &u.ClientCertificateData); err != nil {
				return nil, err
			}
			if err := inline(&u.ClientKey, &u.ClientKeyData); err != nil {
				return nil, err
			}
		}
	}
	return clientcmd.NewDefaultClientConfig(*loaded, &clientcmd.ConfigOverrides{}).ClientConfig()
}

// get asks for a path. into is a pointer for JSON, or a *string for text.
func (a *plainAPI) get(ctx context.Context, path string, into any) error {
	return plainDo(ctx, a.http, http.MethodGet, a.base+path, nil, into)
}

// plainDo makes one request; body and into, when not nil, are JSON, or a *string
// for text.
func plainDo(ctx context.Context, client *http.Client, method, url string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, plainTimeout)
	defer cancel()
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json, */*")
	resp, err := client.Do(req)
	if err != nil {
		return err // names method and URL
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, plainMaxBody))
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %w", method, url, &plainStatus{resp.StatusCode, plainReason(b)})
	}
	if text, ok := into.(*string); ok {
		*text = string(b)
		return nil
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s %s: %w", method, url, err)
	}
	return nil
}

// plainReason is what an answer that is not 200 says, on one line.
func plainReason(b []byte) string {
	var status metav1.Status
	if json.Unmarshal(b, &status) == nil && status.Message != "" {
		return status.Message
	}
	text := strings.Join(strings.Fields(string(b)), " ")
	return text[:min(len(text), 300)]
}
