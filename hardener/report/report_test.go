package report_test

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

var update = flag.Bool("update", false, "write the golden files of this package's own formats")

func golden(t *testing.T, name string, got []byte, mayUpdate bool) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update && mayUpdate {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func jsonOf(t *testing.T, r report.Report) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func textOf(t *testing.T, r report.Report, s report.Style) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := r.Text(&b, s); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The files kube-bench.* are kube-bench's own output and are never updated.
func TestRawEqualsKubeBench(t *testing.T) {
	golden(t, "kube-bench.json", jsonOf(t, rawReport(t)), false)
	golden(t, "kube-bench.txt", textOf(t, rawReport(t), report.Style{}), false)
}

func TestRawLeavesOutEverythingElse(t *testing.T) {
	r := checked(t)
	r.Run.Mode = report.Raw
	got := string(jsonOf(t, r))
	for _, key := range []string{"kube_bench_status", "verdict_reason", "evidence", "fix", "node", "layout", "run", "status_before"} {
		if strings.Contains(got, `"`+key+`":`) {
			t.Errorf("raw JSON has the key %q: %s", key, got)
		}
	}
	for _, res := range r.Results() {
		if res.KubeBenchStatus == "" {
			t.Fatal("writing raw JSON changed the report")
		}
	}
}

func TestGolden(t *testing.T) {
	for name, r := range map[string]report.Report{"check": checked(t), "fix": fixed(t, false), "dry-run": fixed(t, true)} {
		t.Run(name, func(t *testing.T) {
			golden(t, name+".json", jsonOf(t, r), true)
			golden(t, name+".txt", textOf(t, r, report.Style{Width: 100}), true)
			golden(t, name+"-wide.txt", textOf(t, r, report.Style{Width: 200, Verbose: true}), true)
			golden(t, name+"-colour.txt", textOf(t, r, report.Style{Width: 60, Colour: true}), true)
		})
	}
}

func TestTextKeepsItsWidth(t *testing.T) {
	for _, width := range []int{0, 60, 80, 120, 300} {
		for _, colour := range []bool{false, true} {
			limit := 100
			if width > 0 {
				limit = min(width, 120)
			}
			for line := range strings.Lines(string(textOf(t, checked(t), report.Style{Width: width, Colour: colour}))) {
				line = strings.TrimSuffix(line, "\n")
				if n := text.StringWidthWithoutEscSequences(line); n > limit {
					t.Errorf("width %d: a line of %d columns: %q", width, n, line)
				}
			}
		}
	}
}

func TestTextLetsNoControlCharactersThrough(t *testing.T) {
	for _, s := range []report.Style{{}, {Verbose: true}} {
		for _, c := range string(textOf(t, fixed(t, true), s)) {
			if unicode.IsControl(c) && c != '\n' {
				t.Fatalf("style %+v: text has the control character %U", s, c)
			}
		}
	}
}

func TestDecodeReadsWhatWasWritten(t *testing.T) {
	for name, r := range map[string]report.Report{"raw": rawReport(t), "check": checked(t), "fix": fixed(t, false)} {
		t.Run(name, func(t *testing.T) {
			want := jsonOf(t, r)
			got, err := report.Decode(bytes.NewReader(want))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(jsonOf(t, got))); diff != "" {
				t.Errorf("a second trip changes the report (-first +second):\n%s", diff)
			}
			if got.Failing() != r.Failing() || got.ExitCode() != r.ExitCode() {
				t.Errorf("failing %v, exit code %d; want %v, %d", got.Failing(), got.ExitCode(), r.Failing(), r.ExitCode())
			}
		})
	}
}

func TestDecode(t *testing.T) {
	section := `{"id":"1","text":"x","node_type":"master","tests":[{"section":"1.1","results":[{"test_number":"1.1.1","status":"PASS"}]}],"total_pass":1}`
	totals := `"Totals":{"total_pass":1}`
	for _, c := range []struct {
		reason, in string
		err        string // part of the error; empty: none
		pass       int
	}{
		{"a document of kube-bench's", `{"Controls":[` + section + `],` + totals + `}`, "", 1},
		{"kube-bench --nototals prints the list alone", `[` + section + `]`, "", 1},
		{"kube-bench prints null when no section ran", `{"Controls":null,"Totals":{}}`, "", 0},
		{"keys of later versions are passed over", `{"Controls":[` + section + `],` + totals + `,"more":1}`, "", 1},
		{"nothing at all", " \n", "it is empty", 0},
		{"another document", `{"kind":"Pod"}`, "no key Controls", 0},
		{"not JSON", `Controls: []`, "invalid character", 0},
		{"two documents", `{"Controls":[],"Totals":{}} {}`, "after top-level value", 0},
		{"a state that nobody knows", `{"Controls":[` + strings.Replace(section, "PASS", "OK", 1) + `],` + totals + `}`, `check 1.1.1 of master: unknown status "OK"`, 0},
		{"totals that do not fit", `{"Controls":[` + section + `],"Totals":{"total_pass":2}}`, "the totals say", 0},
		{"a mode that nobody knows", `{"Controls":[],"Totals":{},"run":{"mode":"x"}}`, `unknown mode "x"`, 0},
	} {
		t.Run(c.reason, func(t *testing.T) {
			r, err := report.Decode(strings.NewReader(c.in))
			if c.err == "" && err != nil {
				t.Fatalf("error: %v", err)
			}
			if c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
				t.Fatalf("error %v, want one with %q", err, c.err)
			}
			if r.Totals.Pass != c.pass {
				t.Errorf("%d checks pass, want %d", r.Totals.Pass, c.pass)
			}
		})
	}
}

