package cell_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/cell"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// TestRun shows that a cell's processes are what was asked for, as the real ps
// and the kernel see them, and that the machine is out of sight and unharmed.
func TestRun(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: starts processes in new namespaces")
	}
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	inmate, err := oracle.BuildInmate(t.Context(), repo, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(t.TempDir(), "root")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	path, err := cell.Tools(root)
	if err != nil {
		t.Fatal(err)
	}
	sh := func(script string) cell.Command {
		return cell.Command{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + path}}
	}
	commands := []struct {
		name, script, want string
	}{
		{"argv", "/bin/ps -C kube-apiserver -o args --no-headers", "kube-apiserver --a=b c d\n"},
		{"comm of 15 bytes", "/bin/ps -C kube-controller-manager -o comm --no-headers", "kube-controller\n"},
		{"environment", "tr '\\0' '\\n' < /proc/$(/bin/ps -C etcd -o pid= | tr -d ' ')/environ", "A=1\nA=2\nodd\n"},
		{"user", "/bin/ps -C kube-scheduler -o uid= | tr -d ' '", "997\n"},
		{"zombie", "/bin/ps -C kubelet -o stat=,args= | cut -c1,5-", "Z [kubelet] <defunct>\n"},
		{"script", "/bin/ps -C wrapper -o args --no-headers", "/bin/sh /.cell/run/script/wrapper\n"},
		{"no kubectl", "kubectl || echo $?", "127\n"},
		{"only its own root", "ls -A / | grep -vE '^(bin|sbin|usr|lib|lib32|lib64|libx32|proc|dev|[.]cell)$' | wc -l", "0\n"},
		{"read-only system", "(: > /usr/bin/x) 2>/dev/null || echo refused", "refused\n"},
		{"no network", "grep -c : /proc/net/dev", "1\n"},
	}
	spec := cell.Spec{
		Root: root,
		Processes: []cell.Process{
			{Comm: "kube-apiserver", Argv: []string{"kube-apiserver", "--a=b", "c d"}},
			{Comm: "kube-controller-manager", Argv: []string{"x"}},
			{Comm: "etcd", Argv: []string{"etcd"}, Env: []string{"A=1", "A=2", "odd"}},
			{Comm: "kube-scheduler", Argv: []string{"kube-scheduler"}, UID: 997, GID: 997},
			{Comm: "kubelet", Argv: []string{"kubelet"}, Zombie: true},
			{Comm: "wrapper", Argv: []string{"wrapper"}, Script: true},
		},
	}
	for _, c := range commands {
		spec.Commands = append(spec.Commands, sh(c.script))
	}
	outputs, err := cell.Run(t.Context(), inmate, spec)
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range commands {
		if got := string(outputs[i].Stdout); got != c.want {
			t.Errorf("%s: %q, want %q (stderr %q)", c.name, got, c.want, outputs[i].Stderr)
		}
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), root) {
		t.Error("a mount of the cell is left on the machine")
	}
}
