package node

import (
	"bytes"
	"fmt"
	"regexp"

	"sigs.k8s.io/yaml"
)

// KubeletConfig is what other parts need of a KubeletConfiguration
// (kubelet.config.k8s.io/v1beta1). Values holds all of it.
type KubeletConfig struct {
	StaticPodPath            string
	ClientCAFile             string // authentication.x509.clientCAFile
	TLSCertFile              string
	TLSPrivateKeyFile        string
	ContainerRuntimeEndpoint string
	Values                   map[string]any
}

// ReadKubeletConfig reads a KubeletConfiguration, YAML or JSON.
func ReadKubeletConfig(data []byte) (KubeletConfig, error) {
	var values map[string]any
	if err := yaml.Unmarshal(data, &values); err != nil {
		return KubeletConfig{}, fmt.Errorf("read kubelet configuration: %w", err)
	}
	if kind := text(values, "kind"); kind != "KubeletConfiguration" {
		return KubeletConfig{}, fmt.Errorf("read kubelet configuration: kind is %q", kind)
	}
	return KubeletConfig{
		StaticPodPath:            text(values, "staticPodPath"),
		ClientCAFile:             text(values, "authentication", "x509", "clientCAFile"),
		TLSCertFile:              text(values, "tlsCertFile"),
		TLSPrivateKeyFile:        text(values, "tlsPrivateKeyFile"),
		ContainerRuntimeEndpoint: text(values, "containerRuntimeEndpoint"),
		Values:                   values,
	}, nil
}

// documents reads the documents of a YAML file by their kind. Those that cannot
// be read are left out, and the first error is returned beside the rest.
func documents(data []byte) (map[string]map[string]any, error) {
	docs := map[string]map[string]any{}
	var failed error
	for _, part := range documentEnd.Split(string(data), -1) {
		if len(bytes.TrimSpace([]byte(part))) == 0 {
			continue
		}
		var doc map[string]any
		if err := yaml.Unmarshal([]byte(part), &doc); err != nil {
			if failed == nil {
				failed = err
			}
			continue
		}
		if kind := text(doc, "kind"); kind != "" {
			docs[kind] = doc
		}
	}
	return docs, failed
}

var documentEnd = regexp.MustCompile(`(?m)^---(?:[ \t].*)?$`)

// value walks down nested maps.
func value(m map[string]any, keys ...string) (any, bool) {
	var v any = m
	for _, k := range keys {
		inner, ok := v.(map[string]any)
		if !ok {
			return nil, false
		}
		if v, ok = inner[k]; !ok {
			return nil, false
		}
	}
	return v, true
}

// text is a value that is a scalar, as text; "" when there is none.
func text(m map[string]any, keys ...string) string {
	switch v, _ := value(m, keys...); v := v.(type) {
	case nil, map[string]any, []any:
		return ""
	default:
		return fmt.Sprint(v)
	}
}

// extraArgs are a component's extraArgs of a ClusterConfiguration: a map up to
// kubeadm.k8s.io/v1beta3, a list of name and value since v1beta4.
func extraArgs(m map[string]any, component string) map[string]string {
	args := map[string]string{}
	switch v, _ := value(m, component, "extraArgs"); v := v.(type) {
	case map[string]any:
		for name := range v {
			args[name] = text(v, name)
		}
	case []any:
		for _, e := range v {
			if e, ok := e.(map[string]any); ok {
				args[text(e, "name")] = text(e, "value")
			}
		}
	}
	return args
}
