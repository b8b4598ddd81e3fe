package fix

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"sigs.k8s.io/yaml"
)

// typed is a value as a configuration file has it: a boolean, a number or text.
func typed(value string) any {
	switch value {
	case "true", "false":
		return value == "true"
	}
	if n, err := strconv.Atoi(value); err == nil && strconv.Itoa(n) == value {
		return n
	}
	return value
}

// verifyKubelet checks that after is before with exactly the settings changed,
// and that every field that it sets is one that the kubelet knows: it drops
// unknown ones with a warning only (pkg/kubelet/kubeletconfig/util/codec). Fields
// that were unknown before the edit stay as they are and are returned as text.
func verifyKubelet(before, after []byte, settings map[string]any) (unknown string, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("not a KubeletConfiguration: %v", r)
		}
	}()
	if unknown, err = strictKubelet(before); err != nil {
		return "", err
	}
	now, err := strictKubelet(after)
	if err != nil {
		return "", fmt.Errorf("after the edit: %w", err)
	}
	if unknown != now {
		return "", fmt.Errorf("after the edit: %s", now)
	}
	return unknown, verifyTree(before, after, settings)
}

// strictKubelet decodes a file: unknown lists, as text, what only lenient
// decoding accepts.
func strictKubelet(data []byte) (unknown string, err error) {
	var c kubeletConfiguration
	if err := yaml.Unmarshal(data, &c); err != nil {
		return "", fmt.Errorf("not a KubeletConfiguration: %w", err)
	}
	if c.Kind != "KubeletConfiguration" || c.APIVersion != "kubelet.config.k8s.io/v1beta1" {
		return "", fmt.Errorf("not a KubeletConfiguration: kind %q of %q", c.Kind, c.APIVersion)
	}
	if err := yaml.UnmarshalStrict(data, &kubeletConfiguration{}); err != nil {
		return err.Error(), nil
	}
	return "", nil
}

// verifyTree checks that two YAML files differ in the settings only, given by
// dotted path.
func verifyTree(before, after []byte, settings map[string]any) error {
	var was, is map[string]any
	if err := yaml.Unmarshal(before, &was); err != nil {
		return err
	}
	if err := yaml.Unmarshal(after, &is); err != nil {
		return fmt.Errorf("after the edit: %w", err)
	}
	for path, value := range settings {
		if err := setTree(was, strings.Split(path, "."), value); err != nil {
			return err
		}
	}
	if !reflect.DeepEqual(was, is) {
		return errors.New("after the edit: something else changed as well")
	}
	return nil
}

func setTree(tree map[string]any, path []string, value any) error {
	for _, p := range path[:len(path)-1] {
		next, ok := tree[p].(map[string]any)
		if !ok {
			if tree[p] != nil {
				return fmt.Errorf("%s is not a mapping", p)
			}
			next = map[string]any{}
			tree[p] = next
		}
		tree = next
	}
	switch v := value.(type) {
	case int: // numbers of a decoded file are float64
		value = float64(v)
	case []string:
		list := make([]any, len(v))
		for i, e := range v {
			list[i] = e
		}
		value = list
	}
	tree[path[len(path)-1]] = value
	return nil
}
