package fix

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"reflect"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"gopkg.in/yaml.v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// admissionConfigFile is the AdmissionConfiguration, on the host and in the
// container. It is not where Kubespray puts its own, /etc/kubernetes/admission-controls,
// which it shows at /etc/kubernetes inside: there every run with the variables below
// would replace ours by one that names files which our mount does not show, and the
// API server would not come back from its next restart.
const admissionConfigFile = "/etc/kubernetes/admission/admission-controls.yaml"

// The limits of Events: far above what a cluster of hundreds of nodes does (a
// kubelet may send 50 a second), to stop a flood and nothing else.
const (
	serverQPS, serverBurst         = 5000, 20000
	userQPS, userBurst, userCache  = 500, 2000, 4096
	eventRateLimitAPI, apiGroupNew = "eventratelimit.admission.k8s.io/v1alpha1", "apiserver.config.k8s.io/v1"
)

func eventRateLimitItem() []string {
	return strings.Split(fmt.Sprintf(`- name: EventRateLimit
  configuration:
    apiVersion: %s
    kind: Configuration
    limits:
    - type: Server
      qps: %d
      burst: %d
    - type: User
      qps: %d
      burst: %d
      cacheSize: %d`, eventRateLimitAPI, serverQPS, serverBurst, userQPS, userBurst, userCache), "\n")
}

// eventRateLimit completes the plugin: without limits in the file of
// --admission-control-config-file the API server does not start. A file that is
// there keeps what it says about other plugins.
func eventRateLimit(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("admission plugins outside a manifest")
	}
	if why := rootless(pod); why != "" {
		return errors.New(why)
	}
	if err := mergePlugins(c); err != nil {
		return err
	}
	inside, set := pod.flag("admission-control-config-file")
	if !set {
		dir := path.Dir(admissionConfigFile)
		inside = admissionConfigFile
		host, err := pod.ensureMount(mount{name: "admission-control-configs", hostPath: dir, mountPath: dir, hostPathType: "Directory", readOnly: true})
		if err != nil {
			return err
		}
		if err := c.tx.mkdir(host, node.APIServer, 0o700); err != nil {
			return err
		}
		pod.setFlag("admission-control-config-file", inside)
	}
	host, _, ok := pod.hostPath(inside)
	if !ok {
		return fmt.Errorf("%s is not mounted from the host", inside)
	}
	data, err := c.tx.read(host)
	switch {
	case err == nil && !set:
		return fmt.Errorf("%s is there and not in use: what it says would come into force as well", host)
	case err != nil && (set || !errors.Is(err, fs.ErrNotExist)):
		return fmt.Errorf("admission configuration: %w", err)
	}
	out, err := mergeAdmission(data, c.facts.Kubernetes.Version)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	if string(out) == string(data) {
		return nil
	}
	return c.tx.write(host, out, node.APIServer, 0o600, false, "")
}

// mergeAdmission adds the limits to an AdmissionConfiguration, or makes a new
// one.
func mergeAdmission(data []byte, version string) ([]byte, error) {
	if len(data) == 0 {
		api := apiGroupNew
		if version != "" && !atLeast(version, "1.17") {
			api = "apiserver.k8s.io/v1alpha1"
		}
		lines := append([]string{"apiVersion: " + api, "kind: AdmissionConfiguration", "plugins:"}, eventRateLimitItem()...)
		return []byte(strings.Join(lines, "\n") + "\n"), nil
	}
	doc, err := parseDocument(data)
	if err != nil {
		return nil, err
	}
	if kind, _ := doc.scalar("kind"); kind != "AdmissionConfiguration" {
		return nil, fmt.Errorf("kind is %q, not AdmissionConfiguration", kind)
	}
	_, plugins := lookup(doc.root, "plugins")
	if plugins != nil {
		for _, p := range plugins.Content {
			if _, n := child(p, "name"); n != nil && n.Value == "EventRateLimit" {
				return data, nil
			}
		}
	}
	if plugins == nil || isEmpty(plugins) {
		doc, err = doc.insert([]string{"plugins"}, eventRateLimitItem())
	} else {
		doc, err = doc.appendItem(eventRateLimitItem(), "plugins")
	}
	if err != nil {
		return nil, err
	}
	out := doc.bytes()
	return out, verifyAdmission(data, out)
}

