package gate

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// settings are what the kubelet's configuration file and its flags set.
type settings struct {
	values map[string]any // of the file
	argv   []string       // of the unit or, where that is not known, of the process
}

// readSettings reads them for a kubelet. On an error they are those of the flags.
func readSettings(fsys fs.FS, kubelet node.Component) (settings, error) {
	s := settings{argv: kubelet.Configured}
	if s.argv == nil {
		s.argv = kubelet.Argv
	}
	if kubelet.Config == "" {
		return s, nil
	}
	data, err := fs.ReadFile(fsys, node.Name(kubelet.Config))
	if err != nil {
		return s, err
	}
	config, err := node.ReadKubeletConfig(data)
	if err != nil {
		return s, fmt.Errorf("%s: %w", kubelet.Config, err)
	}
	s.values = config.Values
	return s, nil
}

// text is a field of the file, or the flag that overrides it.
func (s settings) text(field, otherwise string) string {
	if v, ok := node.FlagValue(s.argv, flagOf(field)); ok {
		return v
	}
	if v, ok := s.values[field]; ok && v != nil && fmt.Sprint(v) != "" {
		return fmt.Sprint(v)
	}
	return otherwise
}

func (s settings) bool(field string, otherwise bool) bool {
	b, err := strconv.ParseBool(s.text(field, strconv.FormatBool(otherwise)))
	if err != nil {
		return otherwise
	}
	return b
}

// oddFlags are the flags whose names do not follow from the field that
// they override (Kubernetes cmd/kubelet/app/options/options.go,
// AddKubeletConfigFlags).
var oddFlags = map[string]string{
	"authentication.anonymous.enabled": "anonymous-auth",
	"authentication.webhook.enabled":   "authentication-token-webhook",
	"authentication.webhook.cacheTTL":  "authentication-token-webhook-cache-ttl",
	"authentication.x509.clientCAFile": "client-ca-file",
	"containerRuntimeEndpoint":         "container-runtime-endpoint",
	"enableContentionProfiling":        "contention-profiling",
	"eventRecordQPS":                   "event-qps",
	"imageGCHighThresholdPercent":      "image-gc-high-threshold",
	"imageGCLowThresholdPercent":       "image-gc-low-threshold",
	"imageMinimumGCAge":                "minimum-image-ttl-duration",
	"kubeAPIQPS":                       "kube-api-qps",
	"contentType":                      "kube-api-content-type",
	"logging.verbosity":                "v",
	"logging.format":                   "logging-format",
	"logging.flushFrequency":           "log-flush-frequency",
	"makeIPTablesUtilChains":           "make-iptables-util-chains",
	"podPidsLimit":                     "pod-max-pids",
	"registerWithTaints":               "register-with-taints",
	"registryPullQPS":                  "registry-qps",
	"reservedSystemCPUs":               "reserved-cpus",
	"serverTLSBootstrap":               "rotate-server-certificates",
	"staticPodPath":                    "pod-manifest-path",
	"staticPodURL":                     "manifest-url",
	"staticPodURLHeader":               "manifest-url-header",
}

// flagOf is the flag that overrides a field, given by its dotted path:
// tlsCertFile is --tls-cert-file, clusterDNS --cluster-dns, authorization.mode
// --authorization-mode, and all of a map is in one flag.
func flagOf(field string) string {
	if flag, ok := oddFlags[field]; ok {
		return flag
	}
	for _, whole := range []string{"featureGates", "systemReserved", "kubeReserved", "evictionHard", "evictionSoft", "evictionSoftGracePeriod", "evictionMinimumReclaim", "qosReserved", "cpuManagerPolicyOptions", "topologyManagerPolicyOptions"} {
		if strings.HasPrefix(field, whole+".") {
			field = whole
		}
	}
	var flag strings.Builder
	upper := func(i int) bool { return i >= 0 && i < len(field) && field[i] >= 'A' && field[i] <= 'Z' }
	for i := range len(field) {
		switch {
		case field[i] == '.':
			flag.WriteByte('-')
			continue
		case upper(i) && (!upper(i-1) || i+1 < len(field) && !upper(i+1) && field[i+1] != '.'):
			flag.WriteByte('-')
		}
		flag.WriteString(strings.ToLower(field[i : i+1]))
	}
	return flag.String()
}

// nested is a field inside others of the file, or the flag that overrides it, ""
// when neither is set.
func (s settings) nested(path ...string) string {
	if v, ok := node.FlagValue(s.argv, flagOf(strings.Join(path, "."))); ok {
		return v
	}
	var at any = s.values
	for _, name := range path {
		inner, _ := at.(map[string]any)
		at = inner[name]
	}
	if at == nil {
		return ""
	}
	return fmt.Sprint(at)
}
