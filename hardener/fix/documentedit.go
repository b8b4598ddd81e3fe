package fix

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"
)

// setScalar sets the scalar at path: in place when the key is there, else as a
// new line at its place in a sorted mapping or at the end of an unsorted one.
func (d *document) setScalar(value any, path ...string) (*document, error) {
	text, err := scalarText(value)
	if err != nil {
		return nil, err
	}
	if _, v := lookup(d.root, path...); v != nil && !isEmpty(v) {
		if v.Kind != yaml.ScalarNode {
			return nil, fmt.Errorf("line %d: %s is not a single value", v.Line, strings.Join(path, "."))
		}
		if _, ok := value.(string); ok && v.Style&yaml.DoubleQuotedStyle != 0 && !strings.HasPrefix(text, `"`) {
			text = strconv.Quote(text)
		}
		return d.replaceScalar(v, text)
	}
	return d.insert(path, []string{text})
}

// setList sets the sequence of strings at path.
func (d *document) setList(values []string, path ...string) (*document, error) {
	items := make([]string, len(values))
	for i, v := range values {
		text, err := scalarText(v)
		if err != nil {
			return nil, err
		}
		items[i] = "- " + text
	}
	_, v := lookup(d.root, path...)
	if v == nil || isEmpty(v) {
		return d.insert(path, items)
	}
	if v.Kind != yaml.SequenceNode || v.Style&yaml.FlowStyle != 0 || len(v.Content) == 0 {
		return nil, fmt.Errorf("line %d: %s is not a list in block style", v.Line, strings.Join(path, "."))
	}
	first, indent := v.Content[0].Line-1, v.Column-1
	for i := range items {
		items[i] = strings.Repeat(" ", indent) + items[i]
	}
	return d.splice(first, d.lastLine(v, indent)-first+1, items...)
}

// replaceScalar replaces the text of a scalar that lies on one line, comment
// behind it included in what stays.
func (d *document) replaceScalar(v *yaml.Node, text string) (*document, error) {
	before, _, after, err := d.rawScalar(v)
	if err != nil {
		return nil, err
	}
	return d.splice(v.Line-1, 1, before+text+after)
}

// rawScalar splits the line of a scalar into what stands before it, the scalar
// as written, and the rest, which is blank or a comment.
func (d *document) rawScalar(v *yaml.Node) (before, raw, after string, err error) {
	fail := func(what string) (string, string, string, error) {
		return "", "", "", fmt.Errorf("line %d: %s", v.Line, what)
	}
	if v.Line < 1 || v.Line > len(d.lines) {
		return fail("outside the file")
	}
	runes := []rune(d.lines[v.Line-1])
	if v.Column < 1 || v.Column-1 > len(runes) {
		return fail("outside the line")
	}
	before, rest := string(runes[:v.Column-1]), string(runes[v.Column-1:])
	n := len(v.Value)
	switch {
	case v.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return fail("a block of text where one line was expected")
	case v.Style&yaml.DoubleQuotedStyle != 0:
		n = quotedLen(rest, '"')
	case v.Style&yaml.SingleQuotedStyle != 0:
		n = quotedLen(rest, '\'')
	case !strings.HasPrefix(rest, v.Value):
		n = 0
	}
	if n == 0 {
		return fail("a value over several lines")
	}
	raw, after = rest[:n], rest[n:]
	if trimmed := strings.TrimLeft(after, " "); trimmed != "" && (trimmed[0] != '#' || len(trimmed) == len(after)) {
		return fail("more than one value on the line (flow style is not edited)")
	}
	return before, raw, after, nil
}

// quotedLen is the length of the quoted scalar that s starts with, 0 when it
// does not end on the line.
func quotedLen(s string, quote byte) int {
	for i := 1; i < len(s); i++ {
		switch {
		case quote == '"' && s[i] == '\\':
			i++
		case s[i] != quote:
		case quote == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		default:
			return i + 1
		}
	}
	return 0
}

// isEmpty reports a value that is no value: null, {} or [].
func isEmpty(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && n.Tag == "!!null" || n.Kind != yaml.ScalarNode && len(n.Content) == 0
}

// insert adds a key that is missing or empty, with the parents it lacks. tail is
// one scalar, or the items of a list.
func (d *document) insert(path, tail []string) (*document, error) {
	parent, depth := d.root, 0
	for depth < len(path)-1 {
		_, v := child(parent, path[depth])
		if v == nil || isEmpty(v) {
			break
		}
		parent, depth = v, depth+1
	}
	if parent.Kind != yaml.MappingNode || parent.Style&yaml.FlowStyle != 0 || len(parent.Content) == 0 {
		return nil, fmt.Errorf("line %d: %s is not a mapping in block style", parent.Line, strings.Join(path[:depth], "."))
	}
	indent := parent.Content[0].Column - 1
	if key, v := child(parent, path[depth]); key != nil {
		return d.fillEmpty(key, v, indent, path[depth:], tail)
	}
	block, err := d.block(indent, path[depth:], tail)
	if err != nil {
		return nil, err
	}
	return d.splice(d.place(parent, path[depth], indent), 0, block...)
}

