//go:build e2e

package deadman

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/component"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// startNode boots one node of a lab of its own.
func startNode(t *testing.T) *machine.Node {
	t.Helper()
	system, err := component.System(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "lab")
	lab, err := machine.Start(t.Context(), fmt.Sprintf("dms%d", os.Getpid()), dir, true)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	disk := filepath.Join(dir, "a.disk")
	if err := machine.CreateDisk(t.Context(), disk, 2<<30); err != nil {
		t.Fatal(err)
	}
	n := lab.Node(machine.Spec{Name: "a", Layers: []string{system}, Disk: disk})
	boot(t, n)
	return n
}

func boot(t *testing.T, n *machine.Node) {
	t.Helper()
	if err := n.Start(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "systemd is up", func() bool {
		out, _ := n.Run(t.Context(), "systemctl", "is-system-running")
		return strings.HasPrefix(out, "running") || strings.HasPrefix(out, "degraded")
	})
}

// tree is the file tree of a running node, as this process sees it.
func tree(t *testing.T, n *machine.Node) *host.FS {
	t.Helper()
	dir, err := n.Root()
	if err != nil {
		t.Fatal(err)
	}
	root, err := host.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

func run(t *testing.T, n *machine.Node, command string) string {
	t.Helper()
	out, err := n.Run(t.Context(), "sh", "-c", command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// write puts a file on a node.
func write(t *testing.T, n *machine.Node, path, content string) {
	t.Helper()
	if _, err := n.Feed(t.Context(), strings.NewReader(content), "sh", "-c", "cat > "+path); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: not within two minutes", what)
		}
	}
}
