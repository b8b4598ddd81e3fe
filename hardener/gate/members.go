package gate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// members asks the members of an etcd cluster over the JSON gateway of their
// client ports, which every etcd since 3.4 has
// (https://etcd.io/docs/v3.5/dev-guide/api_grpc_gateway/). Numbers come as text,
// and zeros are left out.
type members struct {
	http   *http.Client
	own    string // base URL of the member of this node
	limits Limits
}

// members takes the credentials that the member's environment names: etcdctl's,
// as Kubespray gives them, or the member's own, which serve for a client too.
func (g *Gates) members(c node.Component) (*members, error) {
	env, err := environment(g.FS, c)
	if err != nil {
		return nil, err
	}
	own, err := ownURL(env)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{DisableKeepAlives: true} // a restarted member has no old connections
	if strings.HasPrefix(own, "https:") {
		cert, key, ca := env["ETCDCTL_CERT"], env["ETCDCTL_KEY"], env["ETCDCTL_CACERT"]
		if cert == "" || key == "" || ca == "" {
			cert, key, ca = env["ETCD_CERT_FILE"], env["ETCD_KEY_FILE"], env["ETCD_TRUSTED_CA_FILE"]
		}
		if transport.TLSClientConfig, err = clientTLS(g.FS, cert, key, ca); err != nil {
			return nil, err
		}
	}
	return &members{&http.Client{Transport: transport, Timeout: g.Limits.Request}, own, g.Limits}, nil
}

func clientTLS(fsys fs.FS, cert, key, ca string) (*tls.Config, error) {
	var content [3][]byte
	for i, name := range []string{cert, key, ca} {
		if name == "" {
			return nil, errors.New("its environment names no certificate, key and CA")
		}
		b, err := fs.ReadFile(fsys, node.Name(name))
		if err != nil {
			return nil, err
		}
		content[i] = b
	}
	pair, err := tls.X509KeyPair(content[0], content[1])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cert, err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content[2]) {
		return nil, fmt.Errorf("%s: no certificate", ca)
	}
	return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, MinVersion: tls.VersionTLS12}, nil
}

// ownURL is where the member of this node listens for clients. One that
// listens everywhere is asked at the address that it advertises.
func ownURL(env map[string]string) (string, error) {
	for _, name := range []string{"ETCD_LISTEN_CLIENT_URLS", "ETCD_ADVERTISE_CLIENT_URLS"} {
		for _, text := range strings.Split(env[name], ",") {
			u, err := url.Parse(strings.TrimSpace(text))
			if err == nil && u.Host != "" && u.Hostname() != "0.0.0.0" && u.Hostname() != "::" && strings.HasPrefix(u.Scheme, "http") {
				return u.Scheme + "://" + u.Host, nil
			}
		}
	}
	return "", errors.New("its environment does not say where it listens for clients")
}

type member struct {
	ID, Name   string
	ClientURLs []string
	IsLearner  bool
}

type memberStatus struct {
	Header struct {
		MemberID string `json:"member_id"`
	}
	Leader    string
	RaftTerm  uint64   `json:"raftTerm,string"`
	RaftIndex uint64   `json:"raftIndex,string"`
	Errors    []string // such as "NOSPACE"
}

func (m *members) post(ctx context.Context, base, path string, body, into any) error {
	_, err := (&api{http: m.http, base: base}).do(ctx, http.MethodPost, path, body, into)
	return err
}

func (m *members) list(ctx context.Context) ([]member, error) {
	var answer struct{ Members []member }
	if err := m.post(ctx, m.own, "/v3/cluster/member/list", struct{}{}, &answer); err != nil {
		return nil, err
	}
	if len(answer.Members) == 0 {
		return nil, errors.New("it lists no members")
	}
	return answer.Members, nil
}

func (m *members) status(ctx context.Context, base string) (s memberStatus, err error) {
	return s, m.post(ctx, base, "/v3/maintenance/status", struct{}{}, &s)
}

// health is what the member says of itself: it can reach a leader and commit.
func (m *members) health(ctx context.Context, base string) error {
	var answer struct{ Health, Reason string }
	if err := (&api{http: m.http, base: base}).get(ctx, "/health", &answer); err != nil {
		return err
	}
	if answer.Health != "true" {
		return fmt.Errorf("health is %q %s", answer.Health, answer.Reason)
	}
	return nil
}

func (m *members) alarms(ctx context.Context) ([]string, error) {
	var answer struct {
		Alarms []struct {
			MemberID string `json:"memberID"`
			Alarm    string
		}
	}
	if err := m.post(ctx, m.own, "/v3/maintenance/alarm", map[string]string{"action": "GET"}, &answer); err != nil {
		return nil, err
	}
	var all []string
	for _, a := range answer.Alarms {
		all = append(all, a.Alarm+" on member "+a.MemberID)
	}
	return all, nil
}

// moveLeader makes another member the leader; only the leader does that.
func (m *members) moveLeader(ctx context.Context, to string) error {
	return m.post(ctx, m.own, "/v3/maintenance/transfer-leadership", map[string]string{"targetID": to}, nil)
}
