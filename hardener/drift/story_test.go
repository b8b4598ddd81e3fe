package drift

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// One Event for each file, which names every check and tells of the first in full.
func TestDetected(t *testing.T) {
	open := map[string]Drift{}
	var keys []string
	for i := range 5 {
		key := fmt.Sprintf("node/4.2.%d", i+1)
		keys = append(keys, key)
		open[key] = Drift{Title: "title", From: check.Pass, To: check.Fail, Was: "a=1", Is: "a=2", Files: []string{"/etc/config"}, Origin: "owner root"}
	}
	open["master/1.1.1"] = Drift{Title: "title", From: check.Pass, To: check.Warn}
	keys = append(keys, "master/1.1.1")
	want := []string{
		"/etc/config: 4.2.1 PASS -> FAIL: a=1 -> a=2; 4.2.2 PASS -> FAIL: a=1 -> a=2; 4.2.3 PASS -> FAIL: a=1 -> a=2; and 2 more: 4.2.4, 4.2.5 | owner root",
		"1.1.1 PASS -> WARN: title",
	}
	var got []string
	for _, e := range detected(open, keys) {
		got = append(got, e.Note)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("told (-want +got):\n%s", diff)
	}
}

func TestBrief(t *testing.T) {
	few := []string{"/a/1", "/a/2", "/b/1"}
	if diff := cmp.Diff(few, brief(few)); diff != "" {
		t.Errorf("few (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"/a", "/b"}, brief(append(few, "/b/2"))); diff != "" {
		t.Errorf("many (-want +got):\n%s", diff)
	}
}
