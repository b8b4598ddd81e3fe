package adjudicate

import (
	"crypto/tls"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// release is whether the node's Kubernetes is at least 1.minor, and whether its
// version is known at all.
func (v *View) release(minor int) (atLeast, known bool) {
	parts := strings.Split(strings.TrimPrefix(v.facts.Kubernetes.Version, "v"), ".")
	if len(parts) < 2 || parts[0] != "1" {
		return false, false
	}
	have, err := strconv.Atoi(parts[1])
	return err == nil && have >= minor, err == nil
}

func (v *View) releaseEvidence() string {
	return fmt.Sprintf("Kubernetes %s (from %s)", v.facts.Kubernetes.Version, orNone(v.facts.Kubernetes.Source))
}

// own is the value of a flag of the subject's component.
func (x *inquiry) own(flag string) (string, bool) { return x.flag(x.subject.component, flag) }

func (x *inquiry) ownEvidence(flag string) string { return x.flagEvidence(x.subject.component, flag) }

// configFile is the file on the host that a flag of the subject's component
// names, as a document. Without ok the evidence says what is missing.
func (x *inquiry) configFile(flag string) (doc document, evidence []string, ok bool) {
	inPod, set := x.own(flag)
	evidence = []string{x.ownEvidence(flag)}
	if !set {
		return nil, evidence, false
	}
	at := x.hostPath(x.subject.component, inPod)
	evidence = append(evidence, at.evidence)
	if at.path == "" {
		return nil, evidence, false
	}
	doc, ok = x.document(at.path)
	if !ok {
		evidence = append(evidence, at.path+": cannot be read as YAML")
	}
	return doc, evidence, ok
}

// anonymousPaths are what kubeadm's probes, load balancers and kubeadm join ask for
// without credentials. The last is open to those whom RBAC lets read it; without
// its path nobody could join, by a discovery file neither.
var anonymousPaths = []string{"/livez", "/readyz", "/healthz", discoveryPath}

const discoveryPath = "/api/v1/namespaces/kube-public/configmaps/cluster-info"

// anonymousAPIServer: an AuthenticationConfiguration can restrict anonymous
// requests to the health endpoints and to what a join starts from, which --anonymous-auth=false would break
// (kubernetes.io, Authenticating, "Anonymous authenticator configuration";
// beta and on by default since 1.32).
func anonymousAPIServer(x *inquiry) (Verdict, bool) {
	flag, flagSet := x.own("anonymous-auth")
	doc, evidence, ok := x.configFile("authentication-config")
	if !ok {
		return undecided()
	}
	if _, has := doc.at("anonymous"); !has {
		return undecided()
	}
	if flagSet {
		return x.bad("kube-apiserver refuses to start with --anonymous-auth beside an anonymous block in its AuthenticationConfiguration",
			append(evidence, show("anonymous-auth", flag))...)
	}
	if kind, _ := doc.text("kind"); kind != "AuthenticationConfiguration" {
		return undecided()
	}
	supported, known := x.release(32)
	if gate, _ := x.gate("AnonymousAuthConfigurableEndpoints"); gate == "true" {
		supported, known = x.release(31)
	}
	switch {
	case !known:
		return undecided()
	case !supported:
		return x.bad("anonymous conditions are on by default only since Kubernetes 1.32", append(evidence, x.releaseEvidence())...)
	}
	conditions := doc.list("anonymous", "conditions")
	enabled, _ := doc.text("anonymous", "enabled")
	switch {
	case enabled != "true" && len(conditions) == 0:
		return x.pass("anonymous requests are off in the AuthenticationConfiguration", append(evidence, "anonymous.enabled: not true")...)
	case enabled != "true":
		return x.bad("kube-apiserver refuses anonymous conditions without enabled: true", append(evidence, "anonymous.enabled: not true")...)
	case len(conditions) == 0:
		return x.bad("the AuthenticationConfiguration lets anonymous requests to every path", append(evidence, "anonymous: no conditions")...)
	}
	var paths, others []string
	for _, c := range conditions {
		p, _ := c.text("path")
		paths = append(paths, p)
		if !slices.Contains(anonymousPaths, p) {
			others = append(others, p)
		}
	}
	evidence = append(evidence, "anonymous.conditions: "+strings.Join(paths, ", "))
	if len(others) > 0 {
		return x.bad("the AuthenticationConfiguration lets anonymous requests to more than the health endpoints and cluster-info", evidence...)
	}
	const restricted = "anonymous requests are restricted to the health endpoints by an AuthenticationConfiguration"
	if !slices.Contains(paths, discoveryPath) {
		return x.pass(restricted+"; without the path of kube-public/cluster-info no node can join by token or discovery file", evidence...)
	}
	return x.pass(restricted, evidence...)
}

// authorizationModes: --authorization-config takes the place of
// --authorization-mode (GA in 1.32); both together are fatal.
func authorizationModes(x *inquiry) (Verdict, bool) {
	if _, set := x.own("authorization-config"); !set {
		return undecided()
	}
	if _, both := x.own("authorization-mode"); both {
		return x.bad("kube-apiserver refuses to start with --authorization-mode beside --authorization-config",
			x.ownEvidence("authorization-mode"), x.ownEvidence("authorization-config"))
	}
	doc, evidence, ok := x.configFile("authorization-config")
	if !ok {
		return x.bad("the AuthorizationConfiguration cannot be read, so the authorizers are unknown", evidence...)
	}
	var modes []string
	for _, a := range doc.list("authorizers") {
		mode, _ := a.text("type")
		modes = append(modes, mode)
	}
	evidence = append(evidence, "authorizers: "+orNone(strings.Join(modes, ", ")))
	wanted := x.item.Compare.Value
	has := slices.Contains(modes, wanted)
	switch x.item.Compare.Op {
	case "has":
		if !has {
			return x.bad("the AuthorizationConfiguration has no authorizer "+wanted, evidence...)
		}
	case "nothave":
		if has || len(modes) == 0 {
			return x.bad("the AuthorizationConfiguration does not keep "+wanted+" out", evidence...)
		}
	default:
		return undecided()
	}
	return x.pass("the authorizers are in an AuthorizationConfiguration, not in --authorization-mode", evidence...)
}

// removedPlugins: a check that wants only admission plugins that this release no
// longer has can never pass, and setting them would keep kube-apiserver from
// starting (PodSecurityPolicy: removed in 1.25, SecurityContextDeny in 1.30).
func removedPlugins(x *inquiry) (Verdict, bool) {
	removed := map[string]int{"PodSecurityPolicy": 25, "SecurityContextDeny": 30}
	var gone []string
	for _, item := range itemsOf(x.check) {
		since, ok := removed[item.Compare.Value]
		if !ok || item.Compare.Op != "has" || !item.Set {
			return undecided()
		}
		if past, known := x.release(since); !known || !past {
			return undecided()
		}
		gone = append(gone, fmt.Sprintf("%s was removed in 1.%d", item.Compare.Value, since))
	}
	return x.notApplicable("the admission plugin does not exist in this Kubernetes version", append([]string{x.releaseEvidence()}, gone...)...)
}

// insecurePort: off and no longer to be opened since 1.20, gone in 1.24 (k/k
// #95856, #106859). Before, the default was 8080, so absent is open.
func insecurePort(x *inquiry) (Verdict, bool) {
	if _, set := x.own("insecure-port"); set {
		return undecided()
	}
	if gone, _ := x.release(24); gone {
		return x.notApplicable("--insecure-port does not exist in this Kubernetes version", x.releaseEvidence(), "--insecure-port was removed in 1.24", x.ownEvidence("insecure-port"))
	}
	if closed, _ := x.release(20); closed {
		return x.pass("without --insecure-port the port is closed in this Kubernetes version", x.releaseEvidence(), x.ownEvidence("insecure-port"))
	}
	return undecided()
}

// auditLog: without a policy nothing is logged, and a log inside the container
// is lost with it.
func auditLog(x *inquiry) (Verdict, bool) {
	log, set := x.own("audit-log-path")
	if !set {
		return undecided()
	}
	if _, policy := x.own("audit-policy-file"); !policy {
		return x.bad("nothing is logged without --audit-policy-file", x.ownEvidence("audit-log-path"), x.ownEvidence("audit-policy-file"))
	}
	if verdict, ok := auditPolicy(x); ok {
		return verdict, true
	}
	if log == "-" {
		return undecided() // standard output: the container runtime keeps it
	}
	if at := x.hostPath(node.APIServer, path.Dir(log)); at.path == "" {
		return x.bad("the audit log is written inside the container and lost with it", x.ownEvidence("audit-log-path"), at.evidence)
	}
	return undecided()
}

// auditPolicy: the file has to be there and to log something.
func auditPolicy(x *inquiry) (Verdict, bool) {
	if _, set := x.own("audit-policy-file"); !set {
		return undecided()
	}
	doc, evidence, ok := x.configFile("audit-policy-file")
	if !ok {
		return x.bad("the audit policy cannot be read", evidence...)
	}
	for _, r := range doc.list("rules") {
		if level, _ := r.text("level"); level != "None" && level != "" {
			return undecided()
		}
	}
	return x.bad("the audit policy has no rule that logs anything", append(evidence, "every rule has the level None, or there is none")...)
}

// encryptionProvider: the file lies on the host where the manifest mounts it
// from, and the first provider for secrets is the one that encrypts.
func encryptionProvider(x *inquiry) (Verdict, bool) {
	doc, evidence, ok := x.configFile("encryption-provider-config")
	if !ok {
		return undecided()
	}
	wanted := strings.Split(x.item.Compare.Value, ",")
	for _, r := range doc.list("resources") {
		resources := r.strings("resources")
		if !slices.Contains(resources, "secrets") && !slices.Contains(resources, "*.") && !slices.Contains(resources, "*.*") {
			continue
		}
		providers := r.list("providers")
		if len(providers) == 0 {
			break
		}
		first := ""
		for provider := range providers[0] { // one key; its value holds the keys, never shown
			first = provider
		}
		evidence = append(evidence, "first provider for secrets: "+first)
		if len(providers[0]) == 1 && slices.Contains(wanted, first) {
			return x.pass("the first provider for secrets encrypts", evidence...)
		}
		return x.bad("the first provider for secrets is "+first+", so new secrets are not stored as the benchmark asks", evidence...)
	}
	return x.bad("no provider is configured for secrets", evidence...)
}

// ciphers: with TLS 1.3 as minimum the list is ignored and all suites are
// strong; names of the ChaCha20 suites exist with and without their hash; and
// the benchmark's own list has suites that Go calls insecure (3DES, CBC with
// SHA-256, RSA key exchange; crypto/tls, InsecureCipherSuites).
func ciphers(x *inquiry) (Verdict, bool) {
	minimum, where := x.setting("tls-min-version", "tlsMinVersion")
	if minimum == "VersionTLS13" {
		if x.truth.State == check.Pass {
			return undecided()
		}
		return x.pass("with TLS 1.3 as minimum only strong cipher suites can be used, the list is ignored", where)
	}
	var names []string
	list, where := x.setting("tls-cipher-suites", "tlsCipherSuites")
	for n := range strings.SplitSeq(list, ",") {
		if n = strings.TrimSpace(n); n != "" {
			names = append(names, n)
		}
	}
	if len(names) == 0 {
		return undecided()
	}
	var insecure, unlisted []string
	wanted := strings.Split(x.item.Compare.Value, ",")
	for i := range wanted {
		wanted[i] = plainSuite(wanted[i])
	}
	for _, n := range names {
		if slices.ContainsFunc(tls.InsecureCipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == n }) {
			insecure = append(insecure, n)
		}
		if !slices.Contains(wanted, plainSuite(n)) {
			unlisted = append(unlisted, n)
		}
	}
	switch {
	case len(insecure) > 0:
		return x.bad("the list has cipher suites that are not strong", append([]string{where}, insecure...)...)
	case len(unlisted) == 0 && x.truth.State != check.Pass:
		return x.pass("every cipher suite of the list is one of the benchmark's under its other name", where)
	}
	return undecided()
}

