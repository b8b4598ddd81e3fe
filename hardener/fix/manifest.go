package fix

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// manifest is a static pod manifest with the container that runs binary.
type manifest struct {
	doc    *document
	binary string // kube-apiserver, ...
	index  int    // of the container
}

// manifest finds the container of binary. A container that starts it
// through a shell is refused: its flags are not list items.
func (known *memory) manifest(data []byte, binary string) (*manifest, error) {
	doc, err := known.document(data)
	if err != nil {
		return nil, err
	}
	_, containers := lookup(doc.root, "spec", "containers")
	if containers == nil || containers.Kind != yaml.SequenceNode || containers.Style&yaml.FlowStyle != 0 {
		return nil, errors.New("no spec.containers in block style")
	}
	m := &manifest{doc: doc, binary: binary, index: -1}
	for i, c := range containers.Content {
		if startsBinary(c, binary) {
			if m.index >= 0 {
				return nil, fmt.Errorf("two containers run %s", binary)
			}
			m.index = i
		}
	}
	if m.index < 0 {
		return nil, fmt.Errorf("no container runs %s as its command", binary)
	}
	for _, key := range []string{"command", "args"} {
		_, list := lookup(doc.root, m.path(key)...)
		if list == nil {
			continue
		}
		if list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || len(list.Content) == 0 {
			return nil, fmt.Errorf("line %d: %s is not a list in block style", list.Line, key)
		}
		for _, item := range list.Content {
			if err := m.plainItem(item); err != nil {
				return nil, err
			}
		}
	}
	return m, nil
}

// startsBinary reports a container whose first word is binary, also behind
// hyperkube, or that leaves the command to its image and is named so.
func startsBinary(c *yaml.Node, binary string) bool {
	var words []string
	for _, key := range []string{"command", "args"} {
		if _, list := child(c, key); list != nil && list.Kind == yaml.SequenceNode {
			for _, item := range list.Content {
				words = append(words, item.Value)
			}
			if key == "command" && len(words) == 0 {
				return false
			}
		}
	}
	if len(words) == 0 {
		return false
	}
	first := path.Base(words[0])
	if first == "hyperkube" && len(words) > 1 {
		first = path.Base(words[1])
	}
	if _, command := child(c, "command"); command == nil && strings.HasPrefix(words[0], "--") {
		_, name := child(c, "name")
		return name != nil && name.Value == binary
	}
	return first == binary
}

func (m *manifest) path(names ...string) []string {
	return append([]string{"spec", "containers", strconv.Itoa(m.index)}, names...)
}

// plainItem requires that a list item is one scalar on one line of its own.
func (m *manifest) plainItem(item *yaml.Node) error {
	if item.Kind != yaml.ScalarNode {
		return fmt.Errorf("line %d: not a single value", item.Line)
	}
	before, _, _, err := m.doc.rawScalar(item)
	if err != nil {
		return err
	}
	if strings.TrimSpace(before) != "-" {
		return fmt.Errorf("line %d: list item is not on a line of its own", item.Line)
	}
	return nil
}

// argument is one item of command or args, in order.
type argument struct {
	node *yaml.Node
	list string // command or args
	text string
}

func (m *manifest) arguments() []argument {
	var out []argument
	for _, key := range []string{"command", "args"} {
		if _, list := lookup(m.doc.root, m.path(key)...); list != nil {
			for _, item := range list.Content {
				out = append(out, argument{item, key, item.Value})
			}
		}
	}
	return out
}

// flagName is the name of a flag item, "" when it is none. Kubernetes takes an
// underscore for a dash (k8s.io/component-base/cli/flag WordSepNormalizeFunc).
func flagName(item string) string {
	name, ok := strings.CutPrefix(item, "--")
	if !ok || name == "" {
		return ""
	}
	name, _, _ = strings.Cut(name, "=")
	return strings.ReplaceAll(name, "_", "-")
}

