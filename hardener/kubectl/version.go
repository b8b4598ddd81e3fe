package kubectl

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"k8s.io/client-go/rest"
)

// ServerVersion asks the API server for its gitVersion, such as v1.34.4 or
// v1.30.4+k3s1. It is where kube-bench looks first (cmd/kubernetes_version.go).
func ServerVersion(ctx context.Context, connect func() (*rest.Config, error)) (string, error) {
	config, err := connect()
	if err != nil {
		return "", err
	}
	api, err := newClient(config)
	if err != nil {
		return "", err
	}
	version, _, err := api.do(ctx, http.MethodGet, "/version", nil)
	if err != nil {
		return "", fmt.Errorf("API server version: %s", serverText(err))
	}
	gitVersion, _ := version["gitVersion"].(string)
	if gitVersion == "" {
		return "", errors.New("API server version: the answer has no gitVersion")
	}
	return gitVersion, nil
}
