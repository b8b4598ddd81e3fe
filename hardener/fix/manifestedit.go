package fix

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"
)

// podChange is what is to change in a static pod manifest, as data: the edit
// makes it line by line and verifyPod checks the outcome against it.
type podChange struct {
	flags       map[string]*string // by name without dashes; nil removes the flag
	probeHost   string             // host of every httpGet and tcpSocket probe
	mounts      []mount            // directories of the host that the container needs
	annotations map[string]string
}

// mount is a host directory mounted into the container at the same or another
// path.
type mount struct {
	name, hostPath, mountPath, hostPathType string
	readOnly                                bool
}

// setFlag sets a flag to be there exactly once: in place, or as a new line among
// the flags, sorted when they are.
func (m *manifest) setFlag(name, value string) (*manifest, error) {
	text, err := scalarText("--" + name + "=" + value)
	if err != nil {
		return nil, err
	}
	args := m.arguments()
	found := uses(args, name)
	if len(found) == 0 {
		return m.addFlag(args, name, text)
	}
	if found[0].items == 1 && len(found) == 1 && args[found[0].at].text == "--"+name+"="+value {
		return m, nil
	}
	// The extra lines go first, from the last upwards, so that the index of the
	// first use stays true.
	doc := m.doc
	for i := len(found) - 1; i >= 0; i-- {
		u := found[i]
		for n := u.items - 1; n >= 0; n-- {
			if i == 0 && n == 0 {
				doc, err = doc.replaceScalar(args[u.at].node, text)
			} else {
				doc, err = doc.splice(args[u.at+n].node.Line-1, 1)
			}
			if err != nil {
				return nil, err
			}
		}
	}
	return m.with(doc), nil
}

func (m *manifest) with(doc *document) *manifest {
	return &manifest{doc: doc, binary: m.binary, index: m.index}
}

func (m *manifest) addFlag(args []argument, name, text string) (*manifest, error) {
	at := -1 // the argument behind which the new line goes
	for i, a := range args {
		n := flagName(a.text)
		if n == "" {
			if at < 0 || i > 0 && i == at+1 && !strings.Contains(args[i-1].text, "=") {
				at = i // the program's name, or the value of `--flag value`
			}
			continue
		}
		if n < name || !sortedFlags(args) {
			at = i
			if !strings.Contains(a.text, "=") && i+1 < len(args) && !strings.HasPrefix(args[i+1].text, "-") {
				at = i + 1
			}
		}
	}
	if at < 0 {
		return nil, errors.New("no arguments to add a flag to")
	}
	line := m.doc.lines[args[at].node.Line-1]
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	doc, err := m.doc.splice(args[at].node.Line, 0, indent+"- "+text)
	if err != nil {
		return nil, err
	}
	return m.with(doc), nil
}

func sortedFlags(args []argument) bool {
	last := ""
	for _, a := range args {
		if n := flagName(a.text); n != "" {
			if n < last {
				return false
			}
			last = n
		}
	}
	return true
}

// removeFlag removes every use of a flag.
func (m *manifest) removeFlag(name string) (*manifest, error) {
	args := m.arguments()
	doc := m.doc
	found := uses(args, name)
	for i := len(found) - 1; i >= 0; i-- {
		for n := found[i].items - 1; n >= 0; n-- {
			var err error
			if doc, err = doc.splice(args[found[i].at+n].node.Line-1, 1); err != nil {
				return nil, err
			}
		}
	}
	return m.with(doc), nil
}

// addMount mounts a host directory: at the end of volumeMounts and volumes, in
// kubeadm's formatting. The kubelet refuses a whole manifest with two mounts on
// one path or two volumes of one name.
func (m *manifest) addMount(x mount) (*manifest, error) {
	if _, taken := m.volume(x.name); taken {
		return nil, fmt.Errorf("volume %s is there already with another mount", x.name)
	}
	mountLines := []string{"- mountPath: " + x.mountPath, "  name: " + x.name}
	if x.readOnly {
		mountLines = append(mountLines, "  readOnly: true")
	}
	doc, err := m.doc.appendItem(mountLines, m.path("volumeMounts")...)
	if err != nil {
		return nil, err
	}
	doc, err = doc.appendItem([]string{"- hostPath:", "    path: " + x.hostPath, "    type: " + x.hostPathType, "  name: " + x.name}, "spec", "volumes")
	if err != nil {
		return nil, err
	}
	return m.with(doc), nil
}

// appendItem adds an item at the end of the sequence at path.
func (d *document) appendItem(item []string, path ...string) (*document, error) {
	_, list := lookup(d.root, path...)
	name := path[len(path)-1]
	if list == nil || list.Kind != yaml.SequenceNode || list.Style&yaml.FlowStyle != 0 || len(list.Content) == 0 {
		return nil, fmt.Errorf("no %s in block style to add to", name)
	}
	first := d.lines[list.Content[0].Line-1]
	indent := len(first) - len(strings.TrimLeft(first, " "))
	if !strings.HasPrefix(first[indent:], "- ") {
		return nil, fmt.Errorf("line %d: %s does not begin with a dash", list.Content[0].Line, name)
	}
	lines := make([]string, len(item))
	for i, l := range item {
		lines[i] = strings.Repeat(" ", indent) + l
	}
	return d.splice(d.lastLine(list, indent)+1, 0, lines...)
}

// edit makes the change and returns the new bytes, checked by verifyPod against
// data, which m was read from. An error means that nothing may be changed; data is
// never modified.
func (m *manifest) edit(data []byte, c podChange) ([]byte, error) {
	known, binary := m.doc.known, m.binary
	var err error
	for _, name := range sortedKeys(c.flags) {
		if v := c.flags[name]; v != nil {
			m, err = m.setFlag(name, *v)
		} else {
			m, err = m.removeFlag(name)
		}
		if err != nil {
			return nil, err
		}
	}
	if c.probeHost != "" {
		for _, p := range m.probes() {
			doc, err := m.doc.setScalar(c.probeHost, append(p, "host")...)
			if err != nil {
				return nil, err
			}
			m = m.with(doc)
		}
	}
	for _, x := range c.mounts {
		if m, err = m.addMount(x); err != nil {
			return nil, err
		}
	}
	for _, k := range sortedKeys(c.annotations) {
		doc, err := m.doc.setScalar(c.annotations[k], "metadata", "annotations", k)
		if err != nil {
			return nil, err
		}
		m = m.with(doc)
	}
	out := m.doc.bytes()
	if err := verifyPod(known, data, out, binary, c); err != nil {
		return nil, err
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
