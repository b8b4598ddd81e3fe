package hardener_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// TestJudgedIsJudged: what the catalogue leaves to the verdict for the layout is
// no finding on a node as Kubespray makes it.
func TestJudgedIsJudged(t *testing.T) {
	n := newNode(t)
	judged := 0
	for _, benchmark := range []string{"cis-1.5", "cis-1.24", "cis-1.9", "cis-1.12"} {
		n.options.Benchmark = benchmark
		names, err := hardener.CheckNames(n.options)
		if err != nil {
			t.Fatal(err)
		}
		var ids []string
		for _, name := range names {
			ids = append(ids, name.ID)
		}
		e, err := hardener.Explain(t.Context(), n.options, ids)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range e.Checks {
			switch {
			case x.Catalogue == nil || x.Result == nil:
				t.Errorf("%s %s: catalogue %v, result %v", benchmark, x.ID, x.Catalogue, x.Result)
			case x.Catalogue.Answer == fix.Judged:
				judged++
				if s := x.Result.Status; s != check.Pass && s != check.Info {
					t.Errorf("%s %s (%s) is %s: %s", benchmark, x.ID, x.Catalogue.Setting, s, x.Result.VerdictReason)
				}
			}
		}
	}
	if judged < 12 {
		t.Errorf("only %d checks are judged", judged)
	}
}

// TestExplainOnAWorker: what is no part of the node is explained all the same.
func TestExplainOnAWorker(t *testing.T) {
	n := newNode(t)
	for _, path := range []string{"etc/kubernetes/manifests", "etc/kubernetes/kubeadm-config.yaml", "etc/kubernetes/admin.conf", "etc/systemd/system/etcd.service", "etc/etcd.env"} {
		if err := os.RemoveAll(filepath.Join(n.dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	n.options.Picture = true
	e, err := hardener.Explain(t.Context(), n.options, []string{"1.2.21", "4.2.4"})
	if err != nil || len(e.Checks) != 2 {
		t.Fatalf("%+v, %v", e, err)
	}
	if x := e.Checks[0]; x.Result != nil || !strings.Contains(x.NotHere, "no part in section master") || x.Catalogue == nil {
		t.Errorf("1.2.21: %+v", x)
	}
	if x := e.Checks[1]; x.Result == nil || x.NotHere != "" || x.Result.Fix == nil || x.Result.Fix.Diff == "" {
		t.Errorf("4.2.4: %+v", x)
	}
}

func TestExplainOffersWhatWasMeant(t *testing.T) {
	n := newNode(t)
	for asked, want := range map[string]string{
		"1.2.22.": "1.2.22", "--profiling": "1.2.21", "EventRateLimit": "1.2.10", "1.2": "1.2.1", "xyzzy": "by number", "": "by number",
	} {
		_, err := hardener.Explain(t.Context(), n.options, []string{asked})
		var input *hardener.InputError
		if !errors.As(err, &input) || !strings.Contains(input.Hint, want) {
			t.Errorf("%q: %v, want a hint with %q", asked, err, want)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %q is not one line", asked, err)
		}
	}
}
