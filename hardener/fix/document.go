package fix

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// maxFile is the largest file, in bytes, that is edited. Configuration files of
// a node are a few kilobytes.
const maxFile = 1 << 20

// document is a YAML file that is edited line by line: only the lines of what
// is set change, everything else stays byte for byte. Kubespray 2.18 to 2.23
// looks for lines of kube-apiserver.yaml by their indentation and corrupts a
// manifest that was written anew from its tree.
type document struct {
	lines []string // without line ends; the last is empty when the file ends with one
	root  *yaml.Node
	known *memory
}

// parseDocument refuses whatever makes editing by line unsafe: more than one
// document, anchors, aliases, explicit tags, duplicate keys, tabs, CRLF, control
// characters. What it refuses is never changed.
func parseDocument(data []byte) (*document, error) { return (*memory)(nil).document(data) }

func readDocument(data []byte) (*document, error) {
	if err := plainText(data); err != nil {
		return nil, err
	}
	root, err := parseTree(data)
	if err != nil {
		return nil, err
	}
	if err := checkTree(root, 0); err != nil {
		return nil, err
	}
	return &document{lines: strings.Split(string(data), "\n"), root: root}, nil
}

func plainText(data []byte) error {
	switch {
	case len(data) > maxFile:
		return fmt.Errorf("larger than %d bytes", maxFile)
	case !utf8.Valid(data):
		return errors.New("not UTF-8 text")
	}
	for i, line := range bytes.Split(data, []byte("\n")) {
		for _, r := range string(line) {
			switch {
			case r == '\r':
				return fmt.Errorf("line %d: carriage return", i+1)
			case r == '\t':
				return fmt.Errorf("line %d: tab", i+1)
			case r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff:
				return fmt.Errorf("line %d: control character %U", i+1, r)
			}
		}
	}
	return nil
}

// parseTree reads exactly one document. The parser has panicked on malformed
// input in the past, hence the recover: a broken file is an error like another.
func parseTree(data []byte) (root *yaml.Node, err error) {
	defer func() {
		if r := recover(); r != nil {
			root, err = nil, fmt.Errorf("not YAML: %v", r)
		}
	}()
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, next yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return nil, errors.New("empty")
		}
		return nil, fmt.Errorf("not YAML: %w", err)
	}
	if err := dec.Decode(&next); !errors.Is(err, io.EOF) {
		return nil, errors.New("more than one document")
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, errors.New("not a mapping at the top")
	}
	return doc.Content[0], nil
}

func checkTree(n *yaml.Node, depth int) error {
	if depth > 100 {
		return fmt.Errorf("line %d: nested too deeply", n.Line)
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return fmt.Errorf("line %d: anchor or alias", n.Line)
	case n.Style&yaml.TaggedStyle != 0:
		return fmt.Errorf("line %d: explicit tag", n.Line)
	}
	if n.Kind == yaml.MappingNode {
		seen := map[string]bool{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			switch {
			case k.Kind != yaml.ScalarNode || k.Tag == "!!merge":
				return fmt.Errorf("line %d: key is not plain text", k.Line)
			case seen[k.Value]:
				return fmt.Errorf("line %d: duplicate key %q", k.Line, k.Value)
			}
			seen[k.Value] = true
		}
	}
	for _, c := range n.Content {
		if err := checkTree(c, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (d *document) bytes() []byte { return []byte(strings.Join(d.lines, "\n")) }

// splice replaces n lines from index at and reads the result anew.
func (d *document) splice(at, n int, with ...string) (*document, error) {
	if at < 0 || n < 0 || at+n > len(d.lines) {
		return nil, fmt.Errorf("line %d: outside the file", at+1)
	}
	lines := slices.Concat(d.lines[:at], with, d.lines[at+n:])
	return d.known.document([]byte(strings.Join(lines, "\n")))
}

// lookup finds the key and value at path; elements of sequences are numbers.
func lookup(n *yaml.Node, path ...string) (key, value *yaml.Node) {
	for _, p := range path {
		key, value = child(n, p)
		if value == nil {
			return nil, nil
		}
		n = value
	}
	return key, n
}

func child(n *yaml.Node, name string) (key, value *yaml.Node) {
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return n.Content[i], n.Content[i+1]
			}
		}
	case yaml.SequenceNode:
		if i, err := strconv.Atoi(name); err == nil && i >= 0 && i < len(n.Content) {
			return nil, n.Content[i]
		}
	}
	return nil, nil
}

// scalar is the text of the scalar at path.
func (d *document) scalar(path ...string) (string, bool) {
	_, v := lookup(d.root, path...)
	if v == nil || v.Kind != yaml.ScalarNode || v.Tag == "!!null" {
		return "", false
	}
	return v.Value, true
}

// list is the sequence of scalars at path.
func (d *document) list(path ...string) ([]string, bool) {
	_, v := lookup(d.root, path...)
	if v == nil || v.Kind != yaml.SequenceNode {
		return nil, false
	}
	var out []string
	for _, c := range v.Content {
		out = append(out, c.Value)
	}
	return out, true
}