// flagUse is one use of a flag: one argument, or two in the form `--flag value`.
type flagUse struct {
	at    int // index in arguments
	items int
	value string
}

// uses finds every use of a flag. A bare `--flag` is boolean true unless a word
// that is no flag follows.
func uses(args []argument, name string) []flagUse {
	var out []flagUse
	for i := 1; i < len(args)+1; i++ {
		a := args[i-1]
		if flagName(a.text) != name {
			continue
		}
		u := flagUse{at: i - 1, items: 1, value: "true"}
		if _, value, ok := strings.Cut(a.text, "="); ok {
			u.value = value
		} else if i < len(args) && !strings.HasPrefix(args[i].text, "-") {
			u.items, u.value = 2, args[i].text
		}
		out = append(out, u)
	}
	return out
}

// flag is the value that the component uses: the last of a flag given twice. For
// flags that are lists all uses add up.
func (m *manifest) flag(name string) (string, bool) {
	found := uses(m.arguments(), name)
	if len(found) == 0 {
		return "", false
	}
	if isListFlag(name) {
		var all []string
		for _, u := range found {
			all = append(all, splitList(u.value)...)
		}
		return strings.Join(all, ","), true
	}
	return found[len(found)-1].value, true
}

// isListFlag names the flags whose repeated uses add up instead of the last
// winning (pflag's StringSlice and component-base's MapStringBool).
func isListFlag(name string) bool {
	return slices.Contains([]string{"enable-admission-plugins", "disable-admission-plugins", "feature-gates", "authorization-mode", "tls-cipher-suites"}, name)
}

func splitList(s string) []string {
	var out []string
	for _, e := range strings.Split(s, ",") {
		if e = strings.TrimSpace(e); e != "" && !slices.Contains(out, e) {
			out = append(out, e)
		}
	}
	return out
}

// probes are the paths of what the container's probes connect to.
func (m *manifest) probes() [][]string {
	var out [][]string
	for _, probe := range []string{"livenessProbe", "readinessProbe", "startupProbe"} {
		for _, how := range []string{"httpGet", "tcpSocket"} {
			if _, v := lookup(m.doc.root, m.path(probe, how)...); v != nil {
				out = append(out, m.path(probe, how))
			}
		}
	}
	return out
}

// hostPath translates a path inside the container to the host's: by the mount
// with the longest matching path.
func (m *manifest) hostPath(inside string) (host string, readOnly, ok bool) {
	_, mounts := lookup(m.doc.root, m.path("volumeMounts")...)
	if mounts == nil {
		return "", false, false
	}
	best := ""
	for _, v := range mounts.Content {
		_, at := child(v, "mountPath")
		_, name := child(v, "name")
		if _, sub := child(v, "subPath"); at == nil || name == nil || sub != nil {
			continue
		}
		root := path.Clean(at.Value)
		if !within(inside, root) || len(root) < len(best) {
			continue
		}
		if dir, found := m.volume(name.Value); found {
			_, ro := child(v, "readOnly")
			best, ok = root, true
			host, readOnly = path.Join(dir, strings.TrimPrefix(inside, root)), ro != nil && ro.Value == "true"
		}
	}
	return host, readOnly, ok
}

// within reports that path p is dir or below it.
func within(p, dir string) bool {
	p, dir = path.Clean(p), path.Clean(dir)
	return p == dir || strings.HasPrefix(p, strings.TrimSuffix(dir, "/")+"/")
}

func (m *manifest) volume(name string) (hostPath string, ok bool) {
	_, volumes := lookup(m.doc.root, "spec", "volumes")
	if volumes == nil {
		return "", false
	}
	for _, v := range volumes.Content {
		if _, n := child(v, "name"); n == nil || n.Value != name {
			continue
		}
		_, p := lookup(v, "hostPath", "path")
		if p == nil {
			return "", false
		}
		return p.Value, true
	}
	return "", false
}
