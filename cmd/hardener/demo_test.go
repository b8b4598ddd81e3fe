package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/sample"
)

// TestDemoArticle holds the demo against the published list of findings that the
// sample node stands for: before the fix the published outcomes, after it each
// finding gone, not applicable, or explained.
func TestDemoArticle(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "node")
	reports, err := demonstrate(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	before, after := byCheck(reports.Before), byCheck(reports.After)
	var rows, notes, findings, passed, inapplicable, explained int
	for _, row := range sample.Article() {
		key := fix.Key(row.Target, row.Check)
		was, is := before[key], after[key]
		rows++
		if string(was.Status) != row.Verdict || was.KubeBenchStatus != was.Status {
			t.Errorf("%s before: status %s, kube-bench %s, published %s", key, was.Status, was.KubeBenchStatus, row.Outcome)
		}
		if row.Verdict != row.Outcome {
			notes++
			if row.Note == "" {
				t.Errorf("%s: published as %s, shown as %s, and no note says why", key, row.Outcome, row.Verdict)
			}
		}
		if row.Outcome != "FAIL" && !row.SelfFixed {
			continue
		}
		findings++
		switch {
		case is.Status == check.Pass:
			passed++
		case is.Status == check.Info && strings.HasPrefix(is.VerdictReason, "not applicable") && len(is.Evidence) > 0:
			inapplicable++
		case is.Fix != nil && is.Fix.State == fix.Never && is.Fix.Reason != "":
			explained++
		default:
			t.Errorf("%s after: %s, %q, fix %+v: neither passes nor is explained", key, is.Status, is.VerdictReason, is.Fix)
		}
	}
	fmt.Printf("article: %d rows compared, %d with a note; of %d findings after the fix %d pass, %d do not apply, %d are explained\n",
		rows, notes, findings, passed, inapplicable, explained)
	if n := len(reports.Again.Run.Changes); n != 0 {
		t.Errorf("a second fix made %d changes: %+v", n, reports.Again.Run.Changes)
	}

	manifest, err := os.ReadFile(filepath.Join(dir, "etc/kubernetes/manifests/kube-apiserver.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, deadly := range []string{"anonymous-auth=false", "anonymous-auth=False", "kubelet-certificate-authority"} {
		if strings.Contains(string(manifest), deadly) {
			t.Errorf("the API server's manifest has %s, which takes a cluster down", deadly)
		}
	}
}

func byCheck(r report.Report) map[string]report.Result {
	all := map[string]report.Result{}
	for section, result := range r.Results() {
		all[fix.Key(section.Target, result.ID)] = *result
	}
	return all
}
