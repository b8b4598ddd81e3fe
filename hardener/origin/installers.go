//go:build linux

package origin

import (
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The names of installers.
const (
	Ansible            = "ansible"
	Kubeadm            = "kubeadm"
	PackageManager     = "package manager"
	CertificateRenewal = "certificate renewal"
	Hardener           = "hardener"
)

// Installer is a program at work that rewrites files of the node as part of its
// job.
type Installer struct {
	Name    string // one of the constants
	PID     int
	Command string // program and sub command, nothing else of its arguments
}

// Installers are the installers at work, in the order of procs. What only waits
// or asks is none: packagekitd, unattended-upgrade-shutdown, yum-cron (which
// sleeps for up to six hours first), apt.systemd.daily (which waits for a lock
// or for the unattended-upgrade it started), rpm -q. A process in a PID
// namespace of its own installs into its container, so Ansible or apt in a pod
// is none either.
//
// Between two tasks of a play there is a moment without any process: a caller
// that wants to be alone waits a while after the last was seen.
func Installers(fsys fs.FS, procs node.Processes) []Installer {
	var found []Installer
	for _, p := range procs {
		if p.State == 'Z' || len(p.Args) == 0 {
			continue
		}
		name, command := installer(p.Args)
		if name == "" || name != Hardener && contained(fsys, p.PID) {
			continue
		}
		found = append(found, Installer{Name: name, PID: p.PID, Command: short(command, 60)})
	}
	return found
}

// contained tells whether a process lives in a PID namespace below that of proc:
// NSpid names it once for each (proc_pid_status(5)).
func contained(fsys fs.FS, pid int) bool {
	status, err := fs.ReadFile(fsys, "proc/"+strconv.Itoa(pid)+"/status")
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			return len(strings.Fields(ids)) > 1
		}
	}
	return false
}

var (
	// asking are sub commands that change nothing and may be followed by the name
	// of one that does ("apt show", "dnf help").
	asking = []string{
		"search", "se", "show", "list", "info", "policy", "download", "source", "changelog", "depends", "rdepends", "help",
		"provides", "whatprovides", "repoquery", "check-update", "repolist", "config", "token", "version", "kubeconfig",
		"completion", "check", "watch", "report", "rollout", "detect", "explain", "demo",
	}
	// pretending are flags that keep a command from changing anything.
	pretending = []string{
		"--dry-run", "--dry-run=true", "--simulate", "--just-print", "--no-act", "--recon", "--print-uris", "--download-only",
		"--downloadonly", "--assumeno", "--no-installupdates", "--test", "--help", "--version",
	}

	aptVerbs = []string{
		"install", "reinstall", "upgrade", "full-upgrade", "dist-upgrade", "safe-upgrade", "dselect-upgrade", "satisfy",
		"build-dep", "remove", "purge", "autoremove", "autopurge",
	}
	dnfVerbs = []string{
		"install", "localinstall", "groupinstall", "reinstall", "upgrade", "update", "upgrade-minimal",
		"update-minimal", "downgrade", "swap", "distro-sync", "remove", "erase", "autoremove", "system-upgrade", "automatic",
	}
	// verbs are the sub commands with which a program rewrites files.
	verbs = map[string][]string{
		"apt": aptVerbs, "apt-get": aptVerbs, "aptitude": aptVerbs,
		"yum": dnfVerbs, "dnf": dnfVerbs, "dnf-3": dnfVerbs, "dnf5": dnfVerbs, "microdnf": dnfVerbs, "tdnf": dnfVerbs,
		"zypper": {"install", "in", "update", "up", "dist-upgrade", "dup", "patch", "remove", "rm", "install-new-recommends", "inr"},
		"apk":    {"add", "del", "fix", "upgrade"},
	}
	dpkgModes = []string{"-i", "--install", "--unpack", "--configure", "-r", "--remove", "-P", "--purge", "--triggers-only"}
	rpmModes  = []string{"--install", "--upgrade", "--freshen", "--erase", "--reinstall"}
)

