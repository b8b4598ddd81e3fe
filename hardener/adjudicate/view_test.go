package adjudicate

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// commands are the processes of a table as "COMM: COMMAND".
func commands(procs node.Processes) []string {
	var out []string
	for _, p := range procs {
		out = append(out, p.Comm+": "+p.Command())
	}
	return out
}

func TestArgv(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		want []string
	}{
		{"the last of a scalar's repetitions counts", []string{"k", "--profiling=true", "--profiling=false"}, []string{"k", "--profiling=false"}},
		{"repetitions of a list add up", []string{"k", "--enable-admission-plugins=A", "--enable-admission-plugins=B"}, []string{"k", "--enable-admission-plugins=A,B"}},
		{"a value in an argument of its own", []string{"k", "--bind-address", "::1", "--v", "-2", "--profiling", "--x=1"}, []string{"k", "--bind-address=::1", "--v=-2", "--profiling=true", "--x=1"}},
		{"Go's other spellings of booleans", []string{"k", "--profiling=0", "--anonymous-auth=False"}, []string{"k", "--profiling=false", "--anonymous-auth=False"}},
		{"an empty value is no flag", []string{"k", "--audit-log-path=", "--runtime-config="}, []string{"k"}},
		{"an empty repetition wins over an earlier value", []string{"k", "--audit-log-path=/a", "--audit-log-path="}, []string{"k"}},
		{"one dash is no flag outside etcd", []string{"k", "-profiling=false"}, []string{"k", "-profiling=false"}},
		{"no command line", nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, parseArgv(test.args, nil).args); diff != "" {
				t.Error(diff)
			}
		})
	}
	if got := parseArgv([]string{"etcd", "-cert-file", "/c"}, isEtcdFlag).values["cert-file"]; got != "/c" {
		t.Errorf("etcd takes one dash: cert-file = %q", got)
	}
}

func TestProcesses(t *testing.T) {
	proc := func(pid int, comm string, args ...string) node.Process {
		return node.Process{PID: pid, Comm: comm, Args: args, State: 'S'}
	}
	etcdFlags := "--data-dir=/var/lib/etcd --cert-file=/etc/ssl/etcd/ssl/member-n1.pem --trusted-ca-file=/etc/ssl/etcd/ssl/ca.pem --peer-client-cert-auth=True"
	for _, test := range []struct {
		name   string
		change func(*fixture)
		want   []string // lines that must be there
		not    string   // a text that no line may have
		note   string   // a text of the evidence about etcd
	}{
		{"a tree shows what would be started, long names cut as by the kernel", func(*fixture) {},
			[]string{"kube-controller: kube-controller-manager --bind-address=::", "etcd: /usr/local/bin/etcd " + etcdFlags}, "sesame", ""},
		{"an empty variable is unset", func(*fixture) {}, nil, "--auto-tls", ""},
		{"a flag on the command line stays", func(f *fixture) { f.args(node.Etcd, "--cert-file=/other.pem") },
			[]string{"etcd: /usr/local/bin/etcd --cert-file=/other.pem --data-dir=/var/lib/etcd --trusted-ca-file=/etc/ssl/etcd/ssl/ca.pem --peer-client-cert-auth=True"}, "member-n1", ""},
		{"docker run is cut off", func(f *fixture) {
			f.component(node.Etcd, func(c *node.Component) {
				c.Configured = []string{"/usr/bin/docker", "run", "--name=etcd1", "quay.io/coreos/etcd:v3.3.12", "/usr/local/bin/etcd"}
			})
		}, []string{"etcd: /usr/local/bin/etcd " + etcdFlags}, "docker", ""},
		{"etcd's environment is the running process's, wrapper and events left out", func(f *fixture) {
			f.component(node.Etcd, func(c *node.Component) {
				c.Running, c.PID, c.LiveEnv = true, 30, map[string]string{"ETCD_CERT_FILE": "/live.pem"}
			})
			f.component(node.EtcdEvents, func(c *node.Component) { c.Running, c.PID = true, 40 })
			f.procs = node.Processes{proc(20, "etcd", "/bin/bash", "/usr/local/bin/etcd"), proc(25, "docker", "docker", "run", "etcd"),
				proc(30, "etcd", "/usr/local/bin/etcd"), proc(40, "etcd", "/usr/local/bin/etcd")}
		}, []string{"etcd: /usr/local/bin/etcd --cert-file=/live.pem"}, "bash", "process 40: etcd-events"},
		{"an environment that cannot be read is that of the unit", func(f *fixture) {
			f.component(node.Etcd, func(c *node.Component) { c.Running, c.PID = true, 30 })
			f.procs = node.Processes{proc(30, "etcd", "/usr/local/bin/etcd"), proc(31, "etcd", "/usr/local/bin/etcd")}
		}, []string{"etcd: /usr/local/bin/etcd " + etcdFlags}, "", "process 31: another etcd"},
		{"a configuration file takes etcd's other settings away", func(f *fixture) {
			f.args(node.Etcd, "--config-file=/etc/etcd.yaml", "--cert-file=/flag.pem")
			f.file("/etc/etcd.yaml", "data-dir: /d\nclient-transport-security: {cert-file: /file.pem, client-cert-auth: true}\npeer-transport-security: {auto-tls: true}\n", 0o600)
		}, []string{"etcd: /usr/local/bin/etcd --config-file=/etc/etcd.yaml --data-dir=/d --cert-file=/file.pem --client-cert-auth=true --peer-auto-tls=true"}, "flag.pem", ""},
		{"hyperkube is the component that it runs", func(f *fixture) {
			f.component(node.Kubelet, func(c *node.Component) { c.Running, c.PID = true, 60 })
			f.procs = node.Processes{proc(60, "hyperkube", "/usr/local/bin/hyperkube", "kubelet", "--v=2")}
		}, []string{"kubelet: kubelet --v=2"}, "hyperkube", ""},
		{"what only mentions a component is left out", func(f *fixture) {
			f.procs = node.Processes{proc(1, "systemd", "/sbin/init"), proc(50, "kube-controller", "/usr/bin/kube-controllers"),
				proc(51, "kube-bench", "kube-bench", "run", "--targets", "etcd"), proc(52, "vi", "vi", apiserverYAML), proc(53, "hardener", "hardener", "check", "kubelet")}
		}, []string{"systemd: /sbin/init"}, "kube-bench", ""},
		{"a component that is neither running nor configured has no process", func(f *fixture) { delete(f.facts.Components, node.Scheduler) }, nil, "kube-scheduler", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := kubespray()
			test.change(f)
			v := f.view()
			lines := commands(v.Processes())
			all := strings.Join(lines, "\n")
			for _, want := range test.want {
				if !strings.Contains("\n"+all+"\n", "\n"+want+"\n") {
					t.Errorf("no process %q in\n%s", want, all)
				}
			}
			if test.not != "" && strings.Contains(all, test.not) {
				t.Errorf("%q in\n%s", test.not, all)
			}
			if notes := strings.Join(v.notes[node.Etcd], "\n"); !strings.Contains(notes, test.note) {
				t.Errorf("notes %q, want %q", notes, test.note)
			}
			for i, p := range v.table[1:] {
				if p.PID <= v.table[i].PID {
					t.Errorf("process %d after %d", p.PID, v.table[i].PID)
				}
			}
		})
	}
}

