// Package hardener owns the order of the stations that a run passes:
//
//	           host tree, one fs.FS       profiles           host tree again
//	                |                         |                   (files, proc)
//	                v                         v                         v
//	[recover] -> detect ------------> load profile ------> audit -> evaluate -> adjudicate -> plan
//	             Facts                  Controls            output    Results     Verdicts     Changes
//	                                                                                             |
//	                        check and dry run stop here, with a report  <------------------------+
//	                                                                                             |
//	                      +------ per component, safest first ------+ <-------------------------+
//	                      |  apply (journal, then atomic replace)   |
//	                      |  gate  (restart, prove new, healthy)    |
//	                      |  re-check (same audit and verdict)      |
//	                      |  commit          or   undo and gate     |
//	                      +-----------------------------------------+
//	                                         |
//	                                       report
//
// A watch runs the first line again when something that it looked at has changed
// (packages watch and drift), and the second where it may repair.
//
// The Job, the DaemonSet, the playbook and the command line all run this. How a
// station works is in the package of its name; how results are shown and where
// the host is mounted is the caller's business.
package hardener

import (
	"context"
	"io/fs"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/profile"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/shell"
)

// Options say what to look at and how.
type Options struct {
	FS      fs.FS            // the host's tree, proc included
	Catalog *profile.Catalog // the profiles
	Env     []string         // environment of the audits, "NAME=value"

	// Commands are what audits can call besides the shell's own, such as
	// kubectl. It is called once for each audit of the node, and what a command
	// remembers of the cluster lasts no longer than that; nil means none.
	Commands func() map[string]shell.Command

	Benchmark         string // empty: chosen by version
	KubernetesVersion string // empty: the API server's, else detected; not together with Benchmark

	// ServerVersion asks the API server for its gitVersion. When it is nil or
	// fails, the version comes from the node's files.
	ServerVersion func(context.Context) (string, error)

	Targets []string // sections; empty: by the roles of the node
	Checks  []string // only these checks; not together with Groups
	Groups  []string // only these groups
	Skip    []string // checks or groups that are INFO without being run
	Raw     bool     // kube-bench's own verdicts, nothing else

	// AsKubeBench makes kube-bench's verdict the status of each check, as a
	// user of kube-bench saw it; the verdict for the layout goes into the
	// reason, and fixes still follow from it.
	AsKubeBench bool

	// Picture says that the process table of the tree is a picture, or
	// missing: nothing in it runs, so verdicts go by what is configured, and a
	// fix need not restart anything. kube-bench's verdicts still go by it.
	Picture bool

	// Times says that the process table is the node's own and lives: when a
	// process started tells which files it cannot have read.
	Times bool

	// HasRead, when set, is asked about a file that is newer than the process of the
	// component that it is for: whether the process has read what is in it, which was
	// only written again.
	HasRead func(c node.Component, file string) bool

	// FreeBytes lets the planner look beyond the tree, see fix.Input. It may be
	// nil.
	FreeBytes func(path string) (uint64, error)

	// Made, when set, is asked what earlier runs changed on the node, see fix.Input.
	Made func() map[string]bool

	Program string // name and version of the program, for the report
}

// InputError is a mistake of the user: a bad flag value, profile or file. Any
// other error of this package means that the job could not be done.
type InputError struct {
	Err  error
	Hint string // what to do about it, may be empty
}

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

// BrokenError says that files of the node which its verdicts rest on cannot be
// read or understood. A check still gives its report; a fix changes nothing.
type BrokenError struct{ Warnings []string }

func (e *BrokenError) Error() string {
	return "files of this node cannot be read or understood: " + strings.Join(e.Warnings, "; ")
}

// broken is nil or a *BrokenError.
func (in *inspection) broken() error {
	var warnings []string
	for _, warning := range in.facts.Warnings {
		if slices.ContainsFunc(in.facts.Broken, func(file string) bool { return strings.HasPrefix(warning, file+": ") }) {
			warnings = append(warnings, warning)
		}
	}
	if warnings == nil {
		return nil
	}
	return &BrokenError{Warnings: warnings}
}
