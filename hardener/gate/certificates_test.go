package gate

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// certificate makes one that is valid between two moments from now.
func certificate(t *testing.T, from, to time.Duration, authority bool) string {
	t.Helper()
	text, _ := pair(t, time.Now().Add(from), time.Now().Add(to), authority)
	return text
}

// keyPair makes a certificate with its key behind it, as a kubelet keeps them.
func keyPair(t *testing.T, from, to time.Time) []byte {
	t.Helper()
	text, key := pair(t, from, to, false)
	return []byte(text + key)
}

func pair(t *testing.T, from, to time.Time, authority bool) (certificate, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: from, NotAfter: to, IsCA: authority, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, c, c, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private}))
}

func TestCertificatesValid(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	good, late, soon := certificate(t, -day, 2*day, false), certificate(t, -day, -time.Hour, false), certificate(t, -day, time.Hour, false)
	early := certificate(t, time.Hour, 2*day, false)
	authority, old := certificate(t, -day, 2*day, true), certificate(t, -day, -time.Hour, true)
	for name, c := range map[string]struct {
		text  string
		words []string
	}{
		"valid":                        {good, nil},
		"expired":                      {late, []string{"/etc/kubernetes/ssl/x.crt: expired at"}},
		"expires today":                {soon, []string{"within 24h0m0s"}},
		"not yet valid":                {early, []string{"valid only from"}},
		"expired before its authority": {late + authority, []string{"expired"}},
		"a bundle with an old one":     {old + authority, nil},
		"a bundle of old ones":         {old + old, []string{"expired"}},
		"no certificate":               {"nothing", []string{"no certificate"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, node.APIServer)
			w.manifest("--tls-cert-file=/etc/kubernetes/ssl/x.crt")
			w.write("etc/kubernetes/ssl/x.crt", c.text)
			f := fitnessOf(w)
			component := f.at.facts.Components[w.component]
			component.Mounts = []node.Mount{{Path: "/etc/kubernetes/ssl", HostPath: "/etc/kubernetes/ssl"}}
			f.at.facts.Components[w.component] = component
			wants(t, f.certificatesValid(t.Context()), c.words...)
		})
	}
}
