package gate

import (
	"encoding/json"
	"maps"
	"os"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// TestPending is of a kubelet of v1.34.4 that Kubespray configured, with what an
// operator may do to its file.
func TestPending(t *testing.T) {
	read := func(name string, unmarshal func([]byte) error) {
		t.Helper()
		data, err := os.ReadFile("testdata/pending/" + name)
		if err == nil {
			err = unmarshal(data)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	var answer struct {
		Config map[string]any `json:"kubeletconfig"`
	}
	read("configz.json", func(b []byte) error { return json.Unmarshal(b, &answer) })
	for name, c := range map[string]struct {
		edit func(file map[string]any)
		argv []string
		want []string
	}{
		"untouched":       {edit: func(map[string]any) {}},
		"value":           {edit: func(f map[string]any) { f["readOnlyPort"], f["eventRecordQPS"] = 10255, 5 }, want: []string{"eventRecordQPS", "readOnlyPort"}},
		"switched off":    {edit: func(f map[string]any) { f["protectKernelDefaults"] = false }, want: []string{"protectKernelDefaults"}},
		"other spelling":  {edit: func(f map[string]any) { f["nodeStatusUpdateFrequency"] = "10000ms" }},
		"default written": {edit: func(f map[string]any) { f["streamingConnectionIdleTimeout"] = "4h" }},
		"removed": {edit: func(f map[string]any) {
			for _, name := range []string{"staticPodPath", "clusterDNS", "kubeReserved", "maxPods", "rotateCertificates"} {
				delete(f, name)
			}
		}, want: []string{"clusterDNS", "kubeReserved.cpu", "kubeReserved.ephemeral-storage", "kubeReserved.memory", "kubeReserved.pid", "rotateCertificates", "staticPodPath"}},
		"flag wins": {edit: func(f map[string]any) { f["readOnlyPort"] = 10255 }, argv: []string{"kubelet", "--read-only-port=0"}},
	} {
		t.Run(name, func(t *testing.T) {
			var file map[string]any
			read("kubelet-config.yaml", func(b []byte) error { return yaml.Unmarshal(b, &file) })
			c.edit(file)
			found, err := settings{values: file, argv: c.argv}.pending(answer.Config)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, slices.Sorted(maps.Keys(found))); diff != "" {
				t.Errorf("(-want +got)\n%s\n%v", diff, found)
			}
		})
	}
}
