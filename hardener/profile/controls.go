package profile

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Controls loads a section of a benchmark with its variables substituted. The
// result is the caller's own.
func (c *Catalog) Controls(benchmark, target string, v Variables) (*Controls, error) {
	return c.load(path.Join(benchmark, target+".yaml"), v)
}

// Counts says how much LoadAll loaded.
type Counts struct {
	Benchmarks, Files, Groups, Checks, Items int
}

// LoadAll loads every control file of every benchmark without substitution.
func (c *Catalog) LoadAll() (Counts, error) {
	n := Counts{Benchmarks: len(c.names)}
	for _, benchmark := range c.names {
		if _, err := c.config(benchmark); err != nil {
			return n, err
		}
		names, err := c.controlFiles(benchmark)
		if err != nil {
			return n, err
		}
		for _, name := range names {
			controls, err := c.load(name, Variables{})
			if err != nil {
				return n, err
			}
			n.Files++
			n.Groups += len(controls.Groups)
			for _, g := range controls.Groups {
				n.Checks += len(g.Checks)
				for _, check := range g.Checks {
					if check.Tests != nil {
						n.Items += len(check.Tests.Items)
					}
				}
			}
		}
	}
	return n, nil
}

func (c *Catalog) load(name string, v Variables) (*Controls, error) {
	f, err := c.open(name)
	if err != nil {
		return nil, fmt.Errorf("load profile: %w", err)
	}
	controls, bins, err := f.substitute(name, newSubstitution(v))
	if err != nil {
		return nil, fmt.Errorf("load profile: %w", err)
	}
	if want := section(name); controls.Type != want {
		return nil, fmt.Errorf("load profile: %s: its type is %q, not %q", name, controls.Type, want)
	}
	nameVariables(controls, f.parsed, c.components())
	addEnvAudits(controls, bins)
	return controls, nil
}

// build makes Controls of what was parsed, passing every text through sub.
func (y *yamlControls) build(sub func(string) string) *Controls {
	c := &Controls{ID: sub(y.ID), Version: sub(y.Version), Text: sub(y.Text), Type: sub(y.Type), Groups: make([]Group, len(y.Groups))}
	for i, g := range y.Groups {
		group := &c.Groups[i]
		*group = Group{ID: sub(g.ID), Type: sub(g.Type), Text: sub(g.Text), Checks: make([]Check, len(g.Checks))}
		for j, check := range g.Checks {
			group.Checks[j] = check.build(sub)
		}
	}
	return c
}

func (y *yamlCheck) build(sub func(string) string) Check {
	c := Check{
		ID: sub(y.ID), Text: sub(y.Text), Audit: sub(y.Audit), AuditEnv: sub(y.AuditEnv), AuditConfig: sub(y.AuditConfig),
		Type: sub(y.Type), Remediation: sub(y.Remediation), Scored: y.Scored, Multiple: y.Multiple,
		NoEnvAudit: y.DisableEnvTesting,
	}
	if y.Tests == nil {
		return c
	}
	c.Tests = &Tests{BinOp: sub(y.Tests.BinOp), Items: make([]TestItem, len(y.Tests.TestItems))}
	for i, t := range y.Tests.TestItems {
		c.Tests.Items[i] = TestItem{
			Flag: sub(t.Flag), Env: sub(t.Env), Path: sub(t.Path), Set: t.Set,
			Compare: Compare{Op: sub(t.Compare.Op), Value: sub(t.Compare.Value)},
		}
	}
	return c
}

// addEnvAudits gives the checks with env items and without an audit of their own
// the audit that kube-bench makes up: the environment of the one binary that the
// file's variables named, or of nothing (cmd/common.go:126-148).
func addEnvAudits(controls *Controls, bins []string) {
	bin := ""
	if len(bins) == 1 {
		bin = bins[0]
	}
	for g := range controls.Groups {
		for i := range controls.Groups[g].Checks {
			c := &controls.Groups[g].Checks[i]
			if c.Tests == nil || c.NoEnvAudit || c.AuditEnv != "" {
				continue
			}
			if slices.ContainsFunc(c.Tests.Items, func(t TestItem) bool { return t.Env != "" }) {
				c.AuditEnv = fmt.Sprintf(`cat "/proc/$(/bin/ps -C %s -o pid= | tr -d ' ')/environ" | tr '\0' '\n'`, bin)
			}
		}
	}
}

// nameVariables fills in Check.Variables from the unsubstituted file. Where
// substitution changed the number of groups or checks, they cannot be told.
func nameVariables(controls *Controls, raw *yamlControls, components []string) {
	if raw == nil || len(raw.Groups) != len(controls.Groups) {
		return
	}
	for g := range controls.Groups {
		if len(raw.Groups[g].Checks) != len(controls.Groups[g].Checks) {
			continue
		}
		for i, y := range raw.Groups[g].Checks {
			var found []string
			for _, text := range []string{y.Audit, y.AuditEnv, y.AuditConfig} {
				found = appendVariables(found, text, components)
			}
			controls.Groups[g].Checks[i].Variables = found
		}
	}
}

// appendVariables adds the variables that text uses, each once. As in
// substitution, a variable ends where its name ends: $kubeletconfig uses
// kubeletconf.
func appendVariables(found []string, text string, components []string) []string {
	for {
		_, rest, ok := strings.Cut(text, "$")
		if !ok {
			return found
		}
		text = rest
		for _, component := range components {
			suffix, ok := strings.CutPrefix(rest, component)
			if !ok {
				continue
			}
			for _, k := range kinds() {
				if strings.HasPrefix(suffix, k.suffix) && !slices.Contains(found, component+k.suffix) {
					found = append(found, component+k.suffix)
				}
			}
		}
	}
}

// components are the components that any section of config.yaml names.
func (c *Catalog) components() []string {
	var names []string
	for _, v := range c.base {
		if s, ok := v.(map[string]any); ok {
			names = append(names, asStrings(s["components"])...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
