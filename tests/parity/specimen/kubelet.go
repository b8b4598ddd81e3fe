package specimen

import (
	"fmt"
	"strings"
)

// setting is a field of a KubeletConfiguration and the YAML it may be.
type setting struct {
	path   string // dotted
	values []string
	likely int
}

var booleans = []string{"true", "false", "true", "false", "yes", "no", "on", "y", "n", "True", `"true"`, "'false'", "null", "~", "", `""`, "{}", "[]", "1", "0", "[true]", "{a: b}", "!!str true"}

var kubeletSettings = []setting{
	{"authentication.anonymous.enabled", booleans, 75},
	{"authentication.webhook.enabled", booleans, 60},
	{"authentication.x509.clientCAFile", []string{"/etc/kubernetes/ssl/ca.crt", `"/etc/kubernetes/pki/ca.crt"`, "", "null", `""`, "/a: b"}, 75},
	{"authorization.mode", []string{"Webhook", "Webhook", "AlwaysAllow", `"Webhook"`, "null", "[Webhook]", "true"}, 70},
	{"eventRecordQPS", []string{"0", "5", "50", "-1", "1e6", "1000000", `"5"`, "05", "0o5", "5.0", "0x10", "1_000", "null", "10.50", "08"}, 60},
	{"featureGates.RotateKubeletServerCertificate", booleans, 40},
	{"featureGates.SeccompDefault", booleans, 10},
	{"makeIPTablesUtilChains", booleans, 40},
	{"maxPods", []string{"110"}, 50},
	{"metricsBindAddress", []string{"127.0.0.1:10249", "0.0.0.0"}, 10},
	{"podPidsLimit", []string{"-1", "1000000", "100", "1e3", "null", `""`, "0"}, 50},
	{"protectKernelDefaults", booleans, 50},
	{"readOnlyPort", []string{"0", "0", "10255", `"0"`, "00", "0.0", "null", "-0", "false", "[0]"}, 60},
	{"rotateCertificates", booleans, 60},
	{"seccompDefault", booleans, 40},
	{"staticPodPath", []string{"/etc/kubernetes/manifests"}, 70},
	{"streamingConnectionIdleTimeout", []string{"0", "0s", "4h0m0s", "5m", "1:30", `"0"`, "00", "2001-01-01", "1h", "null", "+0"}, 60},
	{"tlsCertFile", []string{"/etc/kubernetes/ssl/kubelet.crt", "", `""`, "null"}, 40},
	{"tlsPrivateKeyFile", []string{"/etc/kubernetes/ssl/kubelet.key", "", "null"}, 40},
	{"tlsCipherSuites", []string{
		"[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", "[TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]",
		"[TLS_FAKE, TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256]", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "[]", "null", "[{a: b}]", "[[x]]", "[y, n]",
		"\n- TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\n- TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", `["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 "]`, "[1, true]"}, 50},
	{"IPAddressDeny", []string{"any", "null"}, 5},
}

// kubeletConfig is the text of a KubeletConfiguration, sound or not.
func (d dice) kubeletConfig() string {
	if d.chance(25) {
		return d.kubeletJSON()
	}
	text := d.kubeletYAML()
	switch d.IntN(25) {
	case 0:
		text = strings.ReplaceAll(text, "\n", "\r\n")
	case 1:
		text += "readOnlyPort: 10255\nreadOnlyPort: 0\n"
	case 2:
		text += "---\nreadOnlyPort: 10255\nauthentication: {anonymous: {enabled: false}}\n"
	case 3:
		text += "\tbroken: tab\n"
	case 4:
		text = "\ufeff" + text
	case 5:
		text += "broken: [\n"
	case 6:
		text = ""
	case 7:
		text = "just a line of text\n"
	case 8:
		text = "# " + strings.ReplaceAll(text, "\n", "\n# ") + "\n"
	case 9:
		text = "KUBELET_ARGS=\"--anonymous-auth=false --authorization-mode=Webhook\"\n"
	case 10:
		text = "base: &base\n  enabled: false\nauthentication:\n  anonymous:\n    <<: *base\n"
	case 11:
		text = text[:len(text)/2]
	case 12:
		text = "- a\n- b\n"
	case 13:
		text += "authorization: {mode: \"\\u0041lways\"}\n\x00"
	case 14:
		text += "n: 1\n? [complex, key]\n: value\n"
	}
	return text
}

