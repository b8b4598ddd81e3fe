package report_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

func TestWants(t *testing.T) {
	item := func(flag, path, op, value string) profile.TestItem {
		return profile.TestItem{Flag: flag, Path: path, Set: true, Compare: profile.Compare{Op: op, Value: value}}
	}
	for _, tt := range []struct {
		binOp string
		items []profile.TestItem
		want  string
	}{
		{"", []profile.TestItem{item("--a", "", "", "")}, "--a is set"},
		{"", []profile.TestItem{{Flag: "--a"}}, "--a is not set"},
		{"", []profile.TestItem{item("--a", "", "eq", "1")}, "--a is 1"},
		{"", []profile.TestItem{item("--a", "{.b.c}", "noteq", "0")}, "b.c (--a) is not 0"},
		{"", []profile.TestItem{item("--a", "", "gte", "30"), item("--b", "", "has", "X")}, "--a is at least 30|--b has X"},
		{"or", []profile.TestItem{item("--a", "", "nothave", "X"), {Flag: "--a"}}, "--a does not have X or --a is not set"},
		{"", []profile.TestItem{item("--a", "", "valid_elements", "x,y")}, "--a has none but x, y"},
		{"", []profile.TestItem{item("permissions", "", "bitmask", "600")}, "mode 600 or stricter"},
		{"", []profile.TestItem{item("root:root", "", "", "")}, "owner root:root"},
		{"", nil, ""},
	} {
		x := report.NewExplained("node", &profile.Check{ID: "1", Audit: "ps kubelet", Tests: &profile.Tests{BinOp: tt.binOp, Items: tt.items}})
		if got := strings.Join(x.Wants, "|"); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.items, got, tt.want)
		}
	}
}

// TestExplainText: what a profile or a node says cannot steer the terminal, and
// a check of which nothing is known is still explained.
func TestExplainText(t *testing.T) {
	e := report.Explanation{Benchmark: "own-1.0", Notes: []string{"no node\x1b[2J"}, Checks: []report.Explained{
		report.NewExplained("node", &profile.Check{ID: "9.9", Text: "Something\nof one's own (Manual)"})}}
	var b bytes.Buffer
	if err := e.WriteText(&b, report.Style{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"benchmark own-1.0\n", "9.9     Something of one's own\n", "the profile has no test for it", "a person has to decide: nothing in particular is known"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
	if strings.Contains(b.String(), "\x1b") {
		t.Errorf("an escape comes through: %q", b.String())
	}
}
