package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// shellOptions are what one shell, the script's or a nested one, starts with.
type shellOptions struct {
	stdin          io.Reader
	stdout, stderr io.Writer
	dir            string
	env            expand.Environ
	params         []string // as "set" takes them
	name           string   // $0, defaultShell when empty
}

// defaultShell is the shell that kube-bench starts.
const defaultShell = "/bin/sh"

type shellKey struct{}

// shellName is the name of the shell that runs a command, for messages.
func shellName(ctx context.Context) string {
	if name, ok := ctx.Value(shellKey{}).(string); ok {
		return name
	}
	return defaultShell
}

// maxDepth bounds shells that start shells.
const maxDepth = 16

// script parses and runs a script. An interp.ExitStatus is its status.
func (s *state) script(ctx context.Context, text string, o shellOptions) error {
	p := s.runner.parse(text)
	if what := p.unsupported(); what != "" {
		s.lacks(what)
		return interp.ExitStatus(2)
	}
	if o.name == "" {
		o.name = defaultShell
	}
	var err error
	if p.file != nil && len(p.file.Stmts) > 0 {
		err = s.interpret(ctx, p, o)
	}
	if p.err != nil {
		if s.runner.Dialect == Dash {
			s.dashOnly() // it may be none to another
		}
		fmt.Fprintf(o.stderr, "%s: %v\n", o.name, p.err)
		return interp.ExitStatus(2)
	}
	return err
}

// interpret runs a parsed script with every handler of the interpreter
// replaced, so that none of its defaults, which reach the real machine, is left.
func (s *state) interpret(ctx context.Context, p *parsed, o shellOptions) error {
	in, err := interp.New(
		interp.Env(o.env),
		interp.Dir("/"),
		interp.StdIO(o.stdin, o.stdout, o.stderr),
		interp.CallHandler(s.callHandler),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return s.execHandler }),
		interp.OpenHandler(s.openHandler),
		interp.StatHandler(s.statHandler),
		interp.AccessHandler(s.accessHandler),
		interp.ReadDirHandler2(s.readDirHandler),
	)
	if err != nil {
		return fmt.Errorf("shell: cannot start: %w", err)
	}
	if len(o.params) > 0 {
		if err := interp.Params(o.params...)(in); err != nil {
			fmt.Fprintf(o.stderr, "%s: %v\n", o.name, err)
			return interp.ExitStatus(2)
		}
	}
	if o.dir != "/" {
		// A nested shell starts where its parent is. interp.Dir looks at the
		// real machine, so this is done from inside.
		in.Dir = o.dir
	}
	file := *p.file // shared by all that run the same text
	file.Name = o.name
	return in.Run(context.WithValue(ctx, shellKey{}, o.name), &file)
}

// callHandler sees every command, builtins too, before it runs. It keeps the
// interpreter's builtins away from the real machine.
func (s *state) callHandler(ctx context.Context, args []string) ([]string, error) {
	if base, ok := systemCommand(args[0]); ok && builtinCommand(base) {
		args = append([]string{base}, args[1:]...)
	}
	switch name := effective(args); {
	case name == "eval" || name == "trap":
		if what := s.unsupportedText(name, args); what != "" {
			s.lacks(what)
			return []string{"false"}, nil
		}
	case missingBuiltin(name):
		s.lacks(name)
		return []string{"false"}, nil
	}
	switch args[0] {
	case "test", "[":
		if s.testProblem(args) != "" {
			return append([]string{testErrorCommand}, args...), nil
		}
	case "echo":
		return s.echoInDash(args), nil
	case "pwd":
		return []string{"pwd"}, nil // its -P asks the real machine
	case "type":
		return append([]string{whichCommand}, args[1:]...), nil
	case "command":
		if len(args) > 1 && (args[1] == "-v" || args[1] == "-V") {
			return append([]string{whichCommand, "-v"}, args[2:]...), nil
		}
		if len(args) > 1 && args[1] == "-p" {
			return append([]string{"command"}, args[2:]...), nil
		}
	case "source", ".":
		if len(args) > 1 && !strings.Contains(args[1], "/") {
			args = append([]string{args[0], s.inPath(interp.HandlerCtx(ctx), args[1])}, args[2:]...)
		}
	}
	return args, nil
}

// effective is the name of the command that args run in the end.
func effective(args []string) string {
	for len(args) > 1 && (args[0] == "command" || args[0] == "builtin" || args[0] == "exec") {
		args = args[1:]
	}
	return args[0]
}

// unsupportedText looks for constructs that the interpreter must not meet in
// the text that eval or trap are given.
func (s *state) unsupportedText(name string, args []string) string {
	for i, arg := range args {
		if arg != name {
			continue
		}
		text := strings.Join(args[i+1:], " ")
		if name == "trap" && len(args) > i+1 {
			text = args[i+1]
		}
		return s.runner.parse(text).unsupported()
	}
	return ""
}

