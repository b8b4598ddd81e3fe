package fix

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

var updatePage = flag.Bool("update-page", false, "write docs/checks.md again, after a change of the rules or of the profiles")

// TestChecksPage keeps docs/checks.md what the catalogue says.
func TestChecksPage(t *testing.T) {
	file := filepath.Join("..", "..", "docs", "checks.md")
	want := checksPage(catalogued(t))
	if *updatePage {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(string(got), "\n")); diff != "" {
		t.Errorf("docs/checks.md is not what the catalogue says (-catalogue +page): go test ./hardener/fix -run TestChecksPage -update-page\n%s", diff)
	}
}

// pageParts are the parts of the page in order.
var pageParts = [...]struct{ component, title string }{
	{FilesGroup, "Modes and owners of files"},
	{node.APIServer, "API server"},
	{node.ControllerManager, "Controller manager"},
	{node.Scheduler, "Scheduler"},
	{node.Etcd, "etcd"},
	{node.Kubelet, "Kubelet"},
	{node.Proxy, "kube-proxy"},
	{ClusterGroup, "Cluster: who may do what"},
}

const pageHead = `<!-- Written by: go test ./hardener/fix -run TestChecksPage -update-page -->

# What is done about each check

Every check of kube-bench's profiles for upstream Kubernetes has one answer here, by the setting that it judges: numbers
differ from profile to profile, settings do not. The profiles are, in order: %s.
Without a profile in parentheses a number is the same in all. ` + "`hardener explain ID`" + ` says the same for one check, with what is
on your node, what it would touch there, and the diff.

| answer | what it means |
| --- | --- |
| fixed | ` + "`hardener fix`" + ` plans the change. Its risk: **files** restarts nothing; **restart** restarts a component of the node; **cluster** takes steps on several nodes, by rollout only; **workload** may change how workloads behave, and is made when asked for |
| judged | nothing is changed: the verdict is found for the layout of the node, where kube-bench looks elsewhere |
| never | not changed automatically; the reason says what it would break |
| person | evaluated, and left to a person |

*Before* is what must hold before a change: the program looks after what the node itself can show, who asks for risk
cluster or workload after the rest. *Proof* is what shows afterwards that all is well. The Kubespray variables keep a
change through the next playbook run; what ` + "`cluster.yml`" + ` does not render again holds until then by itself.
`

func checksPage(all []*catalogueEntry) []byte {
	var b bytes.Buffer
	var names []string
	for _, profile := range benchmarks {
		names = append(names, profile.name)
	}
	fmt.Fprintf(&b, pageHead, strings.Join(names, ", "))
	for _, part := range pageParts {
		var entries []*catalogueEntry
		for _, e := range all {
			if e.Component == part.component {
				entries = append(entries, e)
			}
		}
		slices.SortStableFunc(entries, func(x, y *catalogueEntry) int { return order(x.Answer) - order(y.Answer) })
		fmt.Fprintf(&b, "\n## %s\n", part.title)
		general := ComponentWords(part.component)
		if general != (Words{}) {
			fmt.Fprintf(&b, "\nFor every change here:\n\n- *Before:* %s\n- *Proof:* %s\n- *Undo:* %s\n", general.Guard, general.Proof, general.Undo)
		}
		notes := slices.ContainsFunc(entries, func(e *catalogueEntry) bool { return e.Note != "" })
		b.WriteString("\n| setting | checks | answer |")
		if notes {
			b.WriteString(" note |")
		}
		b.WriteString("\n| --- | --- | --- |")
		if notes {
			b.WriteString(" --- |")
		}
		b.WriteString("\n")
		for _, e := range entries {
			fmt.Fprintf(&b, "| %s | %s | %s |", quoted(e.Setting), numbers(e.ids), answer(e.Disposition))
			if notes {
				fmt.Fprintf(&b, " %s |", e.Note)
			}
			b.WriteString("\n")
		}
		alike(&b, entries, general)
	}
	variableTable(&b, all)
	return b.Bytes()
}

const variableHead = `
## Kubespray's variables by release

` + "`hardener vars`" + ` writes them with the values of your nodes, those of the release that you have. What is marked "added" goes
into the list or dictionary that the inventory has already.

| variable | Kubespray | keeps |
| --- | --- | --- |
`

