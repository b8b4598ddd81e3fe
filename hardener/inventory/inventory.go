// Package inventory owns what fixes come to in a Kubespray inventory: which
// variables keep them in a release, one commented file of them for
// group_vars/k8s_cluster, and how that stands to what an inventory sets already.
//
// Which variable keeps which setting is package fix's; running ansible-inventory is
// the caller's business.
package inventory

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"gopkg.in/yaml.v3"
)

// Fix is a decision about one check that some nodes share.
type Fix struct {
	Check string // its number
	Nodes []string
	fix.Decision
}

// Plan is what an inventory has to say.
type Plan struct {
	Release   node.ReleaseRange `json:"kubespray_release"`
	Variables []Need            `json:"variables"`
	NotKept   []NotKept         `json:"not_kept,omitempty"`
}

// Need is one variable with the value that keeps the fixes of all nodes.
type Need struct {
	Name     string     `json:"name"`
	Value    any        `json:"value"`
	Adds     bool       `json:"adds,omitempty"`    // Value goes into the inventory's own list or dictionary
	Over     string     `json:"over,omitempty"`    // see fix.Variable
	Without  []string   `json:"without,omitempty"` // see fix.Variable
	Part     Part       `json:"part"`
	Settings []string   `json:"settings"`
	Checks   []string   `json:"checks"`
	Nodes    []string   `json:"nodes"`
	Forecast []fix.Fate `json:"forecast,omitempty"`
	Notes    []string   `json:"notes,omitempty"`
}

// NotKept is a fix that no variable keeps, on some occasion or on any.
type NotKept struct {
	Settings []string   `json:"settings"`
	Checks   []string   `json:"checks"`
	Nodes    []string   `json:"nodes"`
	Why      string     `json:"why"`
	Forecast []fix.Fate `json:"forecast,omitempty"`
}

// Part is a part of a node by what renders it.
type Part string

// The parts in their order in the file.
const (
	StaticPods Part = "static-pods"
	Kubelet    Part = "kubelet"
	Etcd       Part = "etcd"
	Files      Part = "files"
)

var parts = []Part{StaticPods, Kubelet, Etcd, Files}

func partOf(setting string) Part {
	component, _, _ := strings.Cut(setting, " ")
	switch component {
	case node.Kubelet:
		return Kubelet
	case node.Etcd, node.EtcdEvents:
		return Etcd
	case fix.FilesGroup:
		return Files
	}
	return StaticPods
}

// ReleaseError says that no one set of variables is right for a range of releases.
type ReleaseError struct {
	Range     node.ReleaseRange
	Variables []string // with their releases
}

func (e *ReleaseError) Error() string {
	return fmt.Sprintf("the nodes tell of Kubespray %s, and what keeps their fixes is not the same in all of it: %s", e.Range, strings.Join(e.Variables, "; "))
}

// Needs are the variables that keep fixes in a range of releases. The error is a
// *ReleaseError, or about a variable whose value makes no sense.
func Needs(fixes []Fix, r node.ReleaseRange) (Plan, error) {
	fixes = slices.Clone(fixes)
	slices.SortStableFunc(fixes, func(a, b Fix) int {
		return cmp.Or(slices.Compare(a.Settings, b.Settings), cmp.Compare(a.Check, b.Check), slices.Compare(a.Nodes, b.Nodes))
	})
	c := collector{plan: Plan{Release: r}, values: map[string]map[string][]string{}}
	straddling := map[string]bool{}
	for _, f := range fixes {
		used := slices.ContainsFunc(f.Variables, func(v fix.Variable) bool { all, _ := v.In(r); return all })
		f.Forecast = fix.With(f.Forecast, used)
		for _, v := range f.Variables {
			all, some := v.In(r)
			switch {
			case all:
				if err := c.need(f, v); err != nil {
					return Plan{}, err
				}
			case some:
				straddling[v.Name+" "+v.Releases()] = true
			}
		}
		if why := notKept(f, r, used); why != "" {
			c.notKept(f, why)
		}
	}
	if len(straddling) > 0 {
		return Plan{}, &ReleaseError{Range: r, Variables: slices.Sorted(maps.Keys(straddling))}
	}
	c.choose()
	slices.SortStableFunc(c.plan.Variables, func(a, b Need) int {
		return cmp.Or(cmp.Compare(slices.Index(parts, a.Part), slices.Index(parts, b.Part)), cmp.Compare(a.Name, b.Name))
	})
	return c.plan, nil
}

