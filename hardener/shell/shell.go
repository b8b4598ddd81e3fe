// Package shell runs the audit scripts of kube-bench's profiles in process: a
// shell interpreter whose every access to the world goes to a read-only view of
// the host, and the commands that audits use, written in Go. Nothing is forked
// and nothing can be written.
//
// It leaves to others what a script's output means (package check), how the
// host is mounted (package host) and commands that talk to the API server
// (Runner.Commands).
package shell

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Runner runs scripts against one node. The zero value of the limits means the
// defaults.
//
// A Runner remembers what it parsed, the rendered process table and the results
// of scripts that looked at nothing but the process table. Its fields must
// therefore not be changed after the first Run, and neither may the values
// behind them, except for files in FS: those are read again by every Run.
// A Runner must not be copied after the first Run and is for one goroutine at a
// time.
type Runner struct {
	FS        fs.FS              // the host's tree
	Processes node.Processes     // what ps sees
	Users     node.Users         // the host's users and groups
	Dialect   Dialect            // of the scripts, and of the shells that they start
	Env       []string           // environment of the scripts, "NAME=value"
	Commands  map[string]Command // additional commands, such as kubectl
	Timeout   time.Duration      // for one script; 0 means DefaultTimeout
	MaxOutput int                // bytes of output, of one script and of each command in it; 0 means DefaultMaxOutput

	// Now is the time that ps compares start times with; nil means time.Now.
	Now func() time.Time

	cache cache
}

// Defaults of Runner.
const (
	DefaultTimeout   = 30 * time.Second
	DefaultMaxOutput = 16 << 20
)

// Result is what a script did.
type Result struct {
	Output string   // stdout and stderr, as they came; only their beginning after a *LimitError
	Err    error    // *ExitError, *UnknownCommandError, *LimitError, or an error of the engine
	Stats  []string // absolute paths whose mode or owner stat printed, in order
	Quirk  bool     // dash has done what no other shell would, so that another Dialect gives another result
	Reads  []string // absolute paths that were opened, read, listed or tested, sorted, without duplicates
}

// Command is a command of the audit shell.
type Command func(ctx context.Context, c Call) error

// Call is one invocation of a Command. Args[0] is the command's name. A
// Command returns nil for status 0 and an ExitStatus otherwise.
type Call struct {
	Args           []string
	Env            func(name string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// ExitStatus is what a Command returns instead of nil to end with a status
// other than 0.
type ExitStatus int

// Error is what the exec package of the standard library says.
func (s ExitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// ExitError is the status of a script that did not end with 0. Its text is the
// one that kube-bench puts into its reasons (check/check.go:300).
type ExitError struct{ Code int }

func (e *ExitError) Error() string { return fmt.Sprintf("exit status %d", e.Code) }

// UnknownCommandError says that the script invoked a command, or asked a
// command for something, that has no implementation here. The script's output
// must then not be taken for what the host would have said, whatever its
// status.
type UnknownCommandError struct{ Name string }

func (e *UnknownCommandError) Error() string {
	return fmt.Sprintf("command not supported: %s", e.Name)
}

// Unsupported is the name of what is missing: a command ("kubectl"), a command
// with an option ("grep -P"), or a construct ("process substitution").
func (e *UnknownCommandError) Unsupported() string { return e.Name }

// LimitError says that a script was stopped because it took too long or printed
// too much.
type LimitError struct{ What string }

func (e *LimitError) Error() string { return "audit stopped: " + e.What }
