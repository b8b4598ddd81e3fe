package node

import (
	"bytes"
	"io"
	"path"
	"regexp"
	"strings"
)

// readEtcd reads an etcd that runs as a service: Kubespray's deployment types
// host and docker, and its second etcd for events.
func (d *detector) readEtcd() {
	if _, ok := d.Components[Etcd]; !ok {
		if c, ok := d.etcdService(Etcd, "etcd.service"); ok {
			d.Components[Etcd] = c
		}
	}
	if c, ok := d.etcdService(EtcdEvents, "etcd-events.service"); ok {
		d.Components[EtcdEvents] = c
	}
}

func (d *detector) etcdService(name, unitName string) (Component, bool) {
	var c Component
	unit, start, ok := d.readUnit(unitName)
	if !ok && name == EtcdEvents {
		return c, false // a second etcd process means nothing by itself
	}
	if ok {
		c = Component{
			Unit: unit.Path, DropIns: unit.DropIns, EnvFiles: start.EnvFiles, Env: start.Env,
			Configured: start.Argv, User: unitUser(unit),
		}
		if len(start.Argv) > 0 {
			if script := d.script(start.Argv[0]); script != "" {
				d.readWrapper(name, script, &c)
			}
		}
		if name == Etcd {
			d.etcdUnit = unit
		}
	}
	return d.attach(name, c)
}

// script is the text of an executable that is a script, "" for a program or
// none at all.
func (d *detector) script(p string) string {
	f, err := d.fsys.Open(Name(p))
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 16<<10) // wrappers have a few lines
	n, _ := io.ReadFull(f, head)
	if head = head[:n]; !bytes.HasPrefix(head, []byte("#!")) {
		return ""
	}
	return string(head)
}

var (
	envFileFlag = regexp.MustCompile(`--env-file[= ]["']?([^\s"']+)`)
	imageArg    = regexp.MustCompile(`(?m)^\s*(\S+:\S+) \\?\s*$\s*/usr/local/bin/etcd`)
)

// readWrapper reads the script that Kubespray puts in etcd's place for the
// deployment type docker (roles/etcd/templates/etcd.j2). In the container,
// /usr/local/bin/etcd is started with the script's own arguments.
func (d *detector) readWrapper(name, script string, c *Component) {
	if !strings.Contains(script, "docker run") && !strings.Contains(script, "nerdctl run") {
		return
	}
	if name == Etcd {
		d.etcdWrapper = true
	}
	if m := imageArg.FindStringSubmatch(script); m != nil {
		c.Image = m[1]
	}
	if m := envFileFlag.FindStringSubmatch(script); m != nil {
		if data, ok := d.read(m[1]); ok {
			c.Env = ParseEnvFile(data)
			c.EnvFiles = []string{path.Clean(m[1])}
		}
	}
	c.Configured = append([]string{"/usr/local/bin/etcd"}, c.Configured[1:]...)
}

// findEtcdType follows Kubespray's etcd_deployment_type: host, docker and
// kubeadm are on this node, external is elsewhere.
func (d *detector) findEtcdType() {
	c, here := d.Components[Etcd]
	_, apiserver := d.Components[APIServer]
	conclude := func(typ, format string, args ...any) {
		d.EtcdType = typ
		d.signal("etcd: "+typ, 0, format, args...)
	}
	switch {
	case here && c.Manifest != "":
		conclude("kubeadm", "%s is a static pod", c.Manifest)
	case here && d.etcdWrapper:
		conclude("docker", "%s starts %s, a script that runs a container", c.Unit, firstWord(d.etcdUnit.Value("Service", "ExecStart")))
	case here && strings.Contains(d.etcdUnit.Value("Unit", "Description"), "docker wrapper"):
		conclude("docker", "%s describes itself as %q", c.Unit, d.etcdUnit.Value("Unit", "Description"))
	case here && c.Unit != "":
		conclude("host", "%s starts %s", c.Unit, firstWord(d.etcdUnit.Value("Service", "ExecStart")))
	case here:
		conclude("host", "process %d is etcd", c.PID)
	case d.exists("/var/lib/rancher/k3s/server/db/etcd"):
		conclude("embedded", "/var/lib/rancher/k3s/server/db/etcd exists")
	case apiserver:
		servers, ok := FlagValue(d.Components[APIServer].Flags(), "etcd-servers")
		if !ok {
			servers = "not said"
		}
		conclude("external", "no etcd here, the API server's --etcd-servers is %s", servers)
	default:
		conclude("none", "no etcd service, manifest or process, and no API server that would need one")
	}
}

func firstWord(s string) string {
	words := splitWords(s)
	if len(words) == 0 {
		return "nothing"
	}
	return words[0]
}