// notKept says why a fix is not kept, "" when it is. A setting of a static pod that
// has no variable in a release is kept when kubeadm-config.yaml says so already.
func notKept(f Fix, r node.ReleaseRange, used bool) string {
	i := slices.IndexFunc(f.Forecast, func(fate fix.Fate) bool { return !fate.Survives })
	switch {
	case i < 0:
		return ""
	case used || !f.Forecast[i].Variable:
		return f.Forecast[i].Why
	}
	why := fmt.Sprintf("no variable of Kubespray %s keeps it", r)
	for _, v := range f.Variables {
		why += fmt.Sprintf("; %s does (%s)", v.Name, v.Releases())
		if v.Note != "" {
			why += ": " + v.Note
		}
	}
	return why
}

// collector puts the fixes of nodes together.
type collector struct {
	plan   Plan
	values map[string]map[string][]string // nodes by the value that they need, by variable
}

func (c *collector) need(f Fix, v fix.Variable) error {
	var value any
	if err := yaml.Unmarshal([]byte(v.Value), &value); err != nil {
		return fmt.Errorf("variable %s: %w", v.Name, err)
	}
	i := slices.IndexFunc(c.plan.Variables, func(n Need) bool { return n.Name == v.Name })
	if i < 0 {
		i = len(c.plan.Variables)
		c.plan.Variables = append(c.plan.Variables, Need{Name: v.Name, Value: value, Adds: v.Adds, Over: v.Over, Part: partOf(f.Settings[0])})
		c.values[v.Name] = map[string][]string{}
	} else if v.Adds {
		var ok bool
		if value, ok = union(c.plan.Variables[i].Value, value); !ok {
			return fmt.Errorf("variable %s: a list and a dictionary at once", v.Name)
		}
		c.plan.Variables[i].Value = value
	}
	n := &c.plan.Variables[i]
	c.values[v.Name][v.Value] = merge(c.values[v.Name][v.Value], f.Nodes)
	n.Settings, n.Checks, n.Nodes = merge(n.Settings, f.Settings), mergeChecks(n.Checks, f.Check), merge(n.Nodes, f.Nodes)
	n.Without, n.Forecast = merge(n.Without, v.Without), fix.Worse(n.Forecast, f.Forecast)
	if part := partOf(f.Settings[0]); slices.Index(parts, part) < slices.Index(parts, n.Part) {
		n.Part = part
	}
	if v.Note != "" && !slices.Contains(n.Notes, v.Note) {
		n.Notes = append(n.Notes, v.Note)
	}
	return nil
}

// choose decides where nodes differ: a variable of the cluster has one value, that
// of most nodes, and the others are told.
func (c *collector) choose() {
	for i := range c.plan.Variables {
		n := &c.plan.Variables[i]
		if n.Adds || len(c.values[n.Name]) < 2 {
			continue
		}
		by := c.values[n.Name]
		order := slices.SortedFunc(maps.Keys(by), func(a, b string) int {
			return cmp.Or(cmp.Compare(len(by[b]), len(by[a])), cmp.Compare(a, b))
		})
		_ = yaml.Unmarshal([]byte(order[0]), &n.Value) // read before
		for _, other := range order[1:] {
			n.Notes = append(n.Notes, fmt.Sprintf("not the same everywhere: %s on %s", oneLine(other), some(by[other])))
		}
	}
}

func (c *collector) notKept(f Fix, why string) {
	i := slices.IndexFunc(c.plan.NotKept, func(n NotKept) bool {
		return n.Why == why && slices.Equal(n.Checks, []string{f.Check}) && partOf(n.Settings[0]) == partOf(f.Settings[0])
	})
	if i < 0 {
		i = len(c.plan.NotKept)
		c.plan.NotKept = append(c.plan.NotKept, NotKept{Why: why, Checks: []string{f.Check}})
	}
	n := &c.plan.NotKept[i]
	n.Settings, n.Nodes, n.Forecast = merge(n.Settings, f.Settings), merge(n.Nodes, f.Nodes), fix.Worse(n.Forecast, f.Forecast)
}

// merge is the sorted union of two lists.
func merge(a, b []string) []string {
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

func mergeChecks(all []string, more string) []string {
	if !slices.Contains(all, more) {
		all = append(slices.Clone(all), more)
	}
	slices.SortFunc(all, compareNumbers)
	return all
}

// compareNumbers orders 1.2.9 before 1.2.10.
func compareNumbers(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		return cmp.Or(cmp.Compare(len(x), len(y)), cmp.Compare(x, y))
	})
}