func TestVariables(t *testing.T) {
	raw := profile.Variables{
		Conf:       map[string]string{"kubelet": "/var/lib/kubelet/config.yaml", "etcd": "/etc/kubernetes/manifests/etcd.yaml"},
		Svc:        map[string]string{"kubelet": "/etc/systemd/system/kubelet.service.d/10-kubeadm.conf"},
		Kubeconfig: map[string]string{"kubelet": "/x", "proxy": "/etc/kubernetes/proxy.conf"},
		CAFile:     map[string]string{"kubelet": "/etc/kubernetes/pki/ca.crt"},
		DataDir:    map[string]string{"etcd": "/var/lib/etcd/default.etcd"}, Missing: "kubelet",
	}
	got := kubespray().view().Variables("node", raw)
	want := profile.Variables{
		Bin:        map[string]string{"kubelet": "kubelet", "proxy": "proxy"},
		Conf:       map[string]string{"kubelet": kubeletYAML, "etcd": "/etc/kubernetes/manifests/etcd.yaml"},
		Svc:        map[string]string{"kubelet": "/etc/systemd/system/kubelet.service"},
		Kubeconfig: map[string]string{"kubelet": "/etc/kubernetes/kubelet.conf", "proxy": "/etc/kubernetes/proxy.conf"},
		CAFile:     map[string]string{"kubelet": "/etc/kubernetes/ssl/ca.crt"},
		DataDir:    map[string]string{"etcd": "/var/lib/etcd"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if raw.Conf["kubelet"] != "/var/lib/kubelet/config.yaml" {
		t.Error("the raw variables were changed")
	}

	f := kubespray()
	f.component(node.Kubelet, func(c *node.Component) { c.Config, c.Configured = "", []string{"kubelet"} })
	if got := f.view().Variables("node", raw).Conf["kubelet"]; got != noFile {
		t.Errorf("a kubelet without --config: kubeletconf is %s, a file that it never reads", got)
	}
	kept := profile.Variables{Bin: map[string]string{"apiserver": "k3s"}}
	if got := kubespray().view().Variables("controlplane", kept).Bin["apiserver"]; got != "k3s" {
		t.Errorf("the program that was found became %s", got)
	}
	f = kubespray()
	delete(f.facts.Components, node.Scheduler)
	got = f.view().Variables("master", raw)
	if _, ok := got.Bin["scheduler"]; ok || got.Bin["apiserver"] != "kube-apiserver" || got.Missing != "scheduler" {
		t.Errorf("without scheduler: Bin %v, Missing %q", got.Bin, got.Missing)
	}
	f = kubespray()
	f.component(node.Kubelet, func(c *node.Component) {
		c.DropIns = []string{"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf"}
	})
	if got := f.view().Variables("node", raw).Svc["kubelet"]; got != "/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf" {
		t.Errorf("kubeadm's drop-in: kubeletsvc is %s", got)
	}
}

func TestScript(t *testing.T) {
	const pki = "find /etc/kubernetes/pki/ -name '*.key' | xargs stat -c permissions=%a"
	const blanks = "find /etc/kubernetes/pki/ -name '*.key' -print0 | xargs -0 stat -c permissions=%a"
	const cni = `ps -ef | grep kubelet | grep -- --cni-conf-dir | xargs -I{} find {} -mindepth 1 | xargs --no-run-if-empty stat -c %U:%G
find /var/lib/cni/networks -type f 2> /dev/null | xargs --no-run-if-empty stat -c %U:%G`
	for _, test := range []struct {
		name, audit, want string
		change            func(*node.Facts)
	}{
		{"the link leads there", pki, blanks, func(*node.Facts) {}},
		{"no link", pki, "find /etc/kubernetes/ssl/ -name '*.key' -print0 | xargs -0 stat -c permissions=%a", func(f *node.Facts) { f.PKILink = "" }},
		{"the literal directory itself", pki, blanks, func(f *node.Facts) { f.PKIDir, f.PKILink = "/etc/kubernetes/pki", "" }},
		{"nothing known", pki, blanks, func(f *node.Facts) { f.PKIDir, f.PKILink = "", "" }},
		{"CNI owner", cni, "find /etc/cni/net.d ! -name '*.lock' -print0 2> /dev/null | xargs -0 --no-run-if-empty stat -c %U:%G", func(*node.Facts) {}},
		{"CNI placeholder of cis-1.5", "stat -c permissions=%a <path/to/cni/files>", "find /opt/cni ! -name '*.lock' -type f -print0 2> /dev/null | xargs -0 --no-run-if-empty stat -c permissions=%a",
			func(f *node.Facts) { f.CNIConfDir = "/opt/cni" }},
		{"kubeconfigs elsewhere", "stat /etc/kubernetes/admin.conf", "stat /srv/k8s/admin.conf", func(f *node.Facts) { f.KubeConfigDir = "/srv/k8s" }},
		{"nothing to rewrite", "/bin/ps -ef", "/bin/ps -ef", func(*node.Facts) {}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f := kubespray()
			test.change(&f.facts)
			v := f.view()
			if diff := cmp.Diff(test.want, v.Script(test.audit)); diff != "" {
				t.Error(diff)
			}
			if again := v.Script(test.want); again != test.want {
				t.Errorf("rewritten twice: %s", again)
			}
		})
	}
}

func TestHostPath(t *testing.T) {
	v := kubespray().view()
	for inPod, want := range map[string]string{
		"/var/log/audit/a.log":                      "/var/log/kubernetes/audit/a.log",
		"/etc/kubernetes/ssl/ca.crt":                "/etc/kubernetes/ssl/ca.crt",
		"/etc/kubernetes/admission-controls.yaml":   "/etc/kubernetes/admission-controls/admission-controls.yaml",
		"/var/log/auditor":                          "",
		"/etc/kubernetes/audit-policy/../ssl/x.pem": "/etc/kubernetes/ssl/x.pem",
	} {
		if got := v.hostPath(node.APIServer, inPod); got.path != want || got.evidence == "" {
			t.Errorf("%s is %q on the host (%s), want %q", inPod, got.path, got.evidence, want)
		}
	}
	if got := v.hostPath(node.Kubelet, "/etc/x").path; got != "/etc/x" {
		t.Errorf("a component outside a pod: %q", got)
	}
}

func TestEmptyNode(t *testing.T) {
	v := New(fstest.MapFS{}, node.Facts{}, nil, node.Users{})
	if got := v.Processes(); len(got) != 0 {
		t.Errorf("processes from nothing: %v", got)
	}
	v.Variables("master", profile.Variables{})
}

// TestCheckMakesCNIAutomatic: cis-1.5 leaves to a person which files are meant.
func TestCheckMakesCNIAutomatic(t *testing.T) {
	v := kubespray().view()
	manual := func(text, format string) profile.Check {
		return profile.Check{ID: "1", Type: "manual", Text: text, Audit: "stat -c " + format + " <path/to/cni/files>"}
	}
	mode := v.Check(manual("file permissions are set to 644 or more restrictive", "permissions=%a"))
	if mode.Type != "" || !mode.Multiple || mode.Tests == nil || mode.Tests.Items[0].Compare != (profile.Compare{Op: "bitmask", Value: "644"}) {
		t.Errorf("mode: %+v", mode)
	}
	owner := v.Check(manual("file ownership is set to root:root", "%U:%G"))
	if owner.Type != "" || !owner.Multiple || owner.Tests == nil || owner.Tests.Items[0].Flag != "root:root" {
		t.Errorf("owner: %+v", owner)
	}
	if unknown := v.Check(manual("CNI", "permissions=%a")); unknown.Type != "manual" || unknown.Tests != nil {
		t.Errorf("without a mode in its text the check stays with a person: %+v", unknown)
	}
	if other := v.Check(profile.Check{Type: "manual", Audit: "/bin/ps -ef"}); other.Type != "manual" {
		t.Errorf("another manual check: %+v", other)
	}
}
