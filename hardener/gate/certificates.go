package gate

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// dayLeft is what a certificate must be valid for at least before a node is touched.
const dayLeft = 24 * time.Hour

// certificateFlags are the flags that name a certificate which a component
// shows or trusts.
var certificateFlags = []string{
	"tls-cert-file", "kubelet-client-certificate", "proxy-client-cert-file", "etcd-certfile", "etcd-cafile",
	"client-ca-file", "requestheader-client-ca-file", "root-ca-file", "cluster-signing-cert-file",
}

// kubeconfigFlags name the kubeconfigs of controller manager and scheduler.
var kubeconfigFlags = []string{"kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"}

// certificatesValid looks at the certificates of the components in question, of
// the kubelet and of admin.conf. A process that runs may live on for long with a
// certificate that expired; one that starts does not.
func (f *fitness) certificatesValid(context.Context) error {
	now := time.Now()
	var errs []error
	for _, name := range staticPods(f.components) {
		c := f.at.facts.Components[name]
		for _, flag := range certificateFlags {
			if v, ok := node.FlagValue(c.Configured, flag); ok {
				if file, ok := c.HostPath(v); ok {
					errs = append(errs, f.certificateFile(file, now))
				}
			}
		}
		for _, flag := range kubeconfigFlags {
			if v, ok := node.FlagValue(c.Configured, flag); ok {
				if file, ok := c.HostPath(v); ok {
					errs = append(errs, f.kubeconfigCertificates(file, now))
				}
			}
		}
	}
	if file := f.at.facts.Components[node.Kubelet].Kubeconfig; file != "" {
		errs = append(errs, f.kubeconfigCertificates(file, now))
	}
	if file := f.adminConf(f.at.facts); file != "" {
		errs = append(errs, f.kubeconfigCertificates(file, now))
	}
	return errors.Join(once(errs)...)
}

// once drops errors that say the same: several flags name one file.
func once(errs []error) []error {
	var all []error
	for _, err := range errs {
		if err != nil && !slices.ContainsFunc(all, func(e error) bool { return e.Error() == err.Error() }) {
			all = append(all, err)
		}
	}
	return all
}

func (f *fitness) certificateFile(file string, now time.Time) error {
	data, err := fs.ReadFile(f.FS, node.Name(file))
	if err != nil {
		return err
	}
	if err := valid(data, now, dayLeft); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

func (f *fitness) kubeconfigCertificates(file string, now time.Time) error {
	config, err := kubeconfig(f.FS, file)
	if err != nil {
		return err
	}
	var errs []error
	for _, data := range [][]byte{config.CertData, config.CAData} {
		if len(data) == 0 {
			continue
		}
		if err := valid(data, now, dayLeft); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", file, err))
		}
	}
	return errors.Join(errs...)
}

// valid judges the certificates of a PEM text, which have to be valid for a time
// to come: of authorities it is enough that one is, as bundles keep old ones; a
// certificate that is shown comes first in its file.
func valid(data []byte, now time.Time, left time.Duration) error {
	var failed error
	for n := 0; ; {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			if n == 0 {
				return errors.New("holds no certificate")
			}
			return failed
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return err
		}
		n++
		err = nil
		switch at := c.NotAfter.UTC().Format(time.RFC3339); {
		case now.Before(c.NotBefore):
			err = fmt.Errorf("is valid only from %s", c.NotBefore.UTC().Format(time.RFC3339))
		case now.After(c.NotAfter):
			err = fmt.Errorf("expired at %s", at)
		case now.Add(left).After(c.NotAfter):
			err = fmt.Errorf("expires at %s, within %s", at, left)
		}
		if err == nil || !c.IsCA && n == 1 {
			return err
		}
		failed = err
	}
}
