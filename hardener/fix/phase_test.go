package fix

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

const (
	kubeletFile = "etc/kubernetes/kubelet-config.yaml"
	serverFile  = "etc/kubernetes/manifests/kube-apiserver.yaml"
)

// phased plans one phase on a node that runs, and gives the node after it.
func phased(t *testing.T, m fstest.MapFS, phase Phase, findings ...Finding) (Plan, fstest.MapFS, error) {
	t.Helper()
	plan, err := Make(Input{FS: m, Facts: sampleFacts(true), Findings: findings, Gated: true, Phase: phase})
	if err != nil {
		return plan, m, err
	}
	for _, g := range plan.Groups {
		if g.Risk != RiskCluster || g.Refused != "" {
			t.Errorf("%s: group %+v", phase, g)
		}
	}
	return plan, applied(t, m, plan), nil
}

// authorityNode has a certificate of an authority where clients' certificates are
// known by.
func authorityNode(t *testing.T) fstest.MapFS {
	t.Helper()
	m := sampleNode(t)
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "kubernetes"}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	m["etc/kubernetes/ssl/ca.crt"].Data = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return m
}

func TestServingKubelet(t *testing.T) {
	m := sampleNode(t)
	plan, after, err := phased(t, m, ServingKubelet)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Groups) != 1 || plan.Groups[0].Component != node.Kubelet || len(plan.Groups[0].Changes) != 1 {
		t.Fatalf("groups: %+v", plan.Groups)
	}
	if text := string(after[kubeletFile].Data); !strings.Contains(text, "serverTLSBootstrap: true") || !strings.Contains(text, "RotateKubeletServerCertificate: true") {
		t.Errorf("the kubelet does not ask for its certificate:\n%s", text)
	}
	if again, _, err := phased(t, after, ServingKubelet); err != nil || len(again.Groups) != 0 {
		t.Errorf("again: %+v, %v", again.Groups, err)
	}
	_, back, err := phased(t, after, ServingUndoKubelet)
	if text := string(back[kubeletFile].Data); err != nil || !strings.Contains(text, "serverTLSBootstrap: false") {
		t.Errorf("undone: %v\n%s", err, text)
	}
	if none, _, err := phased(t, m, ServingUndoKubelet); err != nil || len(none.Groups) != 0 {
		t.Errorf("undone where nothing was done: %+v, %v", none.Groups, err)
	}
	m[kubeletFile].Data = append(m[kubeletFile].Data, "tlsCertFile: /etc/kubernetes/ssl/kubelet.crt\n"...)
	if _, _, err := phased(t, m, ServingKubelet); err == nil || !strings.Contains(err.Error(), "a certificate of the operator's own") {
		t.Errorf("beside a certificate of the operator's own: %v", err)
	}
}

func TestServingAPIServer(t *testing.T) {
	check := flagCheck("apiserver", "", "--kubelet-certificate-authority", "", "", true)
	other := flagCheck("apiserver", "eq", "--profiling", "", "false", true)
	other.ID = "other"
	findings := []Finding{{Target: "s", Check: check}, {Target: "s", Check: other}}
	m := authorityNode(t)
	plan, after, err := phased(t, m, ServingAPIServer, findings...)
	if err != nil {
		t.Fatal(err)
	}
	text := string(after[serverFile].Data)
	if !strings.Contains(text, "    - --kubelet-certificate-authority=/etc/kubernetes/ssl/ca.crt\n") || !strings.Contains(text, "--profiling=True") {
		t.Errorf("the manifest has the flag, and nothing else is new:\n%s", text)
	}
	if d := plan.Decisions["s/x"]; d.State != Planned || d.Risk != RiskCluster {
		t.Errorf("what the phase answers: %+v", d)
	}
	if d := plan.Decisions["s/other"]; d.State != Refused || !strings.Contains(d.Reason, "not in this phase") {
		t.Errorf("what it does not answer: %+v", d)
	}
	if !ServingUndoAPIServer.GivesUp(check) || ServingUndoAPIServer.GivesUp(other) || ServingAPIServer.GivesUp(check) || Phase("").GivesUp(check) {
		t.Error("only its undoing may make the check fail, and no other")
	}
	_, back, err := phased(t, after, ServingUndoAPIServer)
	if err != nil || string(back[serverFile].Data) != string(m[serverFile].Data) {
		t.Errorf("undone: %v\n%s", err, back[serverFile].Data)
	}
	if _, _, err := phased(t, sampleNode(t), ServingAPIServer); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Errorf("an authority that is none: %v", err)
	}
	if _, _, err := phased(t, m, "serving-certificates:all"); err == nil {
		t.Error("a phase that there is not is planned")
	}
}

// TestPhaseForgets makes a phase that failed before: the reason may have been
// another node.
func TestPhaseForgets(t *testing.T) {
	m := sampleNode(t)
	plan, _, err := phased(t, m, ServingKubelet)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Make(Input{FS: m, Facts: sampleFacts(true), Gated: true, Phase: ServingKubelet, Failed: map[string]string{plan.Groups[0].Digest(): "not approved"}})
	if err != nil || len(again.Groups) != 1 || again.Groups[0].Refused != "" {
		t.Errorf("%+v, %v", again.Groups, err)
	}
	if _, err := Make(Input{FS: m, Facts: sampleFacts(true), Phase: ServingKubelet}); err == nil {
		t.Error("without a gate it is left out silently")
	}
}
