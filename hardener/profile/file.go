package profile

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"sync"

	"gopkg.in/yaml.v2"
)

// controlFile is a control file as it lies in the cfg folder, before
// substitution.
type controlFile struct {
	once   sync.Once
	text   string
	parsed *yamlControls // nil when the text is no YAML before substitution
	err    error         // why parsed is nil
	early  bool          // values may be put into parsed instead of into text
}

// The types of a control file's YAML, with kube-bench's keys (check/check.go:66,
// check/controls.go:52, check/test.go:45). They are decoded with kube-bench's
// own YAML library: scalars of string fields keep their source text, a later
// duplicate of a key wins, booleans are those of YAML 1.1.
type yamlControls struct {
	ID      string
	Version string
	Text    string
	Type    string
	Groups  []*yamlGroup
}

type yamlGroup struct {
	ID     string
	Type   string
	Text   string
	Checks []*yamlCheck
}

type yamlCheck struct {
	ID                string
	Text              string
	Audit             string
	AuditEnv          string `yaml:"audit_env"`
	AuditConfig       string `yaml:"audit_config"`
	Type              string
	Tests             *yamlTests
	Remediation       string
	Scored            bool
	Multiple          bool `yaml:"use_multiple_values"`
	DisableEnvTesting bool // key disableenvtesting; the documented disableEnvTesting is not read
}

type yamlTests struct {
	TestItems []*yamlTestItem `yaml:"test_items"`
	BinOp     string          `yaml:"bin_op"`
}

type yamlTestItem struct {
	Flag, Env, Path string
	Set             bool
	Compare         struct{ Op, Value string }
}

// UnmarshalYAML makes true the default of set (check/test.go:434).
func (t *yamlTestItem) UnmarshalYAML(unmarshal func(any) error) error {
	type plain yamlTestItem
	item := plain{Set: true}
	if err := unmarshal(&item); err != nil {
		return err
	}
	*t = yamlTestItem(item)
	return nil
}

// open reads a control file, once.
func (c *Catalog) open(name string) (*controlFile, error) {
	if !fs.ValidPath(name) {
		return nil, fmt.Errorf("no control file %q", name)
	}
	c.mu.Lock()
	f, ok := c.files[name]
	if !ok {
		f = &controlFile{}
		c.files[name] = f
	}
	c.mu.Unlock()
	var readErr error
	f.once.Do(func() {
		var data []byte
		if data, readErr = fs.ReadFile(c.cfg, name); readErr != nil {
			c.mu.Lock()
			delete(c.files, name)
			c.mu.Unlock()
			return
		}
		f.text = string(data)
		f.parsed, f.err = decode(name, f.text)
		f.early = f.err == nil && !changesShape(f.text)
	})
	return f, readErr
}

// decode parses the text of a control file. Errors name the file and the line.
func decode(name, text string) (controls *yamlControls, err error) {
	defer func() {
		if r := recover(); r != nil {
			controls, err = nil, fmt.Errorf("%s: parser failed: %v", name, r)
		}
	}()
	controls = &yamlControls{}
	if err := yaml.Unmarshal([]byte(text), controls); err != nil {
		return nil, yamlError(name, err)
	}
	for i, g := range controls.Groups {
		if g == nil {
			return nil, fmt.Errorf("%s: group %d is empty", name, i+1)
		}
		for j, c := range g.Checks {
			if c == nil {
				return nil, fmt.Errorf("%s: group %s: check %d is empty", name, g.ID, j+1)
			}
			if c.Tests == nil {
				continue
			}
			for k, item := range c.Tests.TestItems {
				if item == nil {
					return nil, fmt.Errorf("%s: check %s: test item %d is empty", name, c.ID, k+1)
				}
			}
		}
	}
	return controls, nil
}

// changesShape tells whether substitution could have another effect before
// parsing than after although the values are harmless: a variable that may be a
// key or is torn by an escaped line break, or a dollar sign that is written as
// an escape.
func changesShape(text string) bool {
	for _, escape := range []string{`\x24`, `\u0024`, `\U00000024`} {
		if strings.Contains(text, escape) {
			return true
		}
	}
	for {
		_, rest, found := strings.Cut(text, "$")
		if !found {
			return false
		}
		text = rest
		after := strings.TrimLeftFunc(rest, func(r rune) bool { return r == '$' || r == '_' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' })
		if strings.HasPrefix(after, "\\\n") || strings.HasPrefix(after, "\\\r") {
			return true
		}
		after = strings.TrimLeft(after, "\"' \t")
		if after == ":" || len(after) > 1 && after[0] == ':' && strings.IndexByte(" \t\r\n,", after[1]) >= 0 {
			return true
		}
	}
}

// section is the section that a control file is for: its name up to the first
// dot (cmd/run.go:72).
func section(name string) string {
	target, _, _ := strings.Cut(path.Base(name), ".")
	return target
}

// controlFiles lists the control files of a benchmark as `kube-bench run`
// without targets takes them: every *.yaml below the folder except config.yaml,
// in lexical order (cmd/util.go:146-163).
func (c *Catalog) controlFiles(benchmark string) ([]string, error) {
	var names []string
	err := fs.WalkDir(c.cfg, benchmark, func(name string, d fs.DirEntry, err error) error {
		if err == nil && path.Base(name) != "config.yaml" && path.Ext(name) == ".yaml" {
			names = append(names, name)
		}
		return err
	})
	return names, err
}
