package check

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Audit runs an audit script and returns its output, stdout and stderr as they
// came. Its error stands for the exit status: its text should be Go's ("exit
// status 1"), as it becomes part of the reason. An error with a method
// Unsupported() string names a command that the audit shell does not have.
type Audit func(ctx context.Context, script string) (output string, err error)

// Evaluator judges checks. Its use over Run is that a configuration which many
// checks look at is parsed once. The zero value is ready; it may be used from
// several goroutines.
type Evaluator struct{ docs documents }

// Run judges one check: kube-bench's state machine (check/check.go:109-193).
// Audits run only when their output can matter.
func Run(ctx context.Context, c *profile.Check, audit Audit) Result {
	return new(Evaluator).Run(ctx, c, audit)
}

// Run judges one check.
func (e *Evaluator) Run(ctx context.Context, c *profile.Check, audit Audit) Result {
	switch {
	case c.Scored && strings.TrimSpace(c.Type) == "" && c.Tests == nil:
		return Result{State: Warn, Reason: "There are no tests"}
	case c.Type == "skip":
		return Result{State: Info, Reason: "Test marked as skip"}
	case c.Type == "manual":
		return Result{State: Warn, Reason: "Test marked as a manual test"}
	case c.Tests == nil || len(c.Tests.Items) == 0:
		return Result{State: failed(c), Reason: "No tests defined"}
	}
	out, err := runAudits(ctx, c, audit)
	if err != nil {
		var lacking interface{ Unsupported() string }
		if errors.As(err, &lacking) {
			return Result{State: Warn, Reason: fmt.Sprintf("the audit needs the command %q, which is not supported: %v", lacking.Unsupported(), err)}
		}
		return Result{State: failed(c), Reason: err.Error()}
	}
	return e.combine(c, out)
}

// failed is the state of a check that does not hold.
func failed(c *profile.Check) State {
	if c.Scored {
		return Fail
	}
	return Warn
}

// combine judges every item and joins them (check/check.go:264-289). The actual
// value is the output that the first item was judged on.
func (e *Evaluator) combine(c *profile.Check, out outputs) Result {
	r := Result{Items: make([]Item, len(c.Tests.Items))}
	all, any := true, false
	expected := make([]string, len(r.Items))
	for i, t := range c.Tests.Items {
		item, err := judge(c, t, out, &e.docs)
		if err != nil {
			return Result{State: failed(c), Reason: err.Error()}
		}
		r.Items[i], expected[i] = item, item.Expected
		all, any = all && item.Pass, any || item.Pass
	}
	pass := all
	switch c.Tests.BinOp {
	case "and", "":
		r.Expected = strings.Join(expected, " AND ")
	case "or":
		pass = any
		r.Expected = strings.Join(expected, " OR ")
	default:
		r.State, r.Reason = failed(c), "unknown binary operator for tests "+c.Tests.BinOp
		r.Actual = r.Reason + "\n"
		return r
	}
	r.Actual = r.Items[0].Output
	if r.State = Pass; !pass {
		r.State = failed(c)
	}
	return r
}

// outputs are what the audits of a check printed.
type outputs struct{ env, audit, config string }

// runAudits runs the audits in kube-bench's order and stops at the first error
// (check/check.go:195-222). A failing audit_config is forgiven when its error
// says that something was not found and another audit printed something.
func runAudits(ctx context.Context, c *profile.Check, audit Audit) (out outputs, err error) {
	if out.env, err = runAudit(ctx, c.AuditEnv, audit); err != nil {
		return out, err
	}
	if out.audit, err = runAudit(ctx, c.Audit, audit); err != nil {
		return out, err
	}
	out.config, err = runAudit(ctx, c.AuditConfig, audit)
	if err == nil || out.env == "" && out.audit == "" {
		return out, err
	}
	var lacking interface{ Unsupported() string }
	if errors.As(err, &lacking) {
		return out, err
	}
	if text := err.Error(); strings.Contains(text, "exit status 127") || strings.Contains(text, "No such file or directory") {
		out.config = ""
		return out, nil
	}
	return out, err
}

// runAudit runs one script, if there is one. The error has kube-bench's text
// (check/check.go:291-313).
func runAudit(ctx context.Context, script string, audit Audit) (string, error) {
	script = strings.TrimSpace(script)
	if script == "" {
		return "", nil
	}
	output, err := audit(ctx, script)
	if err != nil {
		return output, fmt.Errorf("failed to run: %q, output: %q, error: %w", script, output, err)
	}
	return output, nil
}
