package sample

import (
	"fmt"
	"os"
	"path"
	"strings"
)

// bootTime is when the sample booted: 2 June 2020, 08:10 UTC, in seconds.
const bootTime = 1591085400

// procFiles are the files of /proc that belong to no process, with those kernel
// settings that a kubelet without protectKernelDefaults makes when it starts.
func procFiles() map[string]string {
	return map[string]string{
		"stat":   fmt.Sprintf("cpu  48213 112 20833 1893302 1204 0 311 0 0 0\ncpu0 48213 112 20833 1893302 1204 0 311 0 0 0\nintr 0\nctxt 91822113\nbtime %d\nprocesses 30112\nprocs_running 1\nprocs_blocked 0\n", bootTime),
		"uptime": "19640.12 18933.02\n",

		"sys/kernel/hostname":           "node1\n",
		"sys/kernel/osrelease":          "4.15.0-101-generic\n",
		"sys/kernel/pid_max":            "32768\n",
		"sys/kernel/panic":              "10\n",
		"sys/kernel/panic_on_oops":      "1\n",
		"sys/kernel/keys/root_maxbytes": "25000000\n",
		"sys/kernel/keys/root_maxkeys":  "1000000\n",
		"sys/vm/overcommit_memory":      "1\n",
		"sys/vm/panic_on_oom":           "0\n",
	}
}

// renderProc writes proc below root anew.
func renderProc(root *os.Root, procs []process) error {
	if err := root.RemoveAll("proc"); err != nil {
		return err
	}
	files := procFiles()
	for _, p := range procs {
		dir := fmt.Sprintf("%d/", p.pid)
		for name, text := range p.files() {
			files[dir+name] = text
		}
	}
	for name, text := range files {
		name = "proc/" + name
		if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
			return err
		}
		mode := os.FileMode(0o444)
		if path.Base(name) == "environ" {
			mode = 0o400
		}
		if err := root.WriteFile(name, []byte(text), mode); err != nil {
			return err
		}
	}
	return nil
}

// files are the files of one process (proc_pid_stat(5) and neighbours). All
// processes of the sample are root's.
func (p process) files() map[string]string {
	comm := p.comm
	if comm == "" {
		comm = path.Base(p.argv[0])
	}
	comm = comm[:min(len(comm), 15)] // TASK_COMM_LEN
	return map[string]string{
		"comm":    comm + "\n",
		"cmdline": zeroEnded(p.argv),
		"environ": zeroEnded(p.env),
		"stat": fmt.Sprintf("%d (%s) S %d %d %d 0 -1 4194560 1201 0 3 0 %d %d 0 0 20 0 9 0 %d 142606336 11264 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n",
			p.pid, comm, p.ppid, p.pid, p.pid, 10*p.pid, p.pid, 25*p.pid),
		"status": fmt.Sprintf("Name:\t%s\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t%d\nNgid:\t0\nPid:\t%d\nPPid:\t%d\nTracerPid:\t0\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\n",
			comm, p.pid, p.pid, p.ppid),
	}
}

func zeroEnded(words []string) string {
	var b strings.Builder
	for _, w := range words {
		b.WriteString(w)
		b.WriteByte(0)
	}
	return b.String()
}
