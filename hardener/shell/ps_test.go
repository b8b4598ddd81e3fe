package shell

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// psNode is a host that was booted at 2025-03-01 00:00:00 UTC.
func psNode(t *testing.T, pidMax string) *Runner {
	procs := processTable(8)
	procs = append(procs, node.Process{PID: 30001, PPID: 1201, UID: 4242, Comm: "etcd", State: 'Z', Start: 100, CPU: 360000*30 + 12},
		node.Process{PID: 30002, PPID: 1, UID: 998, Comm: "networkd", TTY: 136<<8 | 3, State: 'S', Start: 86400 * 100, Args: []string{"networkd", "tab\there"}})
	return &Runner{
		FS: fstest.MapFS{
			"proc/stat":               {Data: []byte("cpu 1 2\nbtime 1740787200\n")},
			"proc/sys/kernel/pid_max": {Data: []byte(pidMax + "\n")},
		},
		Processes: procs, Users: users(t),
		Now: func() time.Time { return time.Date(2025, 3, 2, 10, 0, 0, 0, time.UTC) },
	}
}

func TestPS(t *testing.T) {
	for _, tc := range []struct{ reason, script, pidMax, env, want string }{
		{reason: "full list with all kinds of columns", pidMax: "4194304", script: "ps -ef", want: `UID          PID    PPID  C STIME TTY          TIME CMD
root           2       1  0 Mar01 ?        00:00:00 /usr/local/bin/containerd-shim-runc-v2 -namespace k8s.io -id 0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef -address /run/containerd/containerd.sock
root           3       2  0 Mar01 ?        00:00:00 [kworker/1:1]
etcd        1201       1  0 Mar01 ?        00:16:30 /usr/local/bin/etcd
root        2311    2200  0 Mar01 ?        00:15:00 kube-apiserver --advertise-address=10.0.0.1 --allow-privileged=true --anonymous-auth=True --authorization-mode=Node,RBAC --bind-address=:: --client-ca-file=/etc/kubernetes/ssl/ca.crt --enable-admission-plugins=NodeRestriction --etcd-cafile=/etc/ssl/etcd/ssl/ca.pem --etcd-certfile=/etc/ssl/etcd/ssl/node-n1.pem --etcd-servers=https://10.0.0.1:2379 --profiling=False --secure-port=6443 --service-account-lookup=True --encryption-provider-config=/etc/kubernetes/ssl/secrets_encryption.yaml --tls-cert-file=/etc/kubernetes/ssl/apiserver.crt
root        2411    2201  0 Mar01 ?        00:01:30 kube-controller-manager --bind-address=:: --profiling=False --terminated-pod-gc-threshold=12500 --use-service-account-credentials=true
root        2511    2202  0 Mar01 ?        00:01:30 kube-scheduler --bind-address=:: --profiling=False
root        2611       1  0 Mar01 ?        00:01:30 /usr/local/bin/kubelet --v=2 --node-ip=10.0.0.1 --hostname-override=n1 --config=/etc/kubernetes/kubelet-config.yaml --kubeconfig=/etc/kubernetes/kubelet.conf
root        2711    2203  0 Mar01 ?        00:00:00 /usr/local/bin/kube-proxy --config=/var/lib/kube-proxy/config.conf
4242       30001    1201 88 Mar01 ?        1-06:00:00 [etcd] <defunct>
systemd+   30002       1  0 00:00 pts/3    00:00:00 networkd tab.here
`},
		{reason: "small PIDs, and a name that is cut at 15 bytes", pidMax: "32768", script: "ps -fC kube-controller-manager", want: `UID        PID  PPID  C STIME TTY          TIME CMD
root      2411  2201  0 Mar01 ?        00:01:30 kube-controller-manager --bind-address=:: --profiling=False --terminated-pod-gc-threshold=12500 --use-service-account-credentials=true
`},
		{reason: "PIDs as kube-bench's environment audits ask for them: two, since the zombie counts", pidMax: "4194304", script: `ps -C etcd -o pid= | tr -d ' '`, want: "1201\n30001\n"},
		{reason: "width of the PID column", pidMax: "4194304", script: `ps -C kubelet -o pid=`, want: "   2611\n"},
		{reason: "kube-bench's own look for a binary", script: `/bin/ps -C kube-scheduler -o cmd --no-headers`, want: "kube-scheduler --bind-address=:: --profiling=False\n"},
		{reason: "COLUMNS cuts lines", script: `ps -fC kube-scheduler`, env: "COLUMNS=60", want: `UID        PID  PPID  C STIME TTY          TIME CMD
root      2511  2202  0 Mar01 ?        00:01:30 kube-schedul
`},
		{reason: "a list of names", script: `ps -C kubelet,kube-proxy -o pid,comm`, want: "  PID COMMAND\n 2611 kubelet\n 2711 kube-proxy\n"},
		{reason: "several -o", script: `ps -C kubelet -o user= -o comm`, want: "         COMMAND\nroot     kubelet\n"},
		{reason: "by PID", script: `ps -p 1201 -o comm=`, want: "etcd\n"},
	} {
		t.Run(tc.reason, func(t *testing.T) {
			r := psNode(t, tc.pidMax)
			if tc.env != "" {
				r.Env = []string{tc.env}
			}
			res := r.Run(t.Context(), tc.script)
			if res.Err != nil {
				t.Error(res.Err)
			}
			if diff := cmp.Diff(tc.want, res.Output); diff != "" {
				t.Error(diff)
			}
			if again := r.Run(t.Context(), tc.script); again.Output != res.Output {
				t.Errorf("the second run gave another result: %s", again.Output)
			}
		})
	}
}

