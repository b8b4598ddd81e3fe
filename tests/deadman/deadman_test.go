//go:build e2e

package deadman

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/machine"
	"github.com/kubespray-hardener/kubespray-hardener/tests/parity/oracle"
)

// etcdUnit stands for etcd: it takes a value when it starts, writes down which,
// and never gets another.
const etcdUnit = `[Service]
EnvironmentFile=/etc/etcd.env
ExecStart=/bin/sh -c 'echo $VALUE >> /run/seen; exec sleep infinity'
Restart=always
RestartSec=1s
[Install]
WantedBy=multi-user.target
`

// prepare boots a node with the program, the victim and the fake etcd on it, and
// takes down which unit files there are.
func prepare(t *testing.T) (n *machine.Node, clean string) {
	t.Helper()
	dir := t.TempDir()
	repo, err := oracle.Repository(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	hardener, err := oracle.BuildHardener(t.Context(), repo, dir)
	if err != nil {
		t.Fatal(err)
	}
	victim := filepath.Join(dir, "victim")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", victim, "./victim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build victim: %v: %s", err, out)
	}
	n = startNode(t)
	for _, program := range []string{hardener, victim} {
		f, err := os.Open(program)
		if err != nil {
			t.Fatal(err)
		}
		to := "/usr/local/bin/" + filepath.Base(program)
		_, err = n.Feed(t.Context(), f, "sh", "-c", "cat > "+to+" && chmod 0755 "+to)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	write(t, n, "/etc/etcd.env", "VALUE=old\n")
	write(t, n, "/etc/systemd/system/etcd.service", etcdUnit)
	run(t, n, "systemctl daemon-reload && systemctl enable --now etcd.service && sync")
	return n, leftovers(t, n)
}

// leftovers is everything that a switch could leave: unit files and links, units
// that systemd knows, files beside the runs.
func leftovers(t *testing.T, n *machine.Node) string {
	t.Helper()
	return run(t, n, `find /etc/systemd/system /run/systemd/system /run/systemd/transient -name '*hardener*'
		systemctl list-units --all --plain --no-legend '*hardener*'
		systemctl list-timers --all --plain --no-legend '*hardener*'
		ls -A /var/lib/kubespray-hardener 2>/dev/null | grep -vx -e lock -e runs; true`)
}

// start starts the victim and waits until it has made its change. What it is
// started with outlives the test's interest in it.
func start(t *testing.T, n *machine.Node, args ...string) (pid string) {
	t.Helper()
	return startIn(t, n, append([]string{"victim"}, args...)...)
}

func startIn(t *testing.T, n *machine.Node, command ...string) (pid string) {
	t.Helper()
	cmd := n.Command(context.Background(), command[0], command[1:]...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		t.Log("victim: " + lines.Text())
		if lines.Text() == "changed" {
			return strings.TrimSpace(run(t, n, "pgrep -x victim"))
		}
	}
	t.Fatal("the victim has ended")
	return ""
}

func value(t *testing.T, n *machine.Node) string {
	return strings.TrimSpace(run(t, n, "cat /etc/etcd.env"))
}

// inForce is the value that the process of etcd.service has.
func inForce(t *testing.T, n *machine.Node) string {
	return strings.TrimSpace(run(t, n, `tr '\0' '\n' < /proc/$(systemctl show -P MainPID etcd.service)/environ | grep VALUE`))
}

// restored waits until the node is as before, and nothing is left of the switch.
func restored(t *testing.T, n *machine.Node, clean string) {
	t.Helper()
	eventually(t, "the old file is back and in force", func() bool {
		out, _ := n.Run(t.Context(), "sh", "-c", `cat /etc/etcd.env; tr '\0' '\n' < /proc/$(systemctl show -P MainPID etcd.service)/environ | grep VALUE`)
		return out == "VALUE=old\nVALUE=old\n"
	})
	disarmed(t, n, clean)
	if out := run(t, n, "hardener rollback --list"); !strings.Contains(out, "undone") {
		t.Errorf("the runs: %s", out)
	}
}

func disarmed(t *testing.T, n *machine.Node, clean string) {
	t.Helper()
	var now string
	eventually(t, "nothing is left of the switch", func() bool { now = leftovers(t, n); return now == clean || t.Context().Err() != nil })
	if t.Failed() {
		t.Logf("left: %s", now)
	}
}

func journal(t *testing.T, n *machine.Node) {
	t.Helper()
	t.Logf("journal:\n%s", run(t, n, "journalctl -o short-monotonic -u 'kubespray-hardener-*' -u etcd.service --no-pager | tail -40"))
}

// A process that is killed leaves its change to the timer.
func TestKilled(t *testing.T) {
	n, clean := prepare(t)
	pid := start(t, n, "-within=5s")
	run(t, n, "systemctl restart etcd.service")
	if got := inForce(t, n); got != "VALUE=new" {
		t.Fatalf("before the kill: %s", got)
	}
	run(t, n, "kill -KILL "+pid)
	began := time.Now()
	restored(t, n, clean)
	t.Logf("restored %s after the kill, with a deadline of 5 s", time.Since(began).Round(100*time.Millisecond))
	journal(t, n)
}

// A process that lives and does not get on is ended when its time is over, even
// one that does not hear SIGTERM, and one in a container, which knows itself by
// another number.
func TestHangs(t *testing.T) {
	for where, command := range map[string][]string{
		"on the node":    {"victim", "-within=4s"},
		"in a container": {"unshare", "--mount", "--pid", "--fork", "--mount-proc", "victim", "-within=4s"},
	} {
		t.Run(where, func(t *testing.T) {
			n, clean := prepare(t)
			pid := startIn(t, n, command...)
			run(t, n, "systemctl restart etcd.service; kill -STOP "+pid)
			restored(t, n, clean)
			if out, err := n.Run(t.Context(), "pgrep", "-x", "-r", "R,S,D,T,t", "victim"); err == nil {
				t.Errorf("the victim lives: %s", out)
			}
			journal(t, n)
		})
	}
}

// After a power cut the old file is back before anything starts.
func TestPowerCut(t *testing.T) {
	n, clean := prepare(t)
	start(t, n)
	run(t, n, "systemctl restart etcd.service")
	if got := inForce(t, n); got != "VALUE=new" {
		t.Fatalf("before the power cut: %s", got)
	}
	if err := n.CutPower(t.Context()); err != nil {
		t.Fatal(err)
	}
	boot(t, n)
	restored(t, n, clean)
	// /run is new with every boot: this is what etcd saw since.
	if got := run(t, n, "cat /run/seen"); got != "old\n" {
		t.Errorf("since the boot etcd was started with %q", got)
	}
	at := func(unit, property string) int {
		us, err := strconv.Atoi(strings.TrimSpace(run(t, n, "systemctl show -P "+property+" "+unit)))
		if err != nil {
			t.Fatal(err)
		}
		return us
	}
	t.Logf("etcd was started %d ms after the start of systemd's user space", (at("etcd.service", "ExecMainStartTimestampMonotonic")-at("sysinit.target", "ActiveEnterTimestampMonotonic"))/1000)
	journal(t, n)
}

// The whole machine goes down while the timer would still have hours, and
// comes up in order.
func TestReboot(t *testing.T) {
	n, clean := prepare(t)
	start(t, n)
	if err := n.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	boot(t, n)
	restored(t, n, clean)
	if got := run(t, n, "cat /run/seen"); got != "old\n" {
		t.Errorf("since the boot etcd was started with %q", got)
	}
}

// What somebody else has changed since is theirs.
func TestForeignChange(t *testing.T) {
	for _, how := range []string{"timer", "boot"} {
		t.Run(how, func(t *testing.T) {
			n, clean := prepare(t)
			within := map[string]string{"timer": "4s", "boot": "1h"}[how]
			pid := start(t, n, "-within="+within)
			run(t, n, "echo VALUE=operator > /etc/etcd.env; sync; kill -KILL "+pid)
			if how == "boot" {
				if err := n.CutPower(t.Context()); err != nil {
					t.Fatal(err)
				}
				boot(t, n)
			}
			disarmed(t, n, clean)
			if got := value(t, n); got != "VALUE=operator" {
				t.Errorf("the operator's change became %q", got)
			}
			if out := run(t, n, "journalctl --no-pager -u 'kubespray-hardener-*'"); !strings.Contains(out, "/etc/etcd.env was left as it is") {
				t.Errorf("nobody is told: %s", out)
			}
		})
	}
}

// A process that has time left is left alone: by a recovery that somebody starts,
// by the end of a time that was extended, by multi-user.target's start.
func TestWithinTime(t *testing.T) {
	n, clean := prepare(t)
	pid := start(t, n, "-within=3s", "-again=1h")
	run(t, n, "sleep 5; systemctl start kubespray-hardener-recover.service && systemctl start kubespray-hardener-boot.service && systemctl start multi-user.target")
	if out := run(t, n, "pgrep -x victim"); strings.TrimSpace(out) != pid {
		t.Errorf("the victim: %s, was %s", out, pid)
	}
	if got := value(t, n); got != "VALUE=new" {
		t.Errorf("within its time its change became %q", got)
	}
	if out := run(t, n, "systemctl list-timers --plain --no-legend '*hardener*' | wc -l"); strings.TrimSpace(out) != "1" {
		t.Errorf("%s timers run, not 1", out)
	}
	// And what it leaves is found by whoever comes next.
	run(t, n, "kill -KILL "+pid)
	if out, err := n.Run(t.Context(), "hardener", "rollback"); err == nil {
		t.Errorf("nothing is left to roll back, but: %s", out)
	}
	restored(t, n, clean)
}

// A unit file that was put back is read again.
func TestUnitFile(t *testing.T) {
	n, clean := prepare(t)
	run(t, n, "mkdir -p /etc/systemd/system/etcd.service.d")
	pid := start(t, n, "-within=4s", "-file=/etc/systemd/system/etcd.service.d/x.conf", "-content=[Service]\nEnvironment=MORE=yes\n")
	more := `systemctl daemon-reload; systemctl restart etcd.service; tr '\0' '\n' < /proc/$(systemctl show -P MainPID etcd.service)/environ | grep -c MORE`
	if got := run(t, n, more); strings.TrimSpace(got) != "1" {
		t.Fatalf("before the kill: %s", got)
	}
	run(t, n, "kill -KILL "+pid)
	eventually(t, "the drop-in is gone", func() bool {
		out, _ := n.Run(t.Context(), "sh", "-c", `tr '\0' '\n' < /proc/$(systemctl show -P MainPID etcd.service)/environ | grep -c MORE; systemctl show -P NeedDaemonReload etcd.service`)
		return out == "0\nno\n"
	})
	disarmed(t, n, clean)
}

// What fails with the new file until systemd gives it up is started with the old
// one.
func TestStartLimit(t *testing.T) {
	n, clean := prepare(t)
	run(t, n, `sed -i 's/^RestartSec=1s/RestartSec=100ms/; s/^ExecStart=.*/ExecStart=\/bin\/sh -c "test $VALUE = old || exit 1; exec sleep infinity"/' /etc/systemd/system/etcd.service; systemctl daemon-reload; systemctl restart etcd.service`)
	pid := start(t, n, "-within=6s")
	run(t, n, "systemctl restart etcd.service; kill -KILL "+pid)
	eventually(t, "systemd gives it up", func() bool {
		out, _ := n.Run(t.Context(), "systemctl", "is-failed", "etcd.service")
		return strings.TrimSpace(out) == "failed"
	})
	restored(t, n, clean)
}

// A run that is proven and ends leaves nothing; one whose group was kept and that
// dies keeps its change.
func TestDisarm(t *testing.T) {
	n, clean := prepare(t)
	run(t, n, "victim -commit")
	if got := leftovers(t, n); got != clean {
		t.Errorf("left behind: %s", got)
	}
	if got := value(t, n); got != "VALUE=new" {
		t.Errorf("a committed change became %q", got)
	}
	main := run(t, n, "systemctl show -P MainPID etcd.service")
	pid := start(t, n, "-within=4s", "-keep", "-content=VALUE=kept\n")
	run(t, n, "kill -KILL "+pid)
	disarmed(t, n, clean)
	if got := value(t, n); got != "VALUE=kept" {
		t.Errorf("a proven change became %q", got)
	}
	if now := run(t, n, "systemctl show -P MainPID etcd.service"); now != main {
		t.Errorf("etcd was restarted for nothing: %s, now %s", main, now)
	}
}

// What cannot be started by systemd, or is masked, is found when arming, before
// any edit.
func TestArmRefuses(t *testing.T) {
	n, clean := prepare(t)
	write(t, n, "/root/broken", "#!/no/such/interpreter\n")
	for args, want := range map[string]string{
		"-program=/root/broken": "/var/lib/kubespray-hardener/hardener cannot be started by systemd",
		"-within=0s":            "is no time",
	} {
		out, err := n.Run(t.Context(), "sh", "-c", "victim "+args)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("%s: %v: %s", args, err, out)
		}
		if got := value(t, n); got != "VALUE=old" {
			t.Errorf("%s: the file was changed to %q", args, got)
		}
		if got := leftovers(t, n); got != clean {
			t.Errorf("%s: left behind: %s", args, got)
		}
	}
	run(t, n, "ln -s /dev/null /etc/systemd/system/kubespray-hardener-recover.service")
	if out, err := n.Run(t.Context(), "sh", "-c", "victim"); err == nil || !strings.Contains(out, "something else is there") {
		t.Errorf("masked: %v: %s", err, out)
	}
}

