// Package fix owns the plan: which changes to which files would make failing
// checks pass on this node, what each can break, and why some are never made.
//
// A plan is data. How it is written to the node belongs to package txn, whether
// a check fails to check and adjudicate.
package fix

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
)

// Risk is what a change can disturb, in ascending order.
type Risk string

// The risks.
const (
	RiskFiles    Risk = "files"    // modes and owners; nothing restarts
	RiskRestart  Risk = "restart"  // a component of this node restarts
	RiskCluster  Risk = "cluster"  // steps on several nodes in order
	RiskWorkload Risk = "workload" // may change how workloads behave
)

// State is what became of a finding.
type State string

// The states of a Decision.
const (
	Planned   State = "planned"    // in the plan
	Applied   State = "applied"    // written by this run
	Undone    State = "undone"     // written and taken back
	Refused   State = "refused"    // would restart a component that is running here
	AboveRisk State = "above-risk" // possible, but above --max-risk
	Never     State = "never"      // must not be made automatically, see Reason
	Manual    State = "manual"     // needs a person to decide
	InForce   State = "in-force"   // made before, by a fix or a person, and no finding any more
)

// Finding is one check that does not pass, with what its audit looked at.
type Finding struct {
	Target string // section: master, node, etcd, ...
	Check  *profile.Check
	Result check.Result // the adjudicated verdict
	Stats  []string     // files whose mode or owner the audit printed, absolute
}

// Key identifies a check within a report.
func Key(target, checkID string) string { return target + "/" + checkID }

// Input is what Make needs to know.
type Input struct {
	FS       fs.FS
	Facts    node.Facts
	Users    node.Users
	Findings []Finding
	MaxRisk  Risk
	// Passing are the checks that pass. Of those that a node of Kubespray passes
	// because somebody saw to it, a Decision says what keeps them.
	Passing []Finding
	// Made is what earlier runs changed here: settings as Decision.Settings has them,
	// and paths.
	Made map[string]bool
	// Gated says that components which run here can be restarted and proven.
	Gated bool
	// Failed has the reason why groups failed on this node before, by their
	// Digest. They are shown, not made.
	Failed map[string]string
	// Phase, when set, is planned instead of changes for the findings. What failed
	// before is no reason against it: it may have failed for another node's sake.
	Phase Phase
	// EncryptionKey is what control planes encrypt with, for the phases of
	// encryption at rest; "" takes the one that is in use.
	EncryptionKey string

	// UnknownFlags, when set, is asked which of these flags, by name without
	// dashes, a component's own program on this node does not know, before they
	// are written; an error keeps them from being written.
	UnknownFlags func(component string, names []string) ([]string, error)
	// Pending, when set, is asked how the configuration of a running component
	// differs from its configuration file: in words, by the dotted path of the field.
	// An error says why that cannot be told. Without it nothing is said about what
	// is not in force.
	Pending func(component string) (map[string]string, error)
	// FreeBytes, when set, is asked for the room in bytes that is free on the
	// file system of an existing directory, given as an absolute path.
	FreeBytes func(path string) (uint64, error)
}

// Plan is the outcome: changes grouped by component, safest first, and one
// decision for each finding.
type Plan struct {
	Groups    []Group
	Decisions map[string]Decision // by Key
}

// Group is the unit that is applied, proven and undone as one.
type Group struct {
	Component string // "files", then kubelet, scheduler, controllermanager, apiserver, etcd-events, etcd
	Risk      Risk
	Changes   []Change
	Refused   string // why the group is shown but must not be applied; empty when it may be
}

// Writes reports whether a group changes anything on disk. One that does not only
// restarts its component, and nothing of it can be put back.
func (g Group) Writes() bool {
	return slices.ContainsFunc(g.Changes, func(c Change) bool { return c.Kind != Restart })
}

// Digest identifies what a group changes and what that rests on: two groups with
// one digest would do the same to the same node.
func (g Group) Digest() string {
	h := sha256.New()
	file := func(f *File) {
		if f == nil {
			fmt.Fprint(h, "absent\n")
			return
		}
		fmt.Fprintf(h, "%x %v %d:%d\n", sha256.Sum256(f.Content), f.Mode, f.UID, f.GID)
	}
	fmt.Fprintln(h, g.Component)
	for _, c := range g.Changes {
		fmt.Fprintf(h, "%s %q\n", c.Kind, c.Path)
		file(c.Before)
		file(&c.After)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// ChangeKind says what a Change does.
type ChangeKind string

// The kinds of Change.
const (
	Write  ChangeKind = "write" // replace or create a file
	Meta   ChangeKind = "meta"  // mode and owner only
	MkdirK ChangeKind = "mkdir" // create a directory

	// Restart writes nothing: the component restarts, because its process has not
	// read Path. Before and After are the same, and Diff says it in words.
	Restart ChangeKind = "restart"
)

// Change is one change to one path.
type Change struct {
	Path   string // absolute, directory part resolved, never a link itself
	Kind   ChangeKind
	Before *File // nil when the path does not exist
	After  File
	Checks []string // Keys of the findings that it answers
	Diff   string   // unified; for modes and owners one readable line
}

// File is the state of a file or directory.
type File struct {
	Content  []byte      // of files; nil when Kind is Meta or MkdirK
	Mode     fs.FileMode // permissions, setuid, setgid and sticky; no type
	UID, GID int
}

// Decision is what the plan does about one finding.
type Decision struct {
	State     State      `json:"state"`
	Risk      Risk       `json:"risk,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	Breaks    string     `json:"breaks,omitempty"`  // what the fix, or its naive form, can break
	Touches   []string   `json:"touches,omitempty"` // what on this node it would disturb, as far as its tree shows
	Paths     []string   `json:"paths,omitempty"`   // files that it changes
	Diff      string     `json:"diff,omitempty"`
	Variables []Variable `json:"variables,omitempty"`

	// Of what is planned, applied or in force on a node of Kubespray:
	Settings []string `json:"settings,omitempty"` // component and setting, such as "apiserver --profiling"
	Forecast []Fate   `json:"forecast,omitempty"` // what becomes of it, once the variables are set
	Lost     string   `json:"lost,omitempty"`     // why the next upgrade takes it back as things are, "" when it does not
}
