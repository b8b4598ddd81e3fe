package machine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what a node is made of.
type Spec struct {
	Name   string   // host name, also the name of its bridge port vb-NAME
	Layers []string // read-only trees, topmost first; what the node writes lies above them
	Disk   string   // image file, see CreateDisk
	// Plain are folders of the node that lie on its disk directly and not on the
	// overlay: container runtimes want to make overlays of their own there.
	Plain []string
}

// Node is a machine of a lab: systemd and what it starts, on a disk.
type Node struct {
	Spec
	lab *Lab
}

// Node returns the node of a lab that a spec describes, running or not.
func (l *Lab) Node(spec Spec) *Node { return &Node{Spec: spec, lab: l} }

// bootScript runs in the lab's namespaces and in a mount namespace of its own,
// so that the node's mounts end with the node. Its arguments are the node's name,
// disk and layers; then, up to "--", its cgroups; then its plain folders.
// Standard input is a tar archive laid over the node before it boots.
//
// The capabilities and system calls of a real machine are left to the node. Its
// network namespace is a new one with one port on the bridge.
const bootScript = `
set -e
name=$1 disk=$2 layers=$3; shift 3
dir=/run/nodes/$name; mkdir -p $dir/disk $dir/root
mount -t tmpfs -o mode=755 node $dir; mkdir $dir/disk $dir/root
mount -o loop,noatime "$disk" $dir/disk
mkdir -p $dir/disk/upper $dir/disk/work
mount -t overlay -o "lowerdir=$layers,upperdir=$dir/disk/upper,workdir=$dir/disk/work" node $dir/root
tar -x -p --numeric-owner --same-owner -C $dir/root
while [ "$1" != -- ]; do echo 0 > "$1/cgroup.procs"; shift; done; shift
binds=
for plain; do mkdir -p $dir/disk/plain$plain; binds="$binds --bind=$dir/disk/plain$plain:$plain"; done
exec </dev/null
exec systemd-nspawn --quiet --boot --directory=$dir/root --machine=$name \
  --register=no --keep-unit --link-journal=no --resolv-conf=off --timezone=off --console=read-only \
  --capability=all --system-call-filter='@known @privileged @debug @module' \
  --network-bridge=` + Bridge + ` --bind=/dev/kmsg $binds
`

