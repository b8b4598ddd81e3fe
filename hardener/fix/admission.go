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

// admissionConfigFile is where Kubespray puts the AdmissionConfiguration on the
// host. Its mount shows the directory at /etc/kubernetes inside the container;
// ours at the same path.
const admissionConfigFile = "/etc/kubernetes/admission-controls/admission-controls.yaml"

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
