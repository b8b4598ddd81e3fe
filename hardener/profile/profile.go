// Package profile owns kube-bench's benchmark profiles as data: it reads a cfg
// folder (config.yaml and one folder per benchmark), chooses a benchmark for a
// Kubernetes version, resolves the variables that the audits use against a
// host, and returns immutable Checks.
//
// It leaves to others how a host is looked at (it gets a Lookup), what an audit
// prints (package shell) and whether that satisfies a check (package check).
package profile

// Controls is one control file, such as cfg/cis-1.12/master.yaml, with its
// variables substituted.
type Controls struct {
	ID      string
	Version string
	Text    string
	Type    string // the section: master, node, etcd, controlplane, policies or managedservices
	Groups  []Group
}

// Group is one numbered group of checks, such as 1.2 API Server.
type Group struct {
	ID     string
	Type   string // "skip" makes every check of the group INFO
	Text   string
	Checks []Check
}

// Check is one benchmark item as its profile states it. It never changes once
// loaded; results refer to it.
type Check struct {
	ID          string
	Text        string
	Audit       string // shell text, untrimmed, as kube-bench prints it
	AuditEnv    string // shell text; given by the profile or generated for env items
	AuditConfig string // shell text
	Type        string // "", "manual", "skip", or any other word, which runs like ""
	Tests       *Tests // nil when the profile has no tests key
	Remediation string
	Scored      bool
	Multiple    bool // use_multiple_values: every line of the output is judged
	// Variables are the substitution variables of the audits before
	// substitution, without the dollar sign, in order of first use:
	// "apiserverbin", "kubeletconf", ...
	Variables []string

	// NoEnvAudit is disableenvtesting: no audit is made up for env items.
	NoEnvAudit bool
}

// Tests is the tests key of a check.
type Tests struct {
	BinOp string // "", "and" or "or"; anything else is an error of the check
	Items []TestItem
}

// TestItem is one condition on the output of a check's audits.
type TestItem struct {
	Flag    string
	Env     string
	Path    string // a kubectl jsonpath template
	Set     bool   // default true; false wants the flag, path or variable absent
	Compare Compare
}

// Compare is the comparison of a TestItem; an empty Op asks for presence only.
type Compare struct {
	Op    string
	Value string // the source text of the YAML scalar: "no", "0644", "5.10"
}

// Kind is the kind of thing that a test item judges.
type Kind string

// The kinds of Setting.
const (
	Flag  Kind = "flag"  // a flag, config field or environment variable of a component
	Mode  Kind = "mode"  // permissions of files
	Owner Kind = "owner" // owner and group of files
	Other Kind = "other"
)

// Setting names what a test item judges, independent of check numbers, which
// change from benchmark to benchmark.
type Setting struct {
	Component string // apiserver, controllermanager, scheduler, etcd, kubelet, proxy, or empty
	Kind      Kind
	Name      string // flag without dashes ("anonymous-auth"), else config path ("authentication.anonymous.enabled"); of files see Check.Settings
	Path      string // config path, "authentication.anonymous.enabled", when the item has one
}
