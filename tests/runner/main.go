// Command runner runs go test and sums up what go test alone keeps to itself:
// which tests were skipped and why. With -strict a skipped test is a failure,
// which is how CI makes sure that nothing it could run was left out.
//
// Figures that a test measured and printed to standard output are repeated at
// the end. With -v all output is shown as it comes, and the end has the seconds
// of every test as well: for tests that take minutes.
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
	Elapsed                       float64 // seconds, of a test that has ended
}

// summary is what a run came to.
type summary struct {
	live           bool // output is shown as it comes
	times          []string
	passed, failed int
	skipped        []string // "package test: reason"
	shown          []string
	output         map[string][]string // of unfinished and failed tests, by package and test
}

func main() {
	strict := flag.Bool("strict", false, "a skipped test fails the run")
	live := flag.Bool("v", false, "show all output as it comes, and at the end the seconds of each test")
	dir := flag.String("C", ".", "folder of the module to test")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: runner [-strict] [-v] [-C DIR] [go test arguments]")
		flag.PrintDefaults()
	}
	flag.Parse()
	code, err := run(os.Stdout, *dir, *strict, *live, flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "runner: error:", err)
	}
	os.Exit(code)
}

func run(w io.Writer, dir string, strict, live bool, args []string) (int, error) {
	test := exec.Command("go", append([]string{"test", "-C", dir, "-json"}, args...)...)
	test.Stderr = os.Stderr
	stdout, err := test.StdoutPipe()
	if err != nil {
		return 1, err
	}
	if err := test.Start(); err != nil {
		return 1, err
	}
	s := summary{live: live, output: map[string][]string{}}
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
		if s.live {
			fmt.Fprint(w, e.Output)
		}
		s.output[key] = append(s.output[key], e.Output)
	case "pass":
		if e.Test != "" {
			s.passed++
			s.time(e)
			s.shown = append(s.shown, figures(s.output[key])...)
		}
		delete(s.output, key)
	case "fail":
		if e.Test != "" {
			s.failed++
			s.time(e)
			if !s.live {
				fmt.Fprint(w, strings.Join(s.output[key], ""))
			}
		}
		delete(s.output, key)
	case "skip":
		if e.Test != "" {
			s.skipped = append(s.skipped, e.Package+" "+e.Test+": "+reason(s.output[key]))
		}
		delete(s.output, key)
	}
}

// time notes how long a test took; those inside another are part of it.
func (s *summary) time(e event) {
	if s.live && !strings.Contains(e.Test, "/") {
		s.times = append(s.times, fmt.Sprintf("%7.1f s  %-4s  %s", e.Elapsed, e.Action, e.Test))
	}
}

// figure is a line with what a test measured.
var figure = regexp.MustCompile(`^(article|catalogue|component|crash|e2e|effects|hooks|lab|oracle|parity|policies|profiles|scale|watch): .*[0-9]`)

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
	for _, line := range slices.Concat(s.shown, s.times) {
		fmt.Fprintln(w, "  "+line)
	}
	slices.Sort(s.skipped)
	for _, line := range s.skipped {
		fmt.Fprintln(w, "skipped: "+line)
	}
	fmt.Fprintf(w, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}
