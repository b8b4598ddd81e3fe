package node

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"syscall"

	"sigs.k8s.io/yaml"
)

// Detect tells from a host's files and process table how Kubernetes is
// installed on it. Paths are taken from the node (unit files, arguments,
// manifests) and only then from what an installer usually uses.
//
// A file that is broken or may not be read becomes one of Facts.Warnings, and
// what would have been read from it stays empty. The error is for a tree that
// cannot be read at all.
func Detect(fsys fs.FS, procs Processes, users Users) (Facts, error) {
	if _, err := fs.Stat(fsys, "."); err != nil {
		return Facts{}, fmt.Errorf("detect: %w", err)
	}
	d := &detector{fsys: fsys, procs: procs, users: users}
	d.Components = map[string]Component{}
	d.Signals = []Signal{}

	d.readKubelet()
	d.readManifests()
	d.readControlPlaneUnits()
	d.readEtcd()
	d.readKubeadm()
	d.readProxy()
	d.findDirectories()
	d.warnRefused()

	d.findRoles()
	d.findEtcdType()
	d.findRuntime()
	d.findCNI()
	d.findVersion()
	d.findNodeName()
	d.findDistribution()
	if d.Distribution.Name == "kubespray" {
		d.findRelease()
	}
	return d.Facts, nil
}

// detector holds what was read on the way to the facts.
type detector struct {
	Facts

	fsys  fs.FS
	procs Processes
	users Users

	refused []refusal

	kubeletUnit   Unit
	kubeletEnv    map[string]string // of the unit's environment files
	kubeletConfig KubeletConfig
	kubeletText   string // the KubeletConfiguration as it is written
	etcdUnit      Unit
	etcdWrapper   bool                      // ExecStart is a script
	kubeadm       map[string]map[string]any // documents of kubeadm-config.yaml by kind
}

func (d *detector) signal(conclusion string, weight int, format string, args ...any) {
	d.Signals = append(d.Signals, Signal{Conclusion: conclusion, Evidence: fmt.Sprintf(format, args...), Weight: weight})
}

// ambiguous notes a file that its component reads and nobody should edit: with
// duplicate keys, of which the reader takes one and an editor may change the
// other, or with the line ends of another system, which an edit would mix.
func (d *detector) ambiguous(file string, data []byte) {
	if _, err := yaml.YAMLToJSONStrict(data); err != nil {
		d.broken(file, err)
	} else if bytes.Contains(data, []byte("\r\n")) {
		d.broken(file, errors.New("its lines end in CRLF"))
	}
}

// broken notes a file that is there and cannot be read or understood.
func (d *detector) broken(file string, err error) {
	d.warn("%s: %v", file, err)
	if !slices.Contains(d.Broken, file) {
		d.Broken = append(d.Broken, file)
	}
}

func (d *detector) warn(format string, args ...any) {
	if w := fmt.Sprintf(format, args...); !slices.Contains(d.Warnings, w) {
		d.Warnings = append(d.Warnings, w)
	}
}

// read reads a file that need not exist.
func (d *detector) read(p string) ([]byte, bool) {
	data, err := fs.ReadFile(d.fsys, Name(p))
	if err != nil {
		// ESRCH: the process whose file it is has ended.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ESRCH) {
			d.broken(p, reasonOf(err))
		}
		return nil, false
	}
	return data, true
}

// reasonOf drops the io/fs name from an error that is told with its path.
func reasonOf(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

func (d *detector) exists(p string) bool {
	_, err := fs.Stat(d.fsys, Name(p))
	return err == nil
}

// list are the names in a directory, none when it cannot be read.
func (d *detector) list(p string) []string {
	entries, err := fs.ReadDir(d.fsys, Name(p))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			d.warn("%s: %v", p, reasonOf(err))
		}
		return nil
	}
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names
}

// readUnit reads a unit with what it starts.
func (d *detector) readUnit(name string) (Unit, Start, bool) {
	u, err := ReadUnit(d.fsys, name)
	if u.Path == "" {
		if !errors.Is(err, fs.ErrNotExist) {
			d.warn("%v", err)
		}
		return u, Start{}, false
	}
	s, startErr := u.Start(d.fsys)
	if err := errors.Join(err, startErr); err != nil {
		d.broken(u.Path, err)
	}
	return u, s, true
}

// readKubelet reads the kubelet's unit, process and configuration. Flags win
// over the configuration file (kubelet --help).
func (d *detector) readKubelet() {
	unit, start, found := d.readUnit("kubelet.service")
	c := Component{Configured: start.Argv}
	if found {
		d.kubeletUnit, d.kubeletEnv = unit, start.Env
		c.Unit, c.DropIns, c.EnvFiles, c.Env = unit.Path, unit.DropIns, start.EnvFiles, start.Env
		c.User = unitUser(unit)
	}
	c, known := d.attach(Kubelet, c)
	if !known {
		return
	}
	if dir, ok := FlagValue(c.Flags(), "config-dir"); ok {
		d.warn("%s: the kubelet also reads the directory --config-dir=%s, which is not evaluated", c.Config, dir)
	}
	d.ManifestDir, _ = FlagValue(c.Flags(), "pod-manifest-path")
	if c.Config != "" {
		if data, ok := d.read(c.Config); ok {
			conf, err := ReadKubeletConfig(data)
			if err != nil {
				d.broken(c.Config, err)
			} else {
				d.ambiguous(c.Config, data)
			}
			d.kubeletConfig, d.kubeletText = conf, string(data)
			c.CAFile = firstOf(c.CAFile, conf.ClientCAFile)
			d.ManifestDir = firstOf(d.ManifestDir, conf.StaticPodPath)
		}
	}
	d.Components[Kubelet] = c
}

func unitUser(u Unit) string { return firstOf(u.Value("Service", "User"), "root") }

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// readManifests reads the kubelet's static pods. Like the kubelet it takes every
// file whose name does not begin with a dot.
func (d *detector) readManifests() {
	const usual = "/etc/kubernetes/manifests"
	if d.ManifestDir == "" && d.exists(usual) {
		d.ManifestDir = usual
	}
	if d.ManifestDir == "" {
		return
	}
	for _, name := range d.list(d.ManifestDir) {
		file := path.Join(d.ManifestDir, name)
		if strings.HasPrefix(name, ".") {
			continue
		}
		if info, err := fs.Stat(d.fsys, Name(file)); err == nil && info.IsDir() {
			continue
		}
		data, ok := d.read(file)
		if !ok {
			continue
		}
		m, err := ReadManifest(data)
		if err != nil {
			d.broken(file, err)
			continue
		}
		d.ambiguous(file, data)
		d.addManifest(file, m)
	}
	for _, name := range staticPods {
		if c, ok := d.Components[name]; ok {
			d.Components[name], _ = d.attach(name, c)
		}
	}
}

// staticPods are the components that kubeadm runs as static pods.
var staticPods = [...]string{APIServer, ControllerManager, Scheduler, Etcd}

func (d *detector) addManifest(file string, m Manifest) {
	for _, name := range staticPods {
		container, ok := m.Main(programs[name])
		if !ok {
			continue
		}
		if other, ok := d.Components[name]; ok {
			d.warn("%s: a second manifest for %s beside %s", file, programs[name], other.Manifest)
			if path.Base(file) != programs[name]+".yaml" {
				continue
			}
		}
		argv := container.Argv()
		if programOf(argv) != programs[name] {
			d.warn("%s: the container %s starts %q", file, container.Name, programOf(argv))
		}
		d.Components[name] = Component{
			Manifest: file, Configured: argv, Image: container.Image, Mounts: m.HostMounts(container),
		}
	}
}

// readControlPlaneUnits finds control planes that run as services (kubeasz, "the
// hard way"), and processes without any configuration (RKE1's containers).
func (d *detector) readControlPlaneUnits() {
	for _, name := range []string{APIServer, ControllerManager, Scheduler} {
		if _, ok := d.Components[name]; ok {
			continue
		}
		var c Component
		if unit, start, ok := d.readUnit(programs[name] + ".service"); ok {
			c = Component{
				Configured: start.Argv, Unit: unit.Path, DropIns: unit.DropIns,
				EnvFiles: start.EnvFiles, Env: start.Env, User: unitUser(unit),
			}
		}
		if c, ok := d.attach(name, c); ok {
			d.Components[name] = c
		}
	}
}

// readKubeadm reads kubeadm-config.yaml, which Kubespray renders on every
// control plane node in every run.
func (d *detector) readKubeadm() {
	dir := "/etc/kubernetes"
	if len(d.Components[Kubelet].EnvFiles) > 0 {
		for _, f := range d.Components[Kubelet].EnvFiles {
			if path.Base(f) == "kubelet.env" {
				dir = path.Dir(f)
			}
		}
	}
	if d.exists(dir) {
		d.KubeConfigDir = dir
	}
	file := path.Join(dir, "kubeadm-config.yaml")
	data, ok := d.read(file)
	if !ok {
		return
	}
	d.KubeadmConfig = file
	docs, err := documents(data)
	if err != nil {
		d.warn("%s: %v", file, err)
	}
	d.kubeadm = docs
}
