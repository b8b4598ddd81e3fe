package fix

import (
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// limit is a name that not every Kubernetes release knows. A component that is
// given one which it does not know does not start.
type limit struct {
	component string // empty for all
	kind      limitKind
	name      string
	from      string // first release that knows it, such as 1.29; empty for all that matter
	gone      string // first release that refuses it; empty while it is there
}

type limitKind string

const (
	flagLimit   limitKind = "flag"
	pluginLimit limitKind = "admission plugin"
	gateLimit   limitKind = "feature gate"
)

// limits is the one place for the releases of names that fixes write or leave in
// place: Kubernetes' changelogs and, for 1.31 to 1.35, its sources. A setting of
// the kubelet's file goes by the name of its flag.
var limits = [...]limit{
	{node.APIServer, flagLimit, "basic-auth-file", "", "1.19"},
	{node.APIServer, flagLimit, "insecure-port", "", "1.24"},
	{node.APIServer, flagLimit, "insecure-bind-address", "", "1.24"},
	{node.APIServer, flagLimit, "kubelet-https", "", "1.22"},
	{node.APIServer, flagLimit, "service-account-extend-token-expiration", "1.20", ""},
	{node.APIServer, flagLimit, "authentication-config", "1.29", ""},
	{node.APIServer, flagLimit, "authorization-config", "1.29", ""},
	{node.APIServer, flagLimit, "encryption-provider-config-automatic-reload", "1.26", ""},
	{node.ControllerManager, flagLimit, "port", "", "1.24"},
	{node.ControllerManager, flagLimit, "address", "", "1.24"},
	{node.Kubelet, flagLimit, "cni-conf-dir", "", "1.24"},
	{node.Kubelet, flagLimit, "network-plugin", "", "1.24"},
	{node.Kubelet, flagLimit, "container-runtime", "", "1.27"},
	{node.Kubelet, flagLimit, "pod-infra-container-image", "", "1.35"},
	{node.Kubelet, flagLimit, "pod-max-pids", "1.20", ""},
	{node.Kubelet, flagLimit, "seccomp-default", "1.25", ""}, // behind a gate that is off in 1.22 to 1.24

	{node.APIServer, pluginLimit, "PodSecurityPolicy", "", "1.25"},
	{node.APIServer, pluginLimit, "SecurityContextDeny", "", "1.30"},
	{node.APIServer, pluginLimit, "DenyServiceExternalIPs", "1.21", ""},
	{node.APIServer, pluginLimit, "PodSecurity", "1.22", ""},
	{node.APIServer, pluginLimit, "EventRateLimit", "1.13", ""},

	{"", gateLimit, "SeccompDefault", "1.22", "1.29"},
	{"", gateLimit, "AnonymousAuthConfigurableEndpoints", "1.31", ""},
	{"", gateLimit, "StructuredAuthenticationConfiguration", "1.29", ""},
}

func limitOf(component string, kind limitKind, name string) (limit, bool) {
	for _, l := range limits {
		if l.kind == kind && l.name == name && (l.component == "" || l.component == component) {
			return l, true
		}
	}
	return limit{}, false
}

// outside says why a release does not start with the name, "" when it does.
func (l limit) outside(running string) string {
	what := string(l.kind) + " " + l.name
	if l.kind == flagLimit {
		what = "--" + l.name
	}
	switch {
	case running == "":
		return "the Kubernetes version is unknown, and not every release starts with " + what
	case l.from != "" && !atLeast(running, l.from):
		return fmt.Sprintf("Kubernetes %s does not know %s yet: it came with %s", running, what, l.from)
	case l.gone != "" && atLeast(running, l.gone):
		return fmt.Sprintf("%s was removed in Kubernetes %s: the component would not start with it", what, l.gone)
	}
	return ""
}

// notIn says why a release does not start with a name, "" when it does or when
// every release does.
func notIn(running, component string, kind limitKind, name string) string {
	if l, ok := limitOf(component, kind, name); ok {
		return l.outside(running)
	}
	return ""
}

// flagged is a place that gives its component flags.
type flagged interface {
	// written are the flags that the change sets, by name without dashes.
	written() []string
	// all are the flags as the change leaves them; with their values where those
	// are lists of plugins or gates.
	all() []setFlag
}

type setFlag struct{ name, value string }

// refuseFlags says why the component would not start with the flags as the
// change leaves them: one that it writes, or one that was there and has been
// harmless only because nothing has restarted the component since.
func (p *planner) refuseFlags(component string, at place) string {
	f, ok := at.(flagged)
	if !ok {
		return ""
	}
	version := p.in.Facts.Kubernetes.Version
	writes := map[string]bool{}
	for _, name := range f.written() {
		writes[name] = true
	}
	for _, flag := range f.all() {
		if version == "" && !writes[flag.name] {
			continue // nothing is known against what runs
		}
		if why := notStarting(version, component, flag); why != "" {
			if !writes[flag.name] {
				why = at.file() + " has it already: " + why
			}
			return why
		}
	}
	return p.unknownFlag(component, f.written())
}

func notStarting(version, component string, flag setFlag) string {
	if why := notIn(version, component, flagLimit, flag.name); why != "" {
		return why
	}
	switch flag.name {
	case "enable-admission-plugins", "disable-admission-plugins":
		for _, plugin := range splitList(flag.value) {
			if why := notIn(version, component, pluginLimit, plugin); why != "" {
				return why
			}
		}
	case "feature-gates":
		for _, pair := range splitList(flag.value) {
			gate, _, _ := strings.Cut(pair, "=")
			if why := notIn(version, component, gateLimit, gate); why != "" {
				return why
			}
		}
	}
	return ""
}

// unknownFlag asks the program itself, when somebody can, about the flags that
// are written. Those that are there already may be deprecated, which --help
// leaves out.
func (p *planner) unknownFlag(component string, names []string) string {
	if p.in.UnknownFlags == nil || len(names) == 0 {
		return ""
	}
	unknown, err := p.in.UnknownFlags(component, names)
	if err != nil {
		return fmt.Sprintf("the flags that %s knows cannot be told: %v", component, err)
	}
	if len(unknown) > 0 {
		return fmt.Sprintf("the %s of this node does not know --%s and would not start with it", component, strings.Join(unknown, ", --"))
	}
	return ""
}
