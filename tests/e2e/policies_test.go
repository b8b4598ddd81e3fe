//go:build e2e

package e2e

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/tests/lab"
	"github.com/kubespray-hardener/kubespray-hardener/tests/lab/workload"
)

// minPoliciesRatio is how many times faster than kube-bench the policies checks
// have to be: it starts kubectl and jq some thousand times.
const minPoliciesRatio = 100

// On a cluster that many teams have filled, our --raw policies verdicts are
// kube-bench's, with its kubectl and jq on the node, and come a hundred times
// sooner.
func TestPolicies(t *testing.T) {
	c := lab.Need(t, lab.Small)
	c.Spoil()
	n := c.Node("cp1")
	install(t, n)
	counts, err := workload.Populate(t.Context(), client(t, c), workload.Mixed)
	if err != nil {
		t.Fatal(err)
	}
	if counts.Pods < 200 || counts.Roles < 100 || counts.ServiceAccounts < 50 {
		t.Errorf("the cluster has %+v, want at least 200 pods, 100 roles, 50 service accounts", counts)
	}
	for _, benchmark := range []string{"cis-1.12", "cis-1.11"} {
		t.Run(benchmark, func(t *testing.T) {
			began := time.Now()
			theirs := report(t, n, "kube-bench", "--config-dir=/etc/kube-bench/cfg", "--config=/etc/kube-bench/cfg/config.yaml",
				"run", "--benchmark="+benchmark, "--targets=policies", "--json")
			their := time.Since(began)
			began = time.Now()
			ours := report(t, n, "hardener", "check", "--raw", "--benchmark="+benchmark, "--targets=policies", "--output=json", "--kubeconfig="+kubeconfig("cp1"))
			our := time.Since(began)
			if diff := cmp.Diff(verdicts(t, theirs), verdicts(t, ours)); diff != "" {
				t.Errorf("verdicts (-kube-bench +hardener):\n%s", diff)
			}
			ratio := their.Seconds() / our.Seconds()
			fmt.Printf("policies: %d pods, %d roles, %d service accounts: kube-bench %.2f s, hardener %.2f s, ratio %.0f\n",
				counts.Pods, counts.Roles, counts.ServiceAccounts, their.Seconds(), our.Seconds(), ratio)
			if ratio < minPoliciesRatio {
				t.Errorf("%s: %.1f times faster, must be at least %d", benchmark, ratio, minPoliciesRatio)
			}
			if ours != theirs {
				// Beyond the verdicts both have the same words, with a jq of Debian 12.
				t.Errorf("%s: the documents differ (-kube-bench +hardener):\n%s", benchmark, firstDifference(theirs, ours))
			}
		})
	}
}

// firstDifference is where two texts part.
func firstDifference(a, b string) string {
	same := 0
	for same < len(a) && same < len(b) && a[same] == b[same] {
		same++
	}
	cut := func(s string) string { return s[max(0, same-200):min(len(s), same+200)] }
	return "-" + cut(a) + "\n+" + cut(b)
}
