package shell

import (
	"context"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// Dialect is the language of a host's /bin/sh, as far as audits can tell.
type Dialect uint8

const (
	// Bash is what Bash and the ash of BusyBox have in common, which
	// kube-bench's own images have and its profiles are written for.
	Bash Dialect = iota
	// Dash is Debian's and Ubuntu's: it has no [[, no += and no [ a == b ], and
	// its echo takes backslashes to mean something, which breaks JSON that goes
	// through it.
	Dash
)

// DialectOf tells the dialect of a host's /bin/sh; it is Bash where there is none.
func DialectOf(fsys fs.FS) Dialect {
	name := "/bin/sh"
	for range 10 { // Debian: dash; alternatives: two links
		if path.Base(name) == "dash" {
			return Dash
		}
		target, err := fs.ReadLink(fsys, node.Name(name))
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = target
	}
	return Bash
}

// parser reads the dialect's syntax.
func (d Dialect) parser() *syntax.Parser {
	if d == Dash {
		return syntax.NewParser(syntax.Variant(syntax.LangPOSIX))
	}
	return syntax.NewParser(syntax.Variant(syntax.LangBash))
}

// declare makes the declarations of a script that was read as POSIX what they
// are to the interpreter: it knows them by Bash's syntax only.
func declare(file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		stmt, ok := n.(*syntax.Stmt)
		if !ok {
			return true
		}
		call, ok := stmt.Cmd.(*syntax.CallExpr)
		if !ok || len(call.Args) == 0 || len(call.Assigns) > 0 {
			return true
		}
		switch call.Args[0].Lit() {
		case "export", "readonly", "local":
			clause := &syntax.DeclClause{Variant: call.Args[0].Parts[0].(*syntax.Lit)}
			for _, word := range call.Args[1:] {
				clause.Args = append(clause.Args, assignment(word))
			}
			stmt.Cmd = clause
		}
		return true
	})
}

// assignment is NAME=VALUE, NAME or an option.
func assignment(word *syntax.Word) *syntax.Assign {
	first, ok := word.Parts[0].(*syntax.Lit)
	if !ok {
		return &syntax.Assign{Naked: true, Value: word}
	}
	name, value, ok := strings.Cut(first.Value, "=")
	if !syntax.ValidName(name) || !ok && len(word.Parts) > 1 {
		return &syntax.Assign{Naked: true, Value: word}
	}
	lit := &syntax.Lit{ValuePos: first.ValuePos, ValueEnd: first.ValueEnd, Value: name}
	if !ok {
		return &syntax.Assign{Naked: true, Name: lit}
	}
	rest := &syntax.Word{Parts: slices.Clone(word.Parts)}
	rest.Parts[0] = &syntax.Lit{ValuePos: first.ValuePos, ValueEnd: first.ValueEnd, Value: value}
	return &syntax.Assign{Name: lit, Value: rest}
}

// dashOnly records that the script has come to where dash goes its own way.
func (s *state) dashOnly() {
	s.mu.Lock()
	s.quirk = true
	s.mu.Unlock()
}

// appendWord is an assignment of Bash, which is a command's name to dash.
var appendWord = regexp.MustCompile(`^[A-Za-z_][A-Za-z_0-9]*\+=`)

// notInDash tells whether a command's name is a construct that dash has not. No
// host has a program of that name.
func (s *state) notInDash(name string) bool {
	if s.runner.Dialect != Dash || name != "[[" && !appendWord.MatchString(name) {
		return false
	}
	s.dashOnly()
	return true
}

// dashEcho is the name of dash's echo, which a script cannot spell.
const dashEchoCommand = "\x00echo"

// echoInDash is the command that runs an echo of the shell, which the interpreter
// has as Bash has it. Most echoes are the same in both.
func (s *state) echoInDash(args []string) []string {
	if s.runner.Dialect != Dash || !slices.ContainsFunc(args[1:], func(arg string) bool {
		return strings.Contains(arg, `\`) || strings.HasPrefix(arg, "-") && arg != "-n" && strings.Trim(arg[1:], "neE") == ""
	}) {
		return args
	}
	s.dashOnly()
	return append([]string{dashEchoCommand}, args[1:]...)
}

// dashEcho knows no option but a first -n, and always escapes.
func dashEcho(_ context.Context, c *invocation) int {
	args, end := c.args[1:], "\n"
	if len(args) > 0 && args[0] == "-n" {
		args, end = args[1:], ""
	}
	text, stop := unescape(strings.Join(args, " "))
	if stop {
		end = ""
	}
	c.stdout.WriteString(text + end)
	return 0
}
