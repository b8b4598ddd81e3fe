package oracle

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"testing"

	kubebench "github.com/aquasecurity/kube-bench/check"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// realShell runs a script as kube-bench does (check/check.go:299).
func realShell(_ context.Context, script string) (string, error) {
	var out bytes.Buffer
	cmd := exec.Command("/bin/sh")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewBufferString(script), &out, &out
	err := cmd.Run()
	return out.String(), err
}

// TestSameStateMachineAsKubeBench runs both on real scripts: every kind of check
// with every combination of audits that succeed, fail, print and are not there.
func TestSameStateMachineAsKubeBench(t *testing.T) {
	quiet(t)
	item := func(set bool) *profile.Tests {
		return &profile.Tests{Items: []profile.TestItem{{Flag: "--x", Path: "{.x}", Env: "X", Set: set, Compare: profile.Compare{Op: "eq", Value: "1"}}}}
	}
	tests := []*profile.Tests{nil, {}, {BinOp: "or"}, item(true), item(false), {BinOp: "xor", Items: item(true).Items}}
	scripts := []string{
		"", "  \n", "echo ' --x=1 '", "printf 'a\\n--x=2\\n\\n  '", "echo x; exit 3", "exit 127",
		"kill -9 $$", "cat /no/such/file/here", "echo --x=1 >&2",
	}
	configs := []string{"", "echo 'x: 1'", "cat /no/such/file/here", "exit 127", "exit 1", "echo 'exit status 127'; exit 2"}
	envs := []string{"", "echo X=1", "exit 5"}
	var checks []*profile.Check
	add := func(c profile.Check) {
		scored := c
		scored.Scored = true
		checks = append(checks, &c, &scored)
	}
	for _, kind := range []string{"", " ", "manual", "skip", "Manual", "other"} {
		for _, ts := range tests {
			for _, script := range scripts[:5] {
				add(profile.Check{Type: kind, Tests: ts, Audit: script})
			}
		}
	}
	for _, script := range scripts {
		for _, config := range configs {
			for _, env := range envs {
				for _, ts := range []*profile.Tests{item(true), item(false)} {
					add(profile.Check{Tests: ts, Audit: script, AuditConfig: config, AuditEnv: env})
				}
			}
		}
	}
	compared := 0
	for _, s := range subjects(t, checks) {
		s.theirs.State = kubebench.NewRunner().Run(s.theirs)
		theirs := verdict{string(s.theirs.State), s.theirs.ActualValue, s.theirs.ExpectedResult, s.theirs.Reason}
		r := check.Run(context.Background(), s.ours, realShell)
		if ours := (verdict{string(r.State), r.Actual, r.Expected, r.Reason}); ours != theirs {
			t.Errorf("kube-bench %+v\nours       %+v\ncheck %+v tests %+v", theirs, ours, s.ours, s.ours.Tests)
		}
		compared++
	}
	fmt.Printf("oracle: %d checks run through a real shell by both, all equal\n", compared)
}