func TestNewSortsAndCounts(t *testing.T) {
	r := rawReport(t)
	if got := []string{r.Controls[0].ID, r.Controls[1].ID}; !cmp.Equal(got, []string{"3", "5"}) {
		t.Errorf("sections in the order %v", got)
	}
	if want := (report.Totals{Pass: 1, Fail: 2, Warn: 2, Info: 1}); r.Totals != want {
		t.Errorf("totals %+v, want %+v", r.Totals, want)
	}
	if r.ExitCode() != 1 {
		t.Errorf("exit code %d with findings", r.ExitCode())
	}
	if code := report.New(nil).ExitCode(); code != 0 {
		t.Errorf("exit code %d without findings", code)
	}
}

func TestWithBefore(t *testing.T) {
	after := fixed(t, false)
	for s, res := range after.Results() {
		if res.ID != "3.1.2" {
			continue
		}
		if res.Status != check.Pass || res.StatusBefore != check.Fail {
			t.Errorf("%s of %s: %s before, %s after; want FAIL, PASS", res.ID, s.Target, res.StatusBefore, res.Status)
		}
		if res.Fix == nil || res.Fix.State != fix.Applied {
			t.Errorf("the decision of the check before was lost: %+v", res.Fix)
		}
	}
	for _, res := range checked(t).Results() {
		if res.StatusBefore != "" {
			t.Error("WithBefore changed its argument")
		}
	}
}

// TestFound is about which part of what an audit printed is worth showing.
func TestFound(t *testing.T) {
	for _, c := range []struct {
		reason string
		result report.Result
		want   []string
		not    string
	}{
		{
			"of a long command line only the flags in question",
			report.Result{Actual: "root 1 kube-x --a=1 --bind-address=0.0.0.0 " + strings.Repeat("--more=x ", 30), Expected: "'--bind-address' is equal to '127.0.0.1'"},
			[]string{"found --bind-address=0.0.0.0 wanted '--bind-address' is equal to '127.0.0.1'"}, "--more",
		},
		{
			"of many lines each once",
			report.Result{Actual: strings.Repeat("root:root\nkube:root\n", 40), Multiple: true, Expected: "'root:root' is present"},
			[]string{"found root:root, kube:root wanted"}, "root:root, kube:root, root",
		},
		{
			"of a failed audit its output, not its script",
			report.Result{Reason: `failed to run: "stat \"x\", output: y", output: "stat: no such file\n", error: exit status 1`},
			[]string{"why the audit failed: stat: no such file, error: exit status 1"}, "failed to run",
		},
		{
			"a reason in other words as it is",
			report.Result{Reason: "No tests defined"}, []string{"why No tests defined"}, "audit failed",
		},
		{
			"a reason that is cut off as it is",
			report.Result{Reason: `failed to run: "x", output: "y`}, []string{`why failed to run: "x", output: "y`}, "audit failed",
		},
	} {
		t.Run(c.reason, func(t *testing.T) {
			c.result.ID, c.result.Status = "1.1", check.Fail
			r := report.New([]report.Section{{ID: "1", Groups: []report.Group{{ID: "1", Results: []report.Result{c.result}}}, Totals: report.Totals{Fail: 1}}})
			r.Run.Mode = report.Adjudicated
			got := strings.Join(strings.Fields(string(textOf(t, r, report.Style{Width: 120}))), " ")
			for _, w := range c.want {
				if !strings.Contains(got, w) {
					t.Errorf("text lacks %q:\n%s", w, got)
				}
			}
			if strings.Contains(got, c.not) {
				t.Errorf("text has %q:\n%s", c.not, got)
			}
		})
	}
}

// TestNeighboursAlike is about manual checks in a row that get the same answer.
func TestNeighboursAlike(t *testing.T) {
	answer := func(reason string) *fix.Decision { return &fix.Decision{State: fix.Manual, Reason: reason} }
	group := report.Group{ID: "5.1", Text: "Policies", Results: []report.Result{
		{ID: "5.1.1", Text: "one", Type: "manual", Status: check.Warn, Fix: answer("look at it")},
		{ID: "5.1.2", Text: "two", Type: "manual", Status: check.Warn, Fix: answer("look at it")},
		{ID: "5.1.3", Text: "three", Type: "manual", Status: check.Warn, Fix: answer("another")},
		{ID: "5.1.4", Text: "four", Type: "manual", Status: check.Warn, Fix: answer("another"), VerdictReason: "seen on the node"},
	}}
	r := report.New([]report.Section{{ID: "5", Groups: []report.Group{group}, Totals: report.Totals{Warn: 4}}})
	r.Run.Mode = report.Adjudicated
	_, got, _ := strings.Cut(strings.Join(strings.Fields(string(textOf(t, r, report.Style{}))), " "), "has to look ")
	want := "5.1 Policies 5.1.1 one 5.1.2 two fix a person has to decide: look at it " +
		"5.1.3 three fix a person has to decide: another " +
		"5.1.4 four why seen on the node fix a person has to decide: another"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