// A file whose backup is rotten is left, what it belongs to restarted with it, and
// nothing is tried again: the failed unit stays listed, and says once what to do.
func TestRottenBackup(t *testing.T) {
	n, clean := prepare(t)
	pid := start(t, n, "-within=4s")
	main := run(t, n, "systemctl show -P MainPID etcd.service")
	run(t, n, `sed -i s/old/rot/ /var/lib/kubespray-hardener/runs/*/backup/0001; kill -KILL `+pid)
	const failed = "systemctl list-units --failed --plain --no-legend '*hardener*'"
	eventually(t, "the recovery gives up", func() bool { return strings.Contains(run(t, n, failed), "kubespray-hardener-recover.service") })
	eventually(t, "the switch is gone", func() bool {
		return run(t, n, `find /etc/systemd/system -name '*hardener*'; systemctl list-timers --all --plain --no-legend '*hardener*'`) == ""
	})
	want := "/etc/etcd.env of etcd (its backup /var/lib/kubespray-hardener/runs/"
	if out := run(t, n, "journalctl --no-pager -o cat"); strings.Count(out, want) != 1 {
		t.Errorf("said %d times, not once: %s", strings.Count(out, want), out)
	}
	if got := value(t, n); got != "VALUE=new" {
		t.Errorf("the file became %q", got)
	}
	if now := run(t, n, "systemctl show -P MainPID etcd.service"); now == main || inForce(t, n) != "VALUE=new" {
		t.Errorf("etcd was not restarted with what is there")
	}
	if out := run(t, n, "hardener rollback --list"); !strings.Contains(out, "undone") || !strings.Contains(out, "not put back: /etc/etcd.env") {
		t.Errorf("the runs: %s", out)
	}
	run(t, n, "systemctl reset-failed")
	disarmed(t, n, clean)
	journal(t, n)
}

