package profile

import (
	"fmt"
	"regexp"
	"strings"
)

// Lookup is how Variables looks at a host.
type Lookup struct {
	// Exists tells whether stat of an absolute path succeeds, links followed. A
	// path that does not exist, or leads through a file, is (false, nil). Any
	// other error ends the look-up, as it ends kube-bench (cmd/util.go:247).
	Exists func(path string) (bool, error)
	// Commands are the lines of `ps -C name -o cmd --no-headers`.
	Commands func(name string) []string
}

// Variables are the values of the substitution variables of one section, by
// component: $etcddatadir is DataDir["etcd"].
type Variables struct {
	Bin        map[string]string // nil when a mandatory binary is not running
	Conf       map[string]string
	Svc        map[string]string
	Kubeconfig map[string]string
	CAFile     map[string]string
	DataDir    map[string]string
	Missing    string // the component whose binary is not running
}

// kind is one kind of substitution variable.
type kind struct {
	suffix            string // of the variable: $kubeletconf
	candidates, deflt string // keys in a component's configuration
	values            func(*Variables) *map[string]string
}

// kinds are in the order in which kube-bench substitutes (cmd/common.go:101-107).
func kinds() []kind {
	return []kind{
		{"bin", "bins", "", func(v *Variables) *map[string]string { return &v.Bin }},
		{"conf", "confs", "defaultconf", func(v *Variables) *map[string]string { return &v.Conf }},
		{"svc", "svc", "defaultsvc", func(v *Variables) *map[string]string { return &v.Svc }},
		{"kubeconfig", "kubeconfig", "defaultkubeconfig", func(v *Variables) *map[string]string { return &v.Kubeconfig }},
		{"cafile", "cafile", "defaultcafile", func(v *Variables) *map[string]string { return &v.CAFile }},
		{"datadir", "datadirs", "defaultdatadir", func(v *Variables) *map[string]string { return &v.DataDir }},
	}
}

// Variables resolves the variables of a section against a host, with the
// configuration that `kube-bench run` uses. A section without configuration is
// an error; a mandatory binary that is not running is not: see
// Variables.Missing (cmd/util.go:83-129, 184-256).
func (c *Catalog) Variables(benchmark, target string, l Lookup) (Variables, error) {
	config, err := c.config(benchmark)
	if err != nil {
		return Variables{}, err
	}
	section, ok := config[strings.ToLower(target)].(map[string]any)
	if !ok {
		return Variables{}, fmt.Errorf("benchmark %s: no config settings for %s", benchmark, target)
	}
	var v Variables
	if v.Bin, v.Missing, err = binaries(section, l); err != nil {
		return Variables{}, fmt.Errorf("benchmark %s: %s: %w", benchmark, target, err)
	}
	for _, k := range kinds() {
		if k.suffix == "bin" {
			continue
		}
		files, err := k.files(section, l)
		if err != nil {
			return Variables{}, fmt.Errorf("benchmark %s: %s: %w", benchmark, target, err)
		}
		*k.values(&v) = files
	}
	return v, nil
}

// Running tells whether the bare kube-bench command would find the components
// of a section running, which is how it decides on master and etcd
// (cmd/root.go:78-110, cmd/common.go:365-385): the section has binaries and
// every mandatory one runs.
//
// The bare command merges the benchmark's own configuration only when it loads
// its first section. So the master section is looked for with config.yaml
// alone, and the others with the merged configuration only after a master.
func (c *Catalog) Running(benchmark, target string, l Lookup) (bool, error) {
	config := c.base
	if target != "master" {
		master, err := c.Running(benchmark, "master", l)
		if err != nil {
			return false, err
		}
		if master {
			if config, err = c.config(benchmark); err != nil {
				return false, err
			}
		}
	}
	section, ok := config[strings.ToLower(target)].(map[string]any)
	if !ok {
		return false, nil
	}
	bins, missing, err := binaries(section, l)
	return len(bins) > 0 && missing == "", err
}

// eachComponent calls f for the components of a section that have settings, in
// their order.
func eachComponent(section settings, f func(name string, s settings) error) error {
	for _, name := range asStrings(section["components"]) {
		if s, ok := section[strings.ToLower(name)].(map[string]any); ok {
			if err := f(name, s); err != nil {
				return err
			}
		}
	}
	return nil
}

// binaries finds the running binary of every component. One mandatory component
// that is not running leaves the whole section without (cmd/util.go:99-129).
func binaries(section settings, l Lookup) (bins map[string]string, missing string, err error) {
	bins = map[string]string{}
	err = eachComponent(section, func(name string, s settings) error {
		candidates := asStrings(s["bins"])
		if len(candidates) == 0 || missing != "" {
			return nil
		}
		found := ""
		for _, candidate := range candidates {
			running, err := isRunning(candidate, l)
			if err != nil {
				return fmt.Errorf("component %s: bins: %w", name, err)
			}
			if running {
				found = candidate
				break
			}
		}
		switch {
		case found != "":
			bins[name] = found
		case asBool(s["optional"]):
			bins[name] = name
		default:
			missing = name
		}
		return nil
	})
	if err != nil || missing != "" {
		return nil, missing, err
	}
	return bins, "", nil
}

// isRunning tells whether a candidate is the command of a process, after any
// path. The candidate is a regular expression, as in kube-bench, which does not
// escape it, and so matches as a prefix (cmd/util.go:217-244).
func isRunning(candidate string, l Lookup) (bool, error) {
	candidate = strings.Trim(candidate, `'"`)
	words := strings.Fields(candidate)
	if len(words) == 0 {
		return false, fmt.Errorf("empty candidate")
	}
	lines := l.Commands(words[0])
	if len(lines) == 0 && regexp.QuoteMeta(candidate) == candidate {
		return false, nil // the usual case needs no pattern
	}
	pattern, err := regexp.Compile(`^(\S*\/)*` + candidate)
	if err != nil {
		return false, fmt.Errorf("candidate %q: %w", candidate, err)
	}
	for _, line := range lines {
		if pattern.MatchString(line) {
			return true, nil
		}
	}
	return pattern.MatchString(""), nil // the text after the last newline of ps
}

// files finds a kind's file of every component: the first candidate that
// exists, else the default, else the component's own name.
func (k kind) files(section settings, l Lookup) (map[string]string, error) {
	files := map[string]string{}
	err := eachComponent(section, func(name string, s settings) error {
		file := ""
		for _, candidate := range asStrings(s[k.candidates]) {
			if candidate == "" {
				continue // stat of nothing finds nothing
			}
			ok, err := l.Exists(candidate)
			if err != nil {
				return fmt.Errorf("component %s: look for file %s: %w", name, candidate, err)
			}
			if ok {
				file = candidate
				break
			}
		}
		if file == "" {
			if s[k.deflt] != nil {
				file = asString(s[k.deflt])
			} else {
				file = name
			}
		}
		files[name] = file
		return nil
	})
	return files, err
}
