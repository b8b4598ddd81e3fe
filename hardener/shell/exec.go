package shell

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// tool is a command of this package. It returns its exit status.
type tool func(ctx context.Context, c *invocation) int

// invocation is one run of a tool.
type invocation struct {
	*state
	args   []string // args[0] is the command's name
	called string   // args[0] before its directory was stripped
	dir    string
	env    expand.Environ
	stdin  io.Reader
	stdout *bufio.Writer
	stderr io.Writer

	rawOut io.Writer // behind stdout, for commands that start commands
}

// errorf prints a message of the command, after what it has printed so far, as
// the error function of GNU programs does.
func (c *invocation) errorf(format string, a ...any) {
	c.stdout.Flush()
	fmt.Fprintf(c.stderr, c.args[0]+": "+format+"\n", a...)
}

// usage is for wrong arguments: message and the hint of GNU programs.
func (c *invocation) usage(format string, a ...any) {
	c.errorf(format, a...)
	fmt.Fprintf(c.stderr, "Try '%s --help' for more information.\n", c.args[0])
}

// lacksOption records that the command exists but does not know an option or
// operand, and prints so.
func (c *invocation) lacksOption(what string) {
	c.lacks(c.args[0] + " " + what)
	c.errorf("not supported here: %s", what)
}

// path is the absolute host path of an operand.
func (c *invocation) path(operand string) string { return absolute(c.dir, operand) }

// whichCommand and pipeCommand are names of internal commands. No script can
// spell them, since no word of a shell can hold a NUL byte.
const (
	whichCommand = "\x00which"
	pipeCommand  = "\x00pipe"
	pipeSign     = "\x00|"
	quietSign    = "\x00quiet"
)

// lookup finds a tool by its bare name.
func lookup(name string) tool {
	switch name {
	case "awk", "gawk", "mawk":
		return awk
	case "base64":
		return base64Tool
	case "basename":
		return basename
	case "cat":
		return cat
	case "comm":
		return comm
	case "cut":
		return cut
	case "dirname":
		return dirname
	case "echo":
		return echo
	case dashEchoCommand:
		return dashEcho
	case "egrep":
		return egrep
	case "false":
		return func(context.Context, *invocation) int { return 1 }
	case "fgrep":
		return fgrep
	case "find":
		return find
	case "grep":
		return grep
	case "head":
		return head
	case "jq":
		return jq
	case "paste":
		return paste
	case "printf":
		return printfTool
	case "ps":
		return ps
	case "readlink":
		return readlink
	case "realpath":
		return realpath
	case "sed":
		return sed
	case "sort":
		return sortTool
	case "stat":
		return stat
	case "tail":
		return tail
	case "test", "[":
		return testTool
	case "tr":
		return tr
	case "true", ":":
		return func(context.Context, *invocation) int { return 0 }
	case "uniq":
		return uniq
	case "wc":
		return wc
	case "which":
		return which
	case "xargs":
		return xargs
	case "sh", "bash", "dash", "ash":
		return sh
	}
	return nil
}

// systemCommand strips the directory of a command that is named by its usual
// place.
func systemCommand(name string) (string, bool) {
	dir, base := path.Split(name)
	switch dir {
	case "/bin/", "/usr/bin/", "/sbin/", "/usr/sbin/", "/usr/local/bin/", "/usr/local/sbin/":
		return base, base != ""
	}
	return name, dir == ""
}

// execHandler runs every command that is not a builtin of the interpreter. It
// never calls another handler.
func (s *state) execHandler(ctx context.Context, args []string) error {
	hc := interp.HandlerCtx(ctx)
	if args[0] == testErrorCommand {
		return s.testError(hc, args)
	}
	c := &invocation{state: s, args: args, dir: hc.Dir, env: hc.Env, stdin: hc.Stdin, stderr: hc.Stderr, rawOut: hc.Stdout}
	if c.stdin == nil {
		c.stdin = strings.NewReader("")
	}
	line := int(hc.Pos.Line())
	var status int
	if args[0] == pipeCommand {
		status = c.pipeline(ctx, line)
	} else {
		status = c.start(ctx, line)
	}
	if status == 0 {
		return nil
	}
	return interp.ExitStatus(status)
}

// start runs the command that args name, or says why there is none.
func (c *invocation) start(ctx context.Context, line int) int {
	status, found := c.run(ctx)
	if found {
		return status
	}
	name := c.args[0]
	status, why := 127, "not found"
	if !c.notInDash(name) {
		status, why = c.absent(name)
	}
	if strings.HasPrefix(name, "\x00") {
		name = "?"
	}
	fmt.Fprintf(c.stderr, "%s: %d: %s: %s\n", shellName(ctx), max(line, 1), name, why)
	return status
}

// absent tells how a shell answers to a command that cannot be run. One that
// would run on the host is recorded as missing here.
func (c *invocation) absent(name string) (status int, why string) {
	if strings.ContainsAny(name, " \t\n") && !strings.HasPrefix(name, "/") {
		return 127, "not found" // a whole script in one pair of quotes
	}
	base, system := systemCommand(name)
	if !system || base == name && strings.Contains(name, "/") {
		info, err := c.stat(c.path(name), true)
		if errors.Is(err, fs.ErrNotExist) || err != nil {
			return 127, "not found"
		}
		if info.IsDir() || info.Mode()&0o111 == 0 {
			return 126, "Permission denied"
		}
	}
	c.lacks(name)
	return 127, "not found"
}

// run runs a tool or one of the Runner's commands.
func (c *invocation) run(ctx context.Context) (status int, found bool) {
	if len(c.args) == 0 {
		return 0, true
	}
	name, ok := c.args[0], true
	if name == whichCommand {
		name = "which"
	} else {
		name, ok = systemCommand(name)
	}
	if !ok {
		return 0, false
	}
	defer func() {
		if p := recover(); p != nil { // this may be another goroutine than Run's
			c.broken(fmt.Errorf("shell: %s failed: %v", name, p))
			status, found = 2, true
		}
	}()
	limited := &limitWriter{state: c.state, w: c.rawOut}
	if command := c.runner.Commands[name]; command != nil {
		return c.external(ctx, command, limited), true
	}
	t := lookup(name)
	if t == nil {
		return 0, false
	}
	c.called = c.args[0]
	c.args = append([]string{name}, c.args[1:]...)
	c.stdout = c.runner.cache.writer(limited)
	status = t(ctx, c)
	if err := c.stdout.Flush(); err != nil && status == 0 {
		status = 141 // the reader has gone: SIGPIPE
	}
	c.runner.cache.free(c.stdout)
	return status, true
}

// external runs one of Runner.Commands.
func (c *invocation) external(ctx context.Context, command Command, stdout io.Writer) int {
	c.mu.Lock()
	c.impure = true
	c.mu.Unlock()
	err := command(ctx, Call{
		Args:   c.args,
		Env:    func(name string) string { return c.env.Get(name).String() },
		Stdin:  c.stdin,
		Stdout: stdout,
		Stderr: c.stderr,
	})
	var status ExitStatus
	var unknown *UnknownCommandError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &unknown):
		c.lacks(unknown.Name)
		return 127
	}
	fmt.Fprintf(c.stderr, "%s: %v\n", c.args[0], err)
	return 1
}

// child is an invocation of another command with the same surroundings.
func (c *invocation) child(args []string, stdin io.Reader) *invocation {
	return &invocation{state: c.state, args: args, dir: c.dir, env: c.env, stdin: stdin, stderr: c.stderr, rawOut: c.rawOut}
}
