//go:build e2e

package machine

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain is also the Go program whose clock is shifted: it prints the time in
// nanoseconds, and of the monotonic clock, again and again.
func TestMain(m *testing.M) {
	if os.Getenv("MACHINE_TEST_CLOCK") == "" {
		os.Exit(m.Run())
	}
	if os.Getenv("MACHINE_TEST_CLOCK") == "exec" { // by now there are several threads
		panic(syscall.Exec("/bin/date", []string{"date", "+%s%N"}, os.Environ()))
	}
	began := time.Now()
	for range 4 { // threads that read the clock without a pause
		go func() {
			for time.Now().Unix() > 0 {
			}
		}()
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		now := time.Now()
		var tv unix.Timeval
		if err := unix.Gettimeofday(&tv); err != nil {
			panic(err)
		}
		fmt.Println(now.UnixNano(), tv.Nano(), now.Sub(began).Nanoseconds())
	}
}

// clockNode is a PID namespace whose processes have an overlay of the machine's
// root as theirs, as those of a node have, and its first process, a shell.
type clockNode struct {
	init *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
}

func newClockNode(t *testing.T) *clockNode {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("needs root: makes namespaces")
	}
	n := &clockNode{init: exec.Command("/bin/sh", "-ec", `
		mount --make-rprivate /
		mount -t tmpfs none /mnt
		mkdir /mnt/upper /mnt/work /mnt/root
		mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work none /mnt/root
		mount -t proc none /mnt/root/proc
		mount --bind /dev /mnt/root/dev
		exec chroot /mnt/root /bin/sh`)}
	n.init.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	n.init.Stderr = os.Stderr
	var err error
	if n.in, err = n.init.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := n.init.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	n.out = bufio.NewReader(out)
	if err := n.init.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = n.init.Process.Kill()
		_ = n.init.Wait()
	})
	if said := n.say(t, "echo up"); said != "up" {
		t.Fatal(said)
	}
	return n
}

// say gives the shell a command that prints one line, and returns that.
func (n *clockNode) say(t *testing.T, command string) string {
	t.Helper()
	if _, err := fmt.Fprintln(n.in, command); err != nil {
		t.Fatal(err)
	}
	line, err := n.out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(line)
}

// ahead says by how much a time in nanoseconds is ahead of the real one, to the
// second.
func ahead(t *testing.T, nanoseconds string) time.Duration {
	t.Helper()
	n, err := strconv.ParseInt(nanoseconds, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Until(time.Unix(0, n)).Round(time.Second)
}

func TestShiftClock(t *testing.T) {
	const offset = -36*time.Hour + 500*time.Millisecond
	n := newClockNode(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	n.say(t, "mkdir -p /run/clock; cd /run/clock; mkfifo in out; echo made")
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/root/run/clock/program", n.init.Process.Pid), program, 0o700); err != nil {
		t.Fatal(err)
	}
	n.say(t, "MACHINE_TEST_CLOCK=1 ./program <in >out & exec 5>in 6<out; echo started")
	ask := func() (goTime, tod time.Duration, monotonic time.Duration) {
		t.Helper()
		f := strings.Fields(n.say(t, "echo >&5; read -r line <&6; echo $line"))
		if len(f) != 3 {
			t.Fatal(f)
		}
		mono, err := strconv.ParseInt(f[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		return ahead(t, f[0]), ahead(t, f[1]), time.Duration(mono)
	}
	near := func(what string, got, want time.Duration) {
		t.Helper()
		if d := (got - want).Abs(); d > time.Second {
			t.Errorf("%s: %s ahead, want %s", what, got, want)
		}
	}
	goTime, tod, mono := ask()
	near("Go before", goTime, 0)
	near("gettimeofday before", tod, 0)
	asked := time.Now()

	began := time.Now()
	processes := Processes(n.init.Process.Pid)
	stop, err := ShiftClock(processes, offset)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("shifted in %s", time.Since(began))
	goTime, tod, later := ask()
	near("Go", goTime, offset)
	near("gettimeofday", tod, offset)
	near("monotonic", (later-mono)-time.Since(asked), 0)

	wrong := 0
	began = time.Now()
	const runs = 50
	for range runs {
		if d := ahead(t, n.say(t, "date +%s%N")); (d - offset).Abs() > time.Second {
			wrong++
		}
	}
	t.Logf("date as a child of a shell: %d of %d saw the real time, %s each", wrong, runs, time.Since(began)/runs)
	if wrong > 0 {
		t.Errorf("%d of %d programs saw the real time", wrong, runs)
	}
	n.say(t, `printf '#!/bin/sh\nexec date +%%s%%N\n' > ./script; chmod +x ./script; echo made`)
	near("a script that executes date", ahead(t, n.say(t, "./script")), offset)
	near("a Go program that starts", ahead(t, strings.Fields(n.say(t, "echo | MACHINE_TEST_CLOCK=1 ./program"))[0]), offset)
	near("time(2)", ahead(t, n.say(t, `perl -e 'print time, "000000000\n"'`)), offset)
	if got := n.say(t, "cp /usr/bin/id ./id && chmod 4755 ./id . && setpriv --reuid=65534 --clear-groups ./id -u"); got != "0" {
		t.Errorf("a set-user-ID program runs as %s", got)
	}
	if got := n.say(t, "./nothing 2>/dev/null; echo $?; "); got != "127" {
		t.Errorf("a program that is not there: %s", got)
	}
	if got := n.say(t, "echo nonsense > nonsense; chmod +x nonsense; setpriv ./nonsense 2>/dev/null; echo $?"); got != "127" /* a shell was tried */ {
		t.Errorf("a file that is no program: %s", got)
	}

	wrong = 0
	for range runs {
		if d := ahead(t, n.say(t, "MACHINE_TEST_CLOCK=exec ./program")); (d - offset).Abs() > time.Second {
			wrong++
		}
	}
	if wrong > 0 {
		t.Errorf("executed by a process of several threads: %d of %d programs saw the real time", wrong, runs)
	}

	// A program that nsenter puts into the node.
	out, err := exec.Command("nsenter", "--target", strconv.Itoa(n.init.Process.Pid), "--mount", "--pid", "--root", "--", "date", "+%s%N").Output()
	if err != nil {
		t.Fatal(err)
	}
	near("a program by nsenter", ahead(t, strings.TrimSpace(string(out))), offset)

	var self0, self1 unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &self0)
	time.Sleep(time.Second)
	_ = unix.Getrusage(unix.RUSAGE_SELF, &self1)
	t.Logf("cost while nothing happens: %s of CPU in a second", time.Duration(self1.Utime.Nano()+self1.Stime.Nano()-self0.Utime.Nano()-self0.Stime.Nano()))

	if err := stop(); err != nil {
		t.Fatal(err)
	}
	goTime, tod, _ = ask()
	near("Go after", goTime, 0)
	near("gettimeofday after", tod, 0)
	near("date after", ahead(t, n.say(t, "date +%s%N")), 0)

	for i := range 20 { // again and again, under threads that read the clock all the time
		offset := time.Duration(i+1) * time.Hour
		stop, err := ShiftClock(processes, offset)
		if err != nil {
			t.Fatal(err)
		}
		goTime, _, _ = ask()
		near("Go, again", goTime, offset)
		if err := stop(); err != nil {
			t.Fatal(err)
		}
	}
	goTime, _, _ = ask()
	near("Go at last", goTime, 0)
}
