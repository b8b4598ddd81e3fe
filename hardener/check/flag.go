package check

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// flagFinder finds a flag and its value in a text (check/test.go:120-156): a
// flag counts as there when the text contains it anywhere; its value is what
// follows the first match of the flag as a pattern, any `=` and `:`, up to white
// space. An empty value is "true" for flags with two dashes and the matched text
// for others.
func flagFinder(flag string) findFunc {
	if regexp.QuoteMeta(flag) == flag {
		return func(text string) (bool, string, error) {
			if text == "" || flag == "" {
				return false, "", nil
			}
			_, rest, found := strings.Cut(text, flag)
			if !found {
				return false, "", nil
			}
			return true, flagValue(flag, flag, literalValue(rest)), nil
		}
	}
	var pattern *regexp.Regexp // compiled when first needed: kube-bench does not mind before
	return func(text string) (bool, string, error) {
		if text == "" || !strings.Contains(text, flag) {
			return false, "", nil
		}
		if pattern == nil {
			var err error
			if pattern, err = compile(`(`+flag+`)(=|: *)*([^\s]*) *`, flag); err != nil {
				return false, "", err
			}
			if pattern.NumSubexp() < 3 { // an open bracket swallows groups
				err := &PatternError{flag, errors.New("missing closing ]")}
				pattern = nil
				return false, "", err
			}
		}
		groups := pattern.FindStringSubmatch(text)
		if groups == nil {
			return false, "", fmt.Errorf("invalid flag in testItem definition: %s", text)
		}
		return true, flagValue(flag, groups[1], groups[3]), nil
	}
}

// literalValue is what `(=|: *)*([^\s]*)` captures last at the start of a text.
func literalValue(rest string) string {
	for {
		switch {
		case strings.HasPrefix(rest, "="):
			rest = rest[1:]
		case strings.HasPrefix(rest, ":"):
			rest = strings.TrimLeft(rest[1:], " ")
		default:
			if end := strings.IndexAny(rest, " \t\n\f\r"); end >= 0 {
				return rest[:end]
			}
			return rest
		}
	}
}

func flagValue(flag, matched, value string) string {
	switch {
	case value != "":
		return value
	case strings.HasPrefix(flag, "--"):
		return "true"
	}
	return matched
}

// envFinder finds a variable and its value in the text of an environment
// (check/test.go:176-193): the first NAME= anywhere, up to the end of the line.
// An empty value counts as not there.
func envFinder(name string) findFunc {
	var pattern *regexp.Regexp
	return func(text string) (bool, string, error) {
		if text == "" || name == "" {
			return false, "", nil
		}
		if pattern == nil {
			var err error
			if pattern, err = compile(name+`=.*(?:$|\n)`, name); err != nil {
				return false, "", err
			}
		}
		value := pattern.FindString(text)
		value = strings.Replace(value, "\n", "", 1)
		value = strings.Replace(value, name+"=", "", 1)
		return value != "", value, nil
	}
}
