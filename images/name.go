package images

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
)

// DefaultName is the repository that the image has unless another is given.
const DefaultName = "ghcr.io/kubespray-hardener/" + Title

// Tag is a version as a tag: what a tag may not hold becomes "-" (distribution
// specification: at most 128 letters, digits, "_", "." and "-").
func Tag(version string) string {
	tag := strings.TrimLeft(notInTag.ReplaceAllString(version, "-"), ".-")
	if tag == "" {
		return "latest"
	}
	return tag[:min(len(tag), 128)]
}

var notInTag = regexp.MustCompile(`[^A-Za-z0-9_.-]`)

// NameError says that something is no name of an image.
type NameError struct {
	Name, Reason string
}

func (e *NameError) Error() string { return fmt.Sprintf("image name %q: %s", e.Name, e.Reason) }

// ParseName reads a repository with a tag, such as "registry.local:5000/hardener:v1".
// Without a registry it is Docker Hub's, as everywhere.
func ParseName(s string) (name.Tag, error) {
	if strings.Contains(s, "@") {
		return name.Tag{}, &NameError{s, "the digest follows from the image: give a tag"}
	}
	if !HasTag(s) {
		return name.Tag{}, &NameError{s, "no tag"}
	}
	tag, err := name.NewTag(s)
	if err != nil {
		return name.Tag{}, &NameError{s, strings.TrimPrefix(err.Error(), "could not parse reference: ")}
	}
	return tag, nil
}

// HasTag tells whether a name has a tag: a colon after the last slash, as one
// before it is a registry's port.
func HasTag(s string) bool {
	return strings.Contains(s[strings.LastIndex(s, "/")+1:], ":")
}

// fullName is a repository as containerd and docker spell it.
func fullName(r name.Repository) string {
	if r.RegistryStr() == name.DefaultRegistry { // index.docker.io
		return "docker.io/" + r.RepositoryStr()
	}
	return r.Name()
}
