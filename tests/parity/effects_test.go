package parity

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/specimen"
)

// buildHardener builds our program and the stand-in for a node's processes.
func buildHardener(t *testing.T) (hardener, inmate string) {
	t.Helper()
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if inmate, err = oracle.BuildInmate(t.Context(), repo, dir); err != nil {
		t.Fatal(err)
	}
	if hardener, err = oracle.BuildHardener(t.Context(), repo, dir); err != nil {
		t.Fatal(err)
	}
	return hardener, inmate
}

// runOn builds a Kubespray control plane with real processes and runs commands
// there.
func runOn(t *testing.T, inmate string, binds []cell.Bind, commands ...cell.Command) []cell.Output {
	t.Helper()
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := specimen.ControlPlane(10).Build(root); err != nil {
		t.Fatal(err)
	}
	path, err := cell.Tools(root)
	if err != nil {
		t.Fatal(err)
	}
	for i := range commands {
		commands[i].Env = append(commands[i].Env, "PATH="+path)
	}
	outputs, err := cell.Run(t.Context(), inmate, cell.Spec{
		Root: root, Binds: binds, Processes: specimen.ControlPlane(10).Processes, Commands: commands,
	})
	if err != nil {
		t.Fatal(err)
	}
	return outputs
}

// TestCheckHasNoEffects looks at every system call of a check on a node with
// real processes: it must start no process and no program, and change no file.
func TestCheckHasNoEffects(t *testing.T) {
	needRoot(t)
	hardener, inmate := buildHardener(t)
	program := cell.Private + "/hardener"
	for name, args := range map[string][]string{
		"raw":               {"check", "--raw", "--benchmark", "cis-1.12", "-o", "json"},
		"default":           {"check", "--benchmark", "cis-1.12", "-o", "json"},
		"version from node": {"check"},
		"detect":            {"detect"},
		"plan":              {"fix", "--dry-run", "--benchmark", "cis-1.12"},
	} {
		t.Run(name, func(t *testing.T) {
			o := runOn(t, inmate, []cell.Bind{{Source: hardener, Target: program}}, cell.Command{Argv: append([]string{program}, args...), Trace: true})[0]
			if o.Exit != 0 && o.Exit != 1 {
				t.Errorf("hardener %s: exit %d: %s", strings.Join(args, " "), o.Exit, o.Stderr)
			}
			if len(o.Stdout) == 0 {
				t.Error("nothing was printed")
			}
			if len(o.Effects) > 0 {
				t.Errorf("of %d system calls, these have effects:\n%s", o.Syscalls, strings.Join(o.Effects, "\n"))
			}
			fmt.Printf("effects: hardener %s: %d system calls, no process started, no file changed\n", strings.Join(args, " "), o.Syscalls)
		})
	}
}

// TestTraceSeesEffects shows that the test above could fail.
func TestTraceSeesEffects(t *testing.T) {
	needRoot(t)
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inmate, err := oracle.BuildInmate(t.Context(), repo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct{ script, effect string }{
		"a child":         {"(:)", "clone of a process|fork|vfork|clone3 of a process"},
		"another program": {"exec true", "execve"},
		"a write":         {": > /tmp/written", `openat "/tmp/written" for writing`},
		"an append":       {": >> /tmp/written", `openat "/tmp/written" for writing`},
		"only reads":      {"read x < /etc/passwd; echo $x", ""},
	} {
		t.Run(name, func(t *testing.T) {
			o := runOn(t, inmate, nil, cell.Command{Argv: []string{"/bin/sh", "-c", tt.script}, Trace: true})[0]
			found := slices.ContainsFunc(o.Effects, func(e string) bool {
				return slices.Contains(strings.Split(tt.effect, "|"), e)
			})
			if (tt.effect == "" && len(o.Effects) > 0) || (tt.effect != "" && !found) {
				t.Errorf("sh -c %q: effects %q, want %q (exit %d, %s)", tt.script, o.Effects, tt.effect, o.Exit, o.Stderr)
			}
			if o.Syscalls == 0 {
				t.Error("no system call was seen")
			}
		})
	}
}