// TestPSAgainstReal compares with the real ps on this machine, for processes
// that both saw. Processor use changes in between.
func TestPSAgainstReal(t *testing.T) {
	out, err := exec.Command("ps", "--version").Output()
	if err != nil || !strings.Contains(string(out), "procps-ng 4") {
		t.Skip("needs procps-ng 4")
	}
	root := os.DirFS("/")
	u, err := node.ReadUsers(root)
	check(t, err)
	for _, tc := range []struct{ script, columns string }{
		{script: "ps -ef"},
		{script: "ps -ef", columns: "60"},
		{script: "ps -ef", columns: "30"},
		{script: "ps -e -o pid,ppid,user,tty,comm"},
		{script: "ps -e -o cmd --no-headers"},
		{script: "ps -e -o pid= -o stime -o args"},
		{script: "ps -e -o uid,pid,tname,cmd"},
	} {
		t.Run(tc.script+" "+tc.columns, func(t *testing.T) {
			env := []string{"PATH=" + defaultPath, "LC_ALL=C.UTF-8"}
			if tc.columns != "" {
				env = append(env, "COLUMNS="+tc.columns)
			}
			procs, err := node.ReadProcesses(root)
			check(t, err)
			ours := (&Runner{FS: root, Processes: procs, Users: u, Env: env}).Run(t.Context(), tc.script)
			cmd := exec.Command("sh", "-c", tc.script)
			cmd.Env = env
			out, err := cmd.Output()
			check(t, err)
			real := strings.Split(string(out), "\n")
			seen := map[string]bool{}
			for _, line := range real {
				seen[stable(tc.script, line)] = true
			}
			missing := 0
			mine := strings.Split(ours.Output, "\n")
			for i, line := range mine {
				if !seen[stable(tc.script, line)] {
					missing++
					t.Logf("not in the real output: %q", line)
				}
				if i == 0 && line != real[0] {
					t.Errorf("header %q, want %q", line, real[0])
				}
			}
			if missing > 2+len(mine)/10 { // other programs start and end meanwhile
				t.Errorf("%d of %d lines are not those of ps", missing, len(mine))
			}
		})
	}
}

// stable replaces the columns C and TIME.
func stable(script, line string) string {
	if script != "ps -ef" || len(line) < 46 {
		return line
	}
	fields := strings.Fields(line)
	if len(fields) < 7 || fields[0] == "UID" {
		return line
	}
	c := strings.Index(line, " "+fields[3]+" "+fields[4])
	if c > 0 {
		line = line[:c] + strings.Repeat("c", 1+len(fields[3])) + line[c+1+len(fields[3]):]
	}
	return strings.Replace(line, fields[6], "time", 1)
}
