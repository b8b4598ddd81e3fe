package fix

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// kubeletPlace is the kubelet's configuration file and the files that give it
// flags. A flag wins over the file (cmd/kubelet/app/server.go), so a setting is
// changed where it is in force.
type kubeletPlace struct {
	config   string // real path, may be empty
	was      []byte
	doc      *document
	env      []envFile
	units    string            // text of the unit and its drop-ins
	unknown  string            // fields of the file that the kubelet does not know
	settings map[string]any    // what changed in the file, by dotted path
	notes    map[string]string // what changed, by file
	wrote    []string          // flags set in the environment files
}

func openKubelet(tx *workspace, comp node.Component) (*kubeletPlace, error) {
	k := &kubeletPlace{settings: map[string]any{}, notes: map[string]string{}}
	var err error
	if k.env, k.units, err = openEnvFiles(tx, comp); err != nil {
		return nil, err
	}
	if comp.Config == "" {
		return nil, errors.New("the kubelet has no configuration file here: only KubeletConfiguration files are edited")
	}
	if k.config, err = tx.resolve(comp.Config); err != nil {
		return nil, err
	}
	if k.was, err = tx.read(k.config); err != nil {
		return nil, fmt.Errorf("not changed: %w", err)
	}
	if k.doc, err = tx.known.document(k.was); err != nil {
		return nil, fmt.Errorf("not changed: %s: %w", k.config, err)
	}
	return k, nil
}

func (k *kubeletPlace) file() string { return k.config }

const featureGates = "featureGates."

func (k *kubeletPlace) get(s profile.Setting) (string, bool) {
	if gate, ok := strings.CutPrefix(s.Path, featureGates); ok {
		if list, set := k.envFlag("feature-gates"); set {
			for _, e := range splitList(list) {
				if n, v, _ := strings.Cut(e, "="); n == gate {
					return v, true
				}
			}
		}
	} else if v, set := k.envFlag(s.Name); set {
		return v, true
	}
	if s.Path == "" {
		return "", false
	}
	if list, ok := k.doc.list(strings.Split(s.Path, ".")...); ok {
		return strings.Join(list, ","), len(list) > 0
	}
	return k.doc.scalar(strings.Split(s.Path, ".")...)
}

// envFlag is a flag's value from the environment files, the last one winning.
func (k *kubeletPlace) envFlag(name string) (value string, set bool) {
	for _, e := range k.env {
		if v, ok := envFlag(e.data, name); ok {
			value, set = v, true
		}
	}
	return value, set
}

// written are the flags in environment files that change; a setting of the
// configuration file is none.
func (k *kubeletPlace) written() []string { return k.wrote }

func (k *kubeletPlace) all() []setFlag {
	var out []setFlag
	seen := map[string]bool{}
	for _, e := range k.env {
		for line := range strings.SplitSeq(string(e.data), "\n") {
			if comment(line) {
				continue
			}
			for _, m := range anyFlag.FindAllStringSubmatch(line, -1) {
				name := strings.ReplaceAll(m[1], "_", "-")
				if seen[name] {
					continue
				}
				seen[name] = true
				flag := setFlag{name: name}
				if name == "feature-gates" {
					flag.value, _ = k.envFlag(name)
				}
				out = append(out, flag)
			}
		}
	}
	return out
}

// anyFlag finds flags in an environment file.
var anyFlag = regexp.MustCompile(`(?:^|[\s"'=])--([a-z][A-Za-z0-9_-]*)`)

func (k *kubeletPlace) set(s profile.Setting, value string) error {
	if gate, ok := strings.CutPrefix(s.Path, featureGates); ok {
		if list, set := k.envFlag("feature-gates"); set && strings.Contains(","+list, ","+gate+"=") {
			all := splitList(list)
			for i, e := range all {
				if strings.HasPrefix(e, gate+"=") {
					all[i] = gate + "=" + value
				}
			}
			return k.setEnv("feature-gates", strings.Join(all, ","))
		}
	} else if _, set := k.envFlag(s.Name); set {
		return k.setEnv(s.Name, value)
	}
	if strings.Contains(k.units, "--"+s.Name+"=") || strings.Contains(k.units, "--"+s.Name+" ") {
		return fmt.Errorf("--%s is given in the unit file, which is not edited", s.Name)
	}
	if s.Path == "" {
		return fmt.Errorf("--%s has no field in the configuration file", s.Name)
	}
	return k.setField(s.Path, value)
}

// setField sets a field of the configuration file.
func (k *kubeletPlace) setField(path, value string) (err error) {
	keys := strings.Split(path, ".")
	var v any = typed(value)
	if path == "tlsCipherSuites" {
		list := splitList(value)
		if k.doc, err = k.doc.setList(list, keys...); err != nil {
			return err
		}
		v = list
	} else if k.doc, err = k.doc.setScalar(v, keys...); err != nil {
		return err
	}
	k.settings[path] = v
	k.notes[k.config] = joinNotes(k.notes[k.config], path+": "+value)
	return nil
}

func joinNotes(a, b string) string {
	return strings.Join(slices.DeleteFunc([]string{a, b}, func(s string) bool { return s == "" }), "; ")
}

// setEnv sets a flag in every environment file that gives it.
func (k *kubeletPlace) setEnv(name, value string) error {
	for i, e := range k.env {
		if _, ok := envFlag(e.data, name); !ok {
			continue
		}
		data, err := setEnvFlag(e.data, name, value)
		if err != nil {
			return fmt.Errorf("%s: %w", e.path, err)
		}
		k.env[i].data = data
		k.wrote = append(k.wrote, name)
		k.notes[e.path] = joinNotes(k.notes[e.path], "--"+name+"="+value)
	}
	return nil
}

func (k *kubeletPlace) remove(s profile.Setting) error {
	return fmt.Errorf("%s is not removed: only values are set", s.Name)
}

func (k *kubeletPlace) changes() []string {
	var out []string
	for _, f := range sortedKeys(k.notes) {
		note := k.notes[f]
		if f != k.config {
			note += " (" + f + ")"
		}
		out = append(out, note)
	}
	if k.unknown != "" {
		out = append(out, "fields that the kubelet does not know stay as they are ("+k.unknown+")")
	}
	return out
}

func (k *kubeletPlace) apply(tx *workspace) error {
	for _, e := range k.env {
		if string(e.was) == string(e.data) {
			continue
		}
		if err := tx.write(e.path, e.data, node.Kubelet, 0o600, true, k.notes[e.path]); err != nil {
			return err
		}
	}
	if len(k.settings) == 0 {
		return nil
	}
	data := k.doc.bytes()
	unknown, err := verifyKubelet(k.was, data, k.settings)
	if err != nil {
		return err
	}
	k.unknown = unknown
	if string(data) == string(k.was) {
		return nil
	}
	return tx.write(k.config, data, node.Kubelet, 0o600, false, k.notes[k.config])
}
