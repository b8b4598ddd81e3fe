package inventory

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

const head = `Kubespray variables that keep what kubespray-hardener fixed, for Kubespray %s.

Put this file into group_vars/k8s_cluster/ (k8s-cluster before 2.16) under a name that sorts last there, such as
zz-hardening.yml: a file that comes later wins, and host_vars and -e always do. "hardener vars --verify INVENTORY" tells
whether it counts. What a variable stands for is in force on the nodes that are named, or planned where plans were asked
for; the variable keeps it, and gives it to the other hosts of the cluster too.`

// live says for each part how a variable comes into force on a node that does not
// have it yet.
var live = map[Part]string{
	StaticPods: `API server, controller manager, scheduler

Live after upgrade-cluster.yml, or after cluster.yml -e upgrade_cluster_setup=true with kube_version set to the release
that runs. Any other run of cluster.yml writes kubeadm-config.yaml and leaves the manifests alone.`,
	Kubelet: `Kubelet

Live after any run of cluster.yml, scale.yml or upgrade-cluster.yml, which restarts the kubelet where its files change.`,
	Etcd: `etcd

Live after any run of cluster.yml or upgrade-cluster.yml, which restarts etcd where its environment changes. Hosts that are
in group etcd only do not read group_vars/k8s_cluster: give them these in group_vars/all as well.`,
	Files: `Owners of files

Live after any run of cluster.yml, scale.yml or upgrade-cluster.yml.`,
}

// stale is so of the releases whose upgrade does not read kubeadm-config.yaml
// (roles/kubernetes/control-plane/tasks/kubeadm-upgrade.yml).
const stale = `In 2.26.0, 2.26.1 and 2.27.0 not even an upgrade applies changed flags: it reads the cluster's ConfigMap kubeadm-config.

There run on each control plane: kubeadm init phase control-plane all --config /etc/kubernetes/kubeadm-config.yaml
and on the first: kubeadm init phase upload-config kubeadm --config /etc/kubernetes/kubeadm-config.yaml`

// WriteYAML writes the variables as one commented file. The same plan gives the same
// bytes.
func (p Plan) WriteYAML(w io.Writer) error {
	var b bytes.Buffer
	comment(&b, fmt.Sprintf(head, p.Release))
	for _, part := range parts {
		first := true
		for _, n := range p.Variables {
			if n.Part != part || n.empty() {
				continue
			}
			if first {
				first = false
				b.WriteString("\n")
				comment(&b, "--- "+live[part])
				if begin, end := p.Release.Ends(); part == StaticPods && begin <= 27 && end >= 26 {
					comment(&b, stale)
				}
			}
			if err := n.write(&b); err != nil {
				return err
			}
		}
	}
	if len(p.NotKept) > 0 {
		b.WriteString("\n")
		comment(&b, "--- Not kept by a variable\n\nRun hardener fix again after each of these.")
		for _, n := range p.NotKept {
			b.WriteString("#\n")
			comment(&b, about(n.Settings, n.Checks, n.Nodes))
			comment(&b, survival(n.Forecast))
			comment(&b, "Why: "+n.Why)
		}
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write variables: %w", err)
	}
	return nil
}

func (n Need) write(b *bytes.Buffer) error {
	b.WriteString("\n")
	if len(n.Settings) > 0 {
		comment(b, about(n.Settings, n.Checks, n.Nodes))
	}
	if len(n.Notes) > 0 {
		comment(b, "Note: "+strings.Join(n.Notes, "; "))
	}
	if len(n.Forecast) > 0 {
		comment(b, survival(n.Forecast))
	}
	encoder := yaml.NewEncoder(b)
	encoder.SetIndent(2)
	if err := encoder.Encode(map[string]any{n.Name: n.Value}); err != nil {
		return fmt.Errorf("write variable %s: %w", n.Name, err)
	}
	return encoder.Close()
}

// about says for which settings, checks and nodes a variable is.
func about(settings, checks, nodes []string) string {
	text := some(settings)
	if len(checks) > 0 {
		text += " (" + strings.Join(checks, ", ") + ")"
	}
	if len(nodes) > 0 {
		text += " on " + some(nodes)
	}
	return text
}

// survival is a forecast in words.
func survival(forecast []fix.Fate) string {
	var lives, ends []string
	for _, f := range forecast {
		if f.Survives {
			lives = append(lives, f.On)
		} else {
			ends = append(ends, f.On)
		}
	}
	var text []string
	if len(lives) > 0 {
		text = append(text, "Survives "+strings.Join(lives, ", ")+".")
	}
	if len(ends) > 0 {
		text = append(text, "Does not survive "+strings.Join(ends, ", ")+".")
	}
	return strings.Join(text, " ")
}

// maxNamed is how many things of a kind a comment names.
const maxNamed = 8

func some(names []string) string {
	if more := len(names) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxNamed], ", "), more)
	}
	return strings.Join(names, ", ")
}

// width is how wide a comment may be, in bytes.
const width = 120

// comment writes text as comments, each paragraph of it wrapped. Whatever is in it
// stays a comment.
func comment(b *bytes.Buffer, text string) {
	for i, line := range strings.Split(text, "\n\n") {
		if i > 0 {
			b.WriteString("#\n")
		}
		out := "#"
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r <= ' ' || r == '\u0085' || r == '\u2028' || r == '\u2029' }) {
			if len(out)+1+len(word) > width && out != "#" {
				b.WriteString(out + "\n")
				out = "#"
			}
			out += " " + word
		}
		b.WriteString(out + "\n")
	}
}

// WriteJSON writes the plan on one line.
func (p Plan) WriteJSON(w io.Writer) error {
	p.Variables = slices.DeleteFunc(slices.Clone(p.Variables), Need.empty)
	if p.Variables == nil {
		p.Variables = []Need{}
	}
	if err := json.NewEncoder(w).Encode(p); err != nil {
		return fmt.Errorf("write variables: %w", err)
	}
	return nil
}

// WriteProblems writes them for a person to read, a line each.
func WriteProblems(w io.Writer, problems []Problem) error {
	var b bytes.Buffer
	for _, p := range problems {
		value, err := json.Marshal(p.Value)
		if err != nil {
			return fmt.Errorf("write variables: %w", err)
		}
		fmt.Fprintf(&b, "%-12s  %s: %s  on %s", p.Kind, p.Variable, short(string(value)), some(p.Hosts))
		if p.Why != "" {
			b.WriteString("; " + oneLine(p.Why))
		}
		b.WriteString("\n")
	}
	if len(problems) == 0 {
		b.WriteString("the inventory sets every variable that is needed\n")
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write variables: %w", err)
	}
	return nil
}

// short cuts a long value, such as the rules of an audit policy.
func short(text string) string {
	const most = 120
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "…"
	}
	return text
}

// oneLine keeps a text on a line, short.
func oneLine(text string) string { return short(strings.Join(strings.Fields(text), " ")) }

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
