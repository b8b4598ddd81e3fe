package profile

import (
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// Catalog is a kube-bench cfg folder: its configuration and its benchmarks.
// Control files are read and parsed when they are asked for, once. A Catalog
// may be used from several goroutines.
type Catalog struct {
	cfg      fs.FS
	base     settings // config.yaml
	versions map[string]string
	targets  map[string][]string
	names    []string

	mu      sync.Mutex
	configs map[string]*benchmarkConfig
	files   map[string]*controlFile
}

type benchmarkConfig struct {
	once   sync.Once
	merged settings
	err    error
}

// Open reads config.yaml of a cfg folder and lists its benchmarks. An error
// names the file, and the line where there is one.
func Open(cfg fs.FS) (*Catalog, error) {
	base, err := readSettings(cfg, "config.yaml")
	if err != nil {
		return nil, fmt.Errorf("open profiles: %w", err)
	}
	c := &Catalog{
		cfg: cfg, base: base,
		versions: map[string]string{}, targets: map[string][]string{},
		configs: map[string]*benchmarkConfig{}, files: map[string]*controlFile{},
	}
	for version, benchmark := range asMap(base["version_mapping"]) {
		c.versions[version] = asString(benchmark)
	}
	for benchmark, targets := range asMap(base["target_mapping"]) {
		c.targets[benchmark] = asStrings(targets)
	}
	if len(c.targets) == 0 {
		return nil, fmt.Errorf("open profiles: config.yaml: no target_mapping")
	}
	entries, err := fs.ReadDir(cfg, ".")
	if err != nil {
		return nil, fmt.Errorf("open profiles: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() {
			c.names = append(c.names, e.Name())
		}
	}
	return c, nil
}

// Names lists the benchmarks, sorted: the folders of the cfg folder.
func (c *Catalog) Names() []string { return slices.Clone(c.names) }

// Targets lists the sections of a benchmark, in the order of target_mapping. A
// benchmark that is not mapped is an error, as in kube-bench
// (cmd/common.go:530).
func (c *Catalog) Targets(benchmark string) ([]string, error) {
	targets, ok := c.targets[benchmark]
	if !ok {
		return nil, fmt.Errorf("no targets configured for benchmark %q", benchmark)
	}
	out := make([]string, len(targets))
	for i, target := range targets {
		out[i] = strings.ToLower(target)
	}
	return out, nil
}

// Selection is the benchmark chosen for a Kubernetes version.
type Selection struct {
	Benchmark string
	Detected  string // kube-bench's detected_version, when the version was detected
	Note      string // why the choice is not exact, or empty
}

// lastMapped is where kube-bench stops to look for a nearer version
// (cmd/common.go:283, defaultKubeVersion).
const lastMapped = "1.18"

// ForVersion chooses the benchmark for a Kubernetes version as kube-bench's
// --version does (cmd/common.go:279-296): the mapped version, else the nearest
// lower one, found by counting down the second field. So "1.34" is a version
// here; "1.34.2" and "v1.34" are errors, as in kube-bench.
func (c *Catalog) ForVersion(version string) (Selection, error) {
	if len(c.versions) == 0 {
		return Selection{}, fmt.Errorf("config.yaml: no version_mapping")
	}
	at := version
	benchmark, found := c.versions[strings.ToLower(at)]
	for !found && at != lastMapped && strings.TrimSpace(at) != "" {
		at = decrement(at)
		benchmark, found = c.versions[strings.ToLower(at)]
	}
	if !found {
		return Selection{}, fmt.Errorf("no benchmark for Kubernetes version %q: want MAJOR.MINOR, such as 1.34", version)
	}
	s := Selection{Benchmark: benchmark}
	if at != version {
		s.Note = fmt.Sprintf("no benchmark knows Kubernetes %s: the one for %s is used", version, at)
	}
	return s, nil
}

// decrement counts down the second field of a version (cmd/util.go:167-181);
// empty means that there is none lower.
func decrement(version string) string {
	fields := strings.Split(version, ".")
	if len(fields) < 2 {
		return ""
	}
	minor, err := strconv.Atoi(fields[1])
	if err != nil || minor <= 1 {
		return ""
	}
	fields[1] = strconv.Itoa(minor - 1)
	return strings.Join(fields, ".")
}

// config is the configuration of a benchmark: config.yaml with the benchmark's
// own merged over it, as `kube-bench run` has it (cmd/run.go:53-58).
func (c *Catalog) config(benchmark string) (settings, error) {
	c.mu.Lock()
	entry, ok := c.configs[benchmark]
	if !ok {
		entry = &benchmarkConfig{}
		c.configs[benchmark] = entry
	}
	c.mu.Unlock()
	entry.once.Do(func() {
		entry.merged, entry.err = c.mergedConfig(benchmark)
	})
	return entry.merged, entry.err
}

func (c *Catalog) mergedConfig(benchmark string) (settings, error) {
	if !slices.Contains(c.names, benchmark) {
		return nil, fmt.Errorf("no benchmark %q: known are %s", benchmark, strings.Join(c.names, ", "))
	}
	name := path.Join(benchmark, "config.yaml")
	if _, err := fs.Stat(c.cfg, name); err != nil {
		return c.base, nil // kube-bench carries on without it
	}
	own, err := readSettings(c.cfg, name)
	if err != nil {
		return nil, err
	}
	return merge(c.base, own), nil
}

// Preload starts to read sections of a benchmark, each on its own, and returns at
// once. It is for callers that have something else to do before they ask for
// the Controls; errors come up there.
func (c *Catalog) Preload(benchmark string, targets []string) {
	for _, target := range targets {
		go func() { _, _ = c.open(path.Join(benchmark, target+".yaml")) }()
	}
}
