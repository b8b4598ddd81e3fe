package check

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Source is the audit whose output an item was judged on.
type Source string

// The sources of an item, in the order in which they are tried.
const (
	FromAudit  Source = "audit"
	FromConfig Source = "audit_config"
	FromEnv    Source = "audit_env"
)

// Item is how one test item came out.
type Item struct {
	Pass     bool
	Found    bool   // in the last line that was judged
	Value    string // what was found there; empty when nothing was
	Source   Source // the source tried last
	Expected string // the item's part of expected_result
	Output   string // all of the text that was judged, trimmed; actual_value for the first item
}

// judge judges an item on the first source that has it (check/check.go:224-262).
func judge(c *profile.Check, t profile.TestItem, out outputs, docs *documents) (Item, error) {
	item, err := execute(c, t, FromAudit, out.audit, docs)
	if err == nil && !item.Found && c.AuditConfig != "" && out.config != "" {
		item, err = execute(c, t, FromConfig, out.config, docs)
	}
	if err == nil && !item.Found && t.Env != "" {
		item, err = execute(c, t, FromEnv, out.env, docs)
	}
	return item, err
}

// execute judges an item on one output: the whole text or, with
// use_multiple_values, line by line up to the first that fails
// (check/test.go:195-217).
func execute(c *profile.Check, t profile.TestItem, from Source, text string, docs *documents) (Item, error) {
	text = strings.TrimRight(text, " \n")
	find := finder(t, from, docs)
	var item Item
	var err error
	for rest, more := text, true; more; {
		line := rest
		if c.Multiple {
			line, rest, more = strings.Cut(rest, "\n")
		} else {
			more = false
		}
		if item, err = evaluate(t, from, line, find); err != nil {
			return Item{}, err
		}
		if !item.Pass {
			break
		}
	}
	item.Source, item.Output = from, text
	return item, nil
}

// evaluate judges an item on one text (check/test.go:219-257). The error is for
// items that cannot be evaluated whatever the text; a text in which the item
// cannot be looked for makes the item false, whatever it wants.
func evaluate(t profile.TestItem, from Source, text string, find findFunc) (Item, error) {
	found, value, err := find(text)
	if err != nil {
		if _, ok := err.(*PatternError); ok {
			return Item{}, err
		}
		return Item{}, nil
	}
	item := Item{Found: found, Value: value}
	name := map[Source]string{FromAudit: t.Flag, FromConfig: t.Path, FromEnv: t.Env}[from]
	switch {
	case !t.Set:
		item.Expected = "'" + name + "' is not present"
		item.Pass = !found
	case found && t.Compare.Op != "":
		item.Pass, item.Expected, err = Compare(t.Compare.Op, value, t.Compare.Value, name)
	default:
		item.Expected = "'" + name + "' is present"
		item.Pass = found
	}
	return item, err
}

// findFunc looks for an item in a text. What is found may be empty.
type findFunc func(text string) (found bool, value string, err error)

// finder prepares the search of an item in the output of a source.
func finder(t profile.TestItem, from Source, docs *documents) findFunc {
	switch from {
	case FromConfig:
		return func(text string) (bool, string, error) { return docs.path(text, t.Path) }
	case FromEnv:
		return envFinder(t.Env)
	}
	return flagFinder(t.Flag)
}

// PatternError is an invalid regular expression in a profile, on which
// kube-bench panics.
type PatternError struct {
	Pattern string // as the profile has it
	Err     error
}

func (e *PatternError) Error() string {
	return fmt.Sprintf("invalid pattern %q in the profile: %v", e.Pattern, e.Err)
}

func (e *PatternError) Unwrap() error { return e.Err }

// compile compiles a pattern that was made of a text of the profile.
func compile(pattern, text string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, &PatternError{text, err}
	}
	return re, nil
}
