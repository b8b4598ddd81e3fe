package oracle

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	kubebench "github.com/aquasecurity/kube-bench/check"
	"gopkg.in/yaml.v2"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// subject is one check in both programs' form.
type subject struct {
	ours   *profile.Check
	theirs *kubebench.Check
}

// outputs are what the audits of a check print.
type outputs struct{ audit, config, env string }

// verdict is what is compared.
type verdict struct {
	State, Actual, Expected, Reason string
}

// subjects gives checks to kube-bench's parser, so that both programs have the
// same.
func subjects(t testing.TB, checks []*profile.Check) []subject {
	t.Helper()
	var list []yaml.MapSlice
	for _, c := range checks {
		list = append(list, asYAML(c))
	}
	text, err := yaml.Marshal(yaml.MapSlice{
		{Key: "type", Value: "master"},
		{Key: "groups", Value: []yaml.MapSlice{{{Key: "id", Value: "1"}, {Key: "checks", Value: list}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	controls, err := kubebench.NewControls(kubebench.MASTER, text, "")
	if err != nil {
		t.Fatal(err)
	}
	out := make([]subject, len(checks))
	for i, c := range checks {
		out[i] = subject{c, controls.Groups[0].Checks[i]}
	}
	return out
}

func asYAML(c *profile.Check) yaml.MapSlice {
	out := yaml.MapSlice{
		{Key: "id", Value: c.ID}, {Key: "type", Value: c.Type},
		{Key: "audit", Value: c.Audit}, {Key: "audit_env", Value: c.AuditEnv}, {Key: "audit_config", Value: c.AuditConfig},
		{Key: "scored", Value: c.Scored}, {Key: "use_multiple_values", Value: c.Multiple},
	}
	if c.Tests == nil {
		return out
	}
	var items []yaml.MapSlice
	for _, t := range c.Tests.Items {
		items = append(items, yaml.MapSlice{
			{Key: "flag", Value: t.Flag}, {Key: "env", Value: t.Env}, {Key: "path", Value: t.Path}, {Key: "set", Value: t.Set},
			{Key: "compare", Value: yaml.MapSlice{{Key: "op", Value: t.Compare.Op}, {Key: "value", Value: t.Compare.Value}}},
		})
	}
	return append(out, yaml.MapItem{Key: "tests", Value: yaml.MapSlice{{Key: "test_items", Value: items}, {Key: "bin_op", Value: c.Tests.BinOp}}})
}

// judgeTheirs has kube-bench judge outputs. Its panics on invalid patterns are
// given as a reason.
func (s subject) judgeTheirs(out outputs) (v verdict, panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			v, panicked = verdict{Reason: fmt.Sprint(r)}, true
		}
	}()
	s.theirs.AuditOutput, s.theirs.AuditConfigOutput, s.theirs.AuditEnvOutput = out.audit, out.config, out.env
	got, err := execute(s.theirs)
	v = verdict{State: "FAIL", Actual: got.actual, Expected: got.expected}
	if got.pass {
		v.State = "PASS"
	} else if !s.ours.Scored {
		v.State = "WARN"
	}
	if err != nil {
		v.Reason = err.Error()
	}
	return v, false
}

// judgeOurs judges the same outputs with package check. The audits of a subject
// are the words "audit", "config" and "env".
func (s subject) judgeOurs(e *check.Evaluator, out outputs) verdict {
	r := e.Run(context.Background(), s.ours, func(_ context.Context, script string) (string, error) {
		return map[string]string{"audit": out.audit, "config": out.config, "env": out.env}[script], nil
	})
	return verdict{string(r.State), r.Actual, r.Expected, r.Reason}
}

// compare judges one set of outputs by both.
func (s subject) compare(t *testing.T, e *check.Evaluator, out outputs) {
	t.Helper()
	theirs, panicked := s.judgeTheirs(out)
	ours := s.judgeOurs(e, out)
	if panicked {
		if ours.State == "PASS" || !strings.Contains(ours.Reason, "pattern") {
			t.Errorf("kube-bench panics (%s), ours %+v\nitems %+v\noutputs %+v", theirs.Reason, ours, s.ours.Tests, out)
		}
		return
	}
	if ours != theirs {
		t.Errorf("kube-bench %+v\nours       %+v\nitems %+v multiple %v\noutputs %+v", theirs, ours, s.ours.Tests, s.ours.Multiple, out)
	}
}

// quiet sends what kube-bench prints on stderr for bad texts to nowhere.
func quiet(t *testing.T) {
	t.Helper()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	stderr := os.Stderr
	os.Stderr = null
	t.Cleanup(func() { os.Stderr = stderr; null.Close() })
}
