package gate

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"path"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The kubelet's serving certificate, as the cluster signs it with
// serverTLSBootstrap.

// certificateFile is where a kubelet keeps the certificate that it serves and has
// asked the cluster for (k8s.io/client-go/util/certificate, NewFileStore; pair
// name "kubelet-server" in pkg/kubelet/certificate/kubelet.go).
const certificateFile = "kubelet-server-current.pem"

// bootstraps tells whether a kubelet's files have it ask for its certificate.
func (k *kubelet) bootstraps() (bool, error) {
	set, err := readSettings(k.FS, k.component)
	return set.bool("serverTLSBootstrap", false), err
}

// serves holds when the kubelet serves the certificate that it has on disk, which
// an authority of the cluster has signed, for every address of its Node.
func (k *kubelet) serves(ctx context.Context, n nodeObject) error {
	set, err := readSettings(k.FS, k.component)
	if err != nil {
		return err
	}
	ca := set.nested("authentication", "x509", "clientCAFile")
	roots, err := authorities(k.FS, ca)
	if err != nil {
		return fmt.Errorf("the cluster's authority: %w", err)
	}
	served, err := k.served(ctx, n.kubelet())
	if err != nil {
		return err
	}
	if err := signed(served, roots); err != nil {
		return fmt.Errorf("what the kubelet serves is not signed by %s: %w", ca, err)
	}
	for _, a := range n.Status.Addresses {
		if err := served[0].VerifyHostname(a.Address); err != nil {
			return fmt.Errorf("the kubelet's certificate: %w", err)
		}
	}
	root, _ := node.FlagValue(set.argv, "root-dir")
	dir, _ := node.FlagValue(set.argv, "cert-dir")
	file := path.Join(cmp.Or(dir, path.Join(cmp.Or(root, "/var/lib/kubelet"), "pki")), certificateFile)
	data, err := fs.ReadFile(k.FS, node.Name(file))
	if err != nil {
		return err
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "CERTIFICATE" && bytes.Equal(block.Bytes, served[0].Raw) {
			return nil
		}
	}
	return fmt.Errorf("the kubelet does not serve the certificate in %s", file)
}

// ServingCertificate waits until the kubelet of this node serves a certificate of
// the cluster, for Limits.Service.
func (g *Gates) ServingCertificate(ctx context.Context) error {
	of, err := g.serviceOf(ctx, node.Kubelet)
	if err != nil {
		return err
	}
	k := of.(*kubelet)
	a, err := k.own(k.at.facts)
	if err != nil {
		return err
	}
	for end := time.Now().Add(g.Limits.Service); ; {
		n, err := a.node(ctx, k.at.facts.NodeName)
		if err == nil {
			err = k.serves(ctx, n)
		}
		if err == nil || time.Now().After(end) || sleep(ctx, 2*g.Limits.Poll) != nil {
			return err
		}
	}
}

// served is the chain that a kubelet shows at an address ("10.0.0.1:10250").
func (g *Gates) served(ctx context.Context, address string) ([]*x509.Certificate, error) {
	d := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: g.Limits.Request},
		Config:    &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}, //nolint:gosec // the chain is looked at afterwards, and nothing is sent
	}
	ctx, cancel := context.WithTimeout(ctx, g.Limits.Request)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		if strings.Contains(err.Error(), "tls: internal error") { // GetCertificate has none
			err = errors.New("it serves no certificate: its request has not been approved")
		}
		return nil, fmt.Errorf("kubelet at %s: %w", address, err)
	}
	defer conn.Close()
	return conn.(*tls.Conn).ConnectionState().PeerCertificates, nil
}

// signed holds for the chain of a server that one of these authorities has signed.
func signed(chain []*x509.Certificate, roots *x509.CertPool) error {
	if len(chain) == 0 {
		return errors.New("there is no certificate")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	return err
}

// authorities reads the certificates of a file of the host.
func authorities(fsys fs.FS, file string) (*x509.CertPool, error) {
	if file == "" {
		return nil, errors.New("no file is named")
	}
	data, err := fs.ReadFile(fsys, node.Name(file))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: no certificate", file)
	}
	return pool, nil
}
