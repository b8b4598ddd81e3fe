package inventory

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// union adds to a list what is not in it yet, and to a dictionary what it says
// otherwise. Of "Gate=true" and "Gate=false" the later counts. It is false for two
// that are not of a kind.
func union(has, adds any) (any, bool) {
	switch adds := adds.(type) {
	case []any:
		list, ok := has.([]any)
		if !ok && has != nil {
			return nil, false
		}
		list = slices.Clone(list)
		for _, e := range adds {
			list = slices.DeleteFunc(list, func(old any) bool { return gate(old) != "" && gate(old) == gate(e) && !equal(old, e) })
			if !slices.ContainsFunc(list, func(old any) bool { return equal(old, e) }) {
				list = append(list, e)
			}
		}
		return list, true
	case map[string]any:
		dict, ok := has.(map[string]any)
		if !ok && has != nil {
			return nil, false
		}
		all := map[string]any{}
		maps.Copy(all, dict)
		maps.Copy(all, adds)
		return all, true
	}
	return nil, false
}

// gate is the name of a feature gate in a list, "" for what is none.
func gate(e any) string {
	name, _, ok := strings.Cut(fmt.Sprint(e), "=")
	if !ok {
		return ""
	}
	return name
}

// holds reports that a value is what is needed, or with adds that it has it.
func holds(has, needed any, adds bool) bool {
	if !adds {
		return equal(has, needed)
	}
	switch needed := needed.(type) {
	case []any:
		list, ok := has.([]any)
		if !ok {
			return false
		}
		for _, e := range needed {
			if !slices.ContainsFunc(list, func(old any) bool { return equal(old, e) }) {
				return false
			}
		}
		return true
	case map[string]any:
		dict, ok := has.(map[string]any)
		if !ok {
			return len(needed) == 0 && has == nil
		}
		for key, value := range needed {
			if old, ok := dict[key]; !ok || !equal(old, value) {
				return false
			}
		}
		return true
	}
	return false
}

// equal compares values as Ansible's templates would render them: a word for true
// is true, and a list is a set, as none here depends on its order.
func equal(a, b any) bool {
	switch a := a.(type) {
	case []any:
		b, ok := b.([]any)
		return ok && len(a) == len(b) && holds(a, b, true)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && len(a) == len(b) && holds(a, b, true)
	}
	return scalar(a) == scalar(b)
}

func scalar(v any) string {
	text := strings.TrimRight(fmt.Sprint(v), "\n")
	switch strings.ToLower(text) {
	case "true", "yes", "on":
		return "true"
	case "false", "no", "off":
		return "false"
	}
	return text
}

// open reports a value that only Ansible can tell: an expression or one in a vault.
func open(v any) bool {
	switch v := v.(type) {
	case string:
		return strings.Contains(v, "{{") || strings.Contains(v, "{%")
	case map[string]any:
		_, vault := v["__ansible_vault"]
		return vault
	}
	return false
}

// numbers turns the numbers of a JSON document into those that YAML reads.
func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		if i, err := v.Int64(); err == nil {
			return int(i)
		}
		f, _ := v.Float64()
		return f
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for key := range v {
			v[key] = numbers(v[key])
		}
	}
	return v
}
