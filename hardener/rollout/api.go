package rollout

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
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

// maxAnswer limits one answer, in bytes.
const maxAnswer = 64 << 20

// requestTime is how long one request may take.
const requestTime = 30 * time.Second

// Media types of bodies.
const (
	jsonType  = "application/json"
	mergeType = "application/merge-patch+json"
	applyType = "application/apply-patch+yaml"
)

// API is an API server that is asked in plain JSON. It may be used concurrently.
type API struct {
	http   *http.Client
	base   string
	config *rest.Config

	// Patience is how long an API server may be away, as each one is that
	// restarts: requests are repeated for so long.
	Patience time.Duration

	wakes time.Duration // how long a server that has just started may know nobody's rights
	calls atomic.Int64
	away  atomic.Int64 // when the server last did not answer, in nanoseconds since 1970
}

// Connect makes a client. Nothing is asked yet.
func Connect(config *rest.Config) (*API, error) {
	config = rest.CopyConfig(config)
	config.UserAgent = "kubespray-hardener"
	config.QPS = -1 // we make few requests, and wait for conditions
	if config.Dial == nil {
		config.Dial = (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}).DialContext
	}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("connect to the API server: %w", err)
	}
	client.Timeout = requestTime
	return &API{http: client, base: strings.TrimSuffix(base.String(), "/"), config: config, Patience: 10 * time.Minute, wakes: wakingTime}, nil
}

// Calls is how many requests have been made.
func (a *API) Calls() int64 { return a.calls.Load() }

// statusError is a metav1.Status that the API server answered with.
type statusError struct {
	code   int
	status metav1.Status
}

func (e *statusError) Error() string { return e.status.Message }

func reason(err error) metav1.StatusReason {
	var s *statusError
	if errors.As(err, &s) {
		return s.status.Reason
	}
	return ""
}

func notFound(err error) bool  { return code(err) == http.StatusNotFound }
func exists(err error) bool    { return reason(err) == metav1.StatusReasonAlreadyExists }
func conflict(err error) bool  { return reason(err) == metav1.StatusReasonConflict }
func forbidden(err error) bool { return code(err) == http.StatusForbidden }

func code(err error) int {
	var s *statusError
	if errors.As(err, &s) {
		return s.code
	}
	return 0
}

// passing tells whether an error may go by itself: the server is away, or has
// too much to do.
func passing(err error) bool {
	switch c := code(err); {
	case c == http.StatusTooManyRequests, c >= 500:
		return true
	case c != 0:
		return false
	}
	var network *url.Error
	return errors.As(err, &network) || errors.Is(err, io.ErrUnexpectedEOF)
}

// wakingTime is how long an API server usually knows nobody's rights at most: it
// answers before it has read all roles.
const wakingTime = 30 * time.Second

// waking tells whether a refusal may come from a server that has just started.
func (a *API) waking(err error) bool {
	return refused(err) && time.Since(time.Unix(0, a.away.Load())) < a.wakes
}

func refused(err error) bool {
	c := code(err)
	return c == http.StatusForbidden || c == http.StatusUnauthorized
}

// once makes one request. body may be bytes or anything with a JSON form; into,
// when not nil, takes the JSON of the answer, or as *[]byte its text.
func (a *API) once(ctx context.Context, method, path, media string, body, into any) error {
	var payload io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		payload = bytes.NewReader(b)
	default:
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		payload = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, payload)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept(into))
	if body != nil {
		req.Header.Set("Content-Type", media)
	}
	a.calls.Add(1)
	resp, err := a.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return &url.Error{Op: method, URL: a.base + path, Err: err}
	}
	if resp.StatusCode >= 300 {
		s := &statusError{code: resp.StatusCode}
		if json.Unmarshal(data, &s.status) != nil || s.status.Message == "" {
			s.status.Message = fmt.Sprintf("%s %s: answered %s: %.200s", method, path, resp.Status, strings.TrimSpace(string(data)))
		}
		return s
	}
	if text, ok := into.(*[]byte); ok {
		*text = data
		return nil
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(data, into); err != nil {
		return fmt.Errorf("%s %s: answer of the API server: %w", method, path, err)
	}
	return nil
}

// accept asks for no more of objects than into can hold.
func accept(into any) string {
	switch into.(type) {
	case *metav1.PartialObjectMetadata:
		return "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	case *metav1.PartialObjectMetadataList:
		return "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	case *[]byte:
		return "*/*"
	}
	return jsonType
}

// do is once, repeated while the server is away and patience lasts. A request
// that was repeated may have been carried out before: a POST then fails because
// the object exists, a DELETE because it does not.
//
// A server that refuses is asked whether it is ready, and then once more: it may
// have started just before our first request, and take its time. That it is ready
// it tells everybody whose rights it knows (ClusterRole system:public-info-viewer),
// so that a refusal of this too is one to wait for, if not for ever.
func (a *API) do(ctx context.Context, method, path, media string, body, into any) error {
	begin := time.Now()
	ready, asked := false, false // the server, since it has refused
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := a.once(ctx, method, path, media, body, into)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if passing(err) {
			a.away.Store(time.Now().UnixNano())
		} else if !a.waking(err) {
			if ready || !refused(err) || a.Patience == 0 {
				return err
			}
			var text []byte
			why := a.once(ctx, http.MethodGet, "/readyz", "", nil, &text)
			if ready = !passing(why) && (asked || !refused(why)); ready {
				continue
			}
			asked = true
			a.away.Store(time.Now().UnixNano())
		}
		if time.Since(begin)+wait > a.Patience {
			return err
		}
		if sleep(ctx, wait) != nil {
			return err
		}
	}
}

func (a *API) get(ctx context.Context, path string, into any) error {
	return a.do(ctx, http.MethodGet, path, "", nil, into)
}

func (a *API) create(ctx context.Context, path string, object any) error {
	return a.do(ctx, http.MethodPost, path, jsonType, object, nil)
}

func (a *API) merge(ctx context.Context, path string, patch any) error {
	return a.do(ctx, http.MethodPatch, path, mergeType, patch, nil)
}

// sleep waits, or returns why the context ended.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// inNamespace is the path of a kind in Namespace: of the core group when group
// is "".
func inNamespace(group, plural, name string) string {
	path := "/apis/" + group
	if group == "" {
		path = "/api/v1"
	}
	path += "/namespaces/" + Namespace + "/" + plural
	if name != "" {
		path += "/" + name
	}
	return path
}
