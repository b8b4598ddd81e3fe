package profile

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// substitution is a set of values on the way into a control file.
type substitution struct {
	bins, files []replacement
	harmless    bool // no value can change what YAML means where it is put
}

type replacement struct{ variable, value, text string }

// harmless values are plain words and paths: in any scalar, plain, quoted or
// block, they stand for themselves.
var harmless = regexp.MustCompile(`^(/[A-Za-z0-9._/-]*[A-Za-z0-9]|[a-z][a-z0-9-]*)$`)

// newSubstitution lists the replacements in kube-bench's order
// (cmd/common.go:101-107). Empty values are left out, and values of several
// words are quoted (cmd/util.go:270-277, 417-436).
func newSubstitution(v Variables) substitution {
	s := substitution{harmless: true}
	for _, k := range kinds() {
		values := *k.values(&v)
		for _, component := range slices.Sorted(maps.Keys(values)) {
			value := values[component]
			if value == "" {
				continue
			}
			if !harmless.MatchString(value) || value == "null" {
				s.harmless = false
			}
			text := value
			if len(strings.Fields(value)) > 1 {
				text = "'" + value + "'"
			}
			r := replacement{"$" + component + k.suffix, value, text}
			if k.suffix == "bin" {
				s.bins = append(s.bins, r)
			} else {
				s.files = append(s.files, r)
			}
		}
	}
	return s
}

// apply is plain replacement without word boundaries, variable by variable.
func (s substitution) apply(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	for _, r := range s.bins {
		text = strings.ReplaceAll(text, r.variable, r.text)
	}
	for _, r := range s.files {
		text = strings.ReplaceAll(text, r.variable, r.text)
	}
	return text
}

// usedBins are the values of the binaries that occur in a text.
func (s substitution) usedBins(text string) []string {
	var used []string
	for _, r := range s.bins {
		replaced := strings.ReplaceAll(text, r.variable, r.text)
		if replaced != text {
			used = append(used, r.value)
		}
		text = replaced
	}
	return used
}

// substitute puts the values into a control file, and tells which binaries the
// file uses. kube-bench replaces in the text and parses the result. Where that
// cannot make a difference, the text is parsed once for all substitutions and
// the values are put into the parsed texts.
func (f *controlFile) substitute(name string, s substitution) (*Controls, []string, error) {
	bins := s.usedBins(f.text)
	if f.early && s.harmless {
		return f.parsed.build(s.apply), bins, nil
	}
	parsed, err := decode(name, s.apply(f.text))
	if err != nil {
		return nil, nil, err
	}
	return parsed.build(func(text string) string { return text }), bins, nil
}
