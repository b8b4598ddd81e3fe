package gate

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDifferences(t *testing.T) {
	const live = `{"failSwapOn":true,"eventRecordQPS":50,"maxPods":110,"streamingConnectionIdleTimeout":"4h0m0s","clusterDNS":["169.254.25.10"],
		"authentication":{"x509":{"clientCAFile":"/ca"},"webhook":{"enabled":true,"cacheTTL":"2m0s"},"anonymous":{"enabled":false}},
		"kubeReserved":{"cpu":"100m","pid":"1000"},"rotateCertificates":true,"tlsCipherSuites":["A","B"]}`
	for _, c := range []struct {
		file string
		argv []string
		want []string
	}{
		{file: `{"kind":"KubeletConfiguration","maxPods":110,"failSwapOn":true,"clusterDNS":["169.254.25.10"],"readOnlyPort":0}`},
		{file: `{"streamingConnectionIdleTimeout":"240m","kubeReserved":{"pid":1000}}`},
		{file: `{"authentication":{"anonymous":{"enabled":false},"x509":{"clientCAFile":"/ca"}},"seccompDefault":false}`},
		{file: `{"maxPods":120}`, want: []string{"maxPods is 110, not 120"}},
		{file: `{"maxPods":120}`, argv: []string{"kubelet", "--max-pods=110"}},
		{file: `{"eventRecordQps":5}`, want: []string{"eventRecordQps is not set, not 5"}},
		{file: `{"eventRecordQPS":5}`, argv: []string{"kubelet", "--event-qps=50"}},
		{file: `{"webhook":{"enabled":true}}`, want: []string{"webhook.enabled is not set, not true"}},
		{file: `{"authentication":{"webhook":{"enabled":false}}}`, want: []string{"authentication.webhook.enabled is true, not false"}},
		{file: `{"tlsCipherSuites":["A"]}`, want: []string{`tlsCipherSuites is ["A","B"], not ["A"]`}},
		{file: `{"authentication":{"x509":{"clientCAFile":"/other"}}}`, argv: []string{"kubelet", "--client-ca-file", "/ca"}},
		{file: `{"kubeReserved":{"cpu":"200m"}}`, argv: []string{"kubelet", "--kube-reserved=cpu=100m"}},
	} {
		var want, got map[string]any
		if err := json.Unmarshal([]byte(c.file), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(live), &got); err != nil {
			t.Fatal(err)
		}
		s := settings{values: want, argv: c.argv}
		if diff := cmp.Diff(c.want, s.differences(got)); diff != "" {
			t.Errorf("%s %v: -want +got\n%s", c.file, c.argv, diff)
		}
	}
}
