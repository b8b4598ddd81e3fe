package rollout

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func claimed() claims {
	node := func(name string, addresses ...corev1.NodeAddress) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Addresses: addresses}}
	}
	at := func(kind corev1.NodeAddressType, address string) corev1.NodeAddress {
		return corev1.NodeAddress{Type: kind, Address: address}
	}
	return newClaims([]corev1.Node{
		node("cp1", at(corev1.NodeInternalIP, "10.0.0.1"), at(corev1.NodeHostName, "cp1")),
		node("w1", at(corev1.NodeInternalIP, "10.0.0.2"), at(corev1.NodeInternalIP, "fd00::2"), at(corev1.NodeHostName, "w1"), at(corev1.NodeInternalDNS, "w1.local")),
		// A kubelet that somebody has taken over says of itself what it likes.
		node("liar", at(corev1.NodeInternalIP, "10.0.0.3"), at(corev1.NodeExternalIP, "10.0.0.1"), at(corev1.NodeExternalIP, "10.0.0.9"), at(corev1.NodeHostName, "liar"), at(corev1.NodeInternalDNS, "w1.local")),
	}, []string{"10.0.0.1", "10.0.0.9"}, []string{"cp1"})
}

// request is a kubelet's for its serving certificate, as node w1 makes it, but for
// what change says.
type asking struct {
	subject pkix.Name
	names   []string
	ips     []string
	uris    []*url.URL
	mails   []string
	csr     certificatesv1.CertificateSigningRequestSpec
	text    func(string) string // of the PEM
}

func request(t *testing.T, change func(*asking)) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	a := asking{
		subject: pkix.Name{CommonName: "system:node:w1", Organization: []string{"system:nodes"}},
		names:   []string{"w1"}, ips: []string{"10.0.0.2"},
		csr: certificatesv1.CertificateSigningRequestSpec{
			SignerName: certificatesv1.KubeletServingSignerName, Username: "system:node:w1", Groups: []string{"system:nodes", "system:authenticated"},
			Usages: []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth},
		},
		text: func(s string) string { return s },
	}
	change(&a)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.CertificateRequest{Subject: a.subject, DNSNames: a.names, URIs: a.uris, EmailAddresses: a.mails}
	for _, ip := range a.ips {
		template.IPAddresses = append(template.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		t.Fatal(err)
	}
	a.csr.Request = []byte(a.text(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))))
	return &certificatesv1.CertificateSigningRequest{Spec: a.csr}
}

// TestRequests approves what a node asks for about itself, and nothing else.
func TestRequests(t *testing.T) {
	for _, tt := range []struct {
		what   string
		change func(*asking)
		want   string // of the refusal; "" is approved
	}{
		{"a kubelet's", func(*asking) {}, ""},
		{"with every address, IPv6 too, and an RSA key's usage", func(a *asking) {
			a.names, a.ips = []string{"w1", "w1"}, []string{"10.0.0.2", "fd00::2"}
			a.csr.Usages = append(a.csr.Usages, certificatesv1.UsageKeyEncipherment)
		}, ""},
		{"the control plane's own address", func(a *asking) {
			a.csr.Username, a.subject.CommonName, a.names, a.ips = "system:node:cp1", "system:node:cp1", []string{"cp1"}, []string{"10.0.0.1"}
		}, ""},
		{"another signer", func(a *asking) { a.csr.SignerName = certificatesv1.KubeAPIServerClientKubeletSignerName }, "signer"},
		{"by a person", func(a *asking) { a.csr.Username = "kubernetes-admin" }, "no kubelet"},
		{"by a node that is none", func(a *asking) { a.csr.Username = "system:node:w9" }, "no such node"},
		{"by a user of that name in no group", func(a *asking) { a.csr.Groups = []string{"system:authenticated"} }, "group system:nodes"},
		{"by one who is not authenticated", func(a *asking) { a.csr.Groups = []string{"system:nodes"} }, "group system:authenticated"},
		{"for another node", func(a *asking) { a.subject.CommonName = "system:node:cp1" }, "it is for"},
		{"for a master", func(a *asking) { a.subject.Organization = []string{"system:masters"} }, "organization"},
		{"for a master as well", func(a *asking) { a.subject.Organization = []string{"system:nodes", "system:masters"} }, "organization"},
		{"with more in its subject", func(a *asking) { a.subject.OrganizationalUnit = []string{"x"} }, "subject says more"},
		{"with a second name in its subject", func(a *asking) {
			a.subject.ExtraNames = []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "system:node:w1"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 10}, Value: "system:nodes"}, {Type: asn1.ObjectIdentifier{2, 5, 4, 3}, Value: "x"}}
		}, "x"},
		{"as a client", func(a *asking) { a.csr.Usages = append(a.csr.Usages, certificatesv1.UsageClientAuth) }, "client auth"},
		{"not as a server", func(a *asking) { a.csr.Usages = a.csr.Usages[:1] }, "server auth"},
		{"without names", func(a *asking) { a.names, a.ips = nil, nil }, "no name"},
		{"for another name", func(a *asking) { a.names = append(a.names, "kubernetes.default.svc") }, "none of node w1"},
		{"for another's address", func(a *asking) { a.ips = append(a.ips, "10.0.0.1") }, "none of node w1"},
		{"for a name as an address", func(a *asking) { a.names = append(a.names, "10.0.0.2") }, "none of node w1"},
		{"for a name that two claim", func(a *asking) { a.names = append(a.names, "w1.local") }, "claim"},
		{"for an API server's address that it claims itself", func(a *asking) {
			a.csr.Username, a.subject.CommonName, a.names, a.ips = "system:node:liar", "system:node:liar", nil, []string{"10.0.0.9"}
		}, "none of node liar"},
		{"for a URI", func(a *asking) { a.uris = []*url.URL{{Scheme: "spiffe", Host: "x"}} }, "URI"},
		{"for a mailbox", func(a *asking) { a.mails = []string{"a@b"} }, "e-mail"},
		{"with something behind it", func(a *asking) { a.text = func(s string) string { return s + s } }, "one request"},
		{"no request", func(a *asking) { a.text = func(string) string { return "x" } }, "one request"},
		{"of another kind", func(a *asking) {
			a.text = func(s string) string { return strings.ReplaceAll(s, "CERTIFICATE REQUEST", "CERTIFICATE") }
		}, "one request"},
		{"with a broken signature", func(a *asking) {
			a.text = func(s string) string {
				block, _ := pem.Decode([]byte(s))
				der := slices.Clone(block.Bytes)
				der[len(der)-1] ^= 1
				return string(pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: der}))
			}
		}, ""},
	} {
		_, err := claimed().refused(request(t, tt.change))
		switch {
		case tt.what == "with a broken signature":
			if err == nil {
				t.Errorf("%s: approved", tt.what)
			}
		case tt.want == "" && err != nil:
			t.Errorf("%s: refused: %v", tt.what, err)
		case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
			t.Errorf("%s: %v, want %q", tt.what, err, tt.want)
		}
	}
}
