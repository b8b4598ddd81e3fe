package check

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// lacking is the audit shell's error for a command that it does not have.
type lacking string

func (e lacking) Error() string       { return string(e) + ": not found" }
func (e lacking) Unsupported() string { return string(e) }

// printed is an audit by its script: what it prints and how it ends.
type printed map[string]struct {
	output string
	err    error
}

func (p printed) audit(ran *[]string) Audit {
	return func(_ context.Context, script string) (string, error) {
		*ran = append(*ran, script)
		return p[script].output, p[script].err
	}
}

func TestRun(t *testing.T) {
	one := &profile.Tests{Items: []profile.TestItem{{Flag: "--x", Path: "{.x}", Env: "X", Set: true, Compare: profile.Compare{Op: "eq", Value: "1"}}}}
	badOp := &profile.Tests{BinOp: "xor", Items: one.Items}
	badFlag := &profile.Tests{Items: []profile.TestItem{{Flag: "(", Set: true}}}
	swallowed := &profile.Tests{Items: []profile.TestItem{{Flag: "[", Set: true}}}
	p := printed{
		"good": {"--x=1 \n", nil}, "bad": {"--x=2\n", nil}, "none": {"", nil}, "odd": {"( [", nil},
		"yaml": {"x: 1", nil}, "env": {"X=1", nil},
		"127": {"o", errors.New("exit status 127")}, "enoent": {"cat: x: No such file or directory\n", errors.New("exit status 1")},
		"1": {"out", errors.New("exit status 1")}, "jq": {"", fmt.Errorf("run: %w", lacking("jq"))},
	}
	for _, tt := range []struct {
		reason string
		check  profile.Check
		want   Result
		ran    []string
	}{
		{"no tests key, scored", profile.Check{Scored: true, Type: " ", Audit: "good"}, Result{State: Warn, Reason: "There are no tests"}, nil},
		{"no tests key, not scored", profile.Check{Audit: "good"}, Result{State: Warn, Reason: "No tests defined"}, nil},
		{"empty tests, scored", profile.Check{Scored: true, Tests: &profile.Tests{}}, Result{State: Fail, Reason: "No tests defined"}, nil},
		{"skip", profile.Check{Type: "skip", Scored: true, Tests: one}, Result{State: Info, Reason: "Test marked as skip"}, nil},
		{"manual", profile.Check{Type: "manual", Scored: true, Tests: one}, Result{State: Warn, Reason: "Test marked as a manual test"}, nil},
		{"manual before missing tests", profile.Check{Type: "manual", Scored: true}, Result{State: Warn, Reason: "Test marked as a manual test"}, nil},
		{"other types run", profile.Check{Type: "Manual", Tests: one, Audit: " good \n"}, Result{State: Pass, Actual: "--x=1", Expected: "'--x' is equal to '1'"}, []string{"good"}},
		{"scored and false", profile.Check{Scored: true, Tests: one, Audit: "bad"}, Result{State: Fail, Actual: "--x=2", Expected: "'--x' is equal to '1'"}, []string{"bad"}},
		{"not scored and false", profile.Check{Tests: one, Audit: "bad"}, Result{State: Warn, Actual: "--x=2", Expected: "'--x' is equal to '1'"}, []string{"bad"}},
		{"a wrong flag hides the file", profile.Check{Scored: true, Tests: one, Audit: "bad", AuditConfig: "yaml", AuditEnv: "env"}, Result{State: Fail, Actual: "--x=2", Expected: "'--x' is equal to '1'"}, []string{"env", "bad", "yaml"}},
		{"the file", profile.Check{Tests: one, Audit: "none", AuditConfig: "yaml"}, Result{State: Pass, Actual: "x: 1", Expected: "'{.x}' is equal to '1'"}, []string{"none", "yaml"}},
		{"the environment", profile.Check{Tests: one, AuditEnv: "env"}, Result{State: Pass, Actual: "X=1", Expected: "'X' is equal to '1'"}, []string{"env"}},
		{"a failing audit ends it", profile.Check{Scored: true, Tests: one, Audit: "1", AuditConfig: "yaml"}, Result{State: Fail, Reason: `failed to run: "1", output: "out", error: exit status 1`}, []string{"1"}},
		{"a failing environment ends it", profile.Check{Tests: one, AuditEnv: "1", Audit: "good"}, Result{State: Warn, Reason: `failed to run: "1", output: "out", error: exit status 1`}, []string{"1"}},
		{"a missing file is forgiven beside a flag", profile.Check{Tests: one, Audit: "good", AuditConfig: "enoent"}, Result{State: Pass, Actual: "--x=1", Expected: "'--x' is equal to '1'"}, []string{"good", "enoent"}},
		{"so is status 127", profile.Check{Tests: one, Audit: "good", AuditConfig: "127"}, Result{State: Pass, Actual: "--x=1", Expected: "'--x' is equal to '1'"}, []string{"good", "127"}},
		{"other statuses are not", profile.Check{Scored: true, Tests: one, Audit: "good", AuditConfig: "1"}, Result{State: Fail, Reason: `failed to run: "1", output: "out", error: exit status 1`}, []string{"good", "1"}},
		{"nor without other output", profile.Check{Scored: true, Tests: one, Audit: "none", AuditConfig: "127"}, Result{State: Fail, Reason: `failed to run: "127", output: "o", error: exit status 127`}, []string{"none", "127"}},
		{"a command that we lack is never a FAIL", profile.Check{Scored: true, Tests: one, Audit: "jq"}, Result{State: Warn, Reason: `the audit needs the command "jq", which is not supported: failed to run: "jq", output: "", error: run: jq: not found`}, []string{"jq"}},
		{"nor forgiven", profile.Check{Scored: true, Tests: one, Audit: "good", AuditConfig: "jq"}, Result{State: Warn, Reason: `the audit needs the command "jq", which is not supported: failed to run: "jq", output: "", error: run: jq: not found`}, []string{"good", "jq"}},
		{"unknown bin_op", profile.Check{Scored: true, Tests: badOp, Audit: "good"}, Result{State: Fail, Actual: "unknown binary operator for tests xor\n", Reason: "unknown binary operator for tests xor"}, []string{"good"}},
		{"a flag that is no pattern", profile.Check{Scored: true, Tests: badFlag, Audit: "odd"}, Result{State: Fail, Reason: "invalid pattern \"(\" in the profile: error parsing regexp: missing closing ): `(()(=|: *)*([^\\s]*) *`"}, []string{"odd"}},
		{"a flag that swallows the groups", profile.Check{Scored: true, Tests: swallowed, Audit: "odd"}, Result{State: Fail, Reason: `invalid pattern "[" in the profile: missing closing ]`}, []string{"odd"}},
		{"no matter while the text does not hold it", profile.Check{Scored: true, Tests: badFlag, Audit: "good"}, Result{State: Fail, Actual: "--x=1", Expected: "'(' is present"}, []string{"good"}},
	} {
		var ran []string
		got := Run(context.Background(), &tt.check, p.audit(&ran))
		if d := cmp.Diff(tt.want, got, cmpopts.IgnoreFields(Result{}, "Items")); d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.reason, d)
		}
		if d := cmp.Diff(tt.ran, ran); d != "" {
			t.Errorf("%s: audits (-want +got):\n%s", tt.reason, d)
		}
	}
}

