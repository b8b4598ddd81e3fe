package node

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Manifest is what a static pod manifest says about how its containers run. It
// is for reading; an edit works on the text of the file.
type Manifest struct {
	Name, Namespace string
	Containers      []Container
	Volumes         []Volume
}

// Container is one container of a static pod.
type Container struct {
	Name, Image   string
	Command, Args []string
	Mounts        []VolumeMount
	Probes        []Probe
}

// Volume is a volume of a pod. HostPath is empty for one that is not a path of
// the host.
type Volume struct {
	Name, HostPath, Type string
}

// VolumeMount says where a container sees a volume.
type VolumeMount struct {
	Name, MountPath, SubPath string
	ReadOnly                 bool
}

// Probe is a probe of a container over the network.
type Probe struct {
	Kind   string // liveness, readiness, startup
	Scheme string // HTTP or HTTPS; empty for a TCP probe
	Host   string // empty is the address of the pod
	Port   string // a number, or the name of a port
	Path   string // with its query
}

// Argv is what the container starts: the command, which replaces the image's,
// and the arguments.
func (c Container) Argv() []string { return slices.Concat(c.Command, c.Args) }

type podFile struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Spec struct {
		Containers []struct {
			Name         string   `json:"name"`
			Image        string   `json:"image"`
			Command      []string `json:"command"`
			Args         []string `json:"args"`
			VolumeMounts []struct {
				Name      string `json:"name"`
				MountPath string `json:"mountPath"`
				SubPath   string `json:"subPath"`
				ReadOnly  bool   `json:"readOnly"`
			} `json:"volumeMounts"`
			Liveness  *probeFile `json:"livenessProbe"`
			Readiness *probeFile `json:"readinessProbe"`
			Startup   *probeFile `json:"startupProbe"`
		} `json:"containers"`
		Volumes []struct {
			Name     string `json:"name"`
			HostPath *struct {
				Path string `json:"path"`
				Type string `json:"type"`
			} `json:"hostPath"`
		} `json:"volumes"`
	} `json:"spec"`
}

type probeFile struct {
	HTTPGet *struct {
		Scheme string `json:"scheme"`
		Host   string `json:"host"`
		Port   any    `json:"port"`
		Path   string `json:"path"`
	} `json:"httpGet"`
	TCPSocket *struct {
		Host string `json:"host"`
		Port any    `json:"port"`
	} `json:"tcpSocket"`
}

// ReadManifest reads a static pod manifest, YAML or JSON. It fails when data is
// not a Pod with containers.
func ReadManifest(data []byte) (Manifest, error) {
	var p podFile
	if err := yaml.Unmarshal(data, &p); err != nil {
		return Manifest{}, fmt.Errorf("read manifest: %w", err)
	}
	if p.APIVersion != "v1" || p.Kind != "Pod" {
		return Manifest{}, fmt.Errorf("read manifest: %q of API version %q is no Pod of v1", p.Kind, p.APIVersion)
	}
	if len(p.Spec.Containers) == 0 {
		return Manifest{}, errors.New("read manifest: a Pod without containers")
	}
	m := Manifest{Name: p.Metadata.Name, Namespace: p.Metadata.Namespace}
	for _, c := range p.Spec.Containers {
		out := Container{Name: c.Name, Image: c.Image, Command: c.Command, Args: c.Args}
		for _, v := range c.VolumeMounts {
			out.Mounts = append(out.Mounts, VolumeMount(v))
		}
		for kind, p := range map[string]*probeFile{"liveness": c.Liveness, "readiness": c.Readiness, "startup": c.Startup} {
			if p, ok := p.probe(kind); ok {
				out.Probes = append(out.Probes, p)
			}
		}
		slices.SortFunc(out.Probes, func(a, b Probe) int { return strings.Compare(a.Kind, b.Kind) })
		m.Containers = append(m.Containers, out)
	}
	for _, v := range p.Spec.Volumes {
		out := Volume{Name: v.Name}
		if v.HostPath != nil {
			out.HostPath, out.Type = v.HostPath.Path, v.HostPath.Type
		}
		m.Volumes = append(m.Volumes, out)
	}
	return m, nil
}

func (p *probeFile) probe(kind string) (Probe, bool) {
	switch {
	case p == nil:
		return Probe{}, false
	case p.HTTPGet != nil:
		scheme := p.HTTPGet.Scheme
		if scheme == "" {
			scheme = "HTTP"
		}
		return Probe{Kind: kind, Scheme: scheme, Host: p.HTTPGet.Host, Port: fmt.Sprint(p.HTTPGet.Port), Path: p.HTTPGet.Path}, true
	case p.TCPSocket != nil:
		return Probe{Kind: kind, Host: p.TCPSocket.Host, Port: fmt.Sprint(p.TCPSocket.Port)}, true
	}
	return Probe{}, false
}

// Main is the container that runs program: the one whose command is program, or
// hyperkube with it, or else the one of that name.
func (m Manifest) Main(program string) (Container, bool) {
	for _, c := range m.Containers {
		if programOf(c.Argv()) == program {
			return c, true
		}
	}
	for _, c := range m.Containers {
		if c.Name == program {
			return c, true
		}
	}
	return Container{}, false
}

// Mount is a path of the host that a container sees.
type Mount struct {
	Path     string // in the container
	HostPath string
	ReadOnly bool
}

// HostMounts are the mounts of a container that come from the host.
func (m Manifest) HostMounts(c Container) []Mount {
	var mounts []Mount
	for _, vm := range c.Mounts {
		for _, v := range m.Volumes {
			if v.Name == vm.Name && v.HostPath != "" {
				mounts = append(mounts, Mount{path.Clean(vm.MountPath), path.Join(v.HostPath, vm.SubPath), vm.ReadOnly})
			}
		}
	}
	return mounts
}

// hostPath is where on the host a container's path lies: below the mount that
// reaches furthest down.
func hostPath(mounts []Mount, p string) (string, bool) {
	p = path.Clean(p)
	best := -1
	for i, m := range mounts {
		inside := p == m.Path || m.Path == "/" || strings.HasPrefix(p, m.Path+"/")
		if inside && (best < 0 || len(m.Path) > len(mounts[best].Path)) {
			best = i
		}
	}
	if best < 0 {
		return "", false
	}
	return path.Join(mounts[best].HostPath, strings.TrimPrefix(p, mounts[best].Path)), true
}

// programOf is the program an argv runs, without its directory. hyperkube is
// all of them in one.
func programOf(argv []string) string {
	if len(argv) == 0 {
		return ""
	}
	name := path.Base(argv[0])
	if name != "hyperkube" || len(argv) < 2 {
		return name
	}
	switch sub := argv[1]; sub {
	case "apiserver", "controller-manager", "scheduler", "proxy":
		return "kube-" + sub
	default:
		return sub
	}
}
