package adjudicate

import (
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// noFile stands for a file that a component does not have. kube-bench would put
// the first candidate that happens to exist there, such as the config.yaml of
// kubeadm, which a kubelet without --config never reads.
const noFile = "/nonexistent"

// compatPKI is where the profiles expect the PKI. Kubespray keeps it in
// /etc/kubernetes/ssl with a link here.
const compatPKI = "/etc/kubernetes/pki"

// optional are the components that kube-bench's config.yaml marks so; one that
// does not run is called by its own name (cmd/util.go, getBinaries).
var optional = map[string][]string{
	"master": {node.Etcd, "flanneld", node.Kubelet},
	"node":   {node.Proxy},
}

// mandatory are the components without which kube-bench drops every binary of a
// section.
var mandatory = map[string][]string{
	"master":       {node.APIServer, node.Scheduler, node.ControllerManager},
	"node":         {node.Kubelet},
	"etcd":         {node.Etcd},
	"controlplane": {node.APIServer},
}

// Variables are kube-bench's variables for a section with what is true on this
// node in place of the candidates of config.yaml that happened to exist. raw is
// not changed.
func (v *View) Variables(target string, raw profile.Variables) profile.Variables {
	out := profile.Variables{
		Bin: maps.Clone(raw.Bin), Conf: clone(raw.Conf), Svc: clone(raw.Svc), Kubeconfig: clone(raw.Kubeconfig),
		CAFile: clone(raw.CAFile), DataDir: clone(raw.DataDir), Missing: raw.Missing,
	}
	v.binaries(target, &out)
	for variable, value := range v.corrected() {
		name, kind := split(variable)
		if m := kindMap(&out, kind); m[name] != "" {
			m[name] = value.value
		}
	}
	return out
}

func clone(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return maps.Clone(m)
}

// binaries puts the program of each component that is here into Bin where
// kube-bench found none. A component that is missing takes only its own checks
// with it, not the section's.
func (v *View) binaries(target string, out *profile.Variables) {
	if mandatory[target] == nil {
		return
	}
	bin := clone(out.Bin)
	missing := ""
	for _, name := range mandatory[target] {
		switch {
		case bin[name] != "":
		case v.known[name] != nil:
			bin[name] = binaries[name]
		case missing == "":
			missing = name
		}
	}
	for _, name := range optional[target] {
		if v.known[name] != nil && (bin[name] == "" || bin[name] == name) {
			bin[name] = binaries[name]
		} else if bin[name] == "" {
			bin[name] = name
		}
	}
	out.Bin, out.Missing = bin, missing
}

// value is a corrected variable and where it comes from.
type value struct{ value, evidence string }

// suffixes of kube-bench's variables (cmd/util.go:37-43); kubeconfig before
// conf, whose text it ends with.
var suffixes = []string{"kubeconfig", "conf", "svc", "cafile", "datadir", "bin"}

// split takes a variable such as kubeletkubeconfig apart.
func split(variable string) (name, kind string) {
	for _, s := range suffixes {
		if rest, ok := strings.CutSuffix(variable, s); ok {
			return rest, s
		}
	}
	return "", ""
}

func kindMap(v *profile.Variables, kind string) map[string]string {
	switch kind {
	case "conf":
		return v.Conf
	case "svc":
		return v.Svc
	case "kubeconfig":
		return v.Kubeconfig
	case "cafile":
		return v.CAFile
	case "datadir":
		return v.DataDir
	}
	return nil
}

// corrected are the variables that the layout decides, by name.
func (v *View) corrected() map[string]value {
	out := map[string]value{}
	put := func(variable, path, why string) {
		if path != "" {
			out[variable] = value{path, path + ": " + why}
		}
	}
	for _, name := range []string{node.APIServer, node.ControllerManager, node.Scheduler, node.Etcd} {
		c := v.facts.Components[name]
		put(name+"conf", c.Manifest, "the manifest that starts "+binaries[name])
		put(name+"kubeconfig", c.Kubeconfig, "--kubeconfig of "+binaries[name])
	}
	if etcd, ok := v.facts.Components[node.Etcd]; ok {
		put("etcddatadir", etcd.DataDir, "the data directory that etcd uses")
		if set, ok := v.flag(node.Etcd, "data-dir"); ok {
			dir := etcd.DataDir
			if etcd.Manifest == "" || dir == "" {
				dir = set
			}
			out["etcddatadir"] = value{dir, v.flagEvidence(node.Etcd, "data-dir")}
		}
	}
	kubelet := v.facts.Components[node.Kubelet]
	put("kubeletsvc", v.kubeletUnit(), "the systemd unit file that sets the kubelet's command line")
	put("kubeletkubeconfig", kubelet.Kubeconfig, "--kubeconfig of the kubelet")
	put("kubeletcafile", kubelet.CAFile, "the client CA that the kubelet uses")
	put("kubeletconf", kubelet.Config, "--config of the kubelet")
	if v.known[node.Kubelet] != nil && kubelet.Config == "" {
		if _, set := v.flag(node.Kubelet, "config"); !set {
			out["kubeletconf"] = value{noFile, v.flagEvidence(node.Kubelet, "config")}
		}
	}
	if file := v.proxyKubeconfig(); file != "" {
		put("proxykubeconfig", file, "the kubeconfig of kube-proxy")
	}
	put("proxyconf", v.proxyConfig(), "--config of kube-proxy")
	return out
}

// usual are the first candidates of kube-bench's config.yaml: a variable that is
// true and usual needs no explanation.
var usual = map[string]string{
	"apiserverconf":               "/etc/kubernetes/manifests/kube-apiserver.yaml",
	"controllermanagerconf":       "/etc/kubernetes/manifests/kube-controller-manager.yaml",
	"controllermanagerkubeconfig": "/etc/kubernetes/controller-manager.conf",
	"schedulerconf":               "/etc/kubernetes/manifests/kube-scheduler.yaml",
	"schedulerkubeconfig":         "/etc/kubernetes/scheduler.conf",
	"etcdconf":                    "/etc/kubernetes/manifests/etcd.yaml",
	"kubeletconf":                 "/etc/kubernetes/kubelet-config.yaml",
	"kubeletkubeconfig":           "/etc/kubernetes/kubelet.conf",
	"kubeletcafile":               "/etc/kubernetes/pki/ca.crt",
}

// kubeletUnit is the unit file, or the drop-in, that holds the kubelet's
// command line: kubeadm's packages put it into 10-kubeadm.conf, Kubespray into
// the unit itself (roles/kubernetes/node/templates/kubelet.service.j2).
func (v *View) kubeletUnit() string {
	c := v.facts.Components[node.Kubelet]
	for _, d := range slices.Backward(c.DropIns) {
		if path.Base(d) == "10-kubeadm.conf" {
			return d
		}
	}
	return c.Unit
}

// proxyKubeconfig is kube-proxy's kubeconfig when it is a file of the host's
// own. In a DaemonSet it is a volume of a ConfigMap, which the kubelet rewrites.
func (v *View) proxyKubeconfig() string {
	file := v.facts.Components[node.Proxy].Kubeconfig
	if file == "" || strings.HasPrefix(file, "/var/lib/kubelet/pods/") || !v.exists(file) {
		return ""
	}
	return file
}

// proxyConfig is the configuration file that kube-proxy reads, where the kubelet
// keeps it on the host. The document in kubeadm-config.yaml, which Detect has
// when there is no other, only says what the next upgrade would make of it.
func (v *View) proxyConfig() string {
	c := v.facts.Components[node.Proxy]
	if c.ConfigKind != "" {
		return ""
	}
	return c.Config
}

// findXargs is a find whose names xargs takes apart at blanks and newlines.
var findXargs = regexp.MustCompile(`^(find [^|;&]*[^|;& ]) *\| *xargs stat (-c [^ |;&]+)$`)

// statFormat finds the format of an audit's stat.
var statFormat = regexp.MustCompile(`stat -c (permissions=%a|%U:%G)`)

// Check is a check as it has to run in this view: its audits by Script. The CNI
// items of old profiles, which leave the files to a person, become the automatic
// ones of later profiles, because the files are known here.
func (v *View) Check(c profile.Check) profile.Check {
	if c.Type == "manual" && c.Tests == nil && v.isCNI(c.Audit) {
		switch mask := wantedMode(c.Text); {
		case strings.Contains(c.Audit, "%U:%G"):
			c.Type, c.Multiple = "", true
			c.Tests = &profile.Tests{Items: []profile.TestItem{{Flag: "root:root", Set: true}}}
		case mask != 0:
			c.Type, c.Multiple = "", true
			c.Tests = &profile.Tests{Items: []profile.TestItem{{
				Flag: "permissions", Set: true, Compare: profile.Compare{Op: "bitmask", Value: fmt.Sprintf("%o", mask)},
			}}}
		}
	}
	c.Audit, c.AuditConfig = v.Script(c.Audit), v.Script(c.AuditConfig)
	return c
}

// Script is an audit as it has to run in this view. Literal paths of the
// profiles become the node's own, and the audits of CNI files, which know only
// a flag that the kubelet lost in 1.24 and lock files that the plugins make
// anew, look at the configuration files instead (for modes files only: a
// directory needs its x). Names go to xargs with a NUL behind, because it takes
// one with a blank for two. A script that was rewritten already stays as it is.
func (v *View) Script(audit string) string {
	if v.isCNI(audit) {
		if format := statFormat.FindStringSubmatch(audit); format != nil {
			files := " -type f"
			if format[1] == "%U:%G" {
				files = ""
			}
			return v.cniFind() + files + " -print0 2> /dev/null | xargs -0 --no-run-if-empty stat -c " + format[1]
		}
		return audit
	}
	if dir := v.pkiDir(); dir != compatPKI {
		audit = strings.ReplaceAll(audit, compatPKI+"/", dir+"/")
	}
	if dir := v.facts.KubeConfigDir; dir != "" && dir != "/etc/kubernetes" {
		for _, file := range []string{"admin.conf", "super-admin.conf"} {
			audit = strings.ReplaceAll(audit, "/etc/kubernetes/"+file, dir+"/"+file)
		}
	}
	return findXargs.ReplaceAllString(audit, "${1} -print0 | xargs -0 stat ${2}")
}

// cniFind lists the CNI configuration files.
func (v *View) cniFind() string {
	return fmt.Sprintf("find %s ! -name '*.lock'", v.cniDir())
}

// isCNI tells whether an audit is one of CNI files, the profile's own or what
// Script put in its place.
func (v *View) isCNI(audit string) bool {
	return strings.Contains(audit, "--cni-conf-dir") && strings.Contains(audit, "/var/lib/cni/networks") ||
		strings.Contains(audit, "<path/to/cni/files>") || strings.HasPrefix(audit, v.cniFind())
}

// cniDir is where the container runtime reads its CNI configuration.
func (v *View) cniDir() string {
	if v.facts.CNIConfDir != "" {
		return v.facts.CNIConfDir
	}
	return "/etc/cni/net.d"
}

// pkiDir is the directory to audit: the literal one as long as it leads to the
// PKI in use, directly or as a link.
func (v *View) pkiDir() string {
	if dir := v.facts.PKIDir; dir != "" && dir != compatPKI && v.facts.PKILink != compatPKI {
		return strings.TrimSuffix(dir, "/")
	}
	return compatPKI
}
