package kubectl

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"text/tabwriter"

	"k8s.io/client-go/util/jsonpath"
)

// printFunc prints objects as one of kubectl's output formats. single says that
// exactly one object was asked for by name, which is then not wrapped in a list.
type printFunc func(w io.Writer, items []any, single bool) error

func printer(o options) (printFunc, error) {
	format, spec, _ := strings.Cut(o.output, "=")
	switch format {
	case "json":
		return printJSON, nil
	case "name":
		return printNames, nil
	case "jsonpath":
		return printJSONPath(spec)
	case "custom-columns":
		return printColumns(spec, o.noHeaders)
	case "":
		return nil, errors.New("error: the default table of kubectl get is not available in process")
	}
	return nil, fmt.Errorf("error: output format %q is not available in process", o.output)
}

// asList is the object that kubectl prints for several objects.
func asList(items []any) map[string]any {
	if items == nil {
		items = []any{}
	}
	return map[string]any{"apiVersion": "v1", "items": items, "kind": "List", "metadata": map[string]any{"resourceVersion": ""}}
}

func printJSON(w io.Writer, items []any, single bool) error {
	var object any = asList(items)
	if single {
		object = items[0]
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "    ")
	return encoder.Encode(object)
}

func printNames(w io.Writer, items []any, _ bool) error {
	for _, item := range items {
		object, _ := item.(map[string]any)
		metadata, _ := object["metadata"].(map[string]any)
		kind, _ := object["kind"].(string)
		version, _ := object["apiVersion"].(string)
		name := strings.ToLower(kind)
		if group, _, ok := strings.Cut(version, "/"); ok {
			name += "." + group
		}
		fmt.Fprintf(w, "%s/%v\n", name, metadata["name"])
	}
	return nil
}

func printJSONPath(template string) (printFunc, error) {
	path := jsonpath.New("out").AllowMissingKeys(true)
	if err := path.Parse(template); err != nil {
		return nil, fmt.Errorf("error: error parsing jsonpath %s, %w", template, err)
	}
	return func(w io.Writer, items []any, single bool) error {
		var object any = asList(items)
		if single {
			object = items[0]
		}
		return path.Execute(w, object)
	}, nil
}

// column is one of kubectl's custom columns.
type column struct {
	header string
	path   *jsonpath.JSONPath
}

// relaxed is the field path that kubectl takes without braces
// (k8s.io/kubectl/pkg/cmd/get/customcolumn.go, RelaxedJSONPathExpression).
var relaxed = regexp.MustCompile(`^\{?\.?([^{}]+)\}?$`)

func printColumns(spec string, noHeaders bool) (printFunc, error) {
	var columns []column
	for part := range strings.SplitSeq(spec, ",") {
		header, field, ok := strings.Cut(part, ":")
		match := relaxed.FindStringSubmatch(field)
		if !ok || match == nil {
			return nil, fmt.Errorf("error: unexpected custom-columns spec: %s, expected <header>:<json-path-expr>", part)
		}
		path := jsonpath.New(header).AllowMissingKeys(true)
		if err := path.Parse("{." + match[1] + "}"); err != nil {
			return nil, fmt.Errorf("error: custom-columns: %s: %w", part, err)
		}
		columns = append(columns, column{header, path})
	}
	return func(w io.Writer, items []any, _ bool) error {
		table := tabwriter.NewWriter(w, 6, 4, 3, ' ', 0) // cli-runtime's printers.GetNewTabWriter
		if !noHeaders {
			headers := make([]string, len(columns))
			for i, c := range columns {
				headers[i] = c.header
			}
			fmt.Fprintln(table, strings.Join(headers, "\t"))
		}
		for _, item := range items {
			cells := make([]string, len(columns))
			for i, c := range columns {
				cell, err := c.cell(item)
				if err != nil {
					return err
				}
				cells[i] = cell
			}
			fmt.Fprintln(table, strings.Join(cells, "\t"))
		}
		return table.Flush()
	}, nil
}

func (c column) cell(item any) (string, error) {
	results, err := c.path.FindResults(item)
	if err != nil {
		return "", fmt.Errorf("error: custom-columns: %s: %w", c.header, err)
	}
	if len(results) == 0 || len(results[0]) == 0 {
		return "<none>", nil
	}
	var values []string
	for _, result := range results {
		for _, value := range result {
			values = append(values, fmt.Sprint(value.Interface()))
		}
	}
	return strings.Join(values, ","), nil
}
