package adjudicate

import (
	"slices"
	"strconv"
	"strings"
)

// etcdFlags are the flags of etcd that a benchmark looks at or that say where
// its data is. etcd reads each of them from the environment too, as ETCD_ and
// the name in capitals (etcd pkg/flags, FlagToEnv); an empty variable counts as
// unset. Kubespray configures etcd by environment alone
// (roles/etcd/templates/etcd.env.j2).
//
// The list is short on purpose: what is in it becomes part of the output of
// audits, and other variables may hold secrets.
var etcdFlags = []string{
	"data-dir", "wal-dir", "listen-client-urls", "listen-peer-urls",
	"cert-file", "key-file", "client-cert-auth", "trusted-ca-file", "auto-tls",
	"peer-cert-file", "peer-key-file", "peer-client-cert-auth", "peer-trusted-ca-file", "peer-auto-tls",
	"peer-cert-allowed-cn", "client-crl-file", "peer-crl-file", "cipher-suites", "tls-min-version", "tls-max-version",
	"config-file",
}

// etcdEnv is the environment variable of an etcd flag.
func etcdEnv(flag string) string {
	return "ETCD_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func isEtcdFlag(name string) bool { return slices.Contains(etcdFlags, name) }

// foldEtcd adds etcd's environment, or the file of --config-file, to its flags,
// and returns the names of the flags that came from there. A flag on the
// command line stays as it is: with the variable beside it etcd would not start
// (etcd 3.4, "conflicting environment variable").
func (v *View) foldEtcd(a *argv, env map[string]string) map[string]string {
	from := map[string]string{}
	add := func(flag, value, source string) {
		if _, there := a.values[flag]; there || value == "" {
			return
		}
		if slices.Contains(boolFlags, flag) {
			if b, err := strconv.ParseBool(value); err == nil && !strings.EqualFold(value, strconv.FormatBool(b)) {
				value = strconv.FormatBool(b)
			}
		}
		a.set(flag, value)
		from[flag] = source
	}
	file := a.values["config-file"]
	if file == "" {
		file = env["ETCD_CONFIG_FILE"]
	}
	if file != "" {
		// With a configuration file etcd ignores every other flag and variable
		// (etcd server/etcdmain, configFromFile).
		for name := range a.values {
			if name != "config-file" && isEtcdFlag(name) {
				delete(a.values, name)
				a.notes[name] = "ignored by etcd, which has a --config-file"
			}
		}
		a.args = slices.DeleteFunc(a.args, func(arg string) bool {
			name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
			_, kept := a.values[name]
			return strings.HasPrefix(arg, "-") && isEtcdFlag(name) && !kept
		})
		doc, ok := v.document(v.hostPath("etcd", file).path)
		if !ok {
			return from
		}
		for _, flag := range etcdFlags {
			add(flag, etcdFileValue(doc, flag), file)
		}
		return from
	}
	for _, flag := range etcdFlags {
		add(flag, env[etcdEnv(flag)], etcdEnv(flag))
	}
	return from
}

// etcdFileValue is a flag's value in etcd's YAML configuration, where the TLS
// settings live in blocks of their own (etcd server/embed, configYAML).
func etcdFileValue(doc document, flag string) string {
	path := []string{flag}
	switch peer := strings.TrimPrefix(flag, "peer-"); flag {
	case "cert-file", "key-file", "client-cert-auth", "trusted-ca-file", "auto-tls":
		path = []string{"client-transport-security", flag}
	case "peer-cert-file", "peer-key-file", "peer-client-cert-auth", "peer-trusted-ca-file", "peer-auto-tls":
		path = []string{"peer-transport-security", peer}
	}
	value, _ := doc.text(path...)
	return value
}
