package fix

import (
	"net/http"
	"net/http/httptest"
	"path"
	"strings"
	"testing"
	"testing/fstest"

	"k8s.io/apiserver/pkg/apis/apiserver"
	apiserverv1 "k8s.io/apiserver/pkg/apis/apiserver/v1"
	apiserverv1beta1 "k8s.io/apiserver/pkg/apis/apiserver/v1beta1"
	"k8s.io/apiserver/pkg/authentication/request/anonymous"
	"sigs.k8s.io/yaml"
)

// TestAuthenticationContent: what is written is what the API server's own types
// take, with nothing unknown in it.
func TestAuthenticationContent(t *testing.T) {
	for version, into := range map[string]any{"1.32.0": &apiserverv1beta1.AuthenticationConfiguration{}, "1.33.9": &apiserverv1beta1.AuthenticationConfiguration{}, "1.34.0": &apiserverv1.AuthenticationConfiguration{}, "1.40": &apiserverv1.AuthenticationConfiguration{}} {
		api, why := anonymousVersion(version)
		content := authenticationContent(api)
		if why != "" || checkAuthentication(content) != nil || yaml.UnmarshalStrict(content, into) != nil {
			t.Errorf("%s: %s, %v, %v", version, why, checkAuthentication(content), yaml.UnmarshalStrict(content, into))
		}
		var paths []string
		switch c := into.(type) {
		case *apiserverv1.AuthenticationConfiguration:
			for _, p := range c.Anonymous.Conditions {
				paths = append(paths, p.Path)
			}
			if c.APIVersion != "apiserver.config.k8s.io/v1" {
				t.Errorf("%s: %s", version, c.APIVersion)
			}
		case *apiserverv1beta1.AuthenticationConfiguration:
			for _, p := range c.Anonymous.Conditions {
				paths = append(paths, p.Path)
			}
			if c.APIVersion != "apiserver.config.k8s.io/v1beta1" {
				t.Errorf("%s: %s", version, c.APIVersion)
			}
		}
		if strings.Join(paths, " ") != "/livez /readyz /healthz /api/v1/namespaces/kube-public/configmaps/cluster-info" {
			t.Errorf("%s: paths %q", version, paths)
		}
	}
	for _, version := range []string{"", "1.31.9", "1.17.5"} {
		if api, why := anonymousVersion(version); api != "" || !strings.Contains(why, "never set") {
			t.Errorf("%q: %q, %q", version, api, why)
		}
	}
}

func TestCheckAuthenticationRefuses(t *testing.T) {
	const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"
	for reason, text := range map[string]string{
		"an unknown field":      head + "anonymous: {enabled: true, conditions: [{path: /livez}]}\nanonymus: {}\n",
		"another kind":          "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthorizationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n",
		"an old version":        "apiVersion: apiserver.config.k8s.io/v1alpha1\nkind: AuthenticationConfiguration\nanonymous: {enabled: true, conditions: [{path: /livez}]}\n",
		"no anonymous block":    head,
		"every path":            head + "anonymous: {enabled: true}\n",
		"more than the health":  head + "anonymous: {enabled: true, conditions: [{path: /livez}, {path: /api}]}\n",
		"another ConfigMap":     head + "anonymous: {enabled: true, conditions: [{path: /livez}, {path: /api/v1/namespaces/kube-public/configmaps/other}]}\n",
		"a path that is longer": head + "anonymous: {enabled: true, conditions: [{path: /livez/}]}\n",
	} {
		if checkAuthentication([]byte(text)) == nil {
			t.Errorf("%s: accepted", reason)
		}
	}
}

// TestJoinsGoOn: of the API server's own authenticator, with what is written, who
// has no credentials gets to what kubeadm join reads first, and RBAC has its say
// (403 once the binding is gone, at which kubeadm goes on by its file); it is not
// 401, at which kubeadm gives up whichever way it joins.
func TestJoinsGoOn(t *testing.T) {
	var c apiserverv1.AuthenticationConfiguration
	if err := yaml.UnmarshalStrict(authenticationContent("apiserver.config.k8s.io/v1"), &c); err != nil {
		t.Fatal(err)
	}
	var conditions []apiserver.AnonymousAuthCondition
	for _, p := range c.Anonymous.Conditions {
		conditions = append(conditions, apiserver.AnonymousAuthCondition{Path: p.Path})
	}
	authenticator := anonymous.NewAuthenticator(conditions)
	const cluster = "https://10.0.0.1:6443"
	for url, want := range map[string]bool{
		cluster + discoveryPath:                  true,
		cluster + discoveryPath + "?timeout=10s": true,
		cluster + "/readyz?verbose":              true,
		cluster + "/livez":                       true,
		cluster + "/healthz":                     true,
		cluster + "/api":                         false,
		cluster + "/version":                     false,
		cluster + "/healthz/etcd":                false,
		cluster + path.Dir(discoveryPath):        false, // the list of ConfigMaps
		cluster + discoveryPath + "/":            false,
	} {
		request := httptest.NewRequest(http.MethodGet, url, nil)
		if _, got, err := authenticator.AuthenticateRequest(request); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", url, got, err, want)
		}
	}
}

