package kubectl

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
	"sync"
	"time"

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
//
// It keeps what it has read: audits list the same pods in check after check and
// then ask for each of them by name. Nobody may change an object that it gives.
type client struct {
	http *http.Client
	base string

	mu      sync.Mutex // of what follows; held during a request that others may want the answer of
	lists   map[string][]any
	objects map[string]answer // by path
	gets    map[resource]int  // how often one was asked for by name
	kept    int               // bytes of JSON that lists and objects were
	gone    error             // the server does not answer in time
}

// answer is what the server says to the request for one object.
type answer struct {
	object any
	err    error
}

// connectTimeout is how long the server may take to accept a connection. The
// time for a whole audit is bounded (shell.Runner), so that a server which is
// never there has to be found out before.
const connectTimeout = 10 * time.Second

func newClient(config *rest.Config) (*client, error) {
	config = rest.CopyConfig(config)
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second}).DialContext
	}
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	return &client{
		http: h, base: strings.TrimSuffix(base.String(), "/"),
		lists: map[string][]any{}, objects: map[string]answer{}, gets: map[resource]int{},
	}, nil
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

// do makes one request and returns the answer and its length.
func (c *client) do(ctx context.Context, method, path string, body any) (object map[string]any, size int, err error) {
	if c.gone != nil {
		return nil, 0, c.gone
	}
	var payload io.Reader
	if body != nil {
		data, err := json.Marshal(body)
		if err != nil {
			return nil, 0, err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, 0, err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		if late, ok := errors.AsType[net.Error](err); ok && late.Timeout() && ctx.Err() == nil {
			c.gone = err // every other request would wait as long
		}
		return nil, 0, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read answer of the API server: %w", err)
	}
	if len(data) > maxBody {
		return nil, 0, fmt.Errorf("answer of the API server: %s: more than %d bytes", path, maxBody)
	}
	if resp.StatusCode >= 300 {
		status := statusError{}
		if json.Unmarshal(data, &status.Status) != nil || status.Message == "" {
			status.Message = fmt.Sprintf("the server answered %s", resp.Status)
		}
		return nil, 0, status
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber() // numbers print as the server wrote them
	if err := decoder.Decode(&object); err != nil {
		return nil, 0, fmt.Errorf("answer of the API server: %s: %w", path, err)
	}
	return object, len(data), nil
}

// fewGets is how many objects of a kind are read one by one before all of them
// are read at once.
const fewGets = 3

// maxKept is how much of what was read is kept, in bytes of JSON: objects in
// memory take several times as much.
const maxKept = 24 << 20

// keep tells whether there is room for size bytes more.
func (c *client) keep(size int) bool {
	if c.kept+size > maxKept {
		return false
	}
	c.kept += size
	return true
}

// get gives one object by its name.
func (c *client) get(ctx context.Context, r resource, o options, name string) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gets[r]++; c.gets[r] == fewGets+1 {
		c.readAll(ctx, r)
	}
	path := r.path(o, name)
	if known, ok := c.objects[path]; ok {
		return known.object, known.err
	}
	object, size, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		if _, ok := errors.AsType[statusError](err); ok {
			c.objects[path] = answer{err: err}
		}
		return nil, err
	}
	dropManagedFields(object)
	if c.keep(size) {
		c.objects[path] = answer{object: object}
	}
	return object, nil
}

// readAll reads all objects of a kind, so that each of them can be given as if
// it had been asked for by its name. That is right only for a caller who may get
// every one of them, which is not the same as to list them; for others it does
// nothing.
func (c *client) readAll(ctx context.Context, r resource) {
	status, err := c.review(ctx, map[string]any{"verb": "get", "group": r.group, "resource": r.plural})
	if allowed, _ := status["allowed"].(bool); err != nil || !allowed {
		return
	}
	o := options{allNamespaces: true}
	items, err := c.read(ctx, r, o)
	if _, kept := c.lists[r.query(o)]; err != nil || !kept {
		return
	}
	for _, item := range items {
		metadata, _ := item.(map[string]any)["metadata"].(map[string]any)
		name, _ := metadata["name"].(string)
		o.namespace, _ = metadata["namespace"].(string)
		c.objects[r.path(o, name)] = answer{object: item}
	}
}

// list gives the objects of a collection.
func (c *client) list(ctx context.Context, r resource, o options) ([]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.read(ctx, r, o)
}

// read reads all pages of a collection. Items get the kind and apiVersion that
// the server leaves out inside lists, as kubectl does.
func (c *client) read(ctx context.Context, r resource, o options) ([]any, error) {
	first := r.query(o)
	if items, ok := c.lists[first]; ok {
		return items, nil
	}
	var items []any
	var total int
	for query := first; ; {
		page, size, err := c.do(ctx, http.MethodGet, query, nil)
		if err != nil {
			return nil, err
		}
		total += size
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
			break
		}
		query = first + "&continue=" + url.QueryEscape(next)
	}
	if c.keep(total) {
		c.lists[first] = items
	}
	return items, nil
}

// canI asks whether the caller may do something.
func (c *client) canI(ctx context.Context, attributes map[string]any) (map[string]any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.review(ctx, attributes)
}

// review is a POST, but creates nothing.
func (c *client) review(ctx context.Context, attributes map[string]any) (map[string]any, error) {
	answer, _, err := c.do(ctx, http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", map[string]any{
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
