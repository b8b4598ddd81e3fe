package shell

import (
	"context"
	"io/fs"
	"path"
	"strings"

	"mvdan.cc/sh/v3/interp"
)

func basename(_ context.Context, c *invocation) int {
	args := c.args[1:]
	if len(args) < 1 || len(args) > 2 || strings.HasPrefix(args[0], "-") {
		c.lacksOption(strings.Join(args, " "))
		return 1
	}
	name := path.Base(args[0])
	if len(args) == 2 && name != args[1] {
		name = strings.TrimSuffix(name, args[1])
	}
	c.stdout.WriteString(name + "\n")
	return 0
}

func dirname(_ context.Context, c *invocation) int {
	if len(c.args) < 2 {
		c.usage("missing operand")
		return 1
	}
	for _, name := range c.args[1:] {
		trimmed := strings.TrimRight(name, "/")
		if trimmed == "" && name != "" {
			trimmed = "/"
		}
		dir := "."
		if at := strings.LastIndexByte(trimmed, '/'); at >= 0 {
			if dir = strings.TrimRight(trimmed[:at], "/"); dir == "" {
				dir = "/"
			}
		}
		c.stdout.WriteString(dir + "\n")
	}
	return 0
}

// readlink prints where a link leads; with -f, -e or -m the path without links.
func readlink(_ context.Context, c *invocation) int {
	opts, files, bad := optionSpec{short: "femnqsv"}.parse(c.args[1:])
	if bad != "" || len(files) == 0 {
		c.lacksOption(bad)
		return 1
	}
	mode, end := "", "\n"
	for _, o := range opts {
		switch o.name {
		case "f", "e", "m":
			mode = o.name
		case "n":
			end = ""
		}
	}
	status := 0
	for _, file := range files {
		abs := trimSlash(c.path(file))
		if mode != "" {
			real, ok := c.canonical(abs, mode)
			if !ok {
				status = 1
				continue
			}
			c.stdout.WriteString(real + end)
			continue
		}
		c.read(abs)
		target, err := fs.ReadLink(c.runner.FS, fsName(abs))
		if err != nil {
			status = 1
			continue
		}
		c.stdout.WriteString(target + end)
	}
	return status
}

func realpath(_ context.Context, c *invocation) int {
	opts, files, bad := optionSpec{short: "emsLPqz"}.parse(c.args[1:])
	if bad != "" || len(files) == 0 {
		c.lacksOption(bad)
		return 1
	}
	mode := "f"
	for _, o := range opts {
		if o.name != "e" && o.name != "m" {
			c.lacksOption("-" + o.name)
			return 1
		}
		mode = o.name
	}
	status := 0
	for _, file := range files {
		real, ok := c.canonical(trimSlash(c.path(file)), mode)
		if !ok {
			c.errorf("%s: No such file or directory", file)
			status = 1
			continue
		}
		c.stdout.WriteString(real + "\n")
	}
	return status
}

// canonical resolves all links of a path. With mode f the last part need not
// exist, with m nothing need, with e everything must.
func (c *invocation) canonical(abs, mode string) (string, bool) {
	todo := strings.Split(strings.Trim(abs, "/"), "/")
	done := "/"
	for links := 0; len(todo) > 0; {
		part := todo[0]
		todo = todo[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = path.Dir(done)
			continue
		}
		next := path.Join(done, part)
		info, err := c.stat(next, false)
		if err != nil {
			if mode == "m" || mode == "f" && len(todo) == 0 {
				done = next
				continue
			}
			return "", false
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		target, err := fs.ReadLink(c.runner.FS, fsName(next))
		if links++; err != nil || links > 40 {
			return "", false
		}
		if strings.HasPrefix(target, "/") {
			done = "/"
		}
		todo = append(strings.Split(target, "/"), todo...)
	}
	return done, true
}

// which tells where a command is: which, type and command -v. Commands that are
// built in here count as installed.
func which(_ context.Context, c *invocation) int {
	status, absent := 0, 1
	for _, name := range c.args[1:] {
		switch {
		case name == "-v":
			absent = 127 // command -v in dash and ash
		case interp.IsBuiltin(name):
			c.stdout.WriteString(name + "\n")
		case strings.Contains(name, "/"):
			info, err := c.state.stat(c.path(name), true)
			if err != nil || info.IsDir() || info.Mode()&0o111 == 0 {
				status = absent
				continue
			}
			c.stdout.WriteString(name + "\n")
		case c.runner.Commands[name] != nil || lookup(name) != nil:
			c.stdout.WriteString("/usr/bin/" + name + "\n")
		case !c.whichInPath(name):
			status = absent
		}
	}
	return status
}

func (c *invocation) whichInPath(name string) bool {
	for dir := range strings.SplitSeq(c.env.Get("PATH").String(), ":") {
		file := absolute(dir, name)
		if info, err := c.state.stat(file, true); err == nil && !info.IsDir() && info.Mode()&0o111 != 0 {
			c.stdout.WriteString(file + "\n")
			return true
		}
	}
	return false
}

// testTool and printfTool are for xargs and find, which start commands, not
// builtins.
func testTool(ctx context.Context, c *invocation) int { return c.builtin(ctx) }

func printfTool(ctx context.Context, c *invocation) int { return c.builtin(ctx) }

// builtin runs a builtin of the shell as a command of its own.
func (c *invocation) builtin(ctx context.Context) int {
	quoted := make([]string, len(c.args))
	for i, arg := range c.args {
		quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
	}
	err := c.script(ctx, strings.Join(quoted, " "), shellOptions{
		stdout: c.stdout, stderr: c.stderr, dir: c.dir, env: exported{c.env},
	})
	return statusOf(err)
}
