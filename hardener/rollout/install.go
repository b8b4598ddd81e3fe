package rollout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
	yamltojson "sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/manifests"
)

// plurals are the kinds of install.yaml.
var plurals = map[string]string{
	"Namespace": "namespaces", "ServiceAccount": "serviceaccounts",
	"ClusterRole": "clusterroles", "ClusterRoleBinding": "clusterrolebindings", "Role": "roles", "RoleBinding": "rolebindings",
}

// install applies install.yaml, and for steps across nodes steps.yaml. Whoever may not do so, as the account of a rollout
// inside the cluster, finds it applied.
func (a *API) install(ctx context.Context, steps bool) error {
	all := manifests.Install()
	if steps {
		all = slices.Concat(all, []byte("---\n"), manifests.Steps())
	}
	docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(all)))
	defer docs.Close()
	buffer := make([]byte, len(all))
	for {
		n, err := docs.Read(buffer)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("install.yaml: %w", err)
		}
		var object metav1.PartialObjectMetadata
		if err := yamltojson.Unmarshal(buffer[:n], &object); err != nil {
			return fmt.Errorf("install.yaml: %w", err)
		}
		path := "/apis/" + object.APIVersion
		if object.APIVersion == "v1" {
			path = "/api/v1"
		}
		if object.Namespace != "" {
			path += "/namespaces/" + object.Namespace
		}
		plural := plurals[object.Kind]
		err = a.do(ctx, http.MethodPatch, path+"/"+plural+"/"+object.Name+"?force=true&fieldManager="+Namespace, applyType, buffer[:n], nil)
		if forbidden(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("install %s %s: %w", object.Kind, object.Name, err)
		}
	}
}
