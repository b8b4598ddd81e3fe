package shell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
)

// sh is the shell started by a script: sh -c TEXT [NAME [ARG...]], sh FILE, or a
// script on standard input.
func sh(ctx context.Context, c *invocation) int {
	args := c.args[1:]
	var params []string
	command := false
	for len(args) > 0 && len(args[0]) > 1 && (args[0][0] == '-' || args[0][0] == '+') {
		arg := args[0]
		args = args[1:]
		if arg == "--" {
			break
		}
		for _, letter := range arg[1:] {
			switch letter {
			case 'c':
				command = true
			case 's', 'i', 'l':
			case 'e', 'u', 'x', 'f', 'a', 'n':
				params = append(params, string(arg[0])+string(letter))
			case 'o', 'O':
				if len(args) > 0 {
					params = append(params, string(arg[0])+"o", args[0])
					args = args[1:]
				}
			default:
				c.lacksOption(arg)
				return 2
			}
		}
	}
	text, operands, status := c.shellText(command, args)
	name := c.called
	if command && len(args) > 1 {
		name = args[1]
	} else if !command && len(args) > 0 {
		name = args[0]
	}
	if status != 0 {
		return status
	}
	c.state.mu.Lock()
	c.state.depth++
	depth := c.state.depth
	c.state.mu.Unlock()
	defer func() {
		c.state.mu.Lock()
		c.state.depth--
		c.state.mu.Unlock()
	}()
	if depth > maxDepth {
		c.stopped("too many nested shells")
		return 2
	}
	if len(operands) > 0 {
		params = append(append(params, "--"), operands...)
	}
	c.stdout.Flush()
	stdin, closeStdin, err := c.shellStdin()
	if err != nil {
		c.broken(fmt.Errorf("shell: %w", err))
		return 2
	}
	defer closeStdin()
	err = c.script(ctx, text, shellOptions{
		stdin: stdin, stdout: c.rawOut, stderr: c.stderr, dir: c.dir, env: exported{c.env}, params: params, name: name,
	})
	return statusOf(err)
}

// shellStdin is the standard input of a nested shell: nil when it is empty.
func (c *invocation) shellStdin() (stdin io.Reader, closeStdin func(), err error) {
	closeStdin = func() {}
	if file, ok := c.stdin.(*os.File); ok {
		return file, closeStdin, nil
	}
	if emptyReader(c.stdin) {
		return nil, closeStdin, nil
	}
	file, err := c.asFile(c.stdin)
	if err != nil {
		return nil, closeStdin, err
	}
	return file, func() { file.Close() }, nil
}

// shellText is the script that a nested shell shall run, and its parameters.
func (c *invocation) shellText(command bool, args []string) (text string, operands []string, status int) {
	switch {
	case command && len(args) == 0:
		c.errorf("-c requires an argument")
		return "", nil, 2
	case command:
		return args[0], args[min(2, len(args)):], 0
	case len(args) > 0:
		data, err := c.readFile(c.path(args[0]))
		if err != nil {
			c.errorf("0: cannot open %s: %s", args[0], reason(err))
			return "", nil, 2
		}
		return string(data), args[1:], 0
	}
	data, err := io.ReadAll(io.LimitReader(c.stdin, int64(c.maxOutput)))
	if err != nil {
		return "", nil, 2
	}
	c.stdin = strings.NewReader("")
	return string(data), nil, 0
}

func statusOf(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	return 1
}

// emptyReader tells that nothing can be read, which saves the interpreter a
// pipe and a goroutine.
func emptyReader(r io.Reader) bool {
	if r == nil {
		return true
	}
	s, ok := r.(*strings.Reader)
	return ok && s.Len() == 0
}

// exported is the environment that a new shell inherits.
type exported struct{ expand.Environ }

func (e exported) Get(name string) expand.Variable {
	v := e.Environ.Get(name)
	if v.Exported || name == "TMPDIR" || strings.HasPrefix(name, "HOME ") {
		return v
	}
	return expand.Variable{}
}

func (e exported) Each(yield func(string, expand.Variable) bool) {
	e.Environ.Each(func(name string, v expand.Variable) bool {
		return !v.Exported || yield(name, v)
	})
}
