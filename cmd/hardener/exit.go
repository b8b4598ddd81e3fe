package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
)

// The exit codes: a contract with hooks, Jobs and other tools.
const (
	exitOK       = 0   // nothing fails
	exitFindings = 1   // findings remain
	exitInput    = 2   // bad usage, profile, policy or input
	exitFailed   = 3   // the job could not be done
	exitTold     = 143 // a rollout was told to stop, as the shell says of SIGTERM
)

const exitHelp = `
Exit codes:
  0  nothing fails
  1  findings remain
  2  bad usage, profile or input
  3  the job could not be done: unreadable host, or a change was taken back`

// errFindings ends a command with exit code 1. It prints nothing: the report
// did.
var errFindings = errors.New("findings remain")

// toldError is that a signal ended what the same command goes on with. Its exit
// code is its own, so that a Job starts the pod again that was moved away.
type toldError struct{ error }

func (e toldError) Unwrap() error { return e.error }

// usageError is a mistake on the command line, with hints on how to do better.
type usageError struct {
	err   error
	hints []string
}

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usage(hint, format string, args ...any) error {
	e := usageError{err: fmt.Errorf(format, args...)}
	if hint != "" {
		e.hints = append(e.hints, hint)
	}
	return e
}

// exitCode prints an error as one line, with hints below it, and maps it to the
// exit code.
func exitCode(w io.Writer, err error) int {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, errFindings) {
		return exitFindings
	}
	fmt.Fprintln(w, "hardener: error: "+oneLine(err.Error()))
	if errors.As(err, new(toldError)) {
		fmt.Fprintln(w, "hardener: hint: the same command goes on where it stopped")
		return exitTold
	}
	var use usageError
	if errors.As(err, &use) {
		for _, hint := range use.hints {
			fmt.Fprintln(w, "hardener: hint: "+hint)
		}
		return exitInput
	}
	var input *hardener.InputError
	if errors.As(err, &input) {
		if input.Hint != "" {
			fmt.Fprintln(w, "hardener: hint: "+input.Hint)
		}
		return exitInput
	}
	return exitFailed
}

// isInput tells whether an error is a mistake of the user.
func isInput(err error) bool {
	var input *hardener.InputError
	return errors.As(err, &input)
}

// oneLine keeps an error on one line, whatever names it quotes.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
