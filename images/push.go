package images

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Access says how to reach a registry.
type Access struct {
	// Credentials are the user's own: authn.DefaultKeychain, which reads what
	// docker login or podman login left and asks credential helpers.
	Credentials authn.Keychain
	// Insecure allows plain HTTP. A registry on this machine needs no leave.
	Insecure bool
}

// DeniedError says that a registry does not let the user push.
type DeniedError struct {
	Registry string
	err      error
}

func (e *DeniedError) Error() string { return e.err.Error() }
func (e *DeniedError) Unwrap() error { return e.err }

// PlainError says that a registry, or where it sends its clients, was only to be
// reached without TLS.
type PlainError struct{ Host string }

func (e *PlainError) Error() string { return e.Host + ": refused to send anything without TLS" }

// Push uploads the image and its bill of materials, which refers to the image's
// index as its subject, and then sets the tag: a tag never names an image that
// is not all there. What the registry has already is not sent again. It returns
// the name to pin: repository, tag and digest.
func (i *Image) Push(ctx context.Context, as string, access Access) (string, error) {
	var options []name.Option
	if access.Insecure {
		options = append(options, name.Insecure)
	}
	checked, err := ParseName(as)
	if err != nil {
		return "", err
	}
	tag, err := name.NewTag(as, options...)
	if err != nil {
		return "", &NameError{as, err.Error()}
	}
	pinned := fullName(checked.Context()) + ":" + tag.TagStr() + "@" + i.digest.String()
	bill, err := i.artifact()
	if err != nil {
		return "", fmt.Errorf("bill of materials: %w", err)
	}
	pusher, err := remote.NewPusher(
		remote.WithAuthFromKeychain(access.Credentials),
		remote.WithUserAgent("hardener-image"),
		remote.WithTransport(guarded{remote.DefaultTransport, access.Insecure}),
	)
	if err != nil {
		return "", fmt.Errorf("push %s: %w", as, err)
	}
	repository := tag.Context()
	billDigest, err := bill.Digest()
	if err != nil {
		return "", fmt.Errorf("bill of materials: %w", err)
	}
	for _, step := range []struct {
		ref  name.Reference
		what remote.Taggable
	}{
		{repository.Digest(i.digest.String()), i.index},
		{repository.Digest(billDigest.String()), bill},
		{tag, i.index},
	} {
		if err := pusher.Push(ctx, step.ref, step.what); err != nil {
			return "", fmt.Errorf("push %s: %w", as, because(err, repository.RegistryStr()))
		}
	}
	return pinned, nil
}

// because finds the reason in a registry's answer.
func because(err error, registry string) error {
	if plain, ok := errors.AsType[*PlainError](err); ok {
		return plain
	}
	answer, ok := errors.AsType[*transport.Error](err)
	if ok && (answer.StatusCode == http.StatusUnauthorized || answer.StatusCode == http.StatusForbidden) {
		return &DeniedError{registry, err}
	}
	return err
}

// guarded sends nothing without TLS unless it may: the library falls back to
// plain HTTP by itself for private addresses, credentials included.
type guarded struct {
	http.RoundTripper
	plain bool
}

func (g guarded) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Scheme != "https" && !g.plain && !loopback(r.URL.Hostname()) {
		return nil, &PlainError{r.URL.Host}
	}
	return g.RoundTripper.RoundTrip(r)
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || strings.HasSuffix(host, ".localhost") || ip != nil && ip.IsLoopback()
}

// artifact is the bill of materials as an OCI artifact (image specification 1.1,
// manifest.md, guidelines for artifact usage) whose subject is the index.
func (i *Image) artifact() (v1.Image, error) {
	size, err := i.index.Size()
	if err != nil {
		return nil, err
	}
	return newArtifact(sbomType, i.sbom, v1.Descriptor{MediaType: types.OCIImageIndex, Size: size, Digest: i.digest})
}