// Start boots a node. Files, a tar archive with numeric owners or nil, is laid
// over what is on its disk first. It returns when systemd has taken over, long
// before its services are up.
func (n *Node) Start(ctx context.Context, files io.Reader) error {
	if _, err := n.init(); err == nil {
		return fmt.Errorf("node %s: is already running", n.Name)
	}
	cgroups, err := makeCgroups(n.cgroup())
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	console, err := os.OpenFile(filepath.Join(n.lab.Dir, n.Name+".console"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	defer console.Close()
	if files == nil {
		files = bytes.NewReader(make([]byte, 1024)) // an empty archive
	}
	args := []string{"--mount", "--propagation", "private", "/bin/sh", "-c", bootScript, "boot", n.Name, n.Disk, strings.Join(n.Layers, ":")}
	args = append(append(args, cgroups...), "--")
	args = append(args, n.Plain...)
	// Not bound to ctx: a node outlives the command that started it.
	cmd := n.lab.Command(context.WithoutCancel(ctx), "unshare", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = files, console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	err = waitFor(ctx, 2*time.Minute, func() bool {
		select {
		case <-ended:
			return true
		default:
		}
		_, err := n.init()
		return err == nil
	})
	if err != nil {
		return fmt.Errorf("node %s: does not boot: %w", n.Name, err)
	}
	select {
	case <-ended:
		return fmt.Errorf("node %s: does not boot: %s", n.Name, n.lastWords())
	default:
		return nil
	}
}

// lastWords are the last lines of a node's console.
func (n *Node) lastWords() string {
	text, err := os.ReadFile(filepath.Join(n.lab.Dir, n.Name+".console"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-3):], "; ")
}

func (n *Node) cgroup() string { return "kubespray-hardener." + n.lab.Name + "." + n.Name }

// supervisor is the systemd-nspawn of the node, in the machine's process numbers.
func (n *Node) supervisor() (process, error) {
	lab, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", n.lab.init.pid))
	if err != nil {
		return process{}, fmt.Errorf("lab %s: %w", n.lab.Name, ErrNotUp)
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return process{}, err
	}
	for _, line := range lines {
		text, err := os.ReadFile(line)
		if err != nil || !bytes.HasPrefix(text, []byte("systemd-nspawn\x00")) || !bytes.Contains(text, []byte("\x00--machine="+n.Name+"\x00")) {
			continue
		}
		dir := filepath.Dir(line)
		if ns, err := os.Readlink(filepath.Join(dir, "ns/net")); err != nil || ns != lab {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		return lookUp(pid)
	}
	return process{}, fmt.Errorf("node %s: is not running", n.Name)
}

// init is the node's PID 1, in the machine's process numbers.
func (n *Node) init() (process, error) {
	supervisor, err := n.supervisor()
	if err != nil {
		return process{}, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", supervisor.pid, supervisor.pid))
	if err != nil {
		return process{}, fmt.Errorf("node %s: %w", n.Name, err)
	}
	for _, child := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(child)
		if err != nil {
			continue
		}
		// nspawn's first child sets the node up and goes; the node's own PID 1 runs systemd.
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(name)) == "systemd" {
			return lookUp(pid)
		}
	}
	return process{}, fmt.Errorf("node %s: is not running", n.Name)
}

// Running tells whether the node is switched on.
func (n *Node) Running() bool { _, err := n.init(); return err == nil }

// Command is a command that runs in a node, as root, with the environment of a
// login there. It fails to start when the node is off.
func (n *Node) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	init, err := n.init()
	if err != nil {
		return &exec.Cmd{Err: err}
	}
	return exec.CommandContext(ctx, "nsenter", append([]string{
		"--target", strconv.Itoa(init.pid), "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wdns=/root", "--",
		"env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "USER=root", "LANG=C.UTF-8", "TERM=" + os.Getenv("TERM"), name,
	}, args...)...)
}

// Run runs a command in a node and returns its standard output. The error of a
// command that fails holds what it wrote to standard error.
func (n *Node) Run(ctx context.Context, name string, args ...string) (string, error) {
	return n.Feed(ctx, nil, name, args...)
}

// Feed is Run with standard input.
func (n *Node) Feed(ctx context.Context, stdin io.Reader, name string, args ...string) (string, error) {
	cmd := n.Command(ctx, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	if err := cmd.Run(); err != nil {
		said := strings.TrimSpace(stderr.String())
		if said == "" {
			said = strings.TrimSpace(stdout.String())
		}
		return stdout.String(), fmt.Errorf("node %s: %s %s: %w: %s", n.Name, name, strings.Join(args, " "), err, said)
	}
	return stdout.String(), nil
}

// Lay lays a tar archive with numeric owners over a running node.
func (n *Node) Lay(ctx context.Context, files io.Reader) error {
	_, err := n.Feed(ctx, files, "tar", "-x", "-p", "--numeric-owner", "--same-owner", "-C", "/")
	return err
}

// Root is the folder under which this process sees a running node's files. Links
// inside are not resolved as the node does: read with os.Root or Run.
func (n *Node) Root() (string, error) {
	init, err := n.init()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root", init.pid), nil
}

// CutPower ends everything of a node at once, as when its plug is pulled: its
// processes, and what its file system has not yet written to the disk.
func (n *Node) CutPower(ctx context.Context) error {
	init, err := n.init()
	if err != nil {
		return err
	}
	disk, err := n.diskMount()
	if err != nil {
		return err
	}
	if err := PowerCut(disk); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return n.off(ctx, init)
}

// Kill switches a node off without losing what it has written: for tests that
// want it gone and not hurt.
func (n *Node) Kill(ctx context.Context) error {
	init, err := n.init()
	if err != nil {
		return err
	}
	return n.off(ctx, init)
}

func (n *Node) off(ctx context.Context, init process) error {
	supervisor, _ := n.supervisor()
	if err := unix.Kill(init.pid, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	err := waitFor(ctx, time.Minute, func() bool { return !init.alive() && !supervisor.alive() && !loopHolds(n.Disk) })
	if err != nil {
		return fmt.Errorf("node %s: does not go off: %w", n.Name, err)
	}
	if err := removeCgroups(n.cgroup()); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

// diskMount is where this process sees the node's disk.
func (n *Node) diskMount() (string, error) {
	supervisor, err := n.supervisor()
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("/proc/%d/root/run/nodes/%s/disk", supervisor.pid, n.Name), nil
}

// Unplug pulls the node's network cable; Plug puts it back.
func (n *Node) Unplug(ctx context.Context) error { return n.link(ctx, "down") }

// Plug undoes Unplug.
func (n *Node) Plug(ctx context.Context) error { return n.link(ctx, "up") }

func (n *Node) link(ctx context.Context, state string) error {
	out, err := n.lab.Command(ctx, "ip", "link", "set", "vb-"+n.Name, state).CombinedOutput()
	if err != nil {
		return fmt.Errorf("node %s: link %s: %w: %s", n.Name, state, err, strings.TrimSpace(string(out)))
	}
	return nil
}

// Save copies the node's disk to a file. The node runs on; its file system is
// held still for the moment of the copy.
func (n *Node) Save(_ context.Context, path string) error {
	if !n.Running() {
		return CopyDisk(path, n.Disk)
	}
	mount, err := n.diskMount()
	if err != nil {
		return err
	}
	thaw, err := freeze(mount)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return errors.Join(CopyDisk(path, n.Disk), thaw())
}