// fillEmpty writes below, or behind, a key whose value is null, {} or [].
func (d *document) fillEmpty(key, v *yaml.Node, indent int, path, tail []string) (*document, error) {
	line := key.Line - 1
	if v.Line != key.Line {
		return nil, fmt.Errorf("line %d: empty value on a line of its own", v.Line)
	}
	head, _, ok := strings.Cut(d.lines[line], ":")
	rest := strings.TrimSpace(strings.TrimPrefix(d.lines[line], head+":"))
	if !ok || strings.TrimSpace(head) != key.Value || rest != "" && rest != "{}" && rest != "[]" && rest != "null" && rest != "~" {
		return nil, fmt.Errorf("line %d: not a plain empty key", key.Line)
	}
	block, err := d.block(indent, path, tail)
	if err != nil {
		return nil, err
	}
	// A first line that begins in a list item keeps its dash.
	block[0] = head + ":" + strings.TrimPrefix(block[0], strings.Repeat(" ", indent)+path[0]+":")
	return d.splice(line, 1, block...)
}

// block is the text of path and tail, indented as the file is.
func (d *document) block(indent int, path, tail []string) ([]string, error) {
	step := d.step()
	var out []string
	for i, name := range path {
		key, err := scalarText(name)
		if err != nil {
			return nil, err
		}
		line := strings.Repeat(" ", indent+i*step) + key + ":"
		if i == len(path)-1 && len(tail) == 1 && !strings.HasPrefix(tail[0], "- ") {
			return append(out, line+" "+tail[0]), nil
		}
		out = append(out, line)
	}
	for _, t := range tail { // lists are not indented below their key, as kubeadm writes them
		out = append(out, strings.Repeat(" ", indent+(len(path)-1)*step)+t)
	}
	return out, nil
}

// step is the indentation of the file, 2 when nothing in it is nested.
func (d *document) step() int {
	for i := 0; i+1 < len(d.root.Content); i += 2 {
		if v := d.root.Content[i+1]; v.Kind == yaml.MappingNode && v.Style&yaml.FlowStyle == 0 && len(v.Content) > 0 {
			if n := v.Content[0].Column - d.root.Content[i].Column; n > 0 {
				return n
			}
		}
	}
	return 2
}

// place is the line index at which a new key of mapping m goes: kubeadm sorts
// the keys of its manifests, Kubespray's templates do not.
func (d *document) place(m *yaml.Node, name string, indent int) int {
	sorted := len(m.Content) > 2
	for i := 2; i+1 < len(m.Content); i += 2 {
		sorted = sorted && m.Content[i-2].Value < m.Content[i].Value
	}
	if sorted {
		for i := 0; i+1 < len(m.Content); i += 2 {
			k := m.Content[i]
			if k.Value > name && strings.TrimSpace(string([]rune(d.lines[k.Line-1])[:k.Column-1])) == "" {
				return k.Line - 1
			}
		}
	}
	return d.lastLine(m, indent) + 1
}

// lastLine is the index of the last line of node n, whose own lines begin at
// column indent: the last line of any part of it, and whatever follows that is
// indented more deeply, such as the rest of a block of text.
func (d *document) lastLine(n *yaml.Node, indent int) int {
	last := maxLine(n) - 1
	for i := last + 1; i < len(d.lines); i++ {
		text := strings.TrimLeft(d.lines[i], " ")
		if text == "" {
			continue
		}
		if len(d.lines[i])-len(text) <= indent {
			break
		}
		last = i
	}
	return last
}

func maxLine(n *yaml.Node) int {
	line := n.Line
	for _, c := range n.Content {
		line = max(line, maxLine(c))
	}
	return line
}

// scalarText is a value as YAML: plain where that reads back as the same value,
// else in double quotes. Text that is not printable ASCII is an error: nothing
// that is written here needs any.
func scalarText(value any) (string, error) {
	var text, tag string
	switch v := value.(type) {
	case bool:
		return strconv.FormatBool(v), nil
	case int:
		return strconv.Itoa(v), nil
	case string:
		text, tag = v, "!!str"
	default:
		return "", fmt.Errorf("cannot write a %T", value)
	}
	for _, r := range text {
		if r < ' ' || r > '~' {
			return "", fmt.Errorf("cannot write %q: not printable ASCII", text)
		}
	}
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err == nil && len(n.Content) == 1 && !ambiguous(text) {
		if c := n.Content[0]; c.Kind == yaml.ScalarNode && c.Style == 0 && c.Tag == tag && c.Value == text && c.LineComment == "" {
			return text, nil
		}
	}
	return strconv.Quote(text), nil
}

// ambiguous reports text that YAML 1.1, which Kubernetes reads, takes for a
// boolean and YAML 1.2 for text.
func ambiguous(s string) bool {
	return slices.Contains([]string{"y", "n", "yes", "no", "on", "off"}, strings.ToLower(s))
}