// A run whose journal is damaged is left to a person, who finds it: the timer
// tries once, the failed unit stays listed, and the files stay until they are
// put back by force.
func TestDamagedJournal(t *testing.T) {
	n, clean := prepare(t)
	pid := start(t, n, "-within=4s", "-keep")
	// The last record is that its group is kept: no crash leaves anything before it.
	run(t, n, `sed -i '$i rot' /var/lib/kubespray-hardener/runs/*/journal; kill -KILL `+pid)
	id := strings.TrimSpace(run(t, n, "ls /var/lib/kubespray-hardener/runs"))
	const failed = "systemctl list-units --failed --plain --no-legend '*hardener*'"
	eventually(t, "the recovery gives up", func() bool { return strings.Contains(run(t, n, failed), "kubespray-hardener-recover.service") })
	eventually(t, "the switch is gone", func() bool {
		return run(t, n, `find /etc/systemd/system -name '*hardener*'; systemctl list-timers --all --plain --no-legend '*hardener*'`) == ""
	})
	want := "hardener rollback --run " + id + " --force"
	if out := run(t, n, "journalctl --no-pager -o cat"); strings.Count(out, want) != 1 {
		t.Errorf("said %d times, not once: %s", strings.Count(out, want), out)
	}
	if got := value(t, n); got != "VALUE=new" {
		t.Errorf("nobody has asked, and the file became %q", got)
	}
	if out, err := n.Run(t.Context(), "sh", "-c", "hardener rollback 2>&1"); err == nil || strings.Count(out, "\n") != 1 || !strings.Contains(out, want) {
		t.Errorf("rollback: %v: %s", err, out)
	}
	out, err := n.Run(t.Context(), "sh", "-c", want+" 2>&1")
	t.Logf("by force: %v: %s", err, out)
	if got := value(t, n); got != "VALUE=old" {
		t.Errorf("by force the file became %q", got)
	}
	run(t, n, "systemctl reset-failed")
	disarmed(t, n, clean)
	journal(t, n)
}
