//go:build linux

package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// kubeletSettings are what the kubelet's configuration file and its flags set.
type kubeletSettings struct {
	values map[string]any // of the file
	argv   []string       // of the process or, when it does not run, of the unit
}

func (g *KubeletGate) settings() (kubeletSettings, error) {
	s := kubeletSettings{argv: g.Kubelet.Configured}
	if s.argv == nil {
		s.argv = g.Kubelet.Argv
	}
	if g.Kubelet.Config == "" {
		return s, nil
	}
	data, err := fs.ReadFile(g.FS, strings.TrimPrefix(g.Kubelet.Config, "/"))
	if err != nil {
		return s, err
	}
	config, err := node.ReadKubeletConfig(data)
	if err != nil {
		return s, fmt.Errorf("%s: %w", g.Kubelet.Config, err)
	}
	s.values = config.Values
	return s, nil
}

// text is a field at the top of the file, or the flag that overrides it.
func (s kubeletSettings) text(field, otherwise string) string {
	if v, ok := node.FlagValue(s.argv, kubeletFlag(field)); ok {
		return v
	}
	if v, ok := s.values[field]; ok && v != nil && fmt.Sprint(v) != "" {
		return fmt.Sprint(v)
	}
	return otherwise
}

func (s kubeletSettings) bool(field string, otherwise bool) bool {
	b, err := strconv.ParseBool(s.text(field, strconv.FormatBool(otherwise)))
	if err != nil {
		return otherwise
	}
	return b
}

// kubeletOddFlags are the flags whose names do not follow from the field that
// they override (Kubernetes cmd/kubelet/app/options/options.go,
// AddKubeletConfigFlags).
var kubeletOddFlags = map[string]string{
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

// kubeletFlag is the flag that overrides a field, given by its dotted path:
// tlsCertFile is --tls-cert-file, clusterDNS --cluster-dns, authorization.mode
// --authorization-mode, and all of a map is in one flag.
func kubeletFlag(field string) string {
	if flag, ok := kubeletOddFlags[field]; ok {
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

// configured compares what the running kubelet says of its configuration with
// the file, once: it is read only when the process starts. An unknown field is
// otherwise only a warning in the log (pkg/kubelet/kubeletconfig/util/codec), and
// a flag wins over the file. Where it could not be asked before the restart
// either, it is not asked.
func (p *kubeletProof) configured(ctx context.Context) (missing string, err error) {
	if p.configzOK || p.before.mute {
		return "", nil
	}
	set, err := p.g.settings()
	if err != nil {
		return "", err
	}
	live, err := p.g.configz(ctx, p.api)
	if plainForbidden(err) {
		p.configzOK = true
		p.g.note("which configuration it has cannot be asked: %s", kubeletNoRights)
		return "", nil
	}
	if err != nil {
		return err.Error(), nil
	}
	p.configzOK = true
	// The flags that count are those of the process: the edit may have changed
	// the unit's since they were last read.
	if b, err := fs.ReadFile(p.g.FS, fmt.Sprintf("proc/%d/cmdline", p.unit.MainPID)); err == nil && len(b) > 0 {
		set.argv = strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	differ := set.differences(live)
	if _, ok := node.FlagValue(set.argv, "config-dir"); ok && len(differ) > 0 {
		p.g.note("files of --config-dir may override the configuration file: %s", strings.Join(differ, ", "))
		return "", nil
	}
	if len(differ) > 0 {
		return "", fmt.Errorf("it does not have what %s says: %s", p.g.Kubelet.Config, strings.Join(differ, ", "))
	}
	return "", nil
}

// kubeletNoRights is no fault: a worker has no credentials for configz.
const kubeletNoRights = "this node has no credentials for it"

// configz asks through the API server with every right, or else the kubelet
// itself with what it has, which is rarely allowed to (its own certificate is
// authorised for its Node, not for nodes/configz).
func (g *KubeletGate) configz(ctx context.Context, own *plainAPI) (map[string]any, error) {
	var answer struct {
		Config map[string]any `json:"kubeletconfig"`
	}
	if g.AdminConf != "" {
		admin, err := openPlainAPI(g.FS, g.AdminConf, "")
		if err != nil {
			return nil, err
		}
		err = admin.get(ctx, "/api/v1/nodes/"+g.NodeName+"/proxy/configz", &answer)
		return answer.Config, err
	}
	var n kubeletNode
	if err := own.get(ctx, "/api/v1/nodes/"+g.NodeName, &n); err != nil {
		return nil, err
	}
	config, err := plainConfig(g.FS, g.Kubelet.Kubeconfig)
	if err != nil {
		return nil, err
	}
	port := n.Status.DaemonEndpoints.Kubelet.Port
	config.Host = "https://" + net.JoinHostPort(n.address(), strconv.Itoa(port))
	// The serving certificate is self-signed as a rule, and nothing is sent
	// but a question.
	config.TLSClientConfig.Insecure, config.TLSClientConfig.CAData = true, nil
	direct, err := newPlainAPI(config)
	if err != nil {
		return nil, err
	}
	err = direct.get(ctx, "/configz", &answer)
	return answer.Config, err
}

// differences lists the fields of the file that the kubelet does not have, but
// for those that a flag overrides.
func (s kubeletSettings) differences(live map[string]any) []string {
	var list []string
	kubeletCompare("", s.values, live, func(field string, want, got any) {
		if _, overridden := node.FlagValue(s.argv, kubeletFlag(field)); !overridden {
			list = append(list, fmt.Sprintf("%s is %s, not %s", field, kubeletShow(got), kubeletShow(want)))
		}
	})
	slices.Sort(list)
	return list
}

func kubeletCompare(prefix string, want, live map[string]any, differs func(field string, want, got any)) {
	for name, w := range want {
		if prefix == "" && (name == "kind" || name == "apiVersion" || name == "metadata") {
			continue
		}
		field, got := prefix+name, live[name]
		if inner, ok := w.(map[string]any); ok {
			g, _ := got.(map[string]any)
			kubeletCompare(field+".", inner, g, differs)
			continue
		}
		if !kubeletSame(w, got) {
			differs(field, w, got)
		}
	}
}

// kubeletSame compares a value of the file with the kubelet's. A zero value in
// the file is replaced by the default where there is one, or left out, but false
// is not true; durations have several spellings.
func kubeletSame(want, got any) bool {
	if kubeletZero(want) {
		return got != true
	}
	if kubeletEqual(want, got) {
		return true
	}
	w, werr := time.ParseDuration(fmt.Sprint(want))
	l, lerr := time.ParseDuration(fmt.Sprint(got))
	return werr == nil && lerr == nil && w == l
}

func kubeletZero(v any) bool {
	if v == nil {
		return true
	}
	if d, err := time.ParseDuration(fmt.Sprint(v)); err == nil && d == 0 {
		return true // "0s", and 0
	}
	r := reflect.ValueOf(v)
	return r.IsZero() || (r.Kind() == reflect.Slice || r.Kind() == reflect.Map) && r.Len() == 0
}

// kubeletEqual compares by JSON, so that 1 is 1.0, and "1" is 1 as in a quantity.
func kubeletEqual(a, b any) bool {
	x, xerr := json.Marshal(a)
	y, yerr := json.Marshal(b)
	unquote := func(b []byte) string { return strings.Trim(string(b), `"`) }
	return errors.Join(xerr, yerr) == nil && unquote(x) == unquote(y)
}

func kubeletShow(v any) string {
	if v == nil {
		return "not set"
	}
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(b[:min(len(b), 100)])
}
