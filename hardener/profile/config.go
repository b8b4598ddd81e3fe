package profile

import (
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// settings is a parsed config.yaml with lower-case keys. kube-bench reads it
// with viper 1.21, which decodes with yaml.v3 (so `yes` is a string), lower-cases
// keys at every level and casts what it finds to what it is asked for. The
// functions of this file do the same.
type settings = map[string]any

func readSettings(fsys fs.FS, name string) (settings, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, err
	}
	var m map[string]any
	if err := yaml.Unmarshal(data, &m); err != nil {
		return nil, yamlError(name, err)
	}
	return lowerKeys(m), nil
}

// yamlError puts the file in front of a parser's error and makes it one line:
// "cis-1.12/master.yaml: line 12: did not find expected key".
func yamlError(name string, err error) error {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n")
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return fmt.Errorf("%s: %s", name, strings.Join(lines, "; "))
}

func lowerKeys(m map[string]any) settings {
	out := make(settings, len(m))
	for k, v := range m {
		if nested := asMap(v); nested != nil {
			v = lowerKeys(nested)
		}
		out[strings.ToLower(k)] = v
	}
	return out
}

// merge puts over on top of base: maps deep, every other value whole. What is a
// map in base stays one: viper only logs it when over has something else there
// (viper.go, mergeMaps).
func merge(base, over settings) settings {
	out := make(settings, len(base)+len(over))
	for k, v := range base {
		out[k] = v
	}
	for k, v := range over {
		old, both := base[k].(map[string]any)
		if !both {
			out[k] = v
		} else if nested, ok := v.(map[string]any); ok {
			out[k] = merge(old, nested)
		}
	}
	return out
}

// asMap is nil unless v is a mapping.
func asMap(v any) map[string]any {
	switch v := v.(type) {
	case map[string]any:
		return v
	case map[any]any: // some key is not a string
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[fmt.Sprint(k)] = e
		}
		return out
	}
	return nil
}

// asString is spf13/cast's ToString for what YAML can hold.
func asString(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool, int, int64, uint64:
		return fmt.Sprint(v)
	}
	return ""
}

// asStrings is spf13/cast's ToStringSlice: a string is split at white space, and
// a list with an element that is no scalar is no list at all.
func asStrings(v any) []string {
	switch v := v.(type) {
	case nil:
		return nil
	case string:
		return strings.Fields(v)
	case []any:
		out := make([]string, len(v))
		for i, e := range v {
			switch e.(type) {
			case []any, map[string]any, map[any]any:
				return nil
			}
			out[i] = asString(e)
		}
		return out
	case map[string]any, map[any]any:
		return nil
	}
	return []string{asString(v)}
}

// asBool is spf13/cast's ToBool: what cannot be a boolean is false, "yes" too.
func asBool(v any) bool {
	switch v := v.(type) {
	case bool:
		return v
	case int:
		return v != 0
	case float64:
		return v != 0
	case string:
		b, err := strconv.ParseBool(v)
		return err == nil && b
	}
	return false
}
