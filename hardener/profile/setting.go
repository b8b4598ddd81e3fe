package profile

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Settings name what the test items of a check judge, one per item and in their
// order. They are derived from the items, the audits and the variables that the
// audits use, so a setting has the same name in every benchmark.
//
// A Mode or Owner is named after the variable that holds the path without its
// component ("conf", "kubeconfig", "svc", "cafile", "datadir"), or after the
// literal path in the audit ("/etc/kubernetes/admin.conf").
func (c Check) Settings() []Setting {
	if c.Tests == nil {
		return nil
	}
	settings := make([]Setting, len(c.Tests.Items))
	for i, item := range c.Tests.Items {
		settings[i] = c.setting(item)
	}
	return settings
}

func (c Check) setting(item TestItem) Setting {
	s := Setting{Component: c.component(), Path: configPath(item.Path)}
	switch {
	case strings.HasPrefix(item.Flag, "--"):
		s.Kind, s.Name = Flag, strings.TrimLeft(item.Flag, "-")
	case c.judgesMode(item):
		s.Kind, s.Name = Mode, c.file()
	case c.judgesOwner(item):
		s.Kind, s.Name = Owner, c.file()
	case s.Path != "" || item.Env != "":
		s.Kind, s.Name = Flag, cmp.Or(item.Flag, s.Path, item.Env)
	default:
		s.Kind, s.Name = Other, item.Flag
	}
	if s.Kind == Flag && s.Component == "" {
		s.Kind = Other
	}
	return s
}

func (c Check) judgesMode(item TestItem) bool {
	return item.Compare.Op == "bitmask" || item.Flag == "permissions" || statFormat(c.Audit, "%a")
}

func (c Check) judgesOwner(item TestItem) bool {
	return item.Flag == "ownership" || ownerPair.MatchString(item.Flag) || statFormat(c.Audit, "%U:%G")
}

// ownerPair is a flag such as root:root or etcd:etcd.
var ownerPair = regexp.MustCompile(`^[a-z][a-z0-9_-]*:[a-z][a-z0-9_-]*$`)

// statFormat tells whether an audit prints a format of stat.
func statFormat(audit, format string) bool {
	return strings.Contains(audit, "stat -c") && strings.Contains(audit, format)
}

// component is whose setting the check judges: of the first variable, else the
// first one that the audits name.
func (c Check) component() string {
	for _, variable := range c.Variables {
		if name, _ := splitVariable(variable); slices.Contains(components, name) {
			return name
		}
	}
	text := c.Audit + "\n" + c.AuditConfig
	first, at := "", len(text)
	for _, name := range components {
		for _, literal := range programs[name] {
			if i := strings.Index(text, literal); i >= 0 && i < at {
				first, at = name, i
			}
		}
	}
	return first
}

// components are the components whose settings are known, by kube-bench's names.
var components = []string{"apiserver", "controllermanager", "scheduler", "etcd", "kubelet", "proxy"}

// programs are what an audit without variables calls a component.
var programs = map[string][]string{
	"apiserver":         {"kube-apiserver", "apiserver"},
	"controllermanager": {"kube-controller-manager", "controller-manager.conf", "controller-manager"},
	"scheduler":         {"kube-scheduler", "scheduler.conf"},
	"etcd":              {"etcd"},
	"kubelet":           {"kubelet"},
	"proxy":             {"kube-proxy"},
}

// splitVariable splits "kubeletkubeconfig" into component and kind.
func splitVariable(variable string) (component, suffix string) {
	for _, k := range kinds() {
		if name, ok := strings.CutSuffix(variable, k.suffix); ok && name != "" {
			if component == "" || len(name) < len(component) {
				component, suffix = name, k.suffix
			}
		}
	}
	return component, suffix
}

// file names the file or directory that the audit looks at.
func (c Check) file() string {
	for _, variable := range c.Variables {
		if component, suffix := splitVariable(variable); suffix != "bin" && slices.Contains(components, component) {
			return suffix
		}
	}
	return literalPath.FindString(c.Audit)
}

// literalPath is the first absolute path of an audit that is no program.
var literalPath = regexp.MustCompile(`/(etc|var|opt|usr/lib|lib)/[A-Za-z0-9._/*-]*[A-Za-z0-9*]`)

// configPath turns a jsonpath template into the field's dotted path:
// "authentication.anonymous.enabled" of '{.authentication.anonymous.enabled}',
// "tlsCipherSuites" of '{range .tlsCipherSuites[:]}{}{end}'.
func configPath(template string) string {
	return fieldChain.FindString(strings.ReplaceAll(template, "range ", ""))
}

var fieldChain = regexp.MustCompile(`[A-Za-z][A-Za-z0-9_-]*(\.[A-Za-z][A-Za-z0-9_-]*)*`)