// rateLimits is the configuration of EventRateLimit
// (plugin/pkg/admission/eventratelimit/apis/eventratelimit/v1alpha1).
type rateLimits struct {
	Limits []struct {
		Type      string `json:"type"`
		QPS       int    `json:"qps"`
		Burst     int    `json:"burst"`
		CacheSize int    `json:"cacheSize"`
	} `json:"limits"`
}

// eventLimits are the limits in use, as kube_apiserver_admission_event_rate_limits
// takes them; those of the fix where none are.
func eventLimits(c *attempt) map[string]string {
	var list []struct {
		Configuration rateLimits `json:"configuration"`
	}
	if err := sigsyaml.Unmarshal([]byte(strings.Join(eventRateLimitItem(), "\n")), &list); err != nil {
		return map[string]string{limitsWord: ""} // never: it is a constant
	}
	limits := list[0].Configuration
	if c != nil {
		if used, ok := limitsInUse(c); ok {
			limits = used
		}
	}
	var all []string
	for i, l := range limits.Limits {
		text := fmt.Sprintf("limit_%d: {type: %s, qps: %d, burst: %d", i+1, l.Type, l.QPS, l.Burst)
		if l.CacheSize > 0 {
			text += fmt.Sprintf(", cache_size: %d", l.CacheSize)
		}
		all = append(all, text+"}")
	}
	return map[string]string{limitsWord: "{" + strings.Join(all, ", ") + "}"}
}

// limitsInUse reads the limits from the configuration of admission or, as Kubespray
// has them, from the file that it names.
func limitsInUse(c *attempt) (limits rateLimits, ok bool) {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return limits, false
	}
	read := func(inside string) []byte {
		host, _, ok := pod.hostPath(inside)
		if !ok {
			return nil
		}
		data, err := c.tx.read(host)
		if err != nil {
			return nil
		}
		return data
	}
	inside, _ := pod.flag("admission-control-config-file")
	var config struct {
		Plugins []struct {
			Name          string     `json:"name"`
			Path          string     `json:"path"`
			Configuration rateLimits `json:"configuration"`
		} `json:"plugins"`
	}
	if err := sigsyaml.Unmarshal(read(inside), &config); err != nil {
		return limits, false
	}
	for _, p := range config.Plugins {
		if p.Name != "EventRateLimit" {
			continue
		}
		limits = p.Configuration
		if p.Path != "" {
			if err := sigsyaml.Unmarshal(read(p.Path), &limits); err != nil {
				return limits, false
			}
		}
		return limits, len(limits.Limits) > 0
	}
	return limits, false
}

// verifyAdmission checks that a plugin was added and nothing else changed.
func verifyAdmission(before, after []byte) error {
	var was, is struct {
		Plugins []any `json:"plugins"`
	}
	if err := sigsyaml.Unmarshal(before, &was); err != nil {
		return err
	}
	if err := sigsyaml.UnmarshalStrict(after, &map[string]any{}); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	if err := sigsyaml.Unmarshal(after, &is); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	if len(is.Plugins) != len(was.Plugins)+1 || !reflect.DeepEqual(is.Plugins[:len(was.Plugins)], append([]any{}, was.Plugins...)) {
		return errors.New("after the edit: the plugin is not there")
	}
	added, err := yaml.Marshal(is.Plugins[len(was.Plugins)])
	if err != nil || !strings.Contains(string(added), eventRateLimitAPI) {
		return errors.New("after the edit: the plugin is not there")
	}
	return verifyTree(before, after, map[string]any{"plugins": is.Plugins})
}
