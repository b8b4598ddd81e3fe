package fix

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// etcdPlace is etcd as a systemd service, configured by environment variables
// only. The same option as a flag and as a variable is fatal to etcd since 3.4
// (etcd pkg/flags/flag.go), so flags are never added here.
type etcdPlace struct {
	component string // node.Etcd or node.EtcdEvents
	env       []envFile
	units     string
	dropIn    string // where variables go when there is no environment file
	notes     []string
}

// The drop-ins for services without an environment file.
const (
	etcdDropIn       = "/etc/systemd/system/etcd.service.d/99-kubespray-hardener.conf"
	etcdEventsDropIn = "/etc/systemd/system/etcd-events.service.d/99-kubespray-hardener.conf"
)

func openEtcd(tx *workspace, component string, comp node.Component) (*etcdPlace, error) {
	env, units, err := openEnvFiles(tx, comp)
	if err != nil {
		return nil, err
	}
	if len(env) == 0 && comp.Unit == "" {
		return nil, errors.New("etcd has neither a unit nor an environment file here")
	}
	e := &etcdPlace{component: component, env: env, units: units}
	if len(env) == 0 {
		e.dropIn = etcdDropIn
		if component == node.EtcdEvents {
			e.dropIn = etcdEventsDropIn
		}
		data, err := tx.read(e.dropIn)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		e.env = []envFile{{e.dropIn, data, data}}
	}
	return e, nil
}

func (e *etcdPlace) file() string { return e.env[len(e.env)-1].path }

