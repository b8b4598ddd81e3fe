//go:build e2e

package machine_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/component"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
)

// startNode boots one node of a lab of its own, with an address.
func startNode(t *testing.T) (*machine.Lab, *machine.Node) {
	t.Helper()
	system, err := component.System(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "lab")
	lab, err := machine.Start(t.Context(), "node", dir, true)
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
	n := lab.Node(machine.Spec{Name: "a", Layers: []string{system}, Disk: disk, Plain: []string{"/var/lib/plain"}})
	boot(t, n)
	return lab, n
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
	run(t, n, "ip address replace 10.90.0.11/24 dev host0 && ip link set host0 up")
}

func run(t *testing.T, n *machine.Node, command string) string {
	t.Helper()
	out, err := n.Run(t.Context(), "sh", "-c", command)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for began := time.Now(); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Since(began) > 2*time.Minute {
			t.Fatalf("%s: not within two minutes", what)
		}
	}
}

// A power cut loses what was not written to the disk and nothing else; the node
// boots again by itself.
func TestCutPower(t *testing.T) {
	_, n := startNode(t)
	run(t, n, "echo kept > /kept && sync && echo lost > /lost")
	if err := n.CutPower(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n.Running() {
		t.Error("the node is still on")
	}
	boot(t, n)
	if got := run(t, n, "cat /kept; test -s /lost && echo lost; true"); got != "kept\n" {
		t.Errorf("after the power cut the node has %q", got)
	}
}

// What is saved comes back, and what came after it is gone.
func TestSave(t *testing.T) {
	_, n := startNode(t)
	saved := n.Disk + ".saved"
	run(t, n, "echo before > /state")
	if err := n.Save(t.Context(), saved); err != nil {
		t.Fatal(err)
	}
	run(t, n, "echo after > /state && sync")
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := machine.CopyDisk(n.Disk, saved); err != nil {
		t.Fatal(err)
	}
	boot(t, n)
	if got := run(t, n, "cat /state"); got != "before\n" {
		t.Errorf("the node has %q", got)
	}
}

// A full and a read-only disk fail writes as the kernel does; each fault has its
// way back.
func TestDiskFaults(t *testing.T) {
	_, n := startNode(t)
	undo, err := n.Fill(0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.Run(t.Context(), "sh", "-c", "head -c 100000 /dev/zero > /file"); err == nil || !strings.Contains(err.Error(), "No space left") {
		t.Errorf("a write to a full disk: %v", err)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	run(t, n, "head -c 100000 /dev/zero > /file")
	if err := n.ReadOnly(); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Run(t.Context(), "sh", "-c", "echo x > /file"); err == nil || !strings.Contains(err.Error(), "Read-only file system") {
		t.Errorf("a write to a read-only disk: %v", err)
	}
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	boot(t, n)
	run(t, n, "echo x > /file")
}

// A node off the network is not reached, nor is a port that is cut; killed
// processes are gone.
func TestNetworkAndProcessFaults(t *testing.T) {
	lab, n := startNode(t)
	reached := func() bool {
		conn, err := lab.Dial(t.Context(), "tcp", "10.90.0.11:22")
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	eventually(t, "sshd answers", reached)
	if err := n.Unplug(t.Context()); err != nil {
		t.Fatal(err)
	}
	if reached() {
		t.Error("an unplugged node was reached")
	}
	if err := n.Plug(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is back", reached)
	undo, err := n.CutPort(t.Context(), 22)
	if err != nil {
		t.Fatal(err)
	}
	if reached() {
		t.Error("a cut port was reached")
	}
	if err := undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the port is back", reached)
	before := run(t, n, "pidof systemd-journald")
	if err := n.KillProcess(t.Context(), "systemd-journal"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "systemd starts journald again", func() bool {
		out, err := n.Run(t.Context(), "pidof", "systemd-journald")
		return err == nil && out != before
	})
}

// A node's clock is wrong while the machine's is right.
func TestSetClock(t *testing.T) {
	_, n := startNode(t)
	year := func() string { return strings.TrimSpace(run(t, n, "date +%Y")) }
	right := year()
	undo, err := n.SetClock(10 * 366 * 24 * time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node's clock is ten years ahead", func() bool { return year() > right })
	if now := time.Now().Format("2006"); now != right {
		t.Errorf("the machine's year is %s", now)
	}
	if err := undo(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node's clock is right again", func() bool { return year() == right })
}
