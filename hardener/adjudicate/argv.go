package adjudicate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// argv is a command line as the component itself understands it: every flag
// once, as --name=value, with the value that counts.
type argv struct {
	args   []string
	values map[string]string // by flag name without dashes; "true" for a bare flag
	notes  map[string]string // by flag name: what had to be read differently from the literal text
}

// boolFlags are the flags of the benchmark whose value is read with
// strconv.ParseBool, which takes 0, f and False for false; kube-bench knows
// only true and false in any case (check/test.go, compareOp).
var boolFlags = []string{
	"anonymous-auth", "profiling", "contention-profiling", "service-account-lookup",
	"service-account-extend-token-expiration", "kubelet-https", "use-service-account-credentials",
	"protect-kernel-defaults", "make-iptables-util-chains", "rotate-certificates",
	"rotate-server-certificates", "seccomp-default", "client-cert-auth", "auto-tls",
	"peer-client-cert-auth", "peer-auto-tls", "enable-bootstrap-token-auth",
}

// listFlags are the flags whose repetitions add up (pflag StringSlice,
// StringArray and map values). Of every other flag the last one counts.
var listFlags = []string{
	"enable-admission-plugins", "disable-admission-plugins", "authorization-mode", "tls-cipher-suites",
	"service-account-key-file", "service-account-issuer", "api-audiences", "feature-gates",
	"runtime-config", "etcd-servers", "etcd-servers-overrides", "kubelet-preferred-address-types",
	"requestheader-allowed-names", "requestheader-group-headers", "requestheader-username-headers",
	"requestheader-extra-headers-prefix", "tls-sni-cert-key", "cluster-dns", "node-labels", "controllers",
}

// parseArgv reads a command line. A value in an argument of its own is joined
// to its flag: no component accepts positional arguments, so a word after a
// flag without "=" can only be its value. An empty value is as good as no flag.
func parseArgv(args []string, singleDash func(name string) bool) argv {
	a := argv{values: map[string]string{}, notes: map[string]string{}}
	if len(args) == 0 {
		return a
	}
	seen := map[string][]string{}
	var order []string
	a.args = []string{args[0]}
	for i := 1; i < len(args); i++ {
		word := args[i]
		name, value, hasValue := strings.Cut(strings.TrimLeft(word, "-"), "=")
		single := strings.HasPrefix(word, "-") && !strings.HasPrefix(word, "--")
		if name == "" || !strings.HasPrefix(word, "-") || single && (singleDash == nil || !singleDash(name)) {
			a.args = append(a.args, word)
			continue
		}
		if !hasValue {
			value = "true"
			if i+1 < len(args) && isValue(args[i+1]) {
				i++
				value = args[i]
				a.notes[name] = "its value is an argument of its own"
			}
		}
		if single {
			a.notes[name] = "given with a single dash"
		}
		if _, again := seen[name]; !again {
			order = append(order, name)
		}
		seen[name] = append(seen[name], value)
	}
	for _, name := range order {
		a.settle(name, seen[name])
	}
	return a
}

// isValue tells whether a word after a flag is its value: no flag itself,
// unless it is a negative number.
func isValue(word string) bool {
	if !strings.HasPrefix(word, "-") {
		return true
	}
	_, err := strconv.Atoi(word)
	return err == nil
}

// settle decides what the given values of one flag amount to.
func (a *argv) settle(name string, given []string) {
	value := given[len(given)-1]
	if slices.Contains(listFlags, name) {
		var items []string
		for _, g := range given {
			if g != "" {
				items = append(items, g)
			}
		}
		value = strings.Join(items, ",")
	}
	if len(given) > 1 {
		a.notes[name] = fmt.Sprintf("given %d times, the last one counts", len(given))
		if slices.Contains(listFlags, name) {
			a.notes[name] = fmt.Sprintf("given %d times, which adds up", len(given))
		}
	}
	if slices.Contains(boolFlags, name) && !strings.EqualFold(value, "true") && !strings.EqualFold(value, "false") {
		if b, err := strconv.ParseBool(value); err == nil {
			a.notes[name] = fmt.Sprintf("%s means %t", value, b)
			value = strconv.FormatBool(b)
		}
	}
	if value == "" {
		a.notes[name] = "given with an empty value, which is the same as not given"
		return
	}
	a.set(name, value)
}

// set appends a flag.
func (a *argv) set(name, value string) {
	a.values[name] = value
	a.args = append(a.args, "--"+name+"="+value)
}

// show is a flag with its value for evidence. Values that may be secrets stay
// out: the benchmark's flags name files, but extra arguments can hold anything.
func show(name, value string) string {
	lower := strings.ToLower(name)
	secret := strings.Contains(lower, "token") || strings.Contains(lower, "password") || strings.Contains(lower, "secret")
	file := strings.HasSuffix(lower, "-file") || strings.HasSuffix(lower, "-expiration")
	if secret && !file || strings.Contains(value, "@") {
		value = "(not shown)"
	}
	return "--" + name + "=" + value
}
