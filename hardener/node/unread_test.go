package node

import (
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestFindUnread(t *testing.T) {
	const boot, now = 1700000000, 1700009000
	started := time.Unix(boot, 0).Add(9999 * 10 * time.Millisecond)
	tree := fstest.MapFS{"proc/stat": {Data: []byte("btime 1700000000\n")}}
	for name, after := range map[string]time.Duration{
		"old": -time.Hour, "grain": time.Second, "new": time.Minute, "newer": time.Hour, "future": 24 * time.Hour,
	} {
		tree["etc/"+name] = &fstest.MapFile{ModTime: started.Add(after)}
	}
	find := func(c Component) []string {
		t.Helper()
		f := Facts{Components: map[string]Component{Kubelet: c}}
		if err := f.FindUnread(tree, Processes{{PID: 7, Start: 9999}}, time.Unix(now, 0)); err != nil {
			t.Fatal(err)
		}
		return f.Components[Kubelet].Unread
	}
	c := Component{Running: true, PID: 7, Config: "/etc/new", EnvFiles: []string{"/etc/old", "/etc/newer"}, Unit: "/etc/grain", DropIns: []string{"/etc/future", "/etc/gone", "/etc/new"}}
	if diff := cmp.Diff([]string{"/etc/new", "/etc/newer"}, find(c)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	c.PID = 8
	if got := find(c); got != nil {
		t.Errorf("of a process that is not there: %v", got)
	}
	c.PID, c.Running = 7, false
	if got := find(c); got != nil {
		t.Errorf("of what does not run: %v", got)
	}
	delete(tree, "proc/stat")
	c.Running = true
	if got := find(c); got != nil {
		t.Errorf("without a boot time: %v", got)
	}
}
