package parity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"testing"
)

// field is one scalar of a JSON document and where it stands.
type field struct {
	path  string // "Controls.0.tests.2.results.1.status"
	check string // test_number of the check that it belongs to, if any
	key   string // the last object key of path
	value string
}

// compare compares two reports field by field in the order of the
// documents, so that a missing key, a different order or a different value each
// is a difference. checks counts kube-bench's results.
func compare(theirs, ours []byte) (checks int, diffs []string, err error) {
	want, err := flatten(theirs)
	if err != nil {
		return 0, nil, fmt.Errorf("kube-bench: %w", err)
	}
	got, err := flatten(ours)
	if err != nil {
		return 0, nil, fmt.Errorf("hardener: %w", err)
	}
	for i := range max(len(want), len(got)) {
		var w, g field
		if i < len(want) {
			w = want[i]
		}
		if i < len(got) {
			g = got[i]
		}
		if w.path != g.path {
			// Everything after this would differ too.
			return checks, append(diffs, fmt.Sprintf("the documents part: -%s (check %s) +%s (check %s)", w.path, w.check, g.path, g.check)), nil
		}
		if w.key == "status" {
			checks++
		}
		if a, b := comparable(w), comparable(g); a != b {
			a, b = excerpt(a, b)
			diffs = append(diffs, fmt.Sprintf("check %s %s\n  -%q\n  +%q", w.check, w.path, a, b))
		}
	}
	return checks, diffs, nil
}

// psLine is a line of ps -f; the groups around C, STIME and TIME stay.
var psLine = regexp.MustCompile(`(?m)^(\S+ +\d+ +\d+ +)\d+ +\S+( +\S+ +)\d\d:\d\d:\d\d `)

// ownLine is a line of ps -f about one of the programs that are compared.
var ownLine = regexp.MustCompile(`(?m)^\S+ +\d+ +\d+ +C STIME \S+ +TIME /[.]cell/(kube-bench|hardener) .*\n?`)

// comparable is a field's value without what may differ.
func comparable(f field) string {
	switch {
	case f.key == "reason":
		return ""
	case strings.HasPrefix(f.check, "5.") && (f.key == "actual_value" || f.key == "expected_result"):
		return ""
	case f.key == "actual_value":
		s := psLine.ReplaceAllString(f.value, "${1}C STIME${2}TIME ")
		return strings.TrimRight(ownLine.ReplaceAllString(s, ""), "\n")
	}
	return f.value
}

// excerpt cuts two different texts down to where they part.
func excerpt(a, b string) (string, string) {
	const before, after = 60, 120
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	cut := func(s string) string {
		if end := same + after; end < len(s) {
			s = s[:end] + "…"
		}
		if start := same - before; start > 0 {
			s = "…" + s[start:]
		}
		return s
	}
	return cut(a), cut(b)
}

// flatten lists the scalars of a JSON document in its own order.
func flatten(doc []byte) ([]field, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	f := flattener{d: d}
	if err := f.value("", ""); err != nil {
		return nil, fmt.Errorf("not JSON: %w: %.200q", err, doc)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("more than one document: %.200q", doc)
	}
	return f.fields, nil
}

type flattener struct {
	d      *json.Decoder
	fields []field
	check  string
}

func (f *flattener) value(path, key string) error {
	token, err := f.d.Token()
	if err != nil {
		return err
	}
	delim, ok := token.(json.Delim)
	if !ok {
		if key == "test_number" {
			f.check = fmt.Sprint(token)
		}
		// A reason is left out when it is empty, and its wording may
		// differ, but one program must not have one where the other has none.
		f.fields = append(f.fields, field{path: path, check: f.check, key: key, value: fmt.Sprint(token)})
		return nil
	}
	for i := 0; f.d.More(); i++ {
		name, within := fmt.Sprint(i), key
		if delim == '{' {
			if token, err = f.d.Token(); err != nil {
				return err
			}
			name = token.(string)
			within = name
		}
		if err := f.value(strings.TrimPrefix(path+"."+name, "."), within); err != nil {
			return err
		}
	}
	if delim == '[' || delim == '{' {
		// An empty list or object is a difference from a missing one.
		f.fields = append(f.fields, field{path: path + " " + delim.String(), check: f.check})
	}
	_, err = f.d.Token()
	return err
}

func TestCompare(t *testing.T) {
	report := func(status, actual, more string) string {
		return `{"Controls":[{"id":"1","tests":[{"results":[{"test_number":"1.2.1","status":"` + status + `","actual_value":"` + actual + `"` + more + `}]}]}],"Totals":{"total_pass":1}}`
	}
	line := func(c, stime, cpu, pid string) string {
		return `root ` + pid + ` 1 ` + c + ` ` + stime + ` ? ` + cpu + ` kube-apiserver --a=b`
	}
	base := report("PASS", line("0", "10:00", "00:00:00", "12"), "")
	for name, tt := range map[string]struct {
		other string
		diffs int
	}{
		"equal":                 {base, 0},
		"volatile columns":      {report("PASS", line("7", "Nov22", "00:01:02", "12"), ""), 0},
		"another process":       {report("PASS", line("0", "10:00", "00:00:00", "13"), ""), 1},
		"status":                {report("FAIL", line("0", "10:00", "00:00:00", "12"), ""), 1},
		"status and value":      {report("FAIL", "", ""), 2},
		"a key too many":        {report("PASS", line("0", "10:00", "00:00:00", "12"), `,"reason":"x"`), 1},
		"another order of keys": {strings.Replace(base, `{"Controls":`, `{"Totals":{"total_pass":1},"Controls":`, 1), 1},
		"totals":                {strings.Replace(base, `"total_pass":1`, `"total_pass":2`, 1), 1},
	} {
		t.Run(name, func(t *testing.T) {
			checks, diffs, err := compare([]byte(base), []byte(tt.other))
			if err != nil || len(diffs) != tt.diffs {
				t.Errorf("compare: %d differences %q, error %v, want %d", len(diffs), diffs, err, tt.diffs)
			}
			if len(diffs) == 0 && checks != 1 {
				t.Errorf("compare: counted %d checks, want 1", checks)
			}
		})
	}
	for _, bad := range []string{"", "{", "not json", base + base} {
		if _, _, err := compare([]byte(base), []byte(bad)); err == nil {
			t.Errorf("compare with %.20q: no error", bad)
		}
	}
}
