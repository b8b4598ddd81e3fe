package hooks

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
)

// stand-ins for systemd's programs: a unit is a process whose number lies in /run.
const systemctl = `#!/bin/sh
for unit; do :; done
[ "$1" != is-active ] || kill -0 "$(cat /run/unit-$unit 2>/dev/null || echo none)" 2>/dev/null
`

const systemdRun = `#!/bin/sh
unit=${1#--unit=}; shift 2
"$@" </dev/null >/dev/null 2>&1 &
echo $! >/run/unit-$unit
`

// fixing stands in for hardener: it says something and waits to be let on. It takes
// down whether a module of this Ansible is there meanwhile.
const fixing = `#!/bin/sh
for flag; do case $flag in --output-file=*) out=${flag#*=};; --started-by=*) echo "$flag" >DIR/by;; esac; done
echo 'hardener: fit: asking' >&2
until [ -e DIR/go ]; do sleep 0.1; done
pgrep -f 'DIR/.ansible/tmp/.*/AnsiballZ_' >>DIR/modules
if [ -e DIR/kill ]; then kill -9 $PPID; exit 0; fi
cp DIR/report.json "$out"
echo 'hardener: kept' >&2
exit 1
`

// followSite has one host, which is this machine with a /run of its own.
func followSite(t *testing.T) site {
	t.Helper()
	s := newSite(t, "", "w1")
	for name, text := range map[string]string{"bin/systemctl": systemctl, "bin/systemd-run": systemdRun, "bin/hardener": strings.ReplaceAll(fixing, "DIR", s.dir)} {
		s.write(name, text)
		if err := os.Chmod(filepath.Join(s.dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	binary, err := program()
	if err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), binary, "fix", "--dry-run", "--root="+s.tree("w1"), "--benchmark="+sample.Benchmark,
		"--output=json", "--output-file="+filepath.Join(s.dir, "report.json")).CombinedOutput(); err == nil {
		t.Fatalf("nothing fails on the sample: %s", out)
	}
	s.write("play.yml", fmt.Sprintf(`
- hosts: w1
  gather_facts: false
  tasks:
    - hardener:
        binary: %[1]s/bin/hardener
        command: fix
        report: %[1]s/kept.json
`, s.dir))
	return s
}

// run is a playbook in a mount namespace of its own, begun with some commands of the
// shell.
func (s site) run(before string) *exec.Cmd {
	cmd := s.command("play.yml")
	script := `mount -t tmpfs run /run && mkdir -p /run/systemd/system && ` + before + ` exec "$@"`
	inner := append([]string{"--mount", "--propagation", "private", "sh", "-c", script, "sh"}, cmd.Args...)
	ns := exec.CommandContext(s.t.Context(), "unshare", inner...)
	ns.Dir = s.dir
	// Without pipelining a module is a file, which a fix would see.
	ns.Env = append(cmd.Env, "ANSIBLE_PIPELINING=0", "PATH="+s.dir+"/bin:"+os.Getenv("PATH"),
		"ANSIBLE_LIBRARY="+absolute(s.t, "../../kubespray-hooks/plugins/modules"), "ANSIBLE_ACTION_PLUGINS="+absolute(s.t, "../../kubespray-hooks/plugins/action"))
	return ns
}

// What a fix says shows while it works, and meanwhile no module of Ansible is on the
// host, which a fix would take for somebody else at work.
func TestFollow(t *testing.T) {
	s := followSite(t)
	cmd := s.run("")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if lines.Text() == "w1: fit: asking" { // now, and not when it has ended
			s.write("go", "")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &all)
	}
	p := played{t, all.String()}
	p.says("w1: fit: asking\n", "w1: kept\n")
	p.recap(map[string]string{"w1": "1 0 0"})
	if b, err := os.ReadFile(filepath.Join(s.dir, "modules")); err != nil || len(b) > 0 {
		t.Errorf("modules of Ansible beside the fix: %s, %v", b, err)
	}
	report, err := os.ReadFile(filepath.Join(s.dir, "report.json"))
	if kept, errKept := os.ReadFile(filepath.Join(s.dir, "kept.json")); err != nil || errKept != nil || !bytes.Equal(report, kept) {
		t.Errorf("the report that was brought back is another one: %v, %v", err, errKept)
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	by, errBy := os.ReadFile(filepath.Join(s.dir, "by"))
	if err != nil || errBy != nil || !strings.HasPrefix(string(by), "--started-by="+strings.TrimSpace(string(boot))+"/") {
		t.Errorf("the fix is told that it was started by %s: %v, %v", by, err, errBy)
	}
}

// A fix that an earlier play has left running, whose machine went away, comes to its
// end first. One that is killed is not taken for one that has ended.
func TestFollowOthers(t *testing.T) {
	s := followSite(t)
	s.write("go", "")
	earlier := fmt.Sprintf(`mkdir -p /run/kubespray-hardener/fix && systemd-run --unit=kubespray-hardener-hooks-fix x /bin/sh -c '
		echo hardener: from before >log; until [ -e %[1]s/seen ]; do sleep 0.1; done; echo 0 >rc' && `, s.dir)
	earlier = strings.Replace(earlier, "systemd-run", "cd /run/kubespray-hardener/fix && systemd-run", 1) + "cd " + s.dir + " &&"
	cmd := s.run(earlier)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var all bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&all, lines.Text())
		if lines.Text() == "w1: from before" {
			s.write("seen", "")
		}
	}
	if err := cmd.Wait(); err != nil {
		t.Fatalf("%v\n%s", err, &all)
	}
	played{t, all.String()}.says("an earlier play has left kubespray-hardener-hooks-fix running", "w1: kept")

	s.write("kill", "")
	said, err := s.run("").CombinedOutput()
	if err == nil || !strings.Contains(string(said), "has ended without saying how") {
		t.Errorf("a fix that was killed: %v\n%s", err, said)
	}
}
