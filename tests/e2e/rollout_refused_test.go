//go:build e2e

package e2e

import (
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
)

// A rollout that cannot begin says why in one line, and leaves nothing behind that
// would run later.
func TestRolloutRefused(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	cp := c.Node("cp1")
	install(t, cp)
	must(t, cp, "sh", "-c", `set -e
kubectl create serviceaccount nobody
cp /etc/kubernetes/admin.conf /root/nobody.conf
kubectl --kubeconfig=/root/nobody.conf config set-credentials nobody --token="$(kubectl create token nobody)"
kubectl --kubeconfig=/root/nobody.conf config set-context --current --user=nobody`)
	const digest = "@sha256:2222222222222222222222222222222222222222222222222222222222222222"
	tests := map[string]struct {
		args  []string
		wants []string
	}{
		"a user without rights": {[]string{"--kubeconfig=/root/nobody.conf"}, []string{"nodes", "forbidden", "nobody"}},
		// 5 minutes: a registry that is away for a while is no reason to give up.
		"an image that is nowhere": {[]string{"--kubeconfig=/etc/kubernetes/admin.conf", "--nodes=worker1"}, []string{"node worker1: ", "did not start within 5m0s", "image"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			command := "hardener rollout check --image=registry.invalid/team/hardener" + digest + " " + strings.Join(tt.args, " ") + " 2>&1; echo exit $?"
			said := must(t, cp, "sh", "-c", command)
			lines := strings.Split(strings.TrimSpace(said), "\n")
			var line string
			for _, l := range lines {
				if strings.HasPrefix(l, "hardener: error: ") {
					line = l
				}
			}
			if lines[len(lines)-1] != "exit 3" {
				t.Errorf("ended otherwise than with exit code 3:\n%s", said)
			}
			for _, want := range tt.wants {
				if !strings.Contains(line, want) {
					t.Errorf("error %q does not say %q", line, want)
				}
			}
			jobs := must(t, cp, "kubectl", "-n", rollout.Namespace, "get", "jobs,pods", "-o", "name", "--ignore-not-found")
			if strings.TrimSpace(jobs) != "" {
				t.Errorf("left behind: %s", jobs)
			}
		})
	}
	must(t, cp, "kubectl", "delete", "namespace", rollout.Namespace, "--ignore-not-found", "--wait")
}
