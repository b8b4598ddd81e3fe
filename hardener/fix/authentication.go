package fix

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	sigsyaml "sigs.k8s.io/yaml"
)

// The AuthenticationConfiguration has a directory of its own below the node's
// Kubernetes configuration, mounted at the same path: a file mounted by itself
// would not be seen again once it is replaced.
const (
	authenticationDir  = "authentication"
	authenticationFile = "apiserver-authentication-config.yaml"
)

// healthPaths are what the kubelet's probes, load balancers and Kubespray's
// waits ask for without credentials. The API server compares paths exactly.
var healthPaths = []string{"/livez", "/readyz", "/healthz"}

// discoveryPath is what kubeadm reads without credentials when a node joins, by
// token and by a discovery file as Kubespray writes it alike. By file it goes on
// at 403, which is the answer once the binding for anonymous users is gone
// (Kubespray's remove_anonymous_access), but not at 401, which is the answer for
// a path without a condition: then no node can join any more
// (cmd/kubeadm/app/discovery/file/file.go, ValidateConfigInfo). With the
// condition it is that binding which decides, as before.
const discoveryPath = "/api/v1/namespaces/kube-public/configmaps/cluster-info"

// anonymousPaths are those that requests without credentials may ask for.
var anonymousPaths = append(slices.Clone(healthPaths), discoveryPath)

// authenticationConfig is the part of the API server's configuration file that is
// written (k8s.io/apiserver/pkg/apis/apiserver/v1 AuthenticationConfiguration).
// What else a file may hold is kept out by decoding it strictly.
type authenticationConfig struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	JWT        []map[string]any `json:"jwt,omitempty"`
	Anonymous  *struct {
		Enabled    bool `json:"enabled"`
		Conditions []struct {
			Path string `json:"path"`
		} `json:"conditions,omitempty"`
	} `json:"anonymous,omitempty"`
}

// anonymousVersion is the version of the file's API for a release, or why there
// is none: the anonymous block is on by default since 1.32, v1 is there since 1.34
// (apiserver pkg/features/kube_features.go AnonymousAuthConfigurableEndpoints).
func anonymousVersion(running string) (api, why string) {
	switch {
	case running == "":
		return "", "never set by the flag; the version of the API server is unknown, and an AuthenticationConfiguration can limit anonymous requests from 1.32 on only"
	case !atLeast(running, "1.32"):
		return "", "never set: only from Kubernetes 1.32 an AuthenticationConfiguration can limit anonymous requests to the health endpoints instead"
	case !atLeast(running, "1.34"):
		return "apiserver.config.k8s.io/v1beta1", ""
	}
	return "apiserver.config.k8s.io/v1", ""
}

func authenticationContent(api string) []byte {
	lines := []string{
		"# Requests without credentials may ask for the API server's health, and, where RBAC",
		"# lets them, for what kubeadm join starts from: without that path no node can join.",
		"apiVersion: " + api, "kind: AuthenticationConfiguration", "anonymous:", "  enabled: true", "  conditions:",
	}
	for _, p := range anonymousPaths {
		lines = append(lines, "  - path: "+p)
	}
	return []byte(strings.Join(lines, "\n") + "\n")
}

// checkAuthentication requires a file that the API server starts with and that
// lets anonymous requests to the health endpoints and to the start of a join only.
func checkAuthentication(data []byte) error {
	var c authenticationConfig
	if err := sigsyaml.UnmarshalStrict(data, &c); err != nil {
		return fmt.Errorf("not an AuthenticationConfiguration: %w", err)
	}
	known := []string{"apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"}
	if c.Kind != "AuthenticationConfiguration" || !slices.Contains(known, c.APIVersion) {
		return fmt.Errorf("not an AuthenticationConfiguration: kind %q of %q", c.Kind, c.APIVersion)
	}
	if c.Anonymous == nil || !c.Anonymous.Enabled || len(c.Anonymous.Conditions) == 0 {
		return errors.New("anonymous requests are not limited by conditions")
	}
	for _, condition := range c.Anonymous.Conditions {
		if !slices.Contains(anonymousPaths, condition.Path) {
			return fmt.Errorf("anonymous requests may ask for %q", condition.Path)
		}
	}
	return nil
}

