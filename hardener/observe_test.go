package hardener_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func observe(t *testing.T, o hardener.Options) hardener.Observation {
	t.Helper()
	seen, err := hardener.Observe(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return seen
}

// A change to a file leads to the checks that rest on it, and what they then say is
// told in both its states.
func TestObserve(t *testing.T) {
	tests := map[string]struct {
		file    string
		change  func(string) error
		key     string
		was, is string
	}{
		"a mode": {
			"etc/kubernetes/manifests/kube-scheduler.yaml", func(p string) error { return os.Chmod(p, 0o666) },
			"master/1.1.5", "permissions=600", "permissions=666",
		},
		"a setting of a static pod": {
			"etc/kubernetes/manifests/kube-scheduler.yaml", func(p string) error {
				return replace(p, "--leader-elect=true", "--leader-elect=true\n    - --profiling=true")
			},
			"master/1.4.1", "--profiling not set", "--profiling=true",
		},
		"a field of the kubelet's file": {
			"etc/kubernetes/kubelet-config.yaml", func(p string) error { return replace(p, "readOnlyPort: 10255", "readOnlyPort: 0") },
			"node/4.2.4", "readOnlyPort=10255", "readOnlyPort=0",
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			n := newNode(t)
			n.options.Picture = true
			before := observe(t, n.options)
			file := filepath.Join(n.dir, tt.file)
			if err := tt.change(file); err != nil {
				t.Fatal(err)
			}
			path := "/" + tt.file
			keys := before.ByInput(map[string][]string{path: {path}}, nil)
			if !slices.Contains(keys, tt.key) {
				t.Fatalf("%s leads to %v, want %s among them", path, keys, tt.key)
			}
			if len(keys) > len(before.Checks)/2 {
				t.Errorf("%s leads to %d of %d checks", path, len(keys), len(before.Checks))
			}
			o := n.options
			for _, key := range keys {
				_, id, _ := strings.Cut(key, "/")
				o.Checks = append(o.Checks, id)
			}
			after := observe(t, o)
			was, is := after.Checks[tt.key].Difference(before.Checks[tt.key])
			if was != tt.was || is != tt.is {
				t.Errorf("said %q -> %q, want %q -> %q", was, is, tt.was, tt.is)
			}
			if tt.key != "master/1.4.1" && after.Checks[tt.key].State == before.Checks[tt.key].State {
				t.Errorf("%s is %s as before", tt.key, after.Checks[tt.key].State)
			}
		})
	}
}

func replace(file, from, to string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	return os.WriteFile(file, []byte(strings.Replace(string(data), from, to, 1)), 0o600)
}

// Whatever a look at a node rests on is recorded while it is looked at: every file
// whose mode a check judges, and every file of a component.
func TestObserveRecorded(t *testing.T) {
	n := newNode(t)
	n.options.Picture = true
	recording := host.Record(n.options.FS)
	n.options.FS = recording
	seen := observe(t, n.options)
	paths := recording.Paths()
	judged := 0
	for key, s := range seen.Checks {
		for _, file := range slices.Concat(s.Files, s.Reads) {
			judged++
			if !slices.Contains(paths, file) {
				t.Errorf("%s rests on %s, which is not recorded", key, file)
			}
		}
	}
	for name, c := range seen.Report.Layout.Components {
		if name == node.Proxy { // whose file is in a pod's volume, and only read where a check asks for it
			continue
		}
		for _, file := range c.Files() {
			judged++
			if !slices.Contains(paths, file) {
				t.Errorf("%s runs by %s, which is not recorded", name, file)
			}
		}
	}
	if judged < 50 {
		t.Errorf("only %d files are judged", judged)
	}
	if seen.Checks["master/1.1.5"].State != check.Pass {
		t.Errorf("1.1.5 is %s on the sample", seen.Checks["master/1.1.5"].State)
	}
}