func etcdVariable(flag string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

var unitEnvironment = regexp.MustCompile(`(?m)^\s*Environment=.*?\b(ETCD_[A-Z_]+)=([^\s"']+)`)

func (e *etcdPlace) get(s profile.Setting) (string, bool) { return e.variable(etcdVariable(s.Name)) }

func (e *etcdPlace) variable(name string) (value string, set bool) {
	text := e.units
	if e.dropIn != "" {
		text += string(e.env[0].data)
	}
	for _, m := range unitEnvironment.FindAllStringSubmatch(text, -1) {
		if m[1] == name {
			value, set = m[2], true
		}
	}
	for _, f := range e.env {
		if v, ok := envVariable(f.data, name); ok && e.dropIn == "" {
			value, set = v, true
		}
	}
	return value, set
}

func (e *etcdPlace) set(s profile.Setting, value string) error {
	if strings.Contains(e.units, "--"+s.Name+"=") || strings.Contains(e.units, "--"+s.Name+" ") {
		return fmt.Errorf("--%s is a flag in the unit: etcd refuses a flag and a variable for one option", s.Name)
	}
	name := etcdVariable(s.Name)
	last := len(e.env) - 1
	for i, f := range e.env { // where it is set, else the last file
		if _, ok := envVariable(f.data, name); ok {
			last = i
		}
	}
	f := &e.env[last]
	if e.dropIn != "" {
		text := strings.TrimSuffix(string(f.data), "\n")
		if text == "" {
			text = "[Service]"
		}
		f.data = []byte(text + "\nEnvironment=\"" + name + "=" + value + "\"\n")
	} else {
		data, err := setEnvVariable(f.data, name, value, etcdNeighbour(name))
		if err != nil {
			return err
		}
		f.data = data
	}
	e.notes = append(e.notes, name+"="+value)
	return nil
}

// etcdNeighbour is the variable that a new one is written behind.
func etcdNeighbour(name string) string {
	if strings.HasPrefix(name, "ETCD_PEER_") {
		return "ETCD_PEER_TRUSTED_CA_FILE"
	}
	return "ETCD_TRUSTED_CA_FILE"
}

func (e *etcdPlace) remove(s profile.Setting) error { return e.set(s, "false") }

func (e *etcdPlace) changes() []string { return e.notes }

func (e *etcdPlace) apply(tx *workspace) error {
	for _, f := range e.env {
		if string(f.was) == string(f.data) {
			continue
		}
		if e.dropIn != "" {
			if err := tx.mkdir(path.Dir(f.path), e.component, 0o755); err != nil {
				return err
			}
		}
		if err := tx.write(f.path, f.data, e.component, 0o644, true, strings.Join(e.notes, "; ")); err != nil {
			return err
		}
	}
	return nil
}

// etcdOption reads an option of etcd, flag or variable, by flag name.
func etcdOption(c *attempt, name string) bool {
	_, ok := c.place.get(profile.Setting{Component: node.Etcd, Kind: profile.Flag, Name: name})
	return ok
}

// needsEtcd requires other options before one may be set.
func needsEtcd(names ...string) func(*attempt) string {
	return func(c *attempt) string {
		for _, n := range names {
			if !etcdOption(c, n) {
				return fmt.Sprintf("etcd has no %s here: set without it, members and clients would be shut out", n)
			}
		}
		return ""
	}
}

const etcdCerts = "Kubespray sets etcd's certificates; other ones make members or API servers reject each other, down to the loss of quorum"

func etcdRules() []rule {
	report := func(name, breaks string) rule {
		return rule{component: node.Etcd, name: name, state: Never, risk: RiskCluster, reason: "etcd's certificates are reported, never changed", breaks: breaks}
	}
	return []rule{
		report("cert-file", etcdCerts), report("key-file", etcdCerts),
		report("peer-cert-file", etcdCerts), report("peer-key-file", etcdCerts),
		{component: node.Etcd, name: "trusted-ca-file", state: Never, risk: RiskCluster,
			reason: "a new certificate authority needs both authorities trusted on all members and API servers at once; Kubespray already gives etcd its own",
			breaks: "a simultaneous change of trust: quorum and API are lost"},
		{component: node.Etcd, name: "client-cert-auth", value: "true",
			guard:     needsEtcd("cert-file", "key-file", "trusted-ca-file"),
			breaks:    "clients without a certificate: Prometheus on 2379, backup jobs, load balancer checks",
			variables: []Variable{{Name: "etcd_secure_client", Value: "true", Since: "2.12"}}, touches: connected(2379, "etcd's client port"),
			words: words{guard: "etcd has a certificate, a key and a trusted authority", proof: "the API servers and the backups still reach it"}},
		{component: node.Etcd, name: "peer-client-cert-auth", value: "true", risk: RiskCluster,
			guard:     needsEtcd("peer-cert-file", "peer-key-file", "peer-trusted-ca-file"),
			reason:    "every peer certificate must hold the client usage before, one member at a time",
			breaks:    "a member that rejects its peers; with the second one the quorum is lost",
			variables: []Variable{{Name: "etcd_peer_client_auth", Value: "true", Since: "2.12"}},
			words:     words{guard: "every member's peer certificate is verified against the peers' authority with the usage of a client"}},
		{component: node.Etcd, name: "auto-tls", value: "false", guard: needsEtcd("cert-file", "key-file"),
			breaks:    "clients that trust the self-signed certificate",
			variables: []Variable{{Name: "etcd_extra_vars", Value: "{}", Since: "2.12", Adds: true, Without: []string{"etcd_extra_vars.ETCD_AUTO_TLS"}, Note: "keep ETCD_AUTO_TLS out of it"}},
			words:     words{guard: "etcd has a certificate and a key of its own"}},
		{component: node.Etcd, name: "peer-auto-tls", value: "false", risk: RiskCluster, guard: needsEtcd("peer-cert-file", "peer-key-file"),
			breaks:    "peers that trust the self-signed certificate, until every member has real ones",
			variables: []Variable{{Name: "etcd_extra_vars", Value: "{}", Since: "2.12", Adds: true, Without: []string{"etcd_extra_vars.ETCD_PEER_AUTO_TLS"}, Note: "keep ETCD_PEER_AUTO_TLS out of it"}},
			words:     words{guard: "every member has a peer certificate and a key"}},
	}
}
