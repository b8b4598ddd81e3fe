package fix

import (
	_ "embed" // the audit policy
	"errors"
	"fmt"
	"io/fs"
	"path"

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
)

//go:embed audit-policy.yaml
var auditPolicy []byte

func auditRules() []rule {
	const breaks = "disk: up to (maxbackup+1) times maxsize megabytes on each control plane; less room than twice that can fill the node"
	variable := func(name, value, note string) []Variable {
		return []Variable{
			{Name: "kubernetes_audit", Value: "true", Since: "2.12"},
			{Name: name, Value: value, Since: "2.12", Note: note},
		}
	}
	return []rule{
		{component: node.APIServer, name: "audit-log-path", value: auditLogFile, also: auditing, breaks: breaks,
			reason:    "with a policy, without which nothing is logged, and with rotation",
			variables: variable("audit_log_path", auditLogFile, "in the container; audit_log_hostpath is the host's directory")},
		{component: node.APIServer, name: "audit-policy-file", value: auditPolicyFile, also: auditing, breaks: breaks,
			variables: variable("audit_policy_file", auditPolicyFile, "audit_policy_custom_rules replaces Kubespray's own policy")},
		{component: node.APIServer, name: "audit-log-maxage", value: "30", variables: variable("audit_log_maxage", "30", "days")},
		{component: node.APIServer, name: "audit-log-maxbackup", value: "10", breaks: breaks, variables: variable("audit_log_maxbackups", "10", "the default was 1 before 2.22")},
		{component: node.APIServer, name: "audit-log-maxsize", value: "100", breaks: breaks, variables: variable("audit_log_maxsize", "100", "megabytes")},
	}
}

// auditing makes audit logging complete: policy, log, rotation and the two
// directories mounted. Directories, because a file mounted by itself cannot be
// rotated, and a new policy would not be seen.
func auditing(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("audit logging outside a manifest")
	}
	if err := auditPolicyMount(c, pod); err != nil {
		return err
	}
	if value, set := pod.flag("audit-log-path"); !set || value == auditLogFile {
		if err := auditLogMount(c, pod); err != nil {
			return err
		}
		pod.setIfMissing("audit-log-path", auditLogFile)
	}
	if value, _ := pod.flag("audit-log-path"); value != "-" {
		pod.setIfMissing("audit-log-maxage", "30")
		pod.setIfMissing("audit-log-maxbackup", "10")
		pod.setIfMissing("audit-log-maxsize", "100")
	}
	return nil
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

func auditLogMount(c *attempt, pod *podPlace) error {
	host, err := pod.ensureMount(mount{name: "audit-logs", hostPath: auditLogDir, mountPath: path.Dir(auditLogFile), hostPathType: "DirectoryOrCreate"})
	if err != nil {
		return err
	}
	return c.tx.mkdir(host, node.APIServer, 0o700)
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
