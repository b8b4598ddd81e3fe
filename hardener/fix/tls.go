package fix

import (
	"crypto/tls"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// tlsSuites are the suites that Go, HTTP/2 and both kinds of serving key can do
// with forward secrecy. Kubernetes takes them under these names in all releases.
const tlsSuites = "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256," +
	"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384," +
	"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"

// tlsFloor is the lowest version of TLS that is asked for: Go's own default for
// servers, so that stating it shuts nobody out who is let in today.
const tlsFloor = "VersionTLS12"

// tlsVariables are a variable of all components, and what did before there was one.
func tlsVariables(component, name, value, flag, key string) []Variable {
	before := extraArg(component, flag, valueWord, "2.14")
	if component == node.Kubelet {
		before = kubeletField(key, value, "2.14")
	}
	return []Variable{{Name: name, Value: value, Since: "2.14", Note: "feeds the API server, controller manager, scheduler and kubelet alike"}, before}
}

func cipherSuites(component, breaks string) rule {
	return rule{component: component, name: "tls-cipher-suites", value: tlsSuites, accept: strongSuites, guard: tls13Only, breaks: breaks,
		variables: tlsVariables(component, "tls_cipher_suites", listWord, "tls-cipher-suites", "tlsCipherSuites"),
		words: words{
			guard: "only names that this release knows, for RSA and for ECDSA keys, with the two that HTTP/2 needs; not where the minimum is TLS 1.3, which ignores the list",
			proof: "a TLS 1.2 and a TLS 1.3 handshake and HTTP/2 succeed",
		}}
}

// minVersion is for profiles that ask for it; kube-bench's cis-1.* do not.
func minVersion(component string) rule {
	return rule{component: component, name: "tls-min-version", value: tlsFloor, accept: func(value string, set bool) bool { return set },
		meets:   func(value string, set bool) bool { return set && (value == tlsFloor || value == "VersionTLS13") },
		touches: unseenTLS,
		reason:  "never lowered", breaks: "clients that only speak an older TLS",
		variables: tlsVariables(component, "tls_min_version", valueWord, "tls-min-version", "tlsMinVersion"),
		words:     words{proof: "a TLS 1.2 handshake succeeds and a TLS 1.1 handshake does not"}}
}

// unseenTLS says what nobody can see: what a client speaks is not in the tree.
func unseenTLS(c *attempt) []string {
	if value, set := c.place.get(c.setting); set && (value == "VersionTLS10" || value == "VersionTLS11") {
		return []string{"clients that speak no TLS above " + strings.Replace(value, "VersionTLS1", "1.", 1) + " cannot be seen from this node, and would be shut out"}
	}
	return nil
}

// strongSuites refuses suites that Go calls insecure, which some profiles allow.
func strongSuites(value string, _ bool) bool {
	return !slices.ContainsFunc(splitList(value), insecureSuite)
}

func insecureSuite(name string) bool {
	return slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
}

// tls13Only says that the list of suites has no effect.
func tls13Only(c *attempt) string {
	s := profile.Setting{Component: c.setting.Component, Kind: profile.Flag, Name: "tls-min-version"}
	if c.setting.Path != "" {
		s.Path = "tlsMinVersion"
	}
	if v, _ := c.place.get(s); v == "VersionTLS13" {
		return "with a minimum of TLS 1.3 the list of suites is ignored"
	}
	return ""
}