// variableTable lists the variables of what is fixed or made in steps, each with its
// settings.
func variableTable(b *bytes.Buffer, all []*catalogueEntry) {
	b.WriteString(variableHead)
	var order []string
	keeps := map[string][]string{}
	for _, part := range pageParts {
		for _, e := range all {
			if e.Component != part.component || e.Component == ClusterGroup {
				continue
			}
			for _, v := range e.Variables {
				head := "| `" + v.Name + "`"
				if v.Adds {
					head += ", added"
				}
				head += " | " + v.Releases() + " | "
				if keeps[head] == nil {
					order = append(order, head)
				}
				what := part.title + ": " + quoted(e.Setting)
				if part.component == FilesGroup {
					what = e.Setting
				}
				keeps[head] = append(keeps[head], what)
			}
		}
	}
	slices.Sort(order)
	for _, head := range order {
		b.WriteString(head + strings.Join(unique(keeps[head]), "; ") + " |\n")
	}
}

// alike writes the details of the settings, those that differ in nothing
// together.
func alike(b *bytes.Buffer, entries []*catalogueEntry, general Words) {
	settings, bodies := map[string][]string{}, []string{}
	for _, e := range entries {
		body := ": " + answer(e.Disposition) + "\n\n" + details(e.Disposition, general)
		if settings[body] == nil {
			bodies = append(bodies, body)
		}
		settings[body] = append(settings[body], "**"+quoted(e.Setting)+"**")
	}
	for _, body := range bodies {
		b.WriteString("\n" + strings.Join(settings[body], ", ") + body)
	}
}

func order(a Answer) int { return slices.Index([]Answer{Fixed, Judged, Person, Explained}, a) }

func answer(d Disposition) string {
	if d.Answer == Fixed {
		return "fixed, " + string(d.Risk)
	}
	return string(d.Answer)
}

// quoted has what is code as code.
func quoted(setting string) string {
	var parts []string
	for _, s := range strings.Split(setting, ", ") {
		if flag, element, ok := strings.Cut(s, " "); ok && strings.HasPrefix(s, "--") {
			parts = append(parts, "`"+flag+"`: "+element)
		} else if strings.HasPrefix(s, "--") || !strings.Contains(s, " ") && strings.ContainsAny(s, ".ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
			parts = append(parts, "`"+s+"`")
		} else {
			parts = append(parts, s)
		}
	}
	return strings.Join(parts, ", ")
}

func details(d Disposition, general Words) string {
	var b strings.Builder
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(&b, "- *%s:* %s\n", label, text)
		}
	}
	own := func(list []string, shared string) string {
		return strings.Join(slices.DeleteFunc(slices.Clone(list), func(s string) bool { return s == shared }), "; ")
	}
	line("Why", d.Reason)
	line("Breaks", d.Breaks)
	line("Before", own(d.Guard, general.Guard))
	line("Proof", own(d.Proof, general.Proof))
	line("Undo", own(d.Undo, general.Undo))
	for _, v := range d.Variables {
		text := fmt.Sprintf("`%s: %s` (%s)", v.Name, v.Value, v.Releases())
		if v.Note != "" {
			text += "; " + v.Note
		}
		line("Kubespray", text)
	}
	return b.String()
}

// numbers are the numbers of a setting's checks, each with the profiles that
// have it, unless all do: in the order of the profiles, neighbours together.
func numbers(ids map[string][]string) string {
	var order []string
	spans := map[string][]string{} // of a number: "1.5 to 1.23"
	first, last := "", ""
	for i, b := range benchmarks {
		number, name := strings.Join(ids[b.name], " "), strings.TrimPrefix(b.name, "cis-")
		if number == "" {
			continue
		}
		if spans[number] == nil {
			order = append(order, number)
		}
		before := ""
		if i > 0 {
			before = strings.Join(ids[benchmarks[i-1].name], " ")
		}
		if before == number {
			last = name
			spans[number][len(spans[number])-1] = first + " to " + last
		} else {
			first = name
			spans[number] = append(spans[number], name)
		}
	}
	all := strings.TrimPrefix(benchmarks[0].name, "cis-") + " to " + strings.TrimPrefix(benchmarks[len(benchmarks)-1].name, "cis-")
	var out []string
	for _, number := range order {
		if s := strings.Join(spans[number], ", "); s != all {
			number += " (" + s + ")"
		}
		out = append(out, number)
	}
	return strings.Join(out, "; ")
}
