// Command hardener-image makes the container image of hardener without a
// container engine: it builds it, saves it as an archive, or pushes it to a
// registry.
//
// This package owns commands, flags, hints, exit codes and files; what the image
// is lies in package images, how the program is compiled in images/source.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// version is set by the linker (see Makefile).
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], streams{out: os.Stdout, err: os.Stderr})
	stop()
	os.Exit(code)
}

// streams are the standard streams: the digest goes to out, everything else to
// err.
type streams struct {
	out io.Writer
	err io.Writer
}

// run is the whole program; it returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	root := newRootCommand(s)
	root.SetArgs(args)
	root.SetOut(s.out)
	root.SetErr(s.err)
	return exitCode(s.err, root.ExecuteContext(ctx))
}
