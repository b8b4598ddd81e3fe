package hooks

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// The undo takes away every object that our manifests make outside of the namespace,
// which takes its own with it.
func TestUndoObjects(t *testing.T) {
	var want []string
	for _, text := range [][]byte{manifests.Install(), manifests.Steps(), manifests.Rollout(), manifests.Watch(), manifests.Repair()} {
		objects := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
		for {
			var o metav1.PartialObjectMetadata
			if err := objects.Decode(&o); err == io.EOF {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			if o.Kind != "" && o.Kind != "Namespace" && o.Namespace != "kubespray-hardener" {
				want = append(want, strings.ToLower(o.Kind)+" "+o.Namespace+"/"+o.Name)
			}
		}
	}
	text, err := os.ReadFile("../../kubespray-hooks/roles/hardener/vars/main.yml")
	if err != nil {
		t.Fatal(err)
	}
	var vars struct {
		Objects []struct{ Kind, Name, Namespace string } `json:"hardener_cluster_objects"`
	}
	if err := yaml.Unmarshal(text, &vars); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range vars.Objects {
		got = append(got, o.Kind+" "+o.Namespace+"/"+o.Name)
	}
	slices.Sort(want)
	slices.Sort(got)
	if diff := cmp.Diff(slices.Compact(want), got); diff != "" {
		t.Errorf("what the undo takes away (-manifests +undo):\n%s", diff)
	}
}
