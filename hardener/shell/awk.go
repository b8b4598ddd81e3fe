package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/benhoyt/goawk/interp"
	"github.com/benhoyt/goawk/parser"
	"mvdan.cc/sh/v3/expand"
)

// awk is POSIX awk. It cannot start commands, and it can neither write files nor
// read ones that are not operands.
func awk(ctx context.Context, c *invocation) int {
	spec := optionSpec{short: "F:v:f:", stop: true}
	opts, operands, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 2
	}
	config := &interp.Config{
		Stdin: c.stdin, Output: c.stdout, Error: c.stderr, Argv0: c.args[0],
		NoExec: true, NoFileWrites: true, NoFileReads: true, NoArgVars: true,
		Environ: []string{},
	}
	for _, o := range opts {
		switch o.name {
		case "F":
			separator, _ := unescape(o.value)
			if separator == "t" {
				separator = "\t" // POSIX
			}
			config.Vars = append(config.Vars, "FS", separator)
		case "v":
			name, value, ok := strings.Cut(o.value, "=")
			if !ok {
				c.lacksOption("-v " + o.value)
				return 2
			}
			config.Vars = append(config.Vars, name, value)
		case "f":
			c.lacksOption("-f")
			return 2
		}
	}
	if len(operands) == 0 {
		io.WriteString(c.stderr, "usage: awk [-F fs][-v var=value][prog][file ...]\n")
		return 2
	}
	program, err := parser.ParseProgram([]byte(operands[0]), nil)
	if err != nil {
		c.errorf("%v", err)
		return 2
	}
	input, closeAll, status := c.awkInput(operands[1:])
	defer closeAll()
	if input == nil {
		return status
	}
	config.Stdin = &recordReader{state: c.state, r: input}
	c.env.Each(func(name string, v expand.Variable) bool {
		if v.Exported {
			config.Environ = append(config.Environ, name, v.String())
		}
		return true
	})
	return c.awkRun(ctx, program, config, status)
}

// awkInput is all files in a row: no audit asks for their names.
func (c *invocation) awkInput(files []string) (input io.Reader, closeAll func(), status int) {
	closeAll = func() {}
	if len(files) == 0 {
		return c.stdin, closeAll, 0
	}
	var readers []io.Reader
	var closers []io.Closer
	closeAll = func() {
		for _, f := range closers {
			f.Close()
		}
	}
	for _, name := range files {
		switch {
		case name == "-":
			readers = append(readers, c.stdin)
			continue
		case strings.Contains(name, "="):
			c.lacksOption(name)
			return nil, closeAll, 2
		}
		f, err := c.open(c.path(name))
		if err != nil {
			c.errorf("cannot open %q (%s)", name, reason(err))
			status = 2
			continue
		}
		closers = append(closers, f)
		readers = append(readers, f)
	}
	return io.MultiReader(readers...), closeAll, status
}

// recordReader ends the script at a line that is longer than all it may print:
// awk would read it into memory.
type recordReader struct {
	state *state
	r     io.Reader
	line  int
}

func (r *recordReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if at := bytes.LastIndexByte(p[:n], '\n'); at >= 0 {
		r.line = n - at - 1
	} else if r.line += n; r.line > r.state.maxOutput {
		r.state.tooMuch()
		return 0, errLimit
	}
	return n, err
}

func (c *invocation) awkRun(ctx context.Context, program *parser.Program, config *interp.Config, status int) int {
	in, err := interp.New(program)
	if err != nil {
		c.errorf("%v", err)
		return 2
	}
	code, err := in.ExecuteContext(ctx, config)
	switch {
	case err == nil:
		return max(code, status)
	case ctx.Err() != nil || errors.Is(err, errLimit):
		return 2
	}
	text := err.Error()
	for _, refused := range []string{"NoExec", "NoFileWrites", "NoFileReads"} {
		if strings.Contains(text, refused) {
			c.lacksOption(text)
			return 2
		}
	}
	fmt.Fprintf(c.stderr, "%s: %s\n", c.args[0], text)
	return 2
}
