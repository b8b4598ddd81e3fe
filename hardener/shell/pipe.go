package shell

import (
	"context"
	"io"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// mergePipes rewrites pipes of plain commands of this package into one call of
// an internal command that passes each command's output to the next in memory.
// Left to the interpreter, each "|" costs a pipe of the kernel, a goroutine and
// a copy of the shell's state, which is most of the time of an audit such as
// ps -ef | grep kube-apiserver | grep -v grep.
//
// A pipe that defines or redirects anything but 2>/dev/null is left alone.
func mergePipes(file *syntax.File, r *Runner) {
	if file == nil || redefines(file) {
		return
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if stmt, ok := n.(*syntax.Stmt); ok {
			if b, ok := stmt.Cmd.(*syntax.BinaryCmd); ok && b.Op == syntax.Pipe {
				stages := flatten(nil, b)
				stmt.Cmd = join(mergeRuns(stages, r))
			}
		}
		return true
	})
}

// redefines tells whether a script may change what a command's name means, or
// how commands are traced.
func redefines(file *syntax.File) bool {
	found := false
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			found = true
		case *syntax.CallExpr:
			if len(n.Args) > 0 {
				switch n.Args[0].Lit() {
				case "alias", "set", "shopt", "eval", "source", ".", "trap":
					found = true
				}
			}
		}
		return !found
	})
	return found
}

// flatten lists the stages of a pipe.
func flatten(stages []*syntax.Stmt, b *syntax.BinaryCmd) []*syntax.Stmt {
	for _, side := range []*syntax.Stmt{b.X, b.Y} {
		inner, ok := side.Cmd.(*syntax.BinaryCmd)
		if ok && inner.Op == syntax.Pipe && len(side.Redirs) == 0 && !side.Negated {
			stages = flatten(stages, inner)
		} else {
			stages = append(stages, side)
		}
	}
	return stages
}

// mergeRuns replaces each run of two or more mergeable stages by one.
func mergeRuns(stages []*syntax.Stmt, r *Runner) []*syntax.Stmt {
	var out, run []*syntax.Stmt
	flush := func() {
		if len(run) > 1 {
			out = append(out, pipeCall(run))
		} else {
			out = append(out, run...)
		}
		run = nil
	}
	for _, stage := range stages {
		if mergeable(stage, r) {
			run = append(run, stage)
			continue
		}
		flush()
		out = append(out, stage)
	}
	flush()
	return out
}

// join makes a pipe of stages again.
func join(stages []*syntax.Stmt) syntax.Command {
	if len(stages) == 1 {
		return stages[0].Cmd
	}
	last := stages[len(stages)-1]
	for i := len(stages) - 2; i >= 0; i-- {
		pos := stages[i].Pos()
		cmd := &syntax.BinaryCmd{OpPos: pos, Op: syntax.Pipe, X: stages[i], Y: last}
		if i == 0 {
			return cmd
		}
		last = &syntax.Stmt{Position: pos, Cmd: cmd}
	}
	return last.Cmd
}

// mergeable tells whether a stage is one of this package's or the Runner's
// commands, called with nothing around it.
func mergeable(stage *syntax.Stmt, r *Runner) bool {
	call, ok := stage.Cmd.(*syntax.CallExpr)
	if !ok || len(call.Args) == 0 || len(call.Assigns) > 0 || stage.Negated || !quietOnly(stage.Redirs) {
		return false
	}
	name, ok := systemCommand(call.Args[0].Lit())
	if !ok || name == "" || builtinCommand(name) && name != "echo" {
		return false
	}
	switch name {
	case "sh", "bash", "dash", "ash": // reads its input as it likes
		return false
	case "echo":
	default:
		if lookup(name) == nil && r.Commands[name] == nil {
			return false
		}
	}
	assigns := false // ${x:=value} would be seen by the other stages
	syntax.Walk(call, func(n syntax.Node) bool {
		if p, ok := n.(*syntax.ParamExp); ok && p.Exp != nil {
			assigns = assigns || p.Exp.Op == syntax.AssignUnset || p.Exp.Op == syntax.AssignUnsetOrNull
		}
		if _, ok := n.(*syntax.ArithmExp); ok {
			assigns = true
		}
		return !assigns
	})
	return !assigns
}