// builtinCommand tells whether a command that exists as a file is run by the
// interpreter's builtin of that name.
func builtinCommand(name string) bool {
	switch name {
	case "test", "[", "echo", "printf", "true", "false", "pwd":
		return true
	}
	return false
}

// missingBuiltin tells whether a shell has a builtin that the interpreter has
// not.
func missingBuiltin(name string) bool {
	switch name {
	case "bg", "fc", "fg", "jobs", "kill", "newgrp", "umask", "bind", "caller", "compgen", "complete",
		"compopt", "disown", "enable", "history", "logout", "suspend", "ulimit", "wait", "times":
		return true
	}
	return false
}

// inPath finds a file that is sourced by its bare name.
func (s *state) inPath(hc interp.HandlerContext, name string) string {
	for _, dir := range strings.Split(hc.Env.Get("PATH").String(), ":") {
		file := absolute(dir, name)
		if info, err := s.stat(file, true); err == nil && !info.IsDir() {
			return file
		}
	}
	return absolute(hc.Dir, name)
}

// openHandler opens what redirects name. Only reading is possible, and writing
// to /dev/null and to the script's own output.
func (s *state) openHandler(ctx context.Context, name string, flag int, _ os.FileMode) (io.ReadWriteCloser, error) {
	hc := interp.HandlerCtx(ctx)
	if name == "" {
		return nil, cannot(ctx, "open", name, fs.ErrNotExist)
	}
	abs := absolute(hc.Dir, name)
	if flag&(os.O_WRONLY|os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND) != 0 {
		switch abs {
		case "/dev/null":
			return nullFile{}, nil
		case "/dev/stdout", "/dev/fd/1":
			return writeOnly{hc.Stdout}, nil
		case "/dev/stderr", "/dev/fd/2":
			return writeOnly{hc.Stderr}, nil
		}
		s.lacks("writing to " + abs)
		return nil, cannot(ctx, "create", name, fs.ErrPermission)
	}
	f, err := s.open(abs)
	if err != nil {
		return nil, cannot(ctx, "open", name, err)
	}
	if file, ok := f.(*os.File); ok {
		return file, nil
	}
	file, err := s.asFile(f)
	if err != nil {
		return nil, fmt.Errorf("shell: %w", err)
	}
	return file, nil
}

// asFile makes a file of the system from which r can be read, since the
// interpreter wants nothing else for standard input. It would make one itself,
// but then its goroutine could still read r when the script has ended.
func (s *state) asFile(r io.Reader) (*os.File, error) {
	pr, pw, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.pipes = append(s.pipes, pr, pw)
	s.mu.Unlock()
	s.copies.Go(func() {
		io.Copy(struct{ io.Writer }{pw}, r) // ends when pr is closed, too
		pw.Close()
		if c, ok := r.(io.Closer); ok {
			c.Close()
		}
	})
	return pr, nil
}

// closePipes ends what is left of asFile.
func (s *state) closePipes() {
	s.mu.Lock()
	for _, f := range s.pipes {
		f.Close()
	}
	s.pipes = nil
	s.mu.Unlock()
	s.copies.Wait()
}

// cannot is a failed redirect in dash's words. The interpreter does not tell the
// line, so it is always the first.
func cannot(ctx context.Context, verb, name string, err error) error {
	text := reason(err)
	if errors.Is(err, fs.ErrNotExist) {
		text = "No such file"
	}
	return &fs.PathError{Op: shellName(ctx) + ": 1: cannot " + verb, Path: name, Err: errors.New(text)}
}

type writeOnly struct{ io.Writer }

func (writeOnly) Read([]byte) (int, error) { return 0, fs.ErrInvalid }
func (writeOnly) Close() error             { return nil }

func (s *state) statHandler(_ context.Context, name string, follow bool) (fs.FileInfo, error) {
	if name == "" { // test -d "", which is not the working directory
		return nil, &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	return s.stat(absolute("/", name), follow)
}

// accessHandler answers as for root, who may read and write everything and
// execute what has any execute bit.
func (s *state) accessHandler(ctx context.Context, name string, mode interp.AccessMode) error {
	info, err := s.statHandler(ctx, name, true)
	if err != nil {
		return err
	}
	if mode&interp.AccessExec != 0 && !info.IsDir() && info.Mode()&0o111 == 0 {
		return fs.ErrPermission
	}
	return nil
}

// readDirHandler lists a directory for a pattern. One that stands in a loop asks
// for the same directory again and again: echo $json has brackets enough.
func (s *state) readDirHandler(_ context.Context, name string) ([]fs.DirEntry, error) {
	name = absolute("/", name)
	s.mu.Lock()
	known, ok := s.listed[name]
	s.mu.Unlock()
	if ok {
		return known.entries, known.err
	}
	entries, err := s.readDir(name)
	s.mu.Lock()
	if s.listed == nil {
		s.listed = map[string]listing{}
	}
	s.listed[name] = listing{entries, err}
	s.mu.Unlock()
	return entries, err
}

// listing is what a directory held when it was first looked at.
type listing struct {
	entries []fs.DirEntry
	err     error
}
