package adjudicate

import (
	"fmt"
	"io/fs"
	"strconv"
	"syscall"

	"sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func (v *View) exists(hostPath string) bool {
	if hostPath == "" {
		return false
	}
	_, err := fs.Stat(v.fsys, node.Name(hostPath))
	return err == nil
}

func (v *View) isDir(hostPath string) bool {
	if hostPath == "" {
		return false
	}
	info, err := fs.Stat(v.fsys, node.Name(hostPath))
	return err == nil && info.IsDir()
}

// read is the content of a file, and whether it could be read.
func (v *View) read(hostPath string) ([]byte, bool) {
	if hostPath == "" {
		return nil, false
	}
	b, err := fs.ReadFile(v.fsys, node.Name(hostPath))
	return b, err == nil
}

// describe is a path with mode and owner, as evidence.
func (v *View) describe(hostPath string) string {
	info, err := fs.Stat(v.fsys, node.Name(hostPath))
	if err != nil {
		return hostPath + ": does not exist"
	}
	line := fmt.Sprintf("%s: mode %04o", hostPath, unixMode(info))
	if owner := v.owner(info); owner != "" {
		line += ", owner " + owner
	}
	return line
}

// owner is user:group by name, by number where the host has no name for it, and
// empty when the tree knows no owners.
func (v *View) owner(info fs.FileInfo) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	user, ok := v.users.User(int(st.Uid))
	if !ok {
		user = strconv.Itoa(int(st.Uid))
	}
	group, ok := v.users.Group(int(st.Gid))
	if !ok {
		group = strconv.Itoa(int(st.Gid))
	}
	return user + ":" + group
}

// unixMode is the mode as chmod(1) takes it.
func unixMode(info fs.FileInfo) uint32 {
	mode := uint32(info.Mode().Perm())
	for bit, flag := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if info.Mode()&flag != 0 {
			mode |= bit
		}
	}
	return mode
}

// document is a YAML mapping. Keys are looked up as written: Kubernetes decodes
// its configuration case-sensitively.
type document map[string]any

// document reads the first YAML document of a file, once for all checks: they
// judge the node at one moment.
func (v *View) document(hostPath string) (document, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	doc, seen := v.documents[hostPath]
	if !seen {
		doc, _ = v.parse(hostPath)
		v.documents[hostPath] = doc
	}
	return doc, doc != nil
}

func (v *View) parse(hostPath string) (document, bool) {
	b, ok := v.read(hostPath)
	if !ok {
		return nil, false
	}
	var doc document
	if err := yaml.Unmarshal(b, &doc); err != nil || doc == nil {
		return nil, false
	}
	return doc, true
}

func (d document) at(keys ...string) (any, bool) {
	var value any = map[string]any(d)
	for _, key := range keys {
		m, ok := value.(map[string]any)
		if !ok {
			return nil, false
		}
		if value, ok = m[key]; !ok || value == nil {
			return nil, false
		}
	}
	return value, true
}

// text is a scalar as text; numbers without exponent.
func (d document) text(keys ...string) (string, bool) {
	value, ok := d.at(keys...)
	if !ok {
		return "", false
	}
	return scalar(value), true
}

func scalar(value any) string {
	switch x := value.(type) {
	case string:
		return x
	case bool:
		return strconv.FormatBool(x)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	default:
		return fmt.Sprint(x)
	}
}

// list is a sequence of mappings.
func (d document) list(keys ...string) []document {
	value, _ := d.at(keys...)
	items, _ := value.([]any)
	var out []document
	for _, item := range items {
		if m, ok := item.(map[string]any); ok {
			out = append(out, m)
		}
	}
	return out
}

// strings is a sequence of scalars, nil when there is none.
func (d document) strings(keys ...string) []string {
	value, _ := d.at(keys...)
	items, ok := value.([]any)
	if !ok {
		return nil
	}
	out := []string{}
	for _, item := range items {
		out = append(out, scalar(item))
	}
	return out
}

// location is where a path of a component lies on the host.
type location struct {
	path     string // on the host; empty when it is nowhere there
	evidence string
}

// hostPath finds a path that a component names. A component that runs as a
// static pod names paths of its container: Kubespray mounts audit logs and the
// admission configuration elsewhere than they lie on the host
// (roles/kubernetes/control-plane/templates/kubeadm-config.v1beta4.yaml.j2,
// extraVolumes).
func (v *View) hostPath(component, named string) location {
	c := v.facts.Components[component]
	onHost, ok := c.HostPath(named)
	switch {
	case !ok && c.Manifest != "":
		return location{"", fmt.Sprintf("%s: no directory of the host is mounted over %s", c.Manifest, named)}
	case !ok:
		return location{"", named + ": no absolute path"}
	case c.Manifest != "":
		return location{onHost, fmt.Sprintf("%s: %s is %s on the host", c.Manifest, named, onHost)}
	}
	return location{onHost, onHost + ": on the host"}
}
