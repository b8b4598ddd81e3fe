package images

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// server is a registry in memory that remembers what was asked of it.
type server struct {
	host string

	mu       sync.Mutex
	requests []string
}

func serve(t *testing.T, guard func(http.Handler) http.Handler, options ...registry.Option) *server {
	t.Helper()
	s := &server{}
	handler := registry.New(append(options, registry.Logger(log.New(testWriter{t}, "", 0)))...)
	if guard != nil {
		handler = guard(handler)
	}
	http := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		s.requests = append(s.requests, r.Method+" "+r.URL.Path)
		s.mu.Unlock()
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(http.Close)
	s.host = strings.TrimPrefix(http.URL, "http://")
	return s
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(p)))
	return len(p), nil
}

// uploads are the requests since the last call that sent a blob.
func (s *server) uploads() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.requests {
		if strings.Contains(r, "/blobs/uploads/") {
			n++
		}
	}
	s.requests = nil
	return n
}

// What is pulled is what was pushed, under the digest that was printed; the bill
// of materials refers to it; a second push sends nothing.
func TestPush(t *testing.T) {
	for _, referrers := range []bool{true, false} { // old registries know no referrers
		t.Run(fmt.Sprintf("referrers %v", referrers), func(t *testing.T) {
			s := serve(t, nil, registry.WithReferrersSupport(referrers))
			image := mustNew(t, made(t))
			ref := s.host + "/team/hardener:v1"
			pinned, err := image.Push(t.Context(), ref, Access{Credentials: authn.DefaultKeychain})
			if err != nil {
				t.Fatal(err)
			}
			if want := ref + "@" + image.Digest(); pinned != want {
				t.Errorf("pinned as %s, want %s", pinned, want)
			}
			if s.uploads() == 0 {
				t.Error("no blob was sent")
			}
			tag, err := name.NewTag(ref)
			if err != nil {
				t.Fatal(err)
			}
			pulled, err := remote.Index(tag)
			if err != nil {
				t.Fatal(err)
			}
			if digest, err := pulled.Digest(); err != nil || digest.String() != image.Digest() {
				t.Errorf("pulled %s (%v), want %s", digest, err, image.Digest())
			}
			if err := validate.Index(pulled); err != nil {
				t.Error(err)
			}
			index, err := remote.Referrers(tag.Context().Digest(image.Digest()))
			if err != nil {
				t.Fatal(err)
			}
			list, err := index.IndexManifest()
			if err != nil {
				t.Fatal(err)
			}
			if len(list.Manifests) != 1 || list.Manifests[0].ArtifactType != sbomType {
				t.Fatalf("referrers: %+v", list.Manifests)
			}
			if diff := cmp.Diff(string(image.SBOM()), fetched(t, tag.Context(), list.Manifests[0])); diff != "" {
				t.Errorf("bill of materials (-made +pulled):\n%s", diff)
			}
			s.uploads()
			if again, err := image.Push(t.Context(), ref, Access{Credentials: authn.DefaultKeychain}); err != nil || again != pinned {
				t.Errorf("pushed again: %s, %v", again, err)
			}
			if n := s.uploads(); n != 0 {
				t.Errorf("pushed again with %d uploads, want none", n)
			}
		})
	}
}

// fetched is the content of an artifact.
func fetched(t *testing.T, repository name.Repository, d v1.Descriptor) string {
	t.Helper()
	bill, err := remote.Image(repository.Digest(d.Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := bill.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	layer, err := remote.Layer(repository.Digest(manifest.Layers[0].Digest.String()))
	if err != nil {
		t.Fatal(err)
	}
	r, err := layer.Compressed()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var text strings.Builder
	if _, err := fmt.Fprint(&text, mustRead(t, r)); err != nil {
		t.Fatal(err)
	}
	return text.String()
}

// Credentials come from the user's own configuration; without them, or with
// wrong ones, nothing is sent and the error says where to log in.
func TestPushAuthentication(t *testing.T) {
	s := serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if user, password, ok := r.BasicAuth(); !ok || user != "me" || password != "secret" {
				w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
				http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
				return
			}
			next.ServeHTTP(w, r)
		})
	})
	image := mustNew(t, made(t))
	for _, login := range []struct {
		credentials string
		denied      bool
	}{{"", true}, {"me:wrong", true}, {"me:secret", false}} {
		dir := t.TempDir()
		t.Setenv("DOCKER_CONFIG", dir)
		config := "{}"
		if login.credentials != "" {
			config = fmt.Sprintf(`{"auths":{%q:{"auth":%q}}}`, s.host, base64.StdEncoding.EncodeToString([]byte(login.credentials)))
		}
		if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := image.Push(t.Context(), s.host+"/hardener:v1", Access{Credentials: authn.DefaultKeychain})
		denied, is := errors.AsType[*DeniedError](err)
		if is != login.denied || (err != nil) != login.denied {
			t.Errorf("%q: %v", login.credentials, err)
		}
		if is && (denied.Registry != s.host || strings.Contains(err.Error(), "wrong")) {
			t.Errorf("%q: registry %s: %v", login.credentials, denied.Registry, err)
		}
	}
}

// Nothing goes to another machine without TLS unless that was said: the library
// would take a private address for safe.
func TestPushWithoutTLS(t *testing.T) {
	asked := 0
	network := roundTrip(func(*http.Request) (*http.Response, error) {
		asked++
		return nil, errors.New("no network here")
	})
	for url, allowed := range map[string]bool{
		"http://10.1.2.3:5000/v2/":    false,
		"http://registry.local/v2/":   false,
		"http://localhost.evil/v2/":   false,
		"https://10.1.2.3/v2/":        true,
		"http://127.0.0.1:5000/v2/":   true,
		"http://[::1]:5000/v2/":       true,
		"http://localhost:5000/v2/":   true,
		"http://kind.localhost/token": true,
	} {
		for _, insecure := range []bool{false, true} {
			asked = 0
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			_, err = guarded{network, insecure}.RoundTrip(r) //nolint:bodyclose // there is no response
			if plain, ok := errors.AsType[*PlainError](err); ok == (allowed || insecure) || (asked == 1) != (allowed || insecure) {
				t.Errorf("%s, insecure %v: asked %d times, %v %v", url, insecure, asked, plain, err)
			}
		}
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }
