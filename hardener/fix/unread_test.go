package fix

import (
	"maps"
	"slices"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// TestPendingDifferences is what a restart would put into force besides a
// configuration file.
func TestPendingDifferences(t *testing.T) {
	const unit, dropIn, env = "/etc/systemd/system/kubelet.service", "/etc/systemd/system/kubelet.service.d/50.conf", "/etc/kubernetes/kubelet.env"
	kubelet := func(change func(*node.Component)) node.Component {
		c := node.Component{
			Running: true, PID: 7, Unit: unit, EnvFiles: []string{env}, DropIns: []string{dropIn},
			Argv: []string{"kubelet", "--v=2", "--config", "/k", "--b"}, Configured: []string{"/usr/bin/kubelet", "--v=2", "--config=/k", "--b=true"},
			Env: map[string]string{"ARGS": "--v=2", "HTTPS_PROXY": "p:1"},
		}
		change(&c)
		return c
	}
	for name, c := range map[string]struct {
		component       node.Component
		dropIn          string
		pending, unsure []string
	}{
		"none": {component: kubelet(func(*node.Component) {})},
		"flags": {component: kubelet(func(c *node.Component) {
			c.Configured = []string{"kubelet", "--v=2", "--v=3", "--config=/k", "--new"}
			c.Env["ARGS"] = "--v=2 --v=3"
		}), pending: []string{"b", "new", "v"}},
		"variable":    {component: kubelet(func(c *node.Component) { c.Env["HTTPS_PROXY"] = "p:2" }), pending: []string{"HTTPS_PROXY"}},
		"unit":        {component: kubelet(func(c *node.Component) { c.Unread = []string{unit} }), unsure: []string{unit + " was written since, and what of it beside the command line is not in force cannot be told"}},
		"command":     {component: kubelet(func(c *node.Component) { c.Unread = []string{env, dropIn} }), dropIn: "# by hand\n[Service]\nExecStart=\nExecStart=kubelet \\\n  --v=2\nEnvironment=\"A=b\"\n"},
		"directive":   {component: kubelet(func(c *node.Component) { c.Unread = []string{dropIn} }), dropIn: "[Service]\nMemoryMax=1M\n", unsure: []string{"settings of " + dropIn + " beside the command line and the environment"}},
		"no unit":     {component: kubelet(func(c *node.Component) { c.Configured = nil }), unsure: []string{"no unit says what it is started with"}},
		"no process":  {component: kubelet(func(c *node.Component) { c.PID = 8 }), unsure: []string{"the environment of process 8 cannot be read: open proc/8/environ: file does not exist"}},
		"old drop-in": {component: kubelet(func(*node.Component) {}), dropIn: "[Service]\nMemoryMax=1M\n"},
	} {
		t.Run(name, func(t *testing.T) {
			tree := fstest.MapFS{
				"proc/7/environ":                       {Data: []byte("ARGS=--v=1\x00HTTPS_PROXY=p:1\x00INVOCATION_ID=x\x00")},
				"etc/systemd/system/kubelet.service":   {Data: []byte("[Service]\nExecStart=/usr/bin/kubelet $ARGS\n")},
				"etc/systemd/system/kubelet.service.d": {Mode: 0o755 | 1<<31},
				dropIn[1:]:                             {Data: []byte(c.dropIn)},
			}
			p := &planner{in: Input{FS: tree}, ws: &workspace{known: newMemory()}}
			pending, unsure := p.pending(node.Kubelet, c.component)
			if diff := cmp.Diff(c.pending, slices.Sorted(maps.Keys(pending))); diff != "" {
				t.Errorf("pending (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(c.unsure, unsure); diff != "" {
				t.Errorf("unsure (-want +got)\n%s", diff)
			}
		})
	}
}
