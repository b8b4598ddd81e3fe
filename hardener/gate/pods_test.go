package gate

import (
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

func TestRunningContainers(t *testing.T) {
	id := func(c string) string { return strings.Repeat(c, 64) }
	const static, uid = "669bc5cf44efb47bcc2f40ca9e38117f", "0f5b2c3d-1111-2222-3333-444455556666"
	tree := fstest.MapFS{
		"proc/10/cgroup": {Data: []byte("9:name=systemd:/kubepods/burstable/pod" + static + "/" + id("a") + "\n0::/kubepods/burstable/pod" + static + "/" + id("a") + "\n")},
		"proc/11/cgroup": {Data: []byte("0::/kubepods/burstable/pod" + static + "/" + id("a") + "/nested/deep\n")},
		"proc/12/cgroup": {Data: []byte("0::/kubepods/burstable/pod" + static + "/" + id("b") + "\n")},
		"proc/13/cgroup": {Data: []byte("0::/../../kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice/cri-containerd-" + id("c") + ".scope\n")},
		"proc/14/cgroup": {Data: []byte("0::/system.slice/kubelet.service\n")},
		"proc/uptime":    {Data: []byte("1 1\n")},
	}
	got, err := runningContainers(tree)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(map[string]int{static: 2, uid: 1}, got); diff != "" {
		t.Error(diff)
	}
}

// What ran before a restart of the kubelet has to run again; nothing is asked of
// pods of which nobody knows how they were.
func TestComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, node.Scheduler)
	facts, err := w.detect()
	if err != nil {
		t.Fatal(err)
	}
	a, err := w.gates.own(facts)
	if err != nil {
		t.Fatal(err)
	}
	p := &kubeletProof{kubelet: &kubelet{daemon{Gates: w.gates, at: w.gates.locate(facts, "")}}, api: a}
	complete := func(pod string) (string, error) {
		w.bodies["/api/v1/pods"] = `{"items":[` + pod + `]}`
		return p.complete(t.Context())
	}
	const (
		runs   = `{"metadata":{"namespace":"ns","name":"a","uid":"u"},"spec":{"restartPolicy":"Always"},"status":{"phase":"Running"}}`
		done   = `{"metadata":{"namespace":"ns","name":"a","uid":"u"},"spec":{"restartPolicy":"Always"},"status":{"phase":"Succeeded"}}`
		leaves = `{"metadata":{"namespace":"ns","name":"a","uid":"u","deletionTimestamp":"2026-01-02T03:04:05Z"},"spec":{"restartPolicy":"Always"}}`
		away   = `{"metadata":{"namespace":"ns","name":"a","uid":"u"},"spec":{"restartPolicy":"Always"},"status":{"phase":"Failed","reason":"OutOfcpu","message":"no"}}`
	)
	for _, c := range []struct {
		before       *KubeletSnapshot
		pod          string
		missing, err string
	}{
		{nil, away, "", ""},
		{&KubeletSnapshot{}, runs, "", ""},
		{&KubeletSnapshot{}, away, "", "pod ns/a is not admitted any more: OutOfcpu: no"},
		{&KubeletSnapshot{TurnedAway: []string{"u"}}, away, "", ""},
		{&KubeletSnapshot{Containers: map[string]int{"u": 2}}, runs, "pod ns/a has 0 containers, before 2", ""},
		{&KubeletSnapshot{Containers: map[string]int{"u": 2}}, done, "", ""},
		{&KubeletSnapshot{Containers: map[string]int{"u": 2}}, leaves, "", ""},
		{&KubeletSnapshot{Containers: map[string]int{"gone": 2}}, runs, "", ""},
	} {
		p.before = c.before
		missing, err := complete(c.pod)
		if missing != c.missing || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%+v, %s: missing %q, %v", c.before, c.pod, missing, err)
		}
	}
}
