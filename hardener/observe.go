package hardener

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Observation is one look at a node, for whoever wants to see what changes on it.
type Observation struct {
	Report report.Report      // without decisions: nothing was planned
	Checks map[string]Subject // by fix.Key
}

// Subject is a check with what its verdict rests on.
type Subject struct {
	State  check.State
	Unread bool // it would pass, had the process that runs read its file
	Title  string
	Values map[string]string // by setting, such as "--profiling" or "permissions"; "" for none
	Seen   []string          // evidence and what the audits printed, a line each

	Files      []string // whose mode or owner the audits printed, absolute
	Reads      []string // that the audits looked at, absolute
	Components []string // whose settings are judged; package node has their names
}

// Observe checks a node and never writes, like Check, but plans nothing. A node
// some of whose files cannot be understood is observed all the same: the error is
// then a *BrokenError, beside the observation.
func Observe(ctx context.Context, o Options) (Observation, error) {
	started := time.Now()
	in, err := inspect(ctx, o)
	if err != nil {
		return Observation{}, err
	}
	sections, err := in.audit(ctx)
	if err != nil {
		return Observation{}, err
	}
	seen := Observation{Report: in.report(sections, nil), Checks: map[string]Subject{}}
	seen.Report.Run = in.runInfo("check", started)
	for _, s := range sections {
		for _, out := range s.outcomes {
			seen.Checks[fix.Key(out.target, out.check.ID)] = out.subject()
		}
	}
	return seen, in.broken()
}

func (o outcome) subject() Subject {
	s := Subject{
		State: o.verdict.State, Unread: o.verdict.Unread, Title: o.check.Text, Values: map[string]string{},
		Files: o.stats, Reads: o.reads, Seen: slices.Clone(o.verdict.Evidence),
	}
	for i, setting := range o.truth.Settings() {
		if setting.Component != "" && !slices.Contains(s.Components, setting.Component) {
			s.Components = append(s.Components, setting.Component)
		}
		if i < len(o.result.Items) {
			s.value(o.truth.Tests.Items[i].Flag, setting.Path, o.result.Items[i])
		}
	}
	return s
}

// value notes what an item found. What is a file and not one setting of it is
// not taken over: it may hold secrets.
func (s *Subject) value(flag, path string, item check.Item) {
	name := flag
	if item.Source != check.FromAudit && path != "" || name == "" {
		name = path
	}
	if name == "" {
		return
	}
	s.Values[name] = ""
	if item.Found && !strings.Contains(item.Value, "\n") {
		s.Values[name] = item.Value
	}
	if item.Source == check.FromAudit && !strings.HasPrefix(flag, "-") { // of files: what stat printed
		for line := range strings.Lines(item.Output) {
			if line = strings.TrimSpace(line); line != "" && len(line) < longLine && !slices.Contains(s.Seen, line) {
				s.Seen = append(s.Seen, line)
			}
		}
	}
}

// longLine is where the output of an audit is more than the state of a file, in
// bytes.
const longLine = 200

// ByInput are the keys of the checks whose verdicts rest on any of these files or
// components: what an audit looked at, or the files of a component whose settings
// the check judges. changed has the paths that were looked at and lead to each file,
// or to the directory that it is in. What is looked at to find out how Kubernetes is
// installed may concern all others.
func (o Observation) ByInput(changed map[string][]string, components []string) []string {
	found := map[string]bool{}
	for _, paths := range changed {
		for key, s := range o.Checks {
			if o.rests(s, paths) {
				found[key] = true
			}
		}
	}
	for key, s := range o.Checks {
		if slices.ContainsFunc(s.Components, func(name string) bool { return slices.Contains(components, name) }) {
			found[key] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// rests tells whether a check rests on any of these paths.
func (o Observation) rests(s Subject, paths []string) bool {
	return slices.ContainsFunc(paths, func(p string) bool {
		return slices.Contains(s.Reads, p) || slices.ContainsFunc(s.Components, func(name string) bool {
			return slices.Contains(o.Report.Layout.Components[name].Files(), p)
		})
	})
}

// FilesOf are those of some changed files, see ByInput, that a check rests on,
// sorted. A single one is taken for the cause of whatever is otherwise; where none
// is known to have changed, it is the one file that the check is about.
func (o Observation) FilesOf(key string, changed map[string][]string) []string {
	all := slices.Sorted(maps.Keys(changed))
	if len(all) == 0 && len(o.Checks[key].Files) == 1 {
		return o.Checks[key].Files
	}
	if len(all) < 2 {
		return all
	}
	return slices.DeleteFunc(all, func(file string) bool { return !o.rests(o.Checks[key], changed[file]) })
}

// Running are the components of the node that run, by process.
func (o Observation) Running() map[string]node.Component {
	all := map[string]node.Component{}
	for name, c := range o.Report.Layout.Components {
		if c.Running {
			all[name] = c
		}
	}
	return all
}

// Difference says in one line what is otherwise in a check than it was: its
// settings, else what was seen of its files.
func (s Subject) Difference(before Subject) (was, is string) {
	var a, b []string
	for _, name := range slices.Sorted(maps.Keys(s.Values)) {
		if old := before.Values[name]; old != s.Values[name] {
			a, b = append(a, assigned(name, old)), append(b, assigned(name, s.Values[name]))
		}
	}
	if a == nil || len(s.Files) > 0 {
		c, d := without(before.Seen, s.Seen), without(s.Seen, before.Seen)
		if len(c)+len(d) > 0 {
			a, b = c, d
		}
	}
	return strings.Join(a, ", "), strings.Join(b, ", ")
}

func assigned(name, value string) string {
	switch {
	case value == "":
		return name + " not set"
	case value == name: // a flag that is there by itself
		return name
	}
	return fmt.Sprintf("%s=%s", name, value)
}

func without(lines, others []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return slices.Contains(others, l) })
}
