package kubectl

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// pageSize is kubectl's --chunk-size: large collections come in pages, all from
// one resource version, so that the answer is consistent.
const pageSize = 500

// maxBody limits one answer of the API server, in bytes.
const maxBody = 64 << 20

// client is the read side of the Kubernetes API as plain JSON. Typed clients
// would link every API group into the program for nothing.
type client struct {
	http *http.Client
	base string
}

func newClient(config *rest.Config) (*client, error) {
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return &client{http: h, base: strings.TrimSuffix(base.String(), "/")}, nil
}

// statusError is a metav1.Status that the API server answered with.
type statusError struct{ metav1.Status }

func (e statusError) Error() string { return e.Message }

func isNotFound(err error) bool {
	var status statusError
	return errors.As(err, &status) && status.Reason == metav1.StatusReasonNotFound
}

// serverText is the line that kubectl prints for an error
// (k8s.io/kubectl/pkg/cmd/util/helpers.go, StandardErrorMessage).
func serverText(err error) string {
	var status statusError
	if errors.As(err, &status) && status.Reason != "" {
		return fmt.Sprintf("Error from server (%s): %s", status.Reason, status.Message)
	}
	var refused *url.Error
	if errors.As(err, &refused) {
		if u, perr := url.Parse(refused.URL); perr == nil && strings.Contains(err.Error(), "connection refused") {
			return fmt.Sprintf("The connection to the server %s was refused - did you specify the right host or port?", u.Host)
		}
		return "Unable to connect to the server: " + refused.Err.Error()
	}
	return err.Error()
}

func (c *client) do(ctx context.Context, method, path string, body any) (map[string]any, error) {
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, fmt.Errorf("read answer of the API server: %w", err)
	}
	if len(data) > maxBody {
		return nil, fmt.Errorf("answer of the API server: %s: more than %d bytes", path, maxBody)
	}
	if resp.StatusCode >= 300 {
		status := statusError{}
		if json.Unmarshal(data, &status.Status) != nil || status.Message == "" {
			status.Message = fmt.Sprintf("the server answered %s", resp.Status)
		}
		return nil, status
	}
	var object map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // numbers print as the server wrote them
	if err := decoder.Decode(&object); err != nil {
		return nil, fmt.Errorf("answer of the API server: %s: %w", path, err)
	}
	return object, nil
}

func (c *client) get(ctx context.Context, path string) (any, error) {
	object, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	dropManagedFields(object)
	return object, nil
}

// list reads all pages of a collection. Items get the kind and apiVersion that
// the server leaves out inside lists, as kubectl does.
func (c *client) list(ctx context.Context, r resource, o options) ([]any, error) {
	query := url.Values{"limit": {fmt.Sprint(pageSize)}}
	if o.fieldSelector != "" {
		query.Set("fieldSelector", o.fieldSelector)
	}
	if o.labelSelector != "" {
		query.Set("labelSelector", o.labelSelector)
	}
	var items []any
	for {
		page, err := c.do(ctx, http.MethodGet, r.path(o, "")+"?"+query.Encode(), nil)
		if err != nil {
			return nil, err
		}
		kind, _ := page["kind"].(string)
		found, _ := page["items"].([]any)
		for _, item := range found {
			object, ok := item.(map[string]any)
			if !ok {
				return nil, fmt.Errorf("answer of the API server: %s: an item is not an object", r.plural)
			}
			if object["kind"] == nil {
				object["kind"], object["apiVersion"] = strings.TrimSuffix(kind, "List"), page["apiVersion"]
			}
			dropManagedFields(object)
			items = append(items, object)
		}
		metadata, _ := page["metadata"].(map[string]any)
		next, _ := metadata["continue"].(string)
		if next == "" {
			return items, nil
		}
		query.Set("continue", next)
	}
}

// review asks whether the caller may do something; it is a POST, but creates
// nothing.
func (c *client) review(ctx context.Context, attributes map[string]any) (map[string]any, error) {
	answer, err := c.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", map[string]any{
		"kind": "SelfSubjectAccessReview", "apiVersion": "authorization.k8s.io/v1",
		"spec": map[string]any{"resourceAttributes": attributes},
	})
	if err != nil {
		return nil, err
	}
	status, _ := answer["status"].(map[string]any)
	return status, nil
}

// dropManagedFields mirrors kubectl's --show-managed-fields=false.
func dropManagedFields(object map[string]any) {
	if metadata, ok := object["metadata"].(map[string]any); ok {
		delete(metadata, "managedFields")
	}
}
