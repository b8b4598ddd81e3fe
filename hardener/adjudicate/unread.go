package adjudicate

import (
	"fmt"
	"io/fs"
	"slices"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// unread takes back a PASS that a configuration file stands for which the process
// has not read: the kubelet and the scheduler read theirs once, when they start.
// What they run with instead is in no file of the node, so that it is WARN.
func (x *inquiry) unread(verdict Verdict) (Verdict, bool) {
	if verdict.State != check.Pass {
		return undecided()
	}
	for _, s := range x.subjectsOf(x.check) {
		c := x.facts.Components[s.component]
		if !c.Running || !slices.Contains(c.Unread, c.Config) || !x.inFile(s) {
			continue
		}
		file, err := x.writtenAt(c.Config)
		if err != nil {
			continue
		}
		return Verdict{
			State: check.Warn, Unread: true,
			Reason:   fmt.Sprintf("the %s that runs has not read the file that says so; a restart would", binaries[s.component]),
			Evidence: []string{c.Config + ": written " + file, fmt.Sprintf("process %d: started %s", c.PID, c.Started.UTC().Format(time.RFC3339))},
		}, true
	}
	return undecided()
}

// inFile tells whether a setting is one of the configuration file: no flag of the
// process decides about it.
func (x *inquiry) inFile(s judged) bool {
	if s.kind == profile.Mode || s.kind == profile.Owner {
		return false
	}
	switch s.component {
	case node.Kubelet:
		_, byFlag := x.flag(node.Kubelet, s.name)
		return s.field != "" && !byFlag
	case node.Scheduler: // which ignores the flag beside --config
		return s.name == "profiling"
	}
	return false
}

func (x *inquiry) writtenAt(file string) (string, error) {
	info, err := fs.Stat(x.fsys, node.Name(file))
	if err != nil {
		return "", err
	}
	return info.ModTime().UTC().Format(time.RFC3339), nil
}
