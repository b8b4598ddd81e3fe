package rollout

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
)

// claims are the names and addresses of each Node, as they were when a phase
// began. A kubelet reports its own, so that a request is only as good as what is
// known of others: what two Nodes claim neither gets, and no Node gets the address
// of an API server that is not on it.
type claims struct {
	nodes map[string]claim
	owner map[string][]string // Nodes, by name or address
}

type claim struct{ names, addresses []string }

// newClaims takes down what Nodes claim. servers are the addresses of API servers,
// without ports; control are the Nodes that they are on.
func newClaims(nodes []corev1.Node, servers, control []string) claims {
	c := claims{nodes: map[string]claim{}, owner: map[string][]string{}}
	for _, n := range nodes {
		var one claim
		for _, a := range n.Status.Addresses {
			what := canonical(a.Address)
			switch a.Type {
			case corev1.NodeInternalIP, corev1.NodeExternalIP:
				if slices.Contains(servers, what) && !slices.Contains(control, n.Name) {
					continue
				}
				one.addresses = append(one.addresses, what)
			case corev1.NodeHostName, corev1.NodeInternalDNS, corev1.NodeExternalDNS:
				one.names = append(one.names, what)
			}
			if !slices.Contains(c.owner[what], n.Name) {
				c.owner[what] = append(c.owner[what], n.Name)
			}
		}
		c.nodes[n.Name] = one
	}
	return c
}

// nodeUser and nodesGroup are who a kubelet is (k8s.io/api/certificates/v1,
// KubeletServingSignerName; pkg/apis/certificates/helpers.go).
const (
	nodeUser   = "system:node:"
	nodesGroup = "system:nodes"
)

// refused says why a request for a kubelet's serving certificate is not approved,
// nil when it is. node is the one that it says it is of, "" when it is of none.
// The rules are the signer's own (pkg/apis/certificates, ValidateKubeletServingCSR),
// and beyond them that the request is the node's about itself.
func (c claims) refused(r *certificatesv1.CertificateSigningRequest) (node string, err error) {
	node, ok := strings.CutPrefix(r.Spec.Username, nodeUser)
	switch {
	case r.Spec.SignerName != certificatesv1.KubeletServingSignerName:
		return "", fmt.Errorf("signer %s", r.Spec.SignerName)
	case !ok:
		return "", fmt.Errorf("requested by %q, which is no kubelet", r.Spec.Username)
	}
	own, known := c.nodes[node]
	if !known {
		return "", fmt.Errorf("requested by %q: the cluster has no such node", r.Spec.Username)
	}
	for _, group := range []string{nodesGroup, "system:authenticated"} {
		if !slices.Contains(r.Spec.Groups, group) {
			return node, fmt.Errorf("its requestor is not in group %s", group)
		}
	}
	if err := servingUsages(r.Spec.Usages); err != nil {
		return node, err
	}
	block, rest := pem.Decode(r.Spec.Request)
	if block == nil || block.Type != "CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return node, errors.New("it is not one request in PEM")
	}
	asked, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return node, err
	}
	if err := asked.CheckSignature(); err != nil {
		return node, err
	}
	if err := subject(asked.Subject, r.Spec.Username); err != nil {
		return node, err
	}
	return node, c.alternatives(node, own, asked)
}

// servingUsages wants those of a server's certificate: key encipherment is for RSA
// keys and optional.
func servingUsages(usages []certificatesv1.KeyUsage) error {
	for _, must := range []certificatesv1.KeyUsage{certificatesv1.UsageDigitalSignature, certificatesv1.UsageServerAuth} {
		if !slices.Contains(usages, must) {
			return fmt.Errorf("usage %q is missing", must)
		}
	}
	for _, u := range usages {
		if u != certificatesv1.UsageDigitalSignature && u != certificatesv1.UsageServerAuth && u != certificatesv1.UsageKeyEncipherment {
			return fmt.Errorf("usage %q is more than a server needs", u)
		}
	}
	return nil
}

// subject wants the kubelet's name and group, and nothing else.
func subject(s pkix.Name, user string) error {
	switch {
	case s.CommonName != user:
		return fmt.Errorf("it is for %q, and requested by %q", s.CommonName, user)
	case !slices.Equal(s.Organization, []string{nodesGroup}):
		return fmt.Errorf("its organization is %q, not %s", s.Organization, nodesGroup)
	case len(s.Names) != 2:
		return fmt.Errorf("its subject says more than a name and a group: %s", s)
	}
	return nil
}

// alternatives wants every name and address to be the node's, and no other node's.
func (c claims) alternatives(node string, own claim, asked *x509.CertificateRequest) error {
	if len(asked.EmailAddresses)+len(asked.URIs) > 0 {
		return errors.New("it asks for an e-mail address or a URI")
	}
	if len(asked.DNSNames)+len(asked.IPAddresses) == 0 {
		return errors.New("it asks for no name and no address")
	}
	check := func(what string, of []string) error {
		if !slices.Contains(of, what) {
			return fmt.Errorf("it asks for %s, which is none of node %s", what, node)
		}
		if owners := c.owner[what]; len(owners) != 1 {
			return fmt.Errorf("it asks for %s, which the nodes %s claim", what, names(owners))
		}
		return nil
	}
	for _, name := range asked.DNSNames {
		if err := check(name, own.names); err != nil {
			return err
		}
	}
	for _, ip := range asked.IPAddresses {
		address, ok := netip.AddrFromSlice(ip)
		if !ok {
			return errors.New("it asks for an address that is none")
		}
		if err := check(address.Unmap().String(), own.addresses); err != nil {
			return err
		}
	}
	return nil
}
