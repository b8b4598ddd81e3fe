package shell

import (
	"fmt"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/interp"
)

// testErrorCommand is the name under which a test command with wrong arguments
// comes to execHandler, because the interpreter words such errors differently
// and gives some of them another status. It cannot be written in a script.
const testErrorCommand = "\x00test"

// testError prints what dash prints for a test command with wrong arguments.
func (s *state) testError(hc interp.HandlerContext, args []string) error {
	name, _ := systemCommand(args[1])
	fmt.Fprintf(hc.Stderr, "/bin/sh: %d: %s: %s\n", max(hc.Pos.Line(), 1), name, s.testProblem(args[1:]))
	return interp.ExitStatus(2)
}

// testProblem is what dash 0.5.12 says is wrong with a test command, or "". It
// follows dash's src/bltin/test.c, which takes as much as it understands and
// minds the rest, except that == counts as an operator unless the dialect is
// dash's own: every other /bin/sh knows it.
func (s *state) testProblem(args []string) string {
	if args[0] == "[" {
		last := len(args) - 1
		if args[last] != "]" {
			return "missing ]"
		}
		args = args[:last]
	}
	t := testParser{state: s, args: args[1:]}
	for {
		n := len(t.args)
		if n == 0 {
			return ""
		}
		if n == 3 && t.binaryTest(t.args[1]) {
			t.primary() // even when the first word is ! or (
			return t.problem
		}
		if (n == 3 || n == 4) && t.args[0] == "(" && t.args[n-1] == ")" {
			t.args = t.args[1 : n-1]
		} else if (n == 3 || n == 4) && t.args[0] == "!" {
			t.args = t.args[1:]
			continue
		}
		t.or()
		break
	}
	if t.problem == "" && t.at+1 < len(t.args) {
		t.problem = t.args[t.at] + ": unexpected operator"
	}
	return t.problem
}

// testParser reads the arguments of test without looking at any file.
type testParser struct {
	*state
	args    []string
	at      int
	problem string // the first one
}

func (t *testParser) fail(problem string) {
	if t.problem == "" {
		t.problem = problem
	}
}

// is tells whether the argument at i is one of words.
func (t *testParser) is(i int, word string) bool { return i < len(t.args) && t.args[i] == word }

func (t *testParser) or() {
	for t.and(); t.problem == "" && t.is(t.at+1, "-o"); t.and() {
		t.at += 2
	}
}

func (t *testParser) and() {
	for t.not(); t.problem == "" && t.is(t.at+1, "-a"); t.not() {
		t.at += 2
	}
}

func (t *testParser) not() {
	for t.is(t.at, "!") && t.at+1 < len(t.args) {
		t.at++
	}
	t.primary()
}

func (t *testParser) primary() {
	switch {
	case t.at >= len(t.args):
	case t.args[t.at] == "(" && t.at+1 < len(t.args) && len(t.args) != 3:
		t.at++
		if t.is(t.at, ")") {
			return
		}
		t.or()
		t.at++
		if t.problem == "" && !t.is(t.at, ")") {
			t.fail("closing paren expected")
		}
	case unaryTest(t.args[t.at]) && !t.operand():
		op := t.args[t.at]
		t.at++
		if op == "-t" {
			t.number(t.args[t.at])
		}
	case t.at+1 < len(t.args) && t.binaryTest(t.args[t.at+1]):
		op := t.args[t.at+1]
		if t.at+2 >= len(t.args) {
			t.at++
			t.fail(op + ": argument expected")
			return
		}
		switch op {
		case "-eq", "-ne", "-gt", "-ge", "-lt", "-le":
			t.number(t.args[t.at])
			t.number(t.args[t.at+2])
		}
		t.at += 2
	}
}

// operand tells whether a word that looks like a unary operator is a plain one.
func (t *testParser) operand() bool {
	if t.at+1 >= len(t.args) {
		return true
	}
	return t.at+2 < len(t.args) && t.binaryTest(t.args[t.at+1])
}

func (t *testParser) number(s string) {
	_, err := strconv.ParseInt(strings.TrimSpace(s), 10, 64)
	if err != nil {
		t.fail("Illegal number: " + s)
	}
}

func unaryTest(s string) bool {
	return len(s) == 2 && s[0] == '-' && strings.IndexByte("rwxefdcbpugkhLSGOstznN", s[1]) >= 0
}

func (t *testParser) binaryTest(s string) bool {
	switch s {
	case "==":
		if t.runner.Dialect == Dash {
			t.dashOnly()
			return false
		}
		return true
	case "=", "!=", "<", ">", "-eq", "-ne", "-ge", "-gt", "-le", "-lt", "-nt", "-ot", "-ef":
		return true
	}
	return false
}
