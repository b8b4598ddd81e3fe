package fix

import (
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// podPlace is the static pod manifest of a component. What is set is collected
// in change and written by apply in one edit.
type podPlace struct {
	path      string
	binary    string
	component string
	manifest  *manifest
	data      []byte
	change    podChange
}

func openPod(tx *workspace, component, file string) (*podPlace, error) {
	real, err := tx.resolve(file)
	switch {
	case err != nil:
		return nil, err
	case tx.isLink(file):
		// An edit of a link's target raises no event in the manifest directory.
		return nil, fmt.Errorf("not changed: %s is a link", file)
	}
	data, err := tx.read(real)
	if err != nil {
		return nil, fmt.Errorf("not changed: %w", err)
	}
	binary := map[string]string{
		node.APIServer: "kube-apiserver", node.ControllerManager: "kube-controller-manager",
		node.Scheduler: "kube-scheduler", node.Etcd: "etcd",
	}[component]
	m, err := tx.known.manifest(data, binary)
	if err != nil {
		return nil, fmt.Errorf("not changed: %s: %w", real, err)
	}
	if other := samePod(tx, real, m); other != "" {
		return nil, fmt.Errorf("not changed: %s holds the same pod as %s, and the kubelet runs whichever it reads last: remove it first", other, real)
	}
	return &podPlace{path: real, binary: binary, component: component, manifest: m, data: data,
		change: podChange{flags: map[string]*string{}, annotations: map[string]string{}}}, nil
}

// samePod is another file of the manifest directory with the same pod. The
// kubelet reads every file there whose name does not start with a dot, backups
// included (pkg/kubelet/config/file.go).
func samePod(tx *workspace, file string, m *manifest) string {
	pod, _ := m.doc.scalar("metadata", "name")
	entries, err := fs.ReadDir(tx.fsys, node.Name(path.Dir(file)))
	if err != nil || pod == "" {
		return ""
	}
	for _, e := range entries {
		other := path.Join(path.Dir(file), e.Name())
		if e.IsDir() || strings.HasPrefix(e.Name(), ".") || other == file {
			continue
		}
		data, err := tx.read(other)
		if err != nil || !strings.Contains(string(data), pod) {
			continue
		}
		if root, err := parseTree(data); err == nil {
			if _, n := lookup(root, "metadata", "name"); n != nil && n.Value == pod {
				return other
			}
		}
	}
	return ""
}

func (p *podPlace) file() string { return p.path }

func (p *podPlace) get(s profile.Setting) (string, bool) { return p.flag(s.Name) }

func (p *podPlace) flag(name string) (string, bool) {
	if v, ok := p.change.flags[name]; ok {
		if v == nil {
			return "", false
		}
		return *v, true
	}
	return p.manifest.flag(name)
}

func (p *podPlace) written() []string {
	var out []string
	for _, name := range sortedKeys(p.change.flags) {
		if p.change.flags[name] != nil {
			out = append(out, name)
		}
	}
	return out
}

func (p *podPlace) all() []setFlag {
	var out []setFlag
	at := map[string]int{}
	add := func(name, value string) {
		i, seen := at[name]
		switch {
		case !seen:
			at[name] = len(out)
			out = append(out, setFlag{name, value})
		case isListFlag(name):
			out[i].value += "," + value
		default:
			out[i].value = value
		}
	}
	args := p.manifest.arguments()
	for i, a := range args {
		name := flagName(a.text)
		if _, changed := p.change.flags[name]; name == "" || changed {
			continue
		}
		_, value, given := strings.Cut(a.text, "=")
		if !given && i+1 < len(args) && !strings.HasPrefix(args[i+1].text, "-") {
			value = args[i+1].text
		}
		add(name, value)
	}
	for _, name := range p.written() {
		add(name, *p.change.flags[name])
	}
	return out
}

func (p *podPlace) set(s profile.Setting, value string) error {
	p.change.flags[s.Name] = &value
	return nil
}

func (p *podPlace) setFlag(name, value string) { p.change.flags[name] = &value }

func (p *podPlace) remove(s profile.Setting) error {
	p.change.flags[s.Name] = nil
	return nil
}

func (p *podPlace) changes() []string {
	var out []string
	for _, name := range sortedKeys(p.change.flags) {
		if v := p.change.flags[name]; v != nil {
			out = append(out, "--"+name+"="+*v)
		} else {
			out = append(out, "--"+name+" removed")
		}
	}
	if p.change.probeHost != "" {
		out = append(out, "the probes ask "+p.change.probeHost)
	}
	for _, m := range p.change.mounts {
		out = append(out, m.hostPath+" mounted at "+m.mountPath)
	}
	for _, k := range sortedKeys(p.change.annotations) {
		out = append(out, "annotation "+k)
	}
	return out
}

func (p *podPlace) apply(tx *workspace) error {
	c := p.change
	if len(c.flags) == 0 && c.probeHost == "" && len(c.mounts) == 0 && len(c.annotations) == 0 {
		return nil
	}
	data, err := p.manifest.edit(p.data, c)
	if err != nil {
		return err
	}
	if string(data) == string(p.data) {
		return nil
	}
	return tx.write(p.path, data, p.component, 0o600, false, strings.Join(p.changes(), "; "))
}

// hostPath translates a path inside the container, mounts still to be added
// included.
func (p *podPlace) hostPath(inside string) (host string, readOnly, ok bool) {
	for _, m := range p.change.mounts {
		if within(inside, m.mountPath) {
			return path.Join(m.hostPath, strings.TrimPrefix(inside, m.mountPath)), m.readOnly, true
		}
	}
	return p.manifest.hostPath(inside)
}

// ensureMount makes a directory of the host visible at x.mountPath and returns
// the host directory that is seen there: that of a mount that covers the path
// already, else that of x. Never a second mount on one path: the kubelet refuses
// the whole manifest.
func (p *podPlace) ensureMount(x mount) (hostDir string, err error) {
	host, readOnly, ok := p.hostPath(x.mountPath)
	if ok {
		if readOnly && !x.readOnly {
			return "", fmt.Errorf("%s is mounted read-only", x.mountPath)
		}
		return host, nil
	}
	if _, taken := p.manifest.volume(x.name); taken {
		x.name = "hardener-" + x.name
	}
	if _, taken := p.manifest.volume(x.name); taken {
		return "", fmt.Errorf("volume %s is there already", x.name)
	}
	p.change.mounts = append(p.change.mounts, x)
	return x.hostPath, nil
}
