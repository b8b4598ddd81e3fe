//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// probed is what the program gateprobe prints, which calls the gates on the nodes
// of a lab.
type probed struct {
	Error    string          `json:"error"`
	Seconds  float64         `json:"seconds"`
	Snapshot json.RawMessage `json:"snapshot"`
	Progress string          `json:"-"`
}

// probing builds gateprobe and lays it on nodes.
func probing(t *testing.T, nodes ...*machine.Node) {
	t.Helper()
	lay(t, "gateprobe", nodes...)
}

// lay builds a program of this folder and lays it on nodes, in /root.
func lay(t *testing.T, name string, nodes ...*machine.Node) {
	t.Helper()
	program := filepath.Join(t.TempDir(), name)
	build := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./"+name)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v: %s", name, err, out)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range nodes {
		if _, err := n.Feed(t.Context(), bytes.NewReader(content), "sh", "-c", "cat > /root/"+name+" && chmod 0755 /root/"+name); err != nil {
			t.Fatal(err)
		}
	}
}

// call runs gateprobe on a node.
func call(t *testing.T, n *machine.Node, args ...string) probed {
	t.Helper()
	cmd := n.Command(t.Context(), "/root/gateprobe", args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("gateprobe %v: %v: %s", args, err, stderr.String())
	}
	var p probed
	if err := json.Unmarshal(stdout.Bytes(), &p); err != nil {
		t.Fatalf("gateprobe %v: %v: %s", args, err, stdout.String())
	}
	p.Progress = stderr.String()
	t.Logf("%s: %s: %.1f s, error %q\n%s", n.Name, args[len(args)-1], p.Seconds, p.Error, p.Progress)
	return p
}

// before is a snapshot of a component, which has to be well.
func before(t *testing.T, n *machine.Node, component string) string {
	t.Helper()
	p := call(t, n, "-components", component, "before")
	if p.Error != "" {
		t.Fatal(p.Error)
	}
	return string(p.Snapshot)
}

// change edits a file of a component (the edit is of /root/.edit), and gives what
// Take says and the snapshot of before.
func change(t *testing.T, n *machine.Node, component, file, edit string) (probed, string) {
	t.Helper()
	was := before(t, n, component)
	must(t, n, "sh", "-c", fmt.Sprintf("cp -p %[1]s /root/.was && cp -p %[1]s /root/.edit && %[2]s && ! cmp -s %[1]s /root/.edit && mv /root/.edit %[1]s", file, edit))
	return call(t, n, "-components", component, "-before", was, "take"), was
}

// putBack restores the file that change edited, and wants the gate to open.
// Without a snapshot it is a Take of a component of which nobody knows how it ran.
func putBack(t *testing.T, n *machine.Node, component, file, before string) probed {
	t.Helper()
	must(t, n, "sh", "-c", "cp -p /root/.was /root/.edit && mv /root/.edit "+file)
	taken := call(t, n, "-components", component, "-before", before, "take")
	if taken.Error != "" {
		t.Fatalf("after %s was put back: %s", file, taken.Error)
	}
	return taken
}
