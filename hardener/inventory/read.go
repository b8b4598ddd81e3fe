package inventory

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// Inventory is what an inventory sets for each host.
type Inventory struct {
	hosts  map[string]map[string]any
	groups map[string]group
}

type group struct {
	Hosts    []string `json:"hosts"`
	Children []string `json:"children"`
}

// Groups are the groups of Kubespray, for callers that have to make them known: from
// release 2.27 on k8s_cluster is made while a play runs, and an inventory without it
// does not show what its group_vars say. The names before 2.16 have dashes.
const Groups = "[kube_control_plane]\n[kube_node]\n[etcd]\n[calico_rr]\n[k8s_cluster:children]\nkube_control_plane\nkube_node\ncalico_rr\n"

// Read reads what ansible-inventory --list prints.
func Read(data []byte) (Inventory, error) {
	var all map[string]json.RawMessage
	if err := json.NewDecoder(bytes.NewReader(data)).Decode(&all); err != nil {
		return Inventory{}, fmt.Errorf("read inventory: %w", err)
	}
	inv := Inventory{hosts: map[string]map[string]any{}, groups: map[string]group{}}
	for name, raw := range all {
		if name == "_meta" {
			var meta struct {
				Hosts map[string]map[string]any `json:"hostvars"`
			}
			d := json.NewDecoder(bytes.NewReader(raw))
			d.UseNumber()
			if err := d.Decode(&meta); err != nil {
				return Inventory{}, fmt.Errorf("read inventory: %w", err)
			}
			for host, values := range meta.Hosts {
				numbers(values)
				inv.hosts[host] = values
			}
			continue
		}
		var g group
		if err := json.Unmarshal(raw, &g); err != nil {
			return Inventory{}, fmt.Errorf("read inventory: group %s: %w", name, err)
		}
		inv.groups[name] = g
	}
	if len(inv.of(StaticPods)) == 0 {
		return Inventory{}, errors.New("read inventory: no host in group kube_control_plane or kube-master")
	}
	return inv, nil
}

// of are the hosts that a variable of a part is for, sorted.
func (inv Inventory) of(part Part) []string {
	groups := map[Part][]string{
		StaticPods: {"kube_control_plane", "kube-master"},
		Kubelet:    {"kube_control_plane", "kube-master", "kube_node", "kube-node"},
		Etcd:       {"etcd"},
		Files:      {"kube_control_plane", "kube-master", "kube_node", "kube-node"},
	}[part]
	found := map[string]bool{}
	seen := map[string]bool{}
	var add func(name string)
	add = func(name string) {
		if seen[name] {
			return
		}
		seen[name] = true
		for _, host := range inv.groups[name].Hosts {
			found[host] = true
		}
		for _, child := range inv.groups[name].Children {
			add(child)
		}
	}
	for _, name := range groups {
		add(name)
	}
	return slices.Sorted(maps.Keys(found))
}

// hostsOf are the hosts of a need: of every part that it is for.
func (inv Inventory) hostsOf(n Need) []string {
	var all []string
	for _, setting := range n.Settings {
		all = merge(all, inv.of(partOf(setting)))
	}
	return all
}

// value is what a host has for a variable.
func (inv Inventory) value(host, name string) (any, bool) {
	v, ok := inv.hosts[host][name]
	return v, ok
}

// Sources are the files below group_vars and host_vars of an inventory's directory,
// sorted. What cannot be read, as it is in a vault, is left out.
func Sources(dir fs.FS) []Source {
	var all []Source
	for _, top := range []string{"group_vars", "host_vars"} {
		_ = fs.WalkDir(dir, top, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") || strings.HasSuffix(d.Name(), "~") {
				return nil
			}
			data, err := fs.ReadFile(dir, name)
			values := map[string]any{}
			if err == nil && yaml.Unmarshal(data, &values) == nil {
				all = append(all, Source{File: name, Values: values})
			}
			return nil
		})
	}
	return all
}
