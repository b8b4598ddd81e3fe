package inventory

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Merge is a plan whose lists and dictionaries hold what the inventory has there
// already, without what a variable of the plan renders a second time. The error is
// for a value that cannot be taken over: an expression, or something in a vault.
func Merge(p Plan, inv Inventory) (Plan, error) {
	p.Variables = slices.Clone(p.Variables)
	duplicates := p.duplicates()
	for i := range p.Variables {
		n := &p.Variables[i]
		if !n.Adds {
			continue
		}
		for _, host := range inv.hostsOf(*n) {
			has, ok := inv.value(host, n.Name)
			if !ok && n.Over != "" {
				has, ok = inv.value(host, n.Over)
			}
			if !ok || has == nil {
				continue
			}
			if err := takeable(n.Name, has); err != nil {
				return Plan{}, err
			}
			merged, ok := union(has, n.Value)
			if !ok {
				return Plan{}, fmt.Errorf("%s of host %s is neither a list nor a dictionary as Kubespray wants it", n.Name, host)
			}
			n.Value = merged
		}
	}
	for len(duplicates) > 0 { // they are sorted: those of a variable stand together
		name, _, _ := strings.Cut(duplicates[0], ".")
		var keys []string
		for len(duplicates) > 0 && strings.HasPrefix(duplicates[0], name+".") {
			keys = append(keys, strings.TrimPrefix(duplicates[0], name+"."))
			duplicates = duplicates[1:]
		}
		if err := p.drop(inv, name, keys); err != nil {
			return Plan{}, err
		}
	}
	slices.SortStableFunc(p.Variables, func(a, b Need) int {
		if a.Part != b.Part {
			return slices.Index(parts, a.Part) - slices.Index(parts, b.Part)
		}
		return strings.Compare(a.Name, b.Name)
	})
	return p, nil
}

// duplicates are the keys, as VARIABLE.KEY, that must not be set beside the plan's
// variables. What the plan itself sets there is none: it is for a release in which
// nothing else renders it.
func (p Plan) duplicates() []string {
	var all []string
	own := map[string]bool{}
	for _, n := range p.Variables {
		all = merge(all, n.Without)
		if dict, ok := n.Value.(map[string]any); ok {
			for key := range dict {
				own[n.Name+"."+key] = true
			}
		}
	}
	return slices.DeleteFunc(all, func(key string) bool { return own[key] })
}

// drop keeps keys out of a dictionary of the inventory. The plan's file has the
// dictionary from then on, also once the keys are gone from what Ansible sees: without
// it, the inventory's own would come back, and the keys with it.
func (p *Plan) drop(inv Inventory, name string, keys []string) error {
	part := StaticPods
	switch {
	case strings.HasPrefix(name, "kubelet_"):
		part = Kubelet
	case strings.HasPrefix(name, "etcd_"):
		part = Etcd
	}
	i := slices.IndexFunc(p.Variables, func(n Need) bool { return n.Name == name })
	for _, host := range inv.of(part) {
		has, set := inv.value(host, name)
		if !set || has == nil {
			continue
		}
		if err := takeable(name, has); err != nil {
			return err
		}
		if i < 0 {
			i = len(p.Variables)
			p.Variables = append(p.Variables, Need{Name: name, Value: map[string]any{}, Part: part, Notes: []string{"the inventory's own, without what another variable renders"}})
		}
		n := &p.Variables[i]
		merged, _ := union(has, n.Value)
		dict, ok := merged.(map[string]any)
		if !ok {
			return fmt.Errorf("%s of host %s is not a dictionary as Kubespray wants it", name, host)
		}
		for _, key := range keys {
			delete(dict, key)
		}
		n.Value, n.Adds = dict, false // written also when nothing is left
	}
	return nil
}

// secretName is the name of a key whose value is likely a secret and not the path
// of one.
var secretName = regexp.MustCompile(`(?i)(password|passwd|secret|token|credential)s?$`)

// takeable refuses what must not be copied into a file, or cannot be.
func takeable(name string, v any) error {
	if open(v) {
		return fmt.Errorf("%s is an expression or in a vault, so that nothing can be added to it here: write it as a plain list or dictionary, or leave --inventory out and merge by hand", name)
	}
	var each func(key string, v any) error
	each = func(key string, v any) error {
		if dict, ok := v.(map[string]any); ok {
			if open(v) {
				return fmt.Errorf("%s has %s in a vault, which is not copied into another file: merge it by hand", name, key)
			}
			for k, v := range dict {
				if err := each(k, v); err != nil {
					return err
				}
			}
		}
		if list, ok := v.([]any); ok {
			for _, v := range list {
				if err := each(key, v); err != nil {
					return err
				}
			}
		}
		if text, ok := v.(string); ok && (secretName.MatchString(key) && !strings.HasPrefix(text, "/") && !strings.Contains(text, "{{") || strings.Contains(text, "PRIVATE KEY")) {
			return fmt.Errorf("%s has %s, which looks like a secret and is not copied into another file: merge it by hand", name, key)
		}
		return nil
	}
	return each("", v)
}
