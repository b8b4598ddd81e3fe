package rollout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"

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

// install applies install.yaml. Whoever may not do so, as the account of a rollout
// inside the cluster, finds it applied.
func (a *API) install(ctx context.Context) error {
	docs := yaml.NewDocumentDecoder(io.NopCloser(bytes.NewReader(manifests.Install())))
	defer docs.Close()
	buffer := make([]byte, len(manifests.Install()))
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