// quietOnly tells whether the redirects are none or 2>/dev/null.
func quietOnly(redirs []*syntax.Redirect) bool {
	switch len(redirs) {
	case 0:
		return true
	case 1:
		rd := redirs[0]
		return rd.N != nil && rd.N.Value == "2" && rd.Op == syntax.RdrOut && rd.Word.Lit() == "/dev/null"
	}
	return false
}

// pipeCall makes one call of the stages: pipeCommand [quietSign] WORD...
// { pipeSign [quietSign] WORD... }.
func pipeCall(stages []*syntax.Stmt) *syntax.Stmt {
	pos := stages[0].Pos()
	sign := func(s string) *syntax.Word {
		return &syntax.Word{Parts: []syntax.WordPart{&syntax.SglQuoted{Left: pos, Right: pos, Value: s}}}
	}
	call := &syntax.CallExpr{Args: []*syntax.Word{sign(pipeCommand)}}
	for i, stage := range stages {
		if i > 0 {
			call.Args = append(call.Args, sign(pipeSign))
		}
		if len(stage.Redirs) > 0 {
			call.Args = append(call.Args, sign(quietSign))
		}
		call.Args = append(call.Args, stage.Cmd.(*syntax.CallExpr).Args...)
	}
	return &syntax.Stmt{Position: pos, Cmd: call}
}

// pipeline runs the stages of a merged pipe one after the other. Its status is
// the last one's.
func (c *invocation) pipeline(ctx context.Context, line int) int {
	args, status := c.args[1:], 0
	stdin := c.stdin
	for len(args) > 0 {
		var words []string
		var last bool
		words, args, last = nextStage(args)
		stage := c.child(words, stdin)
		if words[0] == quietSign {
			stage.args, stage.stderr = words[1:], io.Discard
		}
		if stage.args[0] == "echo" { // the shell's own
			stage.args = c.echoInDash(stage.args)
		}
		var between pipeBuffer
		if !last {
			stage.rawOut = &between
		}
		status = stage.start(ctx, line)
		if ctx.Err() != nil {
			return status
		}
		stdin = &between
	}
	return status
}

// pipeBuffer is what passes between two stages. It may begin with the cached
// process list, which is not copied.
type pipeBuffer struct {
	data []byte // written
	at   int    // read
}

func (b *pipeBuffer) Write(p []byte) (int, error) {
	b.data = append(b.data, p...)
	return len(p), nil
}

func (b *pipeBuffer) Read(p []byte) (int, error) {
	if b.at == len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.at:])
	b.at += n
	return n, nil
}

// rest takes everything that has not been read.
func (b *pipeBuffer) rest() []byte {
	rest := b.data[b.at:]
	b.at = len(b.data)
	return rest
}

// give prints data, which nobody will change.
func (c *invocation) give(data []byte) {
	b, ok := c.rawOut.(*pipeBuffer)
	if ok && len(b.data) == 0 && c.stdout.Buffered() == 0 && len(data) <= c.maxOutput {
		b.data = data[:len(data):len(data)] // appending makes a copy
		return
	}
	c.stdout.Write(data)
}

func nextStage(args []string) (words, rest []string, last bool) {
	for i, arg := range args {
		if arg == pipeSign {
			return args[:i], args[i+1:], false
		}
	}
	return args, nil, true
}

// echo is /bin/echo for xargs and for pipes. As in ash and bash, backslashes
// mean something only after -e.
func echo(_ context.Context, c *invocation) int {
	args := c.args[1:]
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		for _, letter := range args[0][1:] {
			switch letter {
			case 'n':
				newline = false
			case 'e':
				escapes = true
			case 'E':
				escapes = false
			}
		}
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		var stop bool
		if text, stop = unescape(text); stop {
			newline = false
		}
	}
	c.stdout.WriteString(text)
	if newline {
		c.stdout.WriteByte('\n')
	}
	return 0
}
