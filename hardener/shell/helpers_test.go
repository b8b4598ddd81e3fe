package shell

import (
	"errors"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// syscallChmod sets the special bits too.
func syscallChmod(name string, mode os.FileMode) error { return syscall.Chmod(name, uint32(mode)) }

// exitCode is the status of a script that ran to its end.
func exitCode(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	var exit *ExitError
	if !errors.As(err, &exit) {
		t.Errorf("error: %v", err)
		return -1
	}
	return exit.Code
}

func lines(text string, sorted bool) []string {
	all := strings.SplitAfter(text, "\n")
	if sorted {
		slices.Sort(all)
	}
	return all
}
