package oracle

import (
	"math/rand/v2"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// commonTexts are outputs that audits of real and of odd nodes print.
var commonTexts = []string{
	"", " ", "\n", "\n\n", "  \n \n",
	"root:root", "root:root\n", "etcd:etcd", "kube:root\nroot:root\n", "UNKNOWN:UNKNOWN",
	"permissions=600", "permissions=644\n", "permissions=0", "permissions=4600", "permissions=-10", "permissions=", "permissions", "permissions=rw",
	"permissions=600 /a\npermissions=644 /b\n", "permissions=600\nstat: cannot stat '/x': No such file or directory\n",
	"root      1234     1  2 10:00 ?        00:00:01 kube-apiserver --anonymous-auth=false --profiling=False --authorization-mode=Node,RBAC --bind-address=:: --tls-cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, --audit-log-maxage=30 --enable-admission-plugins=NodeRestriction,AlwaysPullImages\n",
	"root 1 0 0 10:00 ? 00:00:00 /usr/local/bin/etcd\nroot 2 0 0 10:00 ? 00:00:00 etcd --cert-file=/a --key-file= --auto-tls --peer-auto-tls=TRUE\n",
	"root 9 1 0 10:00 ? 00:00:09 /usr/local/bin/kubelet --config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf --read-only-port 0 --streaming-connection-idle-timeout=5m\n",
	"--profiling", "--profiling=", "--profiling==false", "--profiling: :false x", "--profiling:\tfalse", "\"--profiling=false\",", "--profiling-x=false --profiling=true",
	"true", "TRUE", "False", "no", "yes", "user=x all_allowed=false\n", "**role_name: a\n**role_is_compliant: true\n",
	kubeletYAML, kubeletJSON, "kind: [", "{", "a: b: c", "--- \na: 1\n---\na: 2\n", "null", "~", "[]", "0", "[1, 2", "- a\n- b\n", "\x00", "\xff\xfe--x=\xff", "a: !!binary x", "a: &a [*a]",
	"ETCD_CERT_FILE=/a\nETCD_KEY_FILE=/b\nETCD_AUTO_TLS=false\nETCD_PEER_AUTO_TLS=True\nMY_ETCD_CLIENT_CERT_AUTH=true\nETCD_CLIENT_CERT_AUTH=\n",
	"cat: '/proc/1\n2/environ': No such file or directory\n",
}

const kubeletYAML = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
nodeStatusUpdateFrequency: "10s"
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: True}
  x509:
    clientCAFile: /etc/kubernetes/ssl/ca.crt
authorization:
  mode: Webhook
staticPodPath: ""
readOnlyPort: 0
eventRecordQPS: 50
streamingConnectionIdleTimeout: "1h"
makeIPTablesUtilChains: yes
protectKernelDefaults: on
rotateCertificates: null
serverTLSBootstrap: y
featureGates: {RotateKubeletServerCertificate: true}
tlsCertFile: '/a'
tlsCipherSuites:
- TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
- TLS_X
podPidsLimit: 1_000
seccompDefault: no
`

const kubeletJSON = `{"kind":"KubeletConfiguration","authentication":{"anonymous":{"enabled":true},"webhook":{"enabled":"true"},"x509":{"clientCAFile":null}},
"authorization":{"mode":"AlwaysAllow"},"readOnlyPort":10255,"eventRecordQPS":1e6,"streamingConnectionIdleTimeout":0,"makeIPTablesUtilChains":false,
"tlsCipherSuites":[],"tlsCertFile":{"a":1},"rotateCertificates":"","featureGates":{"RotateKubeletServerCertificate":false},"podPidsLimit":-1,"protectKernelDefaults":[true]}`

var separators = []string{"=", "", ": ", ":", "==", "= ", " ", ":  =", "\n", "=\t", "='", "=\""}

// targeted writes texts around one item: its flag, variable or path with good,
// bad and odd values.
func targeted(r *rand.Rand, item profile.TestItem) outputs {
	value := pick(r, []string{
		item.Compare.Value, item.Compare.Value + "x", strings.ToUpper(item.Compare.Value), strings.ToLower(item.Compare.Value), item.Compare.Value + ",", "," + item.Compare.Value,
		"", "true", "false", "True", "FALSE", "0", "1", "-1", "+5", "030", "600", "700", "4755", "0o600", "1e6", "1e+06", "99999999999999999999", "5m", "AlwaysAllow", "RBAC,Node", "a,b,,", "\u0130", "%s", "no", "yes", "/a/b",
	})
	name := pick(r, []string{item.Flag, item.Flag, item.Flag, item.Flag + "x", "x" + item.Flag, strings.ToUpper(item.Flag), ""})
	before := pick(r, []string{"", " ", "\n", "x ", "--a=b ", item.Flag + "\n"})
	after := pick(r, []string{"", " ", "\n", " --z=1\n", "\n\n", "\nsh: 1: x: not found\n", "\n" + item.Flag + "=" + item.Compare.Value})
	out := outputs{audit: before + name + pick(r, separators) + value + after}
	if r.IntN(3) == 0 {
		out.audit = pick(r, commonTexts)
	}
	switch r.IntN(3) {
	case 0:
		out.config = pick(r, commonTexts)
	case 1:
		out.config = nested(r, item.Path, value)
	}
	if r.IntN(2) == 0 {
		out.env = "PATH=/bin\n" + item.Env + "=" + value + pick(r, []string{"", "\n", "\nX=1\n"})
	} else if r.IntN(2) == 0 {
		out.env = pick(r, commonTexts)
	}
	return out
}

// nested writes a configuration in which a path like {.a.b} has a value.
func nested(r *rand.Rand, path, value string) string {
	fields := strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune("{}.[:]'\" ,*", r) })
	leaf := pick(r, []string{value, `"` + value + `"`, "[" + value + "]", "{x: " + value + "}", "[{x: 1}]", "", "null", "0x10", "0644", "1000000", "10.50", "2001-01-01", "y", "On", "1:30", "!!str 5", "[[1, y], []]"})
	var b strings.Builder
	if r.IntN(2) == 0 { // JSON, or nearly
		for _, f := range fields {
			b.WriteString(`{"` + f + `":`)
		}
		return b.String() + leaf + strings.Repeat("}", len(fields))
	}
	for i, f := range fields {
		b.WriteString("\n" + strings.Repeat("  ", i) + f + ": ")
	}
	return b.String() + leaf + "\n"
}

// mutated changes a few bytes of a text.
func mutated(r *rand.Rand, text string) string {
	b := []byte(text)
	for range 1 + r.IntN(4) {
		if len(b) == 0 {
			break
		}
		const odd = " \n\t=:,{}[]-'\"\\#&*!|>%0.\x00\xff"
		i := r.IntN(len(b))
		switch r.IntN(4) {
		case 0:
			b[i] = odd[r.IntN(len(odd))]
		case 1:
			b = append(b[:i], b[i+1:]...)
		case 2:
			b = b[:i]
		default:
			b = append(b[:i:i], append([]byte("\n"), b[i:]...)...)
		}
	}
	return string(b)
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }
