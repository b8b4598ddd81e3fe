package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/kubespray-hardener/kubespray-hardener/images"
)

// The exit codes: a contract, with the meaning that hardener gives them.
const (
	exitOK     = 0
	exitInput  = 2
	exitFailed = 3
)

func newRootCommand(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "hardener-image",
		Short: "Make the container image of hardener without a container engine",
		Long: `hardener-image compiles hardener and makes its container image: linux/amd64 and
linux/arm64 in one index, the same digest whenever and wherever the same commit
is built with the same Go. It needs a checkout and Go, and no container engine.

Exit codes:
  0  done
  2  bad usage or input
  3  the job could not be done`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usage("hardener-image --help lists the commands", "unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetVersionTemplate("hardener-image {{.Version}}\n")
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return usage(c.CommandPath()+" --help lists the flags", "%w", err)
	})
	root.AddCommand(newBuildCommand(s), newSaveCommand(s), newPushCommand(s))
	return root
}

// arguments wants exactly the named arguments.
func arguments(names ...string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) == len(names) {
			return nil
		}
		wanted := "no arguments"
		if len(names) > 0 {
			wanted = strings.Join(names, " ")
		}
		return usage(c.CommandPath()+" --help explains it", "%s takes %s, not %d arguments", c.CommandPath(), wanted, len(args))
	}
}

// usageError is a mistake on the command line, with a hint.
type usageError struct {
	err  error
	hint string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(hint, format string, args ...any) error {
	return usageError{fmt.Errorf(format, args...), hint}
}

// exitCode prints an error as one line, with a hint below it, and maps it to the
// exit code.
func exitCode(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	hint, code := "", exitFailed
	if use, ok := errors.AsType[usageError](err); ok {
		hint, code = use.hint, exitInput
	} else if _, ok := errors.AsType[*images.NameError](err); ok {
		hint, code = "a name is REGISTRY/REPOSITORY:TAG", exitInput
	} else if denied, ok := errors.AsType[*images.DeniedError](err); ok {
		hint = "log in with docker login or podman login to " + denied.Registry + ", with an account that may push there"
	} else if _, ok := errors.AsType[*images.PlainError](err); ok {
		hint = "--insecure allows plain HTTP, credentials included"
	}
	fmt.Fprintln(w, "hardener-image: error: "+oneLine(err.Error()))
	if hint != "" {
		fmt.Fprintln(w, "hardener-image: hint: "+hint)
	}
	return code
}

// oneLine keeps an error on one line, whatever a compiler or a registry said.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
