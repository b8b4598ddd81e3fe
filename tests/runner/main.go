// Command runner runs go test and sums up what go test alone keeps to itself:
// which tests were skipped and why. With -strict a skipped test is a failure,
// which is how CI makes sure that nothing it could run was left out.
//
// Figures that a test measured and printed to standard output are repeated at
// the end.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// event is one line of go test -json.
type event struct {
	Action, Package, Test, Output string
}

// summary is what a run came to.
type summary struct {
	passed, failed int
	skipped        []string // "package test: reason"
	shown          []string
	output         map[string][]string // of unfinished and failed tests, by package and test
}

func main() {
	strict := flag.Bool("strict", false, "a skipped test fails the run")
	dir := flag.String("C", ".", "folder of the module to test")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: runner [-strict] [-C DIR] [go test arguments]")
		flag.PrintDefaults()
	}
	flag.Parse()
	code, err := run(os.Stdout, *dir, *strict, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "runner: error:", err)
	}
	os.Exit(code)
}

func run(w io.Writer, dir string, strict bool, args []string) (int, error) {
	test := exec.Command("go", append([]string{"test", "-C", dir, "-json"}, args...)...)
	test.Stderr = os.Stderr
	stdout, err := test.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := test.Start(); err != nil {
		return 1, err
	}
	s := summary{output: map[string][]string{}}
	if err := s.read(w, stdout); err != nil {
		return 1, errors.Join(err, test.Wait())
	}
	err = test.Wait()
	s.print(w)
	switch {
	case s.failed > 0 || err != nil:
		return 1, err
	case strict && len(s.skipped) > 0:
		return 1, fmt.Errorf("%d tests were skipped, and -strict allows none", len(s.skipped))
	}
	return 0, nil
}

func (s *summary) read(w io.Writer, r io.Reader) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil { // a build error is plain text
			fmt.Fprintln(w, lines.Text())
			continue
		}
		s.add(w, e)
	}
	return lines.Err()
}

func (s *summary) add(w io.Writer, e event) {
	key := e.Package + " " + e.Test
	switch e.Action {
	case "output", "build-output":
		if e.Test == "" {
			if !strings.HasPrefix(e.Output, "PASS") {
				fmt.Fprint(w, e.Output)
			}
			return
		}
		s.output[key] = append(s.output[key], e.Output)
	case "pass":
		if e.Test != "" {
			s.passed++
			s.shown = append(s.shown, figures(s.output[key])...)
		}
		delete(s.output, key)
	case "fail":
		if e.Test != "" {
			s.failed++
			fmt.Fprint(w, strings.Join(s.output[key], ""))
		}
		delete(s.output, key)
	case "skip":
		if e.Test != "" {
			s.skipped = append(s.skipped, e.Package+" "+e.Test+": "+reason(s.output[key]))
		}
		delete(s.output, key)
	}
}

// figure is a line with what a test measured.
var figure = regexp.MustCompile(`^(article|crash|e2e|effects|lab|oracle|parity|policies|profiles): .*[0-9]`)

// figures are the figures in a test's output.
func figures(output []string) []string {
	var lines []string
	for _, line := range output {
		if figure.MatchString(line) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	return lines
}

// reason is the line that t.Skip printed: "    file_test.go:12: needs root".
func reason(output []string) string {
	for _, line := range output {
		line = strings.TrimSpace(line)
		if file, text, ok := strings.Cut(line, ": "); ok && strings.Contains(file, ".go:") {
			return text
		}
	}
	return "no reason given"
}

func (s *summary) print(w io.Writer) {
	for _, line := range s.shown {
		fmt.Fprintln(w, "  "+line)
	}
	slices.Sort(s.skipped)
	for _, line := range s.skipped {
		fmt.Fprintln(w, "skipped: "+line)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}
