package check

import (
	"bytes"
	"encoding/json"
	"fmt"
	"sync"

	"gopkg.in/yaml.v2"
	"k8s.io/client-go/util/jsonpath"
)

// documents are the parsed configurations of a node, by text: many checks look
// at the kubelet's.
type documents struct {
	mu     sync.Mutex
	parsed map[string]document
}

type document struct {
	value any
	err   error
}

// path finds what a jsonpath template prints of a JSON or YAML text
// (check/test.go:158-174, 349-376). Nothing printed is nothing found.
func (d *documents) path(text, template string) (found bool, value string, err error) {
	doc := d.document(text)
	if doc.err != nil {
		return false, "", doc.err
	}
	value, err = printPath(template, doc.value)
	if err != nil {
		return false, "", err
	}
	return value != "", value, nil
}

func (d *documents) document(text string) document {
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.parsed[text]
	if !ok {
		doc.value, doc.err = parse(text)
		if d.parsed == nil {
			d.parsed = map[string]document{}
		}
		d.parsed[text] = doc
	}
	return doc
}

// parse reads JSON, else the first document of YAML 1.1. The libraries are those
// of kube-bench: others differ in numbers, booleans and the types of keys.
func parse(text string) (value any, err error) {
	defer recovered("parse", &err)
	if json.Unmarshal([]byte(text), &value) == nil {
		return value, nil
	}
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("failed to load YAML or JSON: %w", err)
	}
	return value, nil
}

func printPath(template string, value any) (text string, err error) {
	defer recovered("print "+template, &err)
	j := jsonpath.New("jsonpath")
	j.AllowMissingKeys(true)
	if err := j.Parse(template); err != nil {
		return "", err
	}
	var out bytes.Buffer
	if err := j.Execute(&out, &value); err != nil {
		return "", err
	}
	return out.String(), nil
}

// recovered turns a panic of a library, on which kube-bench would end, into an
// error.
func recovered(doing string, err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%s: %v", doing, r)
	}
}
