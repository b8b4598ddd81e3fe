// Command hardener checks a Kubernetes node against the CIS benchmark with
// kube-bench's own profiles, fixes what fails without leaving the node broken,
// and checks again.
//
// This package owns commands, flags, hints, exit codes and the wiring of
// streams and files; how any step works is in the packages below hardener.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
)

// version is set by the linker (see Makefile).
var version = "dev"

// softMemory is where collecting garbage begins. A check is over before it
// gets there, and the whole program stays below 64 MiB either way.
const softMemory = 40 << 20

func main() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(-1)
		debug.SetMemoryLimit(softMemory)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// streams are the standard streams: the program's result goes to out,
// everything else to err.
type streams struct {
	in  io.Reader
	out io.Writer
	err io.Writer
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRootCommand(s)
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	return exitCode(s.err, root.ExecuteContext(ctx))
}