// anonymousLimited reports that anonymous requests reach the health endpoints and
// the start of a join only.
func anonymousLimited(c *attempt) bool {
	pod, ok := c.place.(interface {
		flag(name string) (string, bool)
		hostPath(inside string) (host string, readOnly, ok bool)
	})
	if !ok {
		return false
	}
	if _, set := pod.flag("anonymous-auth"); set {
		return false // off by flag is the item's own wish; anything else is not limited
	}
	inside, set := pod.flag("authentication-config")
	if !set {
		return false
	}
	host, _, ok := pod.hostPath(inside)
	if !ok {
		return false
	}
	data, err := c.tx.read(host)
	return err == nil && checkAuthentication(data) == nil
}

// limitAnonymous removes --anonymous-auth and gives the API server an
// AuthenticationConfiguration, in one write of the manifest: the flag beside the
// file's anonymous block is an error at start (pkg/kubeapiserver/options
// authentication.go).
func limitAnonymous(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("authentication outside a manifest")
	}
	api, why := anonymousVersion(c.facts.Kubernetes.Version)
	if why != "" {
		return errors.New(why)
	}
	content := authenticationContent(api)
	if err := checkAuthentication(content); err != nil {
		return err
	}
	dir := c.facts.KubeConfigDir
	if dir == "" {
		dir = "/etc/kubernetes"
	}
	dir = path.Join(dir, authenticationDir)
	host, err := pod.ensureMount(mount{name: "authentication-config", hostPath: dir, mountPath: dir, hostPathType: "Directory", readOnly: true})
	if err != nil {
		return err
	}
	file := path.Join(host, authenticationFile)
	switch data, err := c.tx.read(file); {
	case err == nil && !bytes.Equal(data, content):
		return fmt.Errorf("%s is there and not in use: what it says would come into force", file)
	case err == nil:
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if err := c.tx.mkdir(host, node.APIServer, 0o700); err != nil {
			return err
		}
		if err := c.tx.write(file, content, node.APIServer, 0o600, false, ""); err != nil {
			return err
		}
	}
	pod.setFlag("authentication-config", path.Join(dir, authenticationFile))
	pod.change.flags["anonymous-auth"] = nil
	return nil
}

// anonymousGuard says why anonymous requests are not limited here.
func anonymousGuard(c *attempt) string {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return "the API server is not a static pod here"
	}
	if _, why := anonymousVersion(c.facts.Kubernetes.Version); why != "" {
		return why
	}
	if anonymousLimited(c) {
		return ""
	}
	for _, flag := range pod.all() {
		switch {
		case strings.HasPrefix(flag.name, "oidc-"):
			return "--" + flag.name + " is set: --oidc-* flags beside --authentication-config are an error at start, so the issuer has to move into the file as well"
		case flag.name == "authentication-config":
			return flag.value + " is in use as AuthenticationConfiguration already: its anonymous block is for those who wrote it, and the API server reads it at start only"
		case flag.name == "feature-gates" && slices.ContainsFunc(splitList(flag.value), func(s string) bool {
			gate, value, _ := strings.Cut(s, "=")
			on, err := strconv.ParseBool(value)
			return (gate == "AnonymousAuthConfigurableEndpoints" || gate == "StructuredAuthenticationConfiguration") && (err != nil || !on)
		}):
			return "a feature gate that the AuthenticationConfiguration needs is off"
		}
	}
	if p := otherProbe(pod.manifest); p != "" {
		return "a probe of the manifest asks for " + p + ", which would answer 401"
	}
	return rootless(pod)
}

// otherProbe is a path that a probe asks for and that would need credentials.
func otherProbe(m *manifest) string {
	for _, p := range m.probes() {
		if asked, ok := m.doc.scalar(append(p, "path")...); ok {
			asked, _, _ = strings.Cut(asked, "?")
			if !slices.Contains(healthPaths, asked) {
				return asked
			}
		}
	}
	return ""
}

// rootless says that the component does not run as root and so could not read a
// file of root's (kubeadm's gate RootlessControlPlane).
func rootless(pod *podPlace) string {
	for _, at := range [][]string{{"spec", "securityContext"}, pod.manifest.path("securityContext")} {
		user, set := pod.manifest.doc.scalar(append(slices.Clone(at), "runAsUser")...)
		nonRoot, _ := pod.manifest.doc.scalar(append(slices.Clone(at), "runAsNonRoot")...)
		if set && user != "0" || nonRoot == "true" {
			return "the pod does not run as root, and could not read the file that comes with this"
		}
	}
	return ""
}
