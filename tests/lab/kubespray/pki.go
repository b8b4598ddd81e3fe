package kubespray

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// pki holds PEM files by their name in /etc/ssl/etcd/ssl.
type pki map[string][]byte

// certificateLifetime is certificates_duration of roles/kubespray_defaults.
const certificateLifetime = 36500 * 24 * time.Hour

// newEtcdPKI generates what roles/etcd/templates/make-ssl-etcd.sh.j2 does: an
// own CA, member and admin certificates for each etcd node, and node
// certificates, with which the API servers connect, for each control plane.
func newEtcdPKI(c *Cluster) (pki, error) {
	var names []string // certificates; the CA is first
	names = append(names, "ca")
	for _, n := range c.group(Etcd) {
		names = append(names, "member-"+n.Name, "admin-"+n.Name)
	}
	for _, n := range c.group(ControlPlane) {
		names = append(names, "node-"+n.Name)
	}
	keys, err := generateKeys(len(names))
	if err != nil {
		return nil, fmt.Errorf("kubespray: etcd keys: %w", err)
	}

	// The nodes' clocks may be a little behind the one that made the cluster.
	notBefore := c.created.Add(-time.Hour)
	ca := &x509.Certificate{
		Subject:               pkix.Name{CommonName: "etcd-ca"},
		NotBefore:             notBefore,
		NotAfter:              notBefore.Add(certificateLifetime),
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	out := pki{}
	for i, name := range names {
		template := ca
		if i > 0 {
			template = leaf(c, name, notBefore)
		}
		if template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159)); err != nil {
			return nil, fmt.Errorf("kubespray: etcd certificate %s: %w", name, err)
		}
		der, err := x509.CreateCertificate(rand.Reader, template, ca, keys[i].Public(), keys[0])
		if err != nil {
			return nil, fmt.Errorf("kubespray: etcd certificate %s: %w", name, err)
		}
		if i == 0 {
			// Parsed again for its subject key identifier, which the others refer to.
			if ca, err = x509.ParseCertificate(der); err != nil {
				return nil, fmt.Errorf("kubespray: etcd certificate %s: %w", name, err)
			}
		}
		key, err := x509.MarshalPKCS8PrivateKey(keys[i])
		if err != nil {
			return nil, fmt.Errorf("kubespray: etcd key %s: %w", name, err)
		}
		out[name+".pem"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		out[name+"-key.pem"] = pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	}
	return out, nil
}

// leaf is a certificate of an etcd node or client. All of them have the same
// alternative names: those of the etcd nodes (roles/etcd/templates/openssl.conf.j2).
func leaf(c *Cluster, name string, notBefore time.Time) *x509.Certificate {
	kind, host, _ := strings.Cut(name, "-")
	host, _, _ = strings.Cut(host, ".")
	dns := []string{"localhost"}
	var ips []net.IP
	for _, n := range c.group(Etcd) {
		dns = append(dns, n.Name)
		ips = append(ips, n.Address.AsSlice())
	}
	dns = append(dns, "etcd.kube-system.svc."+clusterDomain, "etcd.kube-system.svc", "etcd.kube-system", "etcd")
	ips = append(ips, netip.MustParseAddr("127.0.0.1").AsSlice(), netip.IPv6Loopback().AsSlice())
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: "etcd-" + kind + "-" + host},
		NotBefore:             notBefore,
		NotAfter:              notBefore.Add(certificateLifetime),
		BasicConstraintsValid: true,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		DNSNames:              dns,
		IPAddresses:           ips,
	}
}

// generateKeys makes n RSA keys of certificates_key_size bits at the same time.
func generateKeys(n int) ([]*rsa.PrivateKey, error) {
	keys, errs := make([]*rsa.PrivateKey, n), make([]error, n)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { keys[i], errs[i] = rsa.GenerateKey(rand.Reader, 2048) })
	}
	wg.Wait()
	if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 {
		return nil, errs[i]
	}
	return keys, nil
}
