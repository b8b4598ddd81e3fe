package fix

import (
	_ "embed" // the audit policy
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"sigs.k8s.io/yaml"
)

// Where Kubespray puts the audit policy and the log: container and host paths of
// roles/kubernetes/control-plane. A dedicated log directory keeps the mount from
// covering the container's /var/log.
const (
	auditPolicyFile = "/etc/kubernetes/audit-policy/apiserver-audit-policy.yaml" // host and container
	auditLogFile    = "/var/log/audit/kube-apiserver-audit.log"                  // container
	auditLogDir     = "/var/log/kubernetes/audit"                                // host

	auditMaxAge, auditMaxBackup, auditMaxSize = "30", "10", "100" // days, files, megabytes
)

//go:embed audit-policy.yaml
var auditPolicy []byte

func auditRules() []rule {
	const breaks = "disk: up to (maxbackup+1) times maxsize megabytes on each control plane; less room than twice that can fill the node"
	variable := func(name, note string, more ...Variable) []Variable {
		return append([]Variable{
			{Name: "kubernetes_audit", Value: "true", Since: "2.12"},
			{Name: name, Value: valueWord, Since: "2.12", Note: note},
		}, more...)
	}
	// Kubespray writes a policy of its own in the place of whatever lies there.
	policy := Variable{Name: "audit_policy_custom_rules", Value: rulesWord, Since: "2.12", Note: "the rules of the policy in use; Kubespray writes others in their place"}
	return []rule{
		{component: node.APIServer, name: "audit-log-path", value: auditLogFile, also: auditing, touches: touchAudit, breaks: breaks,
			reason:    "with a policy, without which nothing is logged, and with rotation",
			variables: variable("audit_log_path", "in the container; audit_log_hostpath is the host's directory", policy), wordsOf: policyRules, words: auditWords},
		{component: node.APIServer, name: "audit-policy-file", value: auditPolicyFile, also: auditing, touches: touchAudit, breaks: breaks,
			variables: variable("audit_policy_file", "", policy), wordsOf: policyRules, words: auditWords},
		{component: node.APIServer, name: "audit-log-maxage", value: auditMaxAge, breaks: "logs older than that are removed", variables: variable("audit_log_maxage", "days")},
		{component: node.APIServer, name: "audit-log-maxbackup", value: auditMaxBackup, also: auditRoom, touches: touchAudit, breaks: breaks, variables: variable("audit_log_maxbackups", "the default was 1 before 2.22"), words: auditWords},
		{component: node.APIServer, name: "audit-log-maxsize", value: auditMaxSize, also: auditRoom, touches: touchAudit, breaks: breaks, variables: variable("audit_log_maxsize", "megabytes"), words: auditWords},
	}
}

var auditWords = words{
	guard: "twice of what the logs may take is free; the policy is one that the API server starts with; directories are mounted, never single files, which cannot be rotated; the API server runs as root",
	proof: "a request with a mark of its own is in the log on this node",
	undo:  "the log stays",
}

// auditing makes audit logging complete: policy, log, rotation and the two
// directories mounted. Directories, because a file mounted by itself cannot be
// rotated, and a new policy would not be seen.
func auditing(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("audit logging outside a manifest")
	}
	if why := rootless(pod); why != "" {
		return errors.New(why)
	}
	if err := auditPolicyMount(c, pod); err != nil {
		return err
	}
	pod.setIfMissing("audit-log-path", auditLogFile)
	log, _ := pod.flag("audit-log-path")
	if log == "-" {
		return nil // standard output: the container runtime keeps and rotates it
	}
	if err := auditLogMount(c, pod, path.Dir(log)); err != nil {
		return err
	}
	pod.setIfMissing("audit-log-maxage", auditMaxAge)
	pod.setIfMissing("audit-log-maxbackup", auditMaxBackup)
	pod.setIfMissing("audit-log-maxsize", auditMaxSize)
	return auditRoom(c)
}

// auditRoom refuses a log that could fill the node: twice of what it may grow to
// must be free. Nothing is asked for while no log is written to a file.
func auditRoom(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok || c.free == nil {
		return nil
	}
	log, set := pod.flag("audit-log-path")
	if !set || log == "-" {
		return nil
	}
	dir, _, ok := pod.hostPath(path.Dir(log))
	if !ok {
		return nil // inside the container; the log itself is a finding
	}
	most, err := auditMost(pod)
	if err != nil {
		return err
	}
	for onDisk(c.tx.fsys, dir) != nil && dir != "/" {
		dir = path.Dir(dir)
	}
	free, err := c.free(dir)
	switch {
	case err != nil:
		return fmt.Errorf("the room for audit logs cannot be told: %w", err)
	case free/2 < most:
		return fmt.Errorf("audit logs may take %d MB, and twice that is not free below %s, where %d MB are", most>>20, dir, free>>20)
	}
	return nil
}

// onDisk is nil for what exists on the node, planned directories aside.
func onDisk(fsys fs.FS, dir string) error {
	_, err := fs.Stat(fsys, node.Name(dir))
	return err
}

