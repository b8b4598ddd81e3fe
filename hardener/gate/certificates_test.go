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

func certificate(t *testing.T, from, to time.Duration, authority bool) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to), IsCA: authority, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
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
		"expires today":                {soon, []string{"within a day"}},
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

func TestWithin(t *testing.T) {
	monday := time.Date(2026, 12, 7, 2, 45, 30, 0, time.UTC)
	for _, c := range []struct {
		calendar  string
		from      time.Time
		soon, bad bool
	}{
		{"Mon *-*-1,2,3,4,5,6,7 03:00:00", monday, true, false},
		{"Mon *-*-1..7 03:00:00", monday, true, false},
		{"Mon *-*-1..7 03:20:00", monday, false, false},
		{"Mon *-*-1..6 03:00:00", monday, false, false},
		{"Tue..Sun *-*-* 03:00:00", monday, false, false},
		{"*-*-* 03:00", monday, true, false},
		{"2026-12-07 03:00:00", monday, true, false},
		{"2027-12-07 03:00:00", monday, false, false},
		{"Mon *-*-1..7 03:00:00", monday.Add(time.Hour), false, false},
		{"daily", monday, false, true},
		{"Mon *-*-1/2 03:00:00", monday, false, true},
	} {
		_, soon, err := within(c.calendar, c.from, renewalSoon)
		if soon != c.soon || (err != nil) != c.bad {
			t.Errorf("%s from %s: %v, %v", c.calendar, c.from, soon, err)
		}
	}
}

func TestRenewalNotDue(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.APIServer)
	f := fitnessOf(w)
	wants(t, f.renewalNotDue(t.Context()))
	w.write("etc/systemd/system/k8s-certs-renew.timer", "[Timer]\nOnCalendar=*-*-* *:*:00\n")
	wants(t, f.renewalNotDue(t.Context()), "k8s-certs-renew.timer is due at")
	w.write("etc/systemd/system/k8s-certs-renew.timer", "[Timer]\nOnCalendar=monthly\n")
	wants(t, f.renewalNotDue(t.Context()))
}