func TestLimitAnonymous(t *testing.T) {
	limited := flagCheck("apiserver", "eq", "--anonymous-auth", "", "false", true)
	flag := func(text string) func(fstest.MapFS) {
		return func(m fstest.MapFS) {
			editFile(m, apiManifest, "    - --event-ttl", "    - "+text+"\n    - --event-ttl")
		}
	}
	const join = "apiVersion: kubeadm.k8s.io/v1beta4\nkind: JoinConfiguration\ndiscovery:\n"
	tests := []struct {
		reason, version string
		node            func(fstest.MapFS)
		state           State
		why             string
	}{
		{reason: "below 1.32", version: "1.31.14", state: Never, why: "only from Kubernetes 1.32"},
		{reason: "beta API", version: "1.32.1", state: Planned},
		{reason: "an OIDC flag", version: "1.34.4", node: flag("--oidc-issuer-url=https://x"), state: Never, why: "--oidc-issuer-url is set"},
		{reason: "a file in use", version: "1.34.4", node: flag("--authentication-config=/etc/kubernetes/ssl/a.yaml"), state: Never, why: "in use as AuthenticationConfiguration"},
		{reason: "a gate that is off", version: "1.33.1", node: flag("--feature-gates=X=true,AnonymousAuthConfigurableEndpoints=false"), state: Never, why: "feature gate"},
		{reason: "this node joined by token", version: "1.34.4", state: Planned, node: func(m fstest.MapFS) {
			put(m, "etc/kubernetes/kubeadm-controlplane.yaml", join+"  bootstrapToken:\n    token: x\n", 0o640, 0, 0)
		}},
		{reason: "this node joined by file", version: "1.34.4", state: Planned, node: func(m fstest.MapFS) {
			put(m, "etc/kubernetes/kubeadm-controlplane.yaml", "kind: ClusterConfiguration\n---\n"+join+"  file:\n    kubeConfigPath: /x\n", 0o640, 0, 0)
		}},
		{reason: "a probe of another path", version: "1.34.4", state: Never, why: "/version", node: func(m fstest.MapFS) { editFile(m, apiManifest, "path: /readyz", "path: /version") }},
		{reason: "a server that is not root", version: "1.34.4", state: Never, why: "not run as root", node: func(m fstest.MapFS) {
			editFile(m, apiManifest, "  securityContext:\n", "  securityContext:\n    runAsNonRoot: true\n")
		}},
		{reason: "Kubespray's admission files are mounted over /etc/kubernetes", version: "1.34.4", state: Planned, why: "authentication-config=/etc/kubernetes/authentication/", node: func(m fstest.MapFS) {
			withMount(m, "admission-control-configs", "/etc/kubernetes/admission-controls", "/etc/kubernetes", "")
			dir(m, "etc/kubernetes/admission-controls", 0o640, 0, 0)
		}},
		{reason: "another file in our place", version: "1.34.4", state: Manual, why: "not in use", node: func(m fstest.MapFS) {
			put(m, "etc/kubernetes/authentication/apiserver-authentication-config.yaml", "a: b\n", 0o600, 0, 0)
		}},
	}
	for _, tt := range tests {
		t.Run(tt.reason, func(t *testing.T) {
			m := sampleNode(t)
			if tt.node != nil {
				tt.node(m)
			}
			facts := sampleFacts(false)
			facts.Kubernetes.Version = tt.version
			plan, d := planOne(t, m, facts, limited)
			if d.State != tt.state || !strings.Contains(d.Reason, tt.why) {
				t.Fatalf("decision %q because %q", d.State, d.Reason)
			}
			if !strings.Contains(d.Breaks, "cluster-info") {
				t.Errorf("joins are not told of: %q", d.Breaks)
			}
			text := string(applied(t, m, plan)[apiManifest].Data)
			if strings.Contains(text, "anonymous-auth=") == (tt.state == Planned) {
				t.Errorf("the flag must go with the file, and only then:\n%s", d.Diff)
			}
			if last := len(plan.Groups); last > 0 {
				changes := plan.Groups[last-1].Changes
				if n := len(changes); n != 3 || changes[0].Kind != MkdirK || changes[2].Path != "/"+apiManifest {
					t.Errorf("the manifest must be written last: %+v", changes)
				}
			}
		})
	}
}