func TestMultiple(t *testing.T) {
	for _, tt := range []struct {
		reason, output string
		set            bool
		want           State
	}{
		{"every line", "permissions=600 /a\npermissions=400 /b\n\n", true, Pass},
		{"one is wrong", "permissions=600 /a\npermissions=644 /b\npermissions=600 /c", true, Fail},
		{"a stray line", "permissions=600 /a\nstat: oops\n", true, Fail},
		{"nothing is one empty line", "", true, Fail},
		{"absent in nothing", "", false, Pass},
		{"an empty line inside", "permissions=600\n\npermissions=600", true, Fail},
	} {
		c := profile.Check{Scored: true, Multiple: true, Audit: "x", Tests: &profile.Tests{Items: []profile.TestItem{
			{Flag: "permissions", Set: tt.set, Compare: profile.Compare{Op: "bitmask", Value: "600"}}}}}
		got := Run(context.Background(), &c, func(context.Context, string) (string, error) { return tt.output, nil })
		if got.State != tt.want {
			t.Errorf("%s: %+v", tt.reason, got)
		}
	}
}

func TestItemsOfResult(t *testing.T) {
	c := profile.Check{Audit: "a", AuditConfig: "c", Tests: &profile.Tests{BinOp: "or", Items: []profile.TestItem{
		{Flag: "--x", Path: "{.x}", Set: true, Compare: profile.Compare{Op: "eq", Value: "1"}}, {Flag: "--y", Set: true},
	}}}
	got := Run(context.Background(), &c, printed{"a": {"--y=2", nil}, "c": {"x: 5", nil}}.audit(new([]string)))
	want := Result{State: Pass, Actual: "x: 5", Expected: "'{.x}' is equal to '1' OR '--y' is present", Items: []Item{
		{Found: true, Value: "5", Source: FromConfig, Expected: "'{.x}' is equal to '1'", Output: "x: 5"},
		{Pass: true, Found: true, Value: "2", Source: FromAudit, Expected: "'--y' is present", Output: "--y=2"},
	}}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}
