package hooks

import (
	"os/exec"
	"testing"
)

// The collection is clean for the linters that Ansible's users know, by the strictest
// profile.
func TestLint(t *testing.T) {
	restsOn(t, "../../kubespray-hooks")
	for _, command := range [][]string{
		{"yamllint", "--strict", "--config-file=.yamllint", "."},
		{"ansible-lint", "--offline", "--strict", "--nocolor", "--config-file=.ansible-lint"},
	} {
		t.Run(command[0], func(t *testing.T) {
			t.Parallel()
			if _, err := exec.LookPath(command[0]); err != nil {
				t.Skipf("needs %[1]s (Debian package %[1]s)", command[0])
			}
			cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
			cmd.Dir = absolute(t, "../../kubespray-hooks")
			cmd.Env = append(cmd.Environ(), "HOME="+t.TempDir(), "NO_COLOR=1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}
