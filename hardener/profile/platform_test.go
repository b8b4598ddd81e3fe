package profile

import (
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/profiles"
)

func TestForGitVersion(t *testing.T) {
	cfg, err := profiles.FS()
	if err != nil {
		t.Fatal(err)
	}
	c, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for version, want := range map[string]string{
		"v1.34.4":               "cis-1.12",
		"1.17.5":                "cis-1.6",
		"v1.36.0":               "cis-1.12",
		"1.34":                  "cis-1.12",
		"v1.24.17+k3s1":         "k3s-cis-1.24",
		"v1.30.4+k3s1":          "k3s-cis-1.9",
		"v1.30.4+k3s12":         "cis-1.11", // kube-bench reads the platform k3s1, which it does not know
		"v1.26.8+rke2r1":        "rke2-cis-1.8",
		"v1.29.3-eks-adc7111":   "eks-1.7.0",
		"v1.21.5-eks-bc4871b":   "eks-1.5.0",
		"v1.30.5-gke.1443001":   "gke-1.8.0",
		"v1.18.8-aliyun.1":      "ack-1.0",
		"v1.31.1+vmware.2-fips": "tkgi-1.2.53",
	} {
		got, err := c.ForGitVersion(version)
		if err == nil && got.Detected == "" {
			t.Errorf("%s: nothing detected", version)
		}
		if err != nil || got.Benchmark != want {
			t.Errorf("%s: %q, %v; want %q", version, got.Benchmark, err, want)
		}
	}
	if s, err := c.ForGitVersion("v1.36.0"); err != nil || s.Note == "" {
		t.Errorf("a version newer than all gives no note: %+v, %v", s, err)
	}
	for _, version := range []string{"", "none", "v1.2"} {
		if s, err := c.ForGitVersion(version); err == nil {
			t.Errorf("%q: %+v; want an error", version, s)
		}
	}
	for name, p := range platforms() {
		all := []string{p.otherwise}
		for _, b := range p.benchmarks {
			all = append(all, b)
		}
		for _, b := range all {
			if _, err := c.Targets(b); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
