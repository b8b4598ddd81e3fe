package fix

import (
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Variable is a Kubespray inventory variable that keeps a fix through the next
// playbook run, in the releases from Since on and before Gone.
type Variable struct {
	Name    string   `json:"name"`
	Value   string   `json:"value"`             // YAML
	Since   string   `json:"since,omitempty"`   // first Kubespray release in which it keeps the fix
	Gone    string   `json:"gone,omitempty"`    // first one in which it does not any more: another variable does, or none is needed
	Adds    bool     `json:"adds,omitempty"`    // Value goes into a list or dictionary beside what the inventory has there
	Over    string   `json:"over,omitempty"`    // the variable that has no effect any more once this one is set
	Without []string `json:"without,omitempty"` // VARIABLE.KEY that would set the same a second time, or otherwise
	Note    string   `json:"note,omitempty"`
}

// In reports whether the variable keeps its fix in all releases of a range, and
// whether in some of them.
func (v Variable) In(r node.ReleaseRange) (all, some bool) {
	first, last := r.Ends()
	since, gone := minor(v.Since)[1], minor(v.Gone)[1]
	all = first >= since && (v.Gone == "" || last < gone)
	return all, last >= since && (v.Gone == "" || first < gone)
}

// Releases says in words in which releases the variable keeps its fix, "" when that
// is not known.
func (v Variable) Releases() string {
	switch {
	case v.Since == "":
		return ""
	case v.Gone == "":
		return "since " + v.Since
	case minor(v.Gone)[1] == minor(v.Since)[1]+1:
		return v.Since + " only"
	}
	return fmt.Sprintf("%s to 2.%d", v.Since, minor(v.Gone)[1]-1)
}

// The words of a rule's variables that a node fills in.
const (
	valueWord  = "$value"  // what the setting is on the node
	listWord   = "$list"   // the same as a YAML list
	limitsWord = "$limits" // the limits of EventRateLimit
	rulesWord  = "$rules"  // the rules of the audit policy
)

// filled are the variables of a rule with the values of a node; c is nil for those
// that the fix writes where nothing else is there.
func (r rule) filled(c *attempt) []Variable {
	value := r.value
	if c != nil {
		if v, set := c.place.get(c.setting); set && !r.remove {
			value = v
		}
	}
	words := map[string]string{valueWord: value, listWord: "[" + strings.Join(splitList(value), ", ") + "]"}
	if r.wordsOf != nil {
		for word, text := range r.wordsOf(c) {
			words[word] = text
		}
	}
	out := make([]Variable, 0, len(r.variables))
	for _, v := range r.variables {
		for word, text := range words {
			v.Value = strings.ReplaceAll(v.Value, word, text)
		}
		if c != nil {
			v.Without = v.others(c.setting)
		}
		if v.Value != "" {
			out = append(out, v)
		}
	}
	return out
}

// others are the ways besides a variable in which an inventory sets the same.
// Kubespray renders what it has a variable for and then the extra arguments: a flag
// in both is a duplicate key of a map, or a flag twice.
func (v Variable) others(s profile.Setting) []string {
	free, key := extraArgs[s.Component], s.Name
	if s.Component == node.Kubelet {
		key, _, _ = strings.Cut(s.Path, ".")
	}
	if free == "" || v.Name == free || key == "" {
		return v.Without
	}
	return append(v.Without[:len(v.Without):len(v.Without)], free+"."+key)
}

// extraArgs are the variables for what Kubespray has no other variable for, by
// component.
var extraArgs = map[string]string{
	node.APIServer:         "kube_kubeadm_apiserver_extra_args",
	node.ControllerManager: "kube_kubeadm_controller_extra_args",
	node.Scheduler:         "kube_kubeadm_scheduler_extra_args",
	node.Kubelet:           "kubelet_config_extra_args",
}

// extraArg sets a flag of a static pod that Kubespray has no variable for, before
// the release gone, which may be empty.
func extraArg(component, flag, value, gone string) Variable {
	return Variable{Name: extraArgs[component], Value: "{" + flag + `: "` + value + `"}`, Since: "2.12", Gone: gone, Adds: true}
}

// kubeletField does the same for a field of the kubelet's file.
func kubeletField(name, value, gone string) Variable {
	return Variable{Name: extraArgs[node.Kubelet], Value: "{" + name + ": " + value + "}", Since: "2.13", Gone: gone, Adds: true}
}