// kubeletYAML writes the settings as nested block maps, in their order.
func (d dice) kubeletYAML() string {
	var b strings.Builder
	if d.chance(85) {
		b.WriteString("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n")
	}
	var open []string
	for _, s := range kubeletSettings {
		if !d.chance(s.likely) {
			continue
		}
		keys := strings.Split(s.path, ".")
		shared := 0
		for shared < len(keys)-1 && shared < len(open) && keys[shared] == open[shared] {
			shared++
		}
		open = keys[:len(keys)-1]
		for i := shared; i < len(keys)-1; i++ {
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), keys[i])
		}
		value := d.pick(s.values...)
		if value != "" && value[0] != '\n' {
			value = " " + value
		}
		space := ""
		if d.chance(4) {
			space = " "
		}
		comment := ""
		if d.chance(4) {
			comment = " # a comment"
		}
		fmt.Fprintf(&b, "%s%s%s:%s%s\n", strings.Repeat("  ", len(keys)-1), keys[len(keys)-1], space, value, comment)
	}
	return b.String()
}

// jsonValues are values of JSON for any setting, besides the plain ones.
var jsonValues = []string{"true", "false", "0", "5", "null", `""`, `"0"`, `"Webhook"`, `"AlwaysAllow"`, "1000000", "999999", "1e3", "0.5", "[]", `["a","b"]`, "{}", `{"a":1}`, `"false"`, `"4h0m0s"`, `"/etc/kubernetes/ssl/ca.crt"`, "[{}]", `"a<b>&"`}

func (d dice) kubeletJSON() string {
	tree := map[string][]string{}
	var order []string
	for _, s := range kubeletSettings {
		if !d.chance(s.likely) {
			continue
		}
		parent, name := "", s.path
		if i := strings.LastIndex(s.path, "."); i >= 0 {
			parent, name = s.path[:i], s.path[i+1:]
		}
		if _, ok := tree[parent]; !ok {
			order = append(order, parent)
		}
		tree[parent] = append(tree[parent], fmt.Sprintf("%q: %s", name, d.pick(jsonValues...)))
	}
	var parts []string
	for _, parent := range order {
		inner := strings.Join(tree[parent], ", ")
		if parent != "" {
			keys := strings.Split(parent, ".")
			for i := len(keys) - 1; i > 0; i-- {
				inner = fmt.Sprintf("%q: {%s}", keys[i], inner)
			}
			inner = fmt.Sprintf("%q: {%s}", keys[0], inner)
		}
		parts = append(parts, inner)
	}
	text := "{" + strings.Join(parts, ",\n ") + "}\n"
	switch d.IntN(12) {
	case 0:
		text += "trailing"
	case 1:
		text = strings.TrimSuffix(text, "}\n") + ",}\n"
	case 2:
		text = "[" + text + "]"
	}
	return text
}

// encryptionConfig is an EncryptionConfiguration, or what is left of one.
func (d dice) encryptionConfig() string {
	provider := func() string {
		return d.pick("aescbc", "identity", "secretbox", "kms", "aesgcm", "AESCBC", `"aescbc"`, "aescbc-2")
	}
	switch d.IntN(8) {
	case 0:
		return "providers:"
	case 1:
		return "kind: EncryptionConfiguration\n"
	case 2:
		return fmt.Sprintf("resources:\n- resources: [secrets]\n  providers: [{%s: {}}]\n  # end\n", provider())
	case 3:
		return fmt.Sprintf("resources:\n- providers:\n  - %s:\n- providers:\n\n  - %s: {}\n", provider(), provider())
	case 4:
		return fmt.Sprintf("# providers: \n# - %s\r\n", provider())
	}
	return fmt.Sprintf("kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n  - resources:\n      - secrets\n    providers:\n    - %s:\n        keys:\n        - name: key\n          secret: c2VjcmV0\n    - %s: {}\n", provider(), provider())
}

// proxyConfig is a kubeconfig or a KubeProxyConfiguration.
func (d dice) proxyConfig() string {
	return d.pick(
		"apiVersion: v1\nkind: Config\nclusters: []\n",
		"apiVersion: kubeproxy.config.k8s.io/v1alpha1\nmetricsBindAddress: 127.0.0.1:10249\n",
		"metricsBindAddress: 0.0.0.0:10249\n",
		"metricsBindAddress:\n",
		`{"metricsBindAddress": "127.0.0.1"}`,
		`{"metricsBindAddress": null}`,
		"metricsBindAddress: {}\n",
		"not: [yaml\n",
		"--metrics-bind-address=127.0.0.1\n",
		"")
}
