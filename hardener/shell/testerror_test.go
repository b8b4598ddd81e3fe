package shell

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// TestTestErrors leaves out what dash takes to be right by its own mistake, such as
// a missing operand of -o. It compares what is said about wrong arguments of test with the
// real dash, whose words become part of kube-bench's actual_value.
func TestTestErrors(t *testing.T) {
	real, err := exec.LookPath("dash")
	if err != nil {
		t.Skip("needs dash")
	}
	for _, args := range []string{
		"-z a b", "-z a b c", "-e a b", "-d /etc /usr", "a b", "a b c", "-z", "", "! a b", `"(" a ")"`, `"(" = ")"`, `"(" a`, `"(" ")"`, "a = ", "a -eq 1", "1 -eq", `"" -gt 0`,
		"a == b", "a == b -a c", "! a == b", "== b", "a '==' a",
		"-z -z", "-d a -a -z", "a -a b", "! ! a", "-e a b c d", "a = b c", "1 -gt x -a y", "!", "! !", "-n a -o b = ", "-z = = x",
		" 7 -eq +7", "1 -eq 08", "99999999999999999999 -eq 1", "-t x", "a != b != c", `"(" a = b ")" -a c`, "-a a", "a '<' b c",
	} {
		for _, script := range []string{"test " + args, "[ " + args + " ]", "true\n\nif test " + args + "; then :; fi"} {
			cmd := exec.Command(real)
			cmd.Args[0] = "/bin/sh"
			cmd.Stdin = strings.NewReader(script)
			cmd.Env = []string{}
			out, err := cmd.CombinedOutput()
			if _, ok := err.(*exec.ExitError); err != nil && !ok {
				t.Fatal(err)
			}
			r := &Runner{FS: os.DirFS(t.TempDir()), Dialect: Dash}
			got := r.Run(t.Context(), script)
			if got.Output != string(out) {
				t.Errorf("%q: %q, dash says %q", script, got.Output, out)
			}
		}
	}
}
