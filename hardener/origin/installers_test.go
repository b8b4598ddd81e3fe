//go:build linux

package origin

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestInstallers(t *testing.T) {
	const tmp = "/root/.ansible/tmp/ansible-tmp-1700000000.1-2-3/"
	for _, tt := range []struct {
		args    string // separated by "|"
		name    string
		command string
	}{
		{"/usr/bin/python3|" + tmp + "AnsiballZ_command.py", Ansible, "AnsiballZ_command.py"},
		{"/usr/bin/python3.11|-u|" + tmp + "async_wrapper.py|j1|60", Ansible, "async_wrapper.py"},
		{"/usr/libexec/platform-python|-W|ignore|/tmp/x/AnsiballZ_setup.py", Ansible, "AnsiballZ_setup.py"},
		{"/bin/sh|-c|/usr/bin/python3 " + tmp + "AnsiballZ_stat.py && sleep 0", Ansible, "sh"},
		{"/bin/sh|-c|/usr/bin/python3 " + tmp + "AnsiballZ_stat.py", Ansible, "sh"},
		{"/bin/sh|-c|/usr/bin/python3 && sleep 0", Ansible, "sh"},                           // pipelining as root
		{"/bin/sh|-c|echo BECOME-SUCCESS-abcdef ; /usr/bin/python3", Ansible, "sh"},         // pipelining with sudo
		{"sudo|-H|-S|-n|-u|root|/bin/sh|-c|echo BECOME-SUCCESS-abcdef ; /bin/true", "", ""}, // its child counts
		{"/bin/sh|" + tmp + "install.sh|--password=s3cret", Ansible, "install.sh"},          // module script
		{"/usr/bin/python3|/usr/bin/ansible-playbook|-e|pw=s3cret", Ansible, "ansible-playbook"},
		{"/usr/bin/python3|/usr/local/bin/ansible-pull", Ansible, "ansible-pull"},
		{"vim|" + tmp + "AnsiballZ_command.py", "", ""},
		{"grep|-r|ansible-tmp-|/root/.ansible/tmp/", "", ""},
		{"/bin/sh|-c|grep /ansible-tmp- /var/log/syslog", "", ""},
		{"/usr/bin/python3|-c|import AnsiballZ_x.py", "", ""},
		{"/usr/bin/python3|-m|http.server", "", ""},
		{"/usr/bin/python3|/opt/app.py|/usr/bin/ansible-playbook", "", ""},
		{"-bash", "", ""},
		{"/usr/bin/python3", "", ""},

		{"/usr/local/bin/kubeadm|--v=5|init|--config=/etc/kubernetes/kubeadm-config.yaml", Kubeadm, "kubeadm init"},
		{"kubeadm|join|10.0.0.1:6443|--token|abcdef.0123456789abcdef", Kubeadm, "kubeadm join"},
		{"kubeadm|upgrade|apply|-y|v1.35.4", Kubeadm, "kubeadm upgrade apply"},
		{"kubeadm|upgrade|plan", "", ""},
		{"kubeadm|init|--dry-run", "", ""},
		{"kubeadm|reset|-f", Kubeadm, "kubeadm reset"},
		{"kubeadm|certs|renew|all", CertificateRenewal, "kubeadm certs renew"},
		{"kubeadm|certs|check-expiration", "", ""},
		{"kubeadm|token|create", "", ""},
		{"grep|kubeadm|init", "", ""},
		{"/usr/local/bin/kubelet|--config=/var/lib/kubelet/kubeadm/init|kubeadm", "", ""},
		{"/bin/bash|/usr/local/bin/k8s-certs-renew.sh", CertificateRenewal, "k8s-certs-renew.sh"},
		{"bash|-x|/usr/local/bin/etcd-scripts/make-ssl-etcd.sh|-f|/etc/ssl/etcd/openssl.conf", CertificateRenewal, "make-ssl-etcd.sh"},
		{"less|/usr/local/bin/k8s-certs-renew.sh", "", ""},

		{"apt-get|-o|Dpkg::Options::=--force-confold|-y|install|kubelet", PackageManager, "apt-get install"},
		{"apt|show|install", "", ""},
		{"apt-get|update", "", ""},
		{"apt-get|-s|upgrade", "", ""},
		{"tail|-f|/var/log/apt/term.log", "", ""},
		{"/usr/bin/dpkg|--status-fd|21|--configure|--pending", PackageManager, "dpkg --configure"},
		{"dpkg|-l", "", ""},
		{"/usr/bin/python3|/usr/bin/dnf|-y|upgrade", PackageManager, "dnf upgrade"},
		{"/usr/bin/python|/usr/bin/yum|check-update", "", ""},
		{"dnf|group|list", "", ""},
		{"dnf|group|install|x", PackageManager, "dnf install"},
		{"rpm|-Uvh|containerd.rpm", PackageManager, "rpm -U"},
		{"rpm|-qi|containerd", "", ""},
		{"rpm|-Va", "", ""},
		{"zypper|--non-interactive|up", PackageManager, "zypper up"},
		{"/usr/bin/python3|/usr/bin/unattended-upgrade", PackageManager, "unattended-upgrade"},
		{"/usr/bin/python3|/usr/bin/unattended-upgrade|--download-only", "", ""},
		{"/usr/bin/python3|/usr/share/unattended-upgrades/unattended-upgrade-shutdown|--wait-for-signal", "", ""},
		{"/bin/sh|/usr/lib/apt/apt.systemd.daily|lock_is_held|install", "", ""},
		{"/usr/libexec/packagekitd", "", ""},
		{"/usr/bin/python3|/usr/bin/dnf-automatic|/etc/dnf/automatic.conf|--timer|--installupdates", PackageManager, "dnf-automatic"},

		{"/opt/hardener|--root=/host|fix|--token|s3cret", Hardener, "hardener fix"},
		{"hardener|rollback", Hardener, "hardener rollback"},
		{"hardener|recover", Hardener, "hardener recover"},
		{"hardener|fix|--dry-run", "", ""},
		{"hardener|watch", "", ""},
		{"hardener|check|fix", "", ""},
		{"hardener|rollout|fix", "", ""},
	} {
		procs := node.Processes{{PID: 7, State: 'S', Args: strings.Split(tt.args, "|")}}
		var want []Installer
		if tt.name != "" {
			want = []Installer{{Name: tt.name, PID: 7, Command: tt.command}}
		}
		if diff := cmp.Diff(want, Installers(fstest.MapFS{}, procs)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", tt.args, diff)
		}
	}
}

// TestInstallersContained wants an installer that works on its container to be
// none of the node, except for hardener, which works on the node from there.
func TestInstallersContained(t *testing.T) {
	tree := fstest.MapFS{
		"proc/1/status": {Data: []byte("Name:\tapt-get\nNSpid:\t1\n")},
		"proc/2/status": {Data: []byte("Name:\tapt-get\nNSpid:\t2\t1\n")},
		"proc/3/status": {Data: []byte("Name:\thardener\nNSpid:\t3\t1\n")},
	}
	apt := []string{"apt-get", "install", "x"}
	procs := node.Processes{
		{PID: 1, Args: apt}, {PID: 2, Args: apt}, {PID: 3, Args: []string{"hardener", "fix"}},
		{PID: 4, State: 'Z', Comm: "apt-get"}, {PID: 5, Comm: "kthreadd"},
	}
	want := []Installer{{PackageManager, 1, "apt-get install"}, {Hardener, 3, "hardener fix"}}
	if diff := cmp.Diff(want, Installers(tree, procs)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
