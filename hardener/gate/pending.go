package gate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Pending asks a running component in which fields its configuration differs from
// its configuration file: what a restart would put into force. Keys are dotted
// paths of fields, values say the difference in words. The error says why that
// cannot be told: only a kubelet can be asked, and only with the rights to. Flags
// and environment variables are not looked at: they can be read from the process.
func (g *Gates) Pending(ctx context.Context, component string) (map[string]string, error) {
	if component != node.Kubelet {
		return nil, errors.New("only a kubelet says what it runs with")
	}
	facts, err := g.Detect()
	if err != nil {
		return nil, err
	}
	k := &kubelet{daemon{Gates: g, name: component, at: g.locate(facts, ""), component: facts.Components[component]}}
	set, err := readSettings(g.FS, k.component)
	if err != nil {
		return nil, err
	}
	if _, ok := node.FlagValue(k.component.Argv, "config-dir"); ok {
		return nil, errors.New("files of --config-dir may override the configuration file")
	}
	// Those of the process: what the unit's would change is told from them.
	set.argv = k.component.Argv
	own, err := g.own(facts)
	if err != nil {
		return nil, err
	}
	live, err := k.configz(ctx, own)
	if forbidden(err) {
		return nil, errors.New(noRights)
	}
	if err != nil {
		return nil, err
	}
	return set.pending(live)
}

// pending are the fields that the file has otherwise than the kubelet, and those
// that it has no more: without them the kubelet goes back to its defaults.
func (s settings) pending(live map[string]any) (map[string]string, error) {
	var defaults map[string]any
	if err := json.Unmarshal([]byte(kubeletDefaults), &defaults); err != nil {
		return nil, err
	}
	found := map[string]string{}
	add := func(field, words string) {
		if _, overridden := node.FlagValue(s.argv, flagOf(field)); !overridden && found[field] == "" {
			found[field] = words
		}
	}
	compare("", s.values, live, func(field string, want, got any) {
		add(field, fmt.Sprintf("%s is %s, the file says %s", field, show(got), show(want)))
	})
	compare("", live, overlay(defaults, s.values), func(field string, has, becomes any) {
		top, _, _ := strings.Cut(field, ".")
		if !derivedFields[top] {
			add(field, fmt.Sprintf("%s is %s, and the file has it no more", field, show(has)))
		}
	})
	return found, nil
}

// overlay is a map with what another sets, without a change to either.
func overlay(under, over map[string]any) map[string]any {
	out := map[string]any{}
	for name, v := range under {
		out[name] = v
	}
	for name, v := range over {
		a, inner := out[name].(map[string]any)
		b, both := v.(map[string]any)
		switch {
		case inner && both:
			out[name] = overlay(a, b)
		case !zeroValue(v) || v == false:
			out[name] = v // a zero stands for the default where there is one
		}
	}
	return out
}

// derivedFields are those that a kubelet fills in itself, from its flags, the
// runtime or other fields (cmd/kubelet/app/server.go; v1beta1/defaults.go).
var derivedFields = map[string]bool{
	"tlsCertFile": true, "tlsPrivateKeyFile": true, "cgroupDriver": true, "nodeStatusReportFrequency": true,
	"serializeImagePulls": true, "logging": true, "memorySwap": true, "failCgroupV1": true,
}

// kubeletDefaults are the defaults that are not zero (Kubernetes v1.34.4,
// pkg/kubelet/apis/config/v1beta1/defaults.go and cmd/kubelet/app/options). With a
// release whose default is another, a field that was never set is taken for one
// that was removed: then a person is asked once too often.
const kubeletDefaults = `{
	"enableServer": true, "podLogsDir": "/var/log/pods", "syncFrequency": "1m0s", "fileCheckFrequency": "20s",
	"httpCheckFrequency": "20s", "address": "0.0.0.0", "port": 10250,
	"authentication": {"webhook": {"enabled": true, "cacheTTL": "2m0s"}},
	"authorization": {"mode": "Webhook", "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"}},
	"registryPullQPS": 5, "registryBurst": 10, "imagePullCredentialsVerificationPolicy": "NeverVerifyPreloadedImages",
	"eventRecordQPS": 50, "eventBurst": 100, "enableDebuggingHandlers": true, "healthzPort": 10248, "healthzBindAddress": "127.0.0.1",
	"oomScoreAdj": -999, "streamingConnectionIdleTimeout": "4h0m0s", "nodeStatusUpdateFrequency": "10s",
	"nodeLeaseDurationSeconds": 40, "imageMinimumGCAge": "2m0s", "imageGCHighThresholdPercent": 85, "imageGCLowThresholdPercent": 80,
	"volumeStatsAggPeriod": "1m0s", "cgroupsPerQOS": true, "cpuManagerPolicy": "none", "cpuManagerReconcilePeriod": "10s",
	"memoryManagerPolicy": "None", "topologyManagerPolicy": "none", "topologyManagerScope": "container",
	"runtimeRequestTimeout": "2m0s", "hairpinMode": "promiscuous-bridge", "maxPods": 110, "podPidsLimit": -1,
	"resolvConf": "/etc/resolv.conf", "cpuCFSQuota": true, "cpuCFSQuotaPeriod": "100ms", "nodeStatusMaxImages": 50,
	"maxOpenFiles": 1000000, "contentType": "application/vnd.kubernetes.protobuf", "kubeAPIQPS": 50, "kubeAPIBurst": 100,
	"evictionHard": {"imagefs.available": "15%", "imagefs.inodesFree": "5%", "memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%"},
	"evictionPressureTransitionPeriod": "5m0s", "enableControllerAttachDetach": true, "makeIPTablesUtilChains": true,
	"iptablesMasqueradeBit": 14, "iptablesDropBit": 15, "failSwapOn": true, "containerLogMaxSize": "10Mi", "containerLogMaxFiles": 5,
	"containerLogMaxWorkers": 1, "containerLogMonitorInterval": "10s", "configMapAndSecretChangeDetectionStrategy": "Watch",
	"enforceNodeAllocatable": ["pods"], "volumePluginDir": "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/",
	"enableSystemLogHandler": true, "crashLoopBackOff": {"maxContainerRestartPeriod": "5m0s"}, "enableProfilingHandler": true,
	"enableDebugFlagsHandler": true, "memoryThrottlingFactor": 0.9, "registerNode": true, "localStorageCapacityIsolation": true,
	"containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock"
}`