// plainSuite is the older name of a ChaCha20 suite (component-base
// cli/flag/ciphersuites_flag.go knows both).
func plainSuite(suite string) string {
	suite = strings.TrimSpace(suite)
	if strings.HasSuffix(suite, "_POLY1305_SHA256") && strings.HasPrefix(suite, "TLS_ECDHE") {
		return strings.TrimSuffix(suite, "_SHA256")
	}
	return suite
}

// rotateServerGate: the gate is on by default since 1.12; only false, in any of
// Go's spellings, turns it off. kube-bench compares with "=false" as text.
func rotateServerGate(x *inquiry) (Verdict, bool) {
	const gate = "RotateKubeletServerCertificate"
	value, where := x.gate(gate)
	if value == "" && x.subject.component == node.Kubelet {
		value, where = x.setting("", "featureGates", gate)
	}
	on, err := strconv.ParseBool(value)
	switch {
	case value != "" && (err != nil || !on):
		if x.truth.State == check.Pass {
			return x.bad("the feature gate "+gate+" is off", where)
		}
	case x.truth.State != check.Pass:
		if where == "" {
			where = fmt.Sprintf("%s: no feature gate %s", x.known[x.subject.component].source(), gate)
		}
		return x.pass("the feature gate "+gate+" is on, as it is by default since Kubernetes 1.12", where)
	}
	return undecided()
}

