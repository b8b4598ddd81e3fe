package profile

import (
	"regexp"
	"strings"
)

// platformVersion splits a Kubernetes gitVersion such as v1.30.4+k3s1 into
// version and platform, in kube-bench's way: the greedy name leaves at least one
// character to what follows, so +k3s12 is no platform that it knows
// (cmd/util.go:488-499).
var platformVersion = regexp.MustCompile(`v(\d+\.\d+)\.\d+[-+](\w+)(?:[.\-+]*)\w+`)

// plainVersion is the part of a gitVersion that chooses a benchmark when there is
// no platform.
var plainVersion = regexp.MustCompile(`^v?(\d+\.\d+)`)

// platform is how kube-bench maps the versions of one platform to benchmarks
// (cmd/util.go:521-647).
type platform struct {
	benchmarks map[string]string
	otherwise  string // for versions that are not listed
}

func (p platform) benchmark(version string) string {
	if b, ok := p.benchmarks[version]; ok {
		return b
	}
	return p.otherwise
}

// each maps several versions to one benchmark.
func each(benchmark string, versions ...string) map[string]string {
	m := map[string]string{}
	for _, v := range versions {
		m[v] = benchmark
	}
	return m
}

func joined(all ...map[string]string) map[string]string {
	m := map[string]string{}
	for _, some := range all {
		for k, v := range some {
			m[k] = v
		}
	}
	return m
}

func platforms() map[string]platform {
	return map[string]platform{
		"eks": {joined(each("eks-1.0.1", "1.15", "1.16", "1.17", "1.18", "1.19"), each("eks-1.7.0", "1.29", "1.30", "1.31"),
			each("eks-1.8.0", "1.32", "1.33", "1.34")), "eks-1.5.0"},
		"aks": {joined(each("aks-1.0", "1.19", "1.20", "1.21", "1.22", "1.23", "1.24"), each("aks-1.7", "1.29", "1.30", "1.31")), "aks-1.8"},
		"gke": {joined(each("gke-1.0", "1.15", "1.16", "1.17", "1.18", "1.19"),
			each("gke-1.2.0", "1.20", "1.21", "1.22", "1.23", "1.24", "1.25", "1.26", "1.27"),
			each("gke-1.6.0", "1.28", "1.29"), each("gke-1.8.0", "1.30")), "gke-1.9.0"},
		"k3s": {joined(each("k3s-cis-1.23", "1.22", "1.23"), each("k3s-cis-1.24", "1.24"), each("k3s-cis-1.7", "1.25"),
			each("k3s-cis-1.8", "1.26")), "k3s-cis-1.9"},
		"rancher": {joined(each("rke-cis-1.23", "1.23"), each("rke-cis-1.24", "1.24")), "rke-cis-1.7"},
		"rke2r":   {joined(each("rke2-cis-1.23", "1.23"), each("rke2-cis-1.24", "1.24"), each("rke2-cis-1.7", "1.25")), "rke2-cis-1.8"},
		"aliyun":  {nil, "ack-1.0"},
		"vmware":  {nil, "tkgi-1.2.53"},
	}
}

// ForGitVersion chooses the benchmark for the version that an API server or a
// kubelet says it has ("v1.34.4", "v1.30.4+k3s1"): that of its platform if
// kube-bench has one, else as ForVersion for the first two numbers
// (cmd/common.go:316-353).
func (c *Catalog) ForGitVersion(gitVersion string) (Selection, error) {
	if m := platformVersion.FindStringSubmatch(gitVersion); m != nil {
		if p, ok := platforms()[m[2]]; ok {
			b := p.benchmark(m[1])
			return Selection{Benchmark: b, Detected: b}, nil
		}
	}
	version := strings.TrimSpace(gitVersion)
	if m := plainVersion.FindStringSubmatch(version); m != nil {
		version = m[1]
	}
	s, err := c.ForVersion(version)
	s.Detected = version
	return s, err
}
