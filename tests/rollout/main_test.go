//go:build e2e

package rollout

import (
	"testing"

	"k8s.io/client-go/rest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/manifests"
	"github.com/kubespray-hardener/kubespray-hardener/tests/apiserver"
)

// account is the service account of a rollout inside the cluster.
const account = "rollout"

// start gives an API server with what a rollout needs.
func start(t *testing.T) *apiserver.Server {
	t.Helper()
	s := apiserver.Start(t)
	s.Apply(manifests.Install())
	return s
}

func connect(t *testing.T, config *rest.Config) *rollout.API {
	t.Helper()
	api, err := rollout.Connect(config)
	if err != nil {
		t.Fatal(err)
	}
	return api
}