// installer names the installer of a command line and the short form of it, or
// nothing.
func installer(args []string) (name, command string) {
	if ansible(args) {
		return Ansible, path.Base(program(args)[0])
	}
	argv := program(args)
	base, rest := path.Base(argv[0]), argv[1:]
	if slices.ContainsFunc(rest, func(arg string) bool { return slices.Contains(pretending, arg) }) {
		return "", ""
	}
	of := func(name, verb string) (string, string) {
		if verb == "" {
			return "", ""
		}
		return name, base + " " + verb
	}
	switch base {
	case "kubeadm":
		switch verb := verb(rest, "init", "join", "reset", "upgrade", "certs", "alpha"); verb {
		case "upgrade":
			if verbOf := first(rest, "apply", "node", "plan", "diff"); verbOf == "apply" || verbOf == "node" {
				return of(Kubeadm, verb+" "+verbOf)
			}
		case "certs", "alpha": // "alpha certs renew" before 1.20
			if slices.Contains(rest, "renew") {
				return of(CertificateRenewal, "certs renew")
			}
		default:
			return of(Kubeadm, verb)
		}
	case "k8s-certs-renew.sh", // Kubespray: roles/kubernetes/control-plane/templates
		"make-ssl-etcd.sh", "make-ssl-calico.sh", "make-ssl.sh": // roles/etcd, roles/network_plugin/calico; the last before kubeadm
		return CertificateRenewal, base
	case "hardener":
		return of(Hardener, verb(rest, "fix", "rollback", "recover"))
	case "unattended-upgrade", "unattended-upgrades", "dnf-automatic":
		return PackageManager, base
	case "dpkg":
		return of(PackageManager, first(rest, dpkgModes...))
	case "rpm":
		return of(PackageManager, rpmMode(rest))
	case "apt", "apt-get", "aptitude":
		if slices.Contains(rest, "-s") || slices.Contains(rest, "-d") { // simulate, download only
			return "", ""
		}
		return of(PackageManager, verb(rest, aptVerbs...))
	default:
		return of(PackageManager, verb(rest, verbs[base]...))
	}
	return "", ""
}

// verb is the sub command of arguments, if it is among those.
func verb(args []string, among ...string) string {
	v := first(args, append(among[:len(among):len(among)], asking...)...)
	if !slices.Contains(among, v) {
		return ""
	}
	return v
}

// first is the first argument that is one of words; what stands before it are
// flags and their values.
func first(args []string, words ...string) string {
	for _, arg := range args {
		if slices.Contains(words, arg) {
			return arg
		}
	}
	return ""
}

// rpmMode is the argument that makes rpm change something: i is its mode only
// where q, which has an option i too, is not.
func rpmMode(args []string) string {
	mode := first(args, rpmModes...)
	for _, arg := range args {
		switch {
		case arg == "--query" || arg == "--verify" || arg == "--checksig":
			return ""
		case !strings.HasPrefix(arg, "-") || strings.HasPrefix(arg, "--"):
		case strings.ContainsAny(arg, "qVKE"):
			return ""
		case mode == "" && strings.ContainsAny(arg, "iUFe"):
			mode = "-" + string(arg[strings.IndexAny(arg, "iUFe")])
		}
	}
	return mode
}

// program is a command line without the interpreter of a script in front. Only
// what is run counts: an editor with a script's name is an editor.
func program(args []string) []string {
	kind := interpreter(args[0])
	if kind == "" {
		return args
	}
	for i := 1; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "-c" || arg == "-m" || arg == "-":
			return args[:1]
		case kind == "python" && (arg == "-W" || arg == "-X"), kind == "sh" && (arg == "-o" || arg == "-O"):
			i++
		case !strings.HasPrefix(arg, "-"):
			return args[i:]
		}
	}
	return args[:1]
}

func interpreter(arg string) string {
	switch base := strings.TrimPrefix(path.Base(arg), "-"); {
	case slices.Contains([]string{"sh", "bash", "dash", "ash", "ksh", "zsh"}, base):
		return "sh"
	case strings.HasPrefix(base, "python"), strings.HasPrefix(base, "platform-python"):
		return "python"
	case base == "perl":
		return "perl"
	}
	return ""
}

// ansible tells whether a command line is Ansible's: its programs themselves, a
// module it copied to the node, or the shell that it starts over SSH. With
// pipelining, which Kubespray's ansible.cfg turns on, the module goes to the
// standard input of a python without arguments, and only that shell shows it.
func ansible(args []string) bool {
	argv := program(args)
	switch base := path.Base(argv[0]); {
	case base == "ansible-playbook", base == "ansible-pull", base == "ansible":
		return true
	case strings.HasPrefix(base, "AnsiballZ_") && strings.HasSuffix(base, ".py"):
		return true
	case strings.Contains(argv[0], "/ansible-tmp-"), strings.Contains(argv[0], "/.ansible/tmp/"):
		return true
	}
	if interpreter(args[0]) != "sh" {
		return false
	}
	i := slices.Index(args, "-c")
	if i < 0 || i+1 >= len(args) {
		return false
	}
	// "sleep 0" ends every command of Ansible's default shell (plugins/action,
	// _low_level_execute_command); BECOME-SUCCESS tells it that sudo worked
	// (plugins/become).
	script := strings.TrimSpace(args[i+1])
	if strings.HasSuffix(script, "&& sleep 0") || strings.HasPrefix(script, "echo BECOME-SUCCESS-") {
		return true
	}
	words := strings.Fields(script)
	return len(words) > 0 && ansible(words)
}
