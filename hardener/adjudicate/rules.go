package adjudicate

import (
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// rules are the settings whose truth an audit of process lines and modes cannot
// tell. They are keyed by setting, as package profile names it, so one rule
// serves every profile version; CNI files go by "cni".
var rules = map[subject]rule{
	{node.APIServer, profile.Flag, "anonymous-auth"}:           anonymousAPIServer,
	{node.APIServer, profile.Flag, "authorization-mode"}:       authorizationModes,
	{node.APIServer, profile.Flag, "enable-admission-plugins"}: removedPlugins,
	{node.APIServer, profile.Flag, "audit-log-path"}:           auditLog,
	{node.APIServer, profile.Flag, "audit-policy-file"}:        auditPolicy,
	{node.APIServer, profile.Other, "provider"}:                encryptionProvider,
	{node.APIServer, profile.Flag, "tls-cipher-suites"}:        ciphers,
	{node.APIServer, profile.Flag, "insecure-port"}:            insecurePort,

	{node.ControllerManager, profile.Flag, "feature-gates"}:               rotateServerGate,
	{node.ControllerManager, profile.Flag, "bind-address"}:                loopback,
	{node.ControllerManager, profile.Flag, "terminated-pod-gc-threshold"}: podGC,
	{node.Scheduler, profile.Flag, "bind-address"}:                        loopback,
	{node.Scheduler, profile.Flag, "profiling"}:                           schedulerProfiling,

	{node.Etcd, profile.Flag, "trusted-ca-file"}: uniqueCA,
	{node.Etcd, profile.Mode, "conf"}:            etcdPod,
	{node.Etcd, profile.Owner, "conf"}:           etcdPod,
	{node.Etcd, profile.Mode, "datadir"}:         etcdData,
	{node.Etcd, profile.Owner, "datadir"}:        etcdData,

	{node.Kubelet, profile.Flag, "anonymous-auth"}:                    kubeletAnonymous,
	{node.Kubelet, profile.Flag, "authorization-mode"}:                kubeletAuthorization,
	{node.Kubelet, profile.Flag, "read-only-port"}:                    readOnlyPort,
	{node.Kubelet, profile.Flag, "streaming-connection-idle-timeout"}: streamingTimeout,
	{node.Kubelet, profile.Flag, "event-qps"}:                         eventQPS,
	{node.Kubelet, profile.Flag, "tls-cert-file"}:                     servingCertificate,
	{node.Kubelet, profile.Flag, "RotateKubeletServerCertificate"}:    rotateServerGate,
	{node.Kubelet, profile.Flag, "tls-cipher-suites"}:                 ciphers,
	{node.Kubelet, profile.Flag, "pod-max-pids"}:                      podPids,
	{node.Kubelet, profile.Flag, "seccomp-default"}:                   seccompDefault,
	{node.Kubelet, profile.Flag, "IPAddressDeny"}:                     ipAddressDeny,
	{node.Kubelet, profile.Mode, "conf"}:                              kubeletConfigFile,
	{node.Kubelet, profile.Owner, "conf"}:                             kubeletConfigFile,

	{node.Proxy, profile.Flag, "metrics-bind-address"}: proxyMetrics,
	{node.Proxy, profile.Mode, "kubeconfig"}:           proxyKubeconfigFile,
	{node.Proxy, profile.Owner, "kubeconfig"}:          proxyKubeconfigFile,

	{"", profile.Mode, "cni"}:  cniFiles,
	{"", profile.Owner, "cni"}: cniFiles,
}
