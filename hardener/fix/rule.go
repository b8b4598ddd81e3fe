package fix

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// rule is what cannot be derived from a check's own test items: values "as
// appropriate", what the change can break, what must come with it, and whether
// it may be made at all. Rules are keyed by the setting, never by the number of
// a check, which differs from benchmark to benchmark. A setting without a rule
// is never changed.
type rule struct {
	component string
	name      string // profile.Setting.Name
	element   string // of a list (an admission plugin): what the item asks about; empty matches all

	what   string // in our own words, where no setting stands for it
	state  State  // Never or Manual: decided here and now
	risk   Risk   // RiskRestart when empty
	reason string
	breaks string

	value  string // what to set, where the item asks for presence only or has no safe value
	remove bool   // only ever removed, never set

	// accept adds to the item: the value must pass this as well. It is for items
	// that only look for presence.
	accept func(value string, set bool) bool
	// meets takes the place of the item, whose wish is not followed.
	meets func(value string, set bool) bool
	// unless says why an item that asks for something else than the others about
	// this setting is not followed, "" when it is.
	unless func(profile.TestItem) string
	// guard says why the change is not made here, "" to go on.
	guard func(*attempt) string
	// refusal is the state of what unless and guard keep from being made; Manual
	// when empty.
	refusal State
	// instead answers the item by another setting: holds says whether that is so,
	// make makes it so.
	instead *detour
	// also makes the changes that must come along.
	also func(*attempt) error
	// touches says what on this node the change would disturb.
	touches func(*attempt) []string

	variables []Variable // with words for what a node fills in, see filled
	// wordsOf are more such words with their text; without an attempt, those of what
	// the fix writes.
	wordsOf func(*attempt) map[string]string
	// always says why the setting needs no variable, "" when it does or when
	// kubeadm-config.yaml tells.
	always string
	words  words
}

// detour is another way to what an item wants.
type detour struct {
	holds func(*attempt) bool
	make  func(*attempt) error
}

// words are what the catalogue says beside reason and breaks, where it is not
// what holds for the whole component.
type words struct {
	guard  string // what must hold before
	proof  string // what shows afterwards that all is well
	undo   string // what a rollback does not bring back at once
	judged string // why nothing needs changing: how the verdict is found
	more   string // what the reason says of several settings, for this one

	variables []Variable // that belong to the subject, and are not offered with a finding
}

// attempt is what guards and companions work on.
type attempt struct {
	facts     node.Facts
	component node.Component
	tx        *workspace
	place     place
	setting   profile.Setting
	item      profile.TestItem
	free      func(path string) (uint64, error) // may be nil
}

// place is where a component keeps its settings: a static pod manifest, the
// kubelet's file and environment, etcd's environment file.
type place interface {
	get(s profile.Setting) (value string, set bool)
	set(s profile.Setting, value string) error
	remove(s profile.Setting) error
	// apply writes what was set into the workspace, verified.
	apply(tx *workspace) error
	// changes says in words what was set and removed.
	changes() []string
	// file is the path to name in reasons.
	file() string
}

func findRule(rules []rule, s profile.Setting, element string) (rule, bool) {
	for _, exact := range []bool{true, false} {
		for _, r := range rules {
			if r.component != s.Component || r.name != s.Name && (s.Path == "" || r.name != s.Path) {
				continue
			}
			if exact && r.element != "" && r.element == element || !exact && r.element == "" {
				return r, true
			}
		}
	}
	return rule{}, false
}

func (r rule) riskOf() Risk {
	if r.risk == "" {
		return RiskRestart
	}
	return r.risk
}

// atLeast compares major and minor of two versions such as 1.34.4 and 1.21.
func atLeast(version, min string) bool {
	a, b := minor(version), minor(min)
	return a[0] > b[0] || a[0] == b[0] && a[1] >= b[1]
}

func minor(version string) [2]int {
	var out [2]int
	for i, part := range strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3) {
		if i < 2 {
			digits := strings.TrimRightFunc(part, func(r rune) bool { return r < '0' || r > '9' })
			out[i], _ = strconv.Atoi(digits) // not a number counts as 0
		}
	}
	return out
}

// holds reports whether a value satisfies a test item.
func holds(item profile.TestItem, r rule, value string, set bool) bool {
	switch {
	case r.meets != nil:
		return r.meets(value, set)
	case r.accept != nil && !r.accept(value, set):
		return false
	}
	if !item.Set {
		return !set
	}
	if !set || item.Compare.Op == "" {
		return set
	}
	ok, _, err := check.Compare(item.Compare.Op, value, item.Compare.Value, item.Flag)
	return err == nil && ok
}

// derive says what value would satisfy the item, from the item itself or the
// rule. It reports remove when the setting must go.
func derive(item profile.TestItem, r rule, current string, set bool) (value string, remove bool, err error) {
	switch {
	case r.remove || !item.Set:
		return "", true, nil
	case r.value != "" && item.Compare.Op != "has" && item.Compare.Op != "valid_elements":
		return r.value, false, nil
	}
	switch item.Compare.Op {
	case "eq", "gte", "lte":
		return item.Compare.Value, false, nil
	case "has":
		list := splitList(current)
		for _, e := range splitList(item.Compare.Value) {
			if !slices.Contains(list, e) {
				list = append(list, e)
			}
		}
		return strings.Join(list, ","), false, nil
	case "nothave":
		list := slices.DeleteFunc(splitList(current), func(e string) bool {
			return strings.Contains(e, item.Compare.Value)
		})
		return strings.Join(list, ","), len(list) == 0, nil
	case "valid_elements":
		list, err := validElements(splitList(r.value), splitList(item.Compare.Value), splitList(current))
		return strings.Join(list, ","), false, err
	case "noteq":
		if b, err := strconv.ParseBool(item.Compare.Value); err == nil {
			return strconv.FormatBool(!b), false, nil
		}
	}
	return "", false, fmt.Errorf("the profile does not say which value %q should have", item.Flag)
}

// validElements keeps what is set and allowed, or else takes our own list as far
// as allowed. HTTP/2 needs an ECDHE suite with AES_128_GCM for each kind of key
// (golang.org/x/net/http2 server.go), or the server refuses to start.
func validElements(own, allowed, current []string) ([]string, error) {
	keep := func(list []string) []string {
		var out []string
		for _, e := range list {
			if slices.Contains(allowed, e) && !insecureSuite(e) {
				out = append(out, e)
			}
		}
		return out
	}
	list := keep(own)
	if kept := keep(current); len(kept) > 0 {
		for _, e := range list {
			if strings.HasSuffix(e, "AES_128_GCM_SHA256") && !slices.Contains(kept, e) {
				kept = append(kept, e)
			}
		}
		list = kept
	}
	for _, need := range []string{"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"} {
		if !slices.Contains(list, need) {
			return nil, fmt.Errorf("the list that the profile allows lacks %s, without which HTTP/2 does not start", need)
		}
	}
	return list, nil
}
