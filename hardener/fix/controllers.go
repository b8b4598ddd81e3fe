package fix

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"
)

const loopback = "127.0.0.1"

// allGates is the variable of the feature gates of all components.
const allGates = "kube_feature_gates"

func is(want string) func(string, bool) bool {
	return func(value string, set bool) bool { return set && value == want }
}

func controllerRules() []rule {
	const breaks = "Prometheus that scrapes the metrics port from another host; from 1.34 Pod Security's baseline in kube-system hides the mirror pod of a probe with a host"
	return []rule{
		{component: node.ControllerManager, name: "bind-address", value: loopback, accept: is(loopback), also: probesOnLoopback, breaks: breaks,
			reason:    "the probes move along: they ask the pod's address otherwise, and the container is killed",
			variables: []Variable{{Name: "kube_controller_manager_bind_address", Value: loopback, Since: "2.12"}}, touches: connected(10257, "the controller manager's metrics"),
			words: words{
				guard: "the flag and the host of every probe change in one write; from Kubernetes 1.34 kube-system is not under Pod Security's baseline",
				proof: "https://127.0.0.1:10257/healthz answers on the node",
			}},
		{component: node.Scheduler, name: "bind-address", value: loopback, accept: is(loopback), also: probesOnLoopback, breaks: breaks,
			reason:    "the probes move along: they ask the pod's address otherwise, and the container is killed",
			variables: []Variable{{Name: "kube_scheduler_bind_address", Value: loopback, Since: "2.12"}}, touches: connected(10259, "the scheduler's metrics"),
			words: words{
				guard: "the flag and the host of every probe change in one write; from Kubernetes 1.34 kube-system is not under Pod Security's baseline",
				proof: "https://127.0.0.1:10259/readyz answers on the node",
			}},
		{component: node.ControllerManager, name: "profiling", value: "false", breaks: breaksProfiling,
			variables: []Variable{{Name: "kube_profiling", Value: "false", Since: "2.12"}}, words: words{proof: "/debug/pprof/ on port 10257 answers 404 to an administrator"}},
		{component: node.Scheduler, name: "profiling", value: "false", also: schedulerProfiling, breaks: breaksProfiling,
			variables: []Variable{
				{Name: "kube_profiling", Value: "false", Since: "2.22", Note: "the flag only"},
				extraArg(node.Scheduler, "profiling", "false", "2.22"),
				{Name: "kube_scheduler_config_extra_opts", Value: "{enableProfiling: false}", Since: "2.16", Adds: true, Note: "what counts when --config is used"}},
			words: words{
				guard: "set in the file of --config as well, which alone counts; an annotation with the file's checksum has the kubelet make the pod anew, which mounts the file by itself",
				proof: "/debug/pprof/ on port 10259 answers 404 to an administrator",
			}},
		{component: node.ControllerManager, name: "terminated-pod-gc-threshold", value: "12500", state: Manual, risk: RiskWorkload,
			reason:    "12500 is in force unless something else is set, and how many finished pods to keep is for a person to say; below 1000, ask who reads them",
			breaks:    "logs of finished Jobs and of evicted pods are gone with the pods, and do not come back",
			variables: []Variable{{Name: "kube_controller_terminated_pod_gc_threshold", Value: valueWord, Since: "2.12"}}},
		{component: node.ControllerManager, name: "use-service-account-credentials", value: "true",
			breaks: "controllers whose role system:controller:* was edited or deleted",
			words: words{
				guard: "the roles system:controller:* are those that Kubernetes keeps itself",
				proof: "nothing is forbidden in its log; a new namespace gets its default service account",
			}},
		{component: node.ControllerManager, name: "service-account-private-key-file", state: Never, risk: RiskCluster, reason: reportedOnly,
			breaks: "new tokens are rejected unless the key pairs with every API server's public key"},
		{component: node.ControllerManager, name: "root-ca-file", state: Never, risk: RiskCluster, reason: reportedOnly,
			breaks: "clients in the cluster get another authority and fail"},
		{component: node.ControllerManager, name: "feature-gates", reason: "only the explicit false goes: the default is true",
			breaks: "nothing: kubelets ask for serving certificates only when told to",
			words:  words{guard: "the other gates of the list stay, and each is one that the release knows"},
			variables: []Variable{
				{Name: "kube_controller_feature_gates", Value: `["RotateKubeletServerCertificate=true"]`, Since: "2.19", Adds: true, Over: allGates},
				{Name: allGates, Value: `["RotateKubeletServerCertificate=true"]`, Since: "2.12", Gone: "2.19", Adds: true}}},
		cipherSuites(node.ControllerManager, "clients of its metrics without ECDHE and AES-GCM"), minVersion(node.ControllerManager),
		cipherSuites(node.Scheduler, "clients of its metrics without ECDHE and AES-GCM"), minVersion(node.Scheduler),
	}
}

// probesOnLoopback points the probes at the loopback address together with the
// server: for an unspecified bind address kubeadm leaves the host of the probes
// empty, which is the pod's address (kubeadm staticpod/utils.go getProbeAddress).
func probesOnLoopback(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("bind address outside a manifest")
	}
	if v, _ := pod.flag("bind-address"); v != loopback {
		return nil
	}
	for _, p := range pod.manifest.probes() {
		if host, _ := pod.manifest.doc.scalar(append(p, "host")...); host != loopback {
			pod.change.probeHost = loopback
		}
	}
	return nil
}

// checksumAnnotation carries the hash of a file that the pod mounts: the kubelet
// restarts a static pod when its manifest changes, not when a mounted file does.
const checksumAnnotation = "kubespray-hardener/scheduler-config"

// schedulerProfiling turns profiling off where the scheduler looks: with --config
// the flag is ignored (cmd/kube-scheduler/app/options/deprecated.go).
func schedulerProfiling(c *attempt) error {
	pod, ok := c.place.(*podPlace)
	if !ok {
		return errors.New("scheduler outside a manifest")
	}
	inside, set := pod.flag("config")
	if !set {
		return nil
	}
	host, _, ok := pod.hostPath(inside)
	if !ok {
		return fmt.Errorf("%s is not mounted from the host", inside)
	}
	was, err := c.tx.read(host)
	if err != nil {
		return fmt.Errorf("scheduler configuration: %w", err)
	}
	doc, err := parseDocument(was)
	if err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	if v, set := doc.scalar("enableProfiling"); set && v == "false" {
		return nil
	}
	if doc, err = doc.setScalar(false, "enableProfiling"); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	data := doc.bytes()
	if err := verifyScheduler(was, data); err != nil {
		return fmt.Errorf("%s: %w", host, err)
	}
	if err := c.tx.write(host, data, node.Scheduler, 0o644, false, ""); err != nil {
		return err
	}
	sum := sha256.Sum256(data)
	pod.change.annotations[checksumAnnotation] = hex.EncodeToString(sum[:8])
	return nil
}

// verifyScheduler decodes strictly what is version v1; older versions of the
// file have the same field and are compared as trees only.
func verifyScheduler(before, after []byte) error {
	var kind struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(after, &kind); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	if kind.Kind != "KubeSchedulerConfiguration" {
		return fmt.Errorf("kind is %q, not KubeSchedulerConfiguration", kind.Kind)
	}
	if kind.APIVersion == "kubescheduler.config.k8s.io/v1" {
		if err := yaml.UnmarshalStrict(after, &schedulerv1.KubeSchedulerConfiguration{}); err != nil {
			return fmt.Errorf("after the edit: %w", err)
		}
	}
	return verifyTree(before, after, map[string]any{"enableProfiling": false})
}