// auditMost is how many bytes the log may grow to: the file that is written and
// the rotated ones. 0 backups means that none is ever removed.
func auditMost(pod *podPlace) (uint64, error) {
	number := func(name, standard string) (uint64, error) {
		value, set := pod.flag(name)
		if !set {
			value = standard
		}
		n, err := strconv.ParseUint(value, 10, 31)
		if err != nil || n == 0 {
			return 0, fmt.Errorf("--%s=%s sets no limit to the audit logs", name, value)
		}
		return n, nil
	}
	backups, err := number("audit-log-maxbackup", auditMaxBackup) // which comes along where it is not set
	if err != nil {
		return 0, err
	}
	size, err := number("audit-log-maxsize", "100") // its default
	if err != nil {
		return 0, err
	}
	return (backups + 1) * size << 20, nil
}

// touchAudit says how much of the disk the log may take.
func touchAudit(c *attempt) []string {
	if c.free == nil {
		return nil
	}
	dir := auditLogDir
	for onDisk(c.tx.fsys, dir) != nil && dir != "/" {
		dir = path.Dir(dir)
	}
	free, err := c.free(dir)
	if err != nil {
		return nil
	}
	return []string{fmt.Sprintf("disk: %d MB are free below %s", free>>20, dir)}
}

func (p *podPlace) setIfMissing(name, value string) {
	if _, set := p.flag(name); !set {
		p.setFlag(name, value)
	}
}

func auditPolicyMount(c *attempt, pod *podPlace) error {
	if _, had := pod.manifest.flag("audit-policy-file"); had {
		return nil // in force already, with its own mount
	}
	dir := path.Dir(auditPolicyFile)
	host, err := pod.ensureMount(mount{name: "audit-policy", hostPath: dir, mountPath: dir, hostPathType: "Directory", readOnly: true})
	if err != nil {
		return err
	}
	file := path.Join(host, path.Base(auditPolicyFile))
	switch data, err := c.tx.read(file); {
	case err == nil:
		if err := checkAuditPolicy(data); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	default:
		if err := c.tx.mkdir(host, node.APIServer, 0o700); err != nil {
			return err
		}
		if err := c.tx.write(file, auditPolicy, node.APIServer, 0o600, false, ""); err != nil {
			return err
		}
	}
	pod.setIfMissing("audit-policy-file", auditPolicyFile)
	return nil
}

// auditLogMount keeps the log on the host. A path of somebody's own that is not
// mounted is a log inside the container, lost with it.
func auditLogMount(c *attempt, pod *podPlace, dir string) error {
	if _, _, mounted := pod.hostPath(dir); !mounted && strings.Count(dir, "/") < 3 {
		return fmt.Errorf("the log would be written to %s of the container, which is too high up to mount something over it: give --audit-log-path a directory of its own", dir)
	}
	host, err := pod.ensureMount(mount{name: "audit-logs", hostPath: auditLogDir, mountPath: dir, hostPathType: "DirectoryOrCreate"})
	if err != nil {
		return err
	}
	return c.tx.mkdir(host, node.APIServer, 0o700)
}

// policyRules are the rules of the policy in use, as audit_policy_custom_rules
// takes them: what the policy says of all its rules goes into each. A policy that
// cannot be read gives none.
func policyRules(c *attempt) map[string]string {
	if c == nil {
		return map[string]string{rulesWord: "the rules, as YAML in a text"}
	}
	data := auditPolicy
	if pod, ok := c.place.(*podPlace); ok {
		inside, _ := pod.flag("audit-policy-file")
		if host, _, ok := pod.hostPath(inside); ok {
			if file, err := c.tx.read(host); err == nil && checkAuditPolicy(file) == nil {
				data = file
			}
		}
	}
	var p struct {
		Stages []string         `json:"omitStages"`
		Rules  []map[string]any `json:"rules"`
	}
	if err := yaml.Unmarshal(data, &p); err != nil {
		return map[string]string{rulesWord: ""}
	}
	for _, r := range p.Rules {
		if _, own := r["omitStages"]; !own && len(p.Stages) > 0 {
			r["omitStages"] = p.Stages
		}
	}
	rules, err := yaml.Marshal(p.Rules)
	if err != nil {
		return map[string]string{rulesWord: ""}
	}
	return map[string]string{rulesWord: "|\n  " + strings.ReplaceAll(strings.TrimSuffix(string(rules), "\n"), "\n", "\n  ") + "\n"}
}

// checkAuditPolicy requires a policy that the API server would start with
// (apiserver pkg/audit/policy/reader.go): the right kind, at least one rule, a
// known level in each.
func checkAuditPolicy(data []byte) error {
	var p struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
		Rules      []struct {
			Level string `json:"level"`
		} `json:"rules"`
	}
	if err := yaml.Unmarshal(data, &p); err != nil {
		return fmt.Errorf("not an audit policy: %w", err)
	}
	if p.Kind != "Policy" || p.APIVersion != "audit.k8s.io/v1" || len(p.Rules) == 0 {
		return errors.New("not an audit policy of audit.k8s.io/v1 with rules")
	}
	for i, r := range p.Rules {
		switch r.Level {
		case "None", "Metadata", "Request", "RequestResponse":
		default:
			return fmt.Errorf("not an audit policy: rule %d has level %q", i+1, r.Level)
		}
	}
	return nil
}