// gate is what --feature-gates says about a gate: the last word counts.
func (x *inquiry) gate(gate string) (value, evidence string) {
	gates, _ := x.own("feature-gates")
	for pair := range strings.SplitSeq(gates, ",") {
		if name, v, ok := strings.Cut(strings.TrimSpace(pair), "="); ok && strings.TrimSpace(name) == gate {
			value, evidence = strings.TrimSpace(v), x.ownEvidence("feature-gates")
		}
	}
	return value, evidence
}

func (c *component) source() string {
	if c == nil {
		return "configuration"
	}
	return c.where
}

// loopback: any loopback address serves, and without the flag the component
// listens on every address (kube-controller-manager and kube-scheduler
// reference: default 0.0.0.0).
func loopback(x *inquiry) (Verdict, bool) {
	address, set := x.own("bind-address")
	switch {
	case set && address == "::1" && x.truth.State != check.Pass:
		return x.pass("::1 is the loopback address", x.ownEvidence("bind-address"))
	case !set && x.truth.State == check.Pass:
		return x.bad("without --bind-address the component listens on all addresses", x.ownEvidence("bind-address"))
	}
	return undecided()
}

// podGC: 0 or less turns the collection off (kube-controller-manager reference).
func podGC(x *inquiry) (Verdict, bool) {
	value, set := x.own("terminated-pod-gc-threshold")
	if n, err := strconv.Atoi(value); set && err == nil && n <= 0 {
		return x.bad("a threshold of 0 or less turns garbage collection of pods off", x.ownEvidence("terminated-pod-gc-threshold"))
	}
	return undecided()
}

// schedulerProfiling: with --config the scheduler ignores --profiling; the
// configuration's enableProfiling counts, which is true by default
// (cmd/kube-scheduler/app/options/deprecated.go).
func schedulerProfiling(x *inquiry) (Verdict, bool) {
	if _, set := x.own("config"); !set {
		return undecided()
	}
	doc, evidence, ok := x.configFile("config")
	if !ok {
		return x.bad("the scheduler ignores --profiling beside --config, and the configuration cannot be read", evidence...)
	}
	value, set := doc.text("enableProfiling")
	if !set {
		return x.bad("the scheduler ignores --profiling beside --config, and enableProfiling is true by default",
			append(evidence, "enableProfiling: not set")...)
	}
	evidence = append(evidence, "enableProfiling: "+value)
	if value != "false" {
		return x.bad("the scheduler ignores --profiling beside --config, and the configuration enables it", evidence...)
	}
	return x.pass("enableProfiling is false in the scheduler's configuration, which counts instead of --profiling", evidence...)
}
