package shell

import (
	"context"
	"io/fs"
	"path"
	"regexp"
	"strconv"
	"strings"

	"mvdan.cc/sh/v3/pattern"
)

// findExpr is a part of find's expression.
type findExpr func(ctx context.Context, at *found) bool

// findExec is an -exec ... {} +, whose files are collected.
type findExec struct {
	words []string
	files []string
	size  int
}

// findParser reads an expression: or, and, not, in that order of binding.
type findParser struct {
	*finder
	args    []string
	action  bool // the expression prints or runs something itself
	problem string
	lack    string
}

func (f *finder) parse(args []string) bool {
	p := &findParser{finder: f, args: args}
	expr := findExpr(func(context.Context, *found) bool { return true })
	if len(args) > 0 {
		expr = p.or()
		if p.problem == "" && p.lack == "" && len(p.args) > 0 {
			p.problem = "you have too many ')'"
		}
	}
	switch {
	case p.lack != "":
		f.lacksOption(p.lack)
		return false
	case p.problem != "":
		f.errorf("%s", p.problem)
		return false
	}
	f.expr = expr
	if !p.action {
		f.expr = func(ctx context.Context, at *found) bool { return expr(ctx, at) && f.print(at, "\n") }
	}
	return true
}

func (f *finder) print(at *found, end string) bool {
	f.stdout.WriteString(at.path)
	f.stdout.WriteString(end)
	return true
}

func (p *findParser) next() (string, bool) {
	if len(p.args) == 0 || p.problem != "" || p.lack != "" {
		return "", false
	}
	arg := p.args[0]
	p.args = p.args[1:]
	return arg, true
}

func (p *findParser) peek(words ...string) bool {
	if len(p.args) == 0 || p.problem != "" || p.lack != "" {
		return false
	}
	for _, w := range words {
		if p.args[0] == w {
			return true
		}
	}
	return false
}

func (p *findParser) or() findExpr {
	left := p.and()
	for p.peek("-o", "-or") {
		p.next()
		a, b := left, p.and()
		left = func(ctx context.Context, at *found) bool { return a(ctx, at) || b(ctx, at) }
	}
	return left
}

func (p *findParser) and() findExpr {
	left := p.not()
	for len(p.args) > 0 && p.problem == "" && p.lack == "" && !p.peek("-o", "-or", ")") {
		if p.peek("-a", "-and") {
			p.next()
		}
		a, b := left, p.not()
		left = func(ctx context.Context, at *found) bool { return a(ctx, at) && b(ctx, at) }
	}
	return left
}

func (p *findParser) not() findExpr {
	if p.peek("!", "-not") {
		p.next()
		inner := p.not()
		return func(ctx context.Context, at *found) bool { return !inner(ctx, at) }
	}
	return p.primary()
}

func (p *findParser) fail(problem string) findExpr {
	if p.problem == "" {
		p.problem = problem
	}
	return func(context.Context, *found) bool { return false }
}

func (p *findParser) missing(what string) findExpr {
	p.lack = what
	return func(context.Context, *found) bool { return false }
}

func (p *findParser) primary() findExpr {
	name, ok := p.next()
	if !ok {
		return p.fail("invalid expression; you have used a binary operator with nothing before it.")
	}
	switch name {
	case "(":
		inner := p.or()
		if closing, ok := p.next(); !ok || closing != ")" {
			return p.fail("invalid expression; I was expecting to find a ')' somewhere but did not see one.")
		}
		return inner
	case "-print", "-print0":
		p.action = true
		end := "\n"
		if name == "-print0" {
			end = "\x00"
		}
		return func(_ context.Context, at *found) bool { return p.print(at, end) }
	case "-prune":
		return func(_ context.Context, at *found) bool { at.prune = true; return true }
	case "-quit":
		p.action = true
		return func(context.Context, *found) bool { p.ended = true; return true }
	case "-true", "-noleaf", "-xdev", "-mount", "-nowarn", "-warn":
		return func(context.Context, *found) bool { return true }
	case "-false":
		return func(context.Context, *found) bool { return false }
	case "-empty":
		return p.empty
	case "-executable":
		return func(_ context.Context, at *found) bool { return at.info.IsDir() || at.info.Mode()&0o111 != 0 }
	case "-nouser", "-nogroup":
		return p.nobody(name)
	case "-exec":
		return p.exec()
	}
	if !takesArgument(name) && strings.HasPrefix(name, "-") {
		return p.unknown(name)
	}
	value, ok := p.next()
	if !ok {
		if strings.HasPrefix(name, "-") {
			return p.fail("missing argument to `" + name + "'")
		}
		return p.fail("paths must precede expression: `" + name + "'")
	}
	return p.test(name, value)
}

func takesArgument(name string) bool {
	switch name {
	case "-name", "-iname", "-path", "-wholename", "-ipath", "-iwholename", "-type", "-xtype", "-mindepth", "-maxdepth",
		"-perm", "-user", "-uid", "-group", "-gid":
		return true
	}
	return false
}

// test is a test with one argument.
func (p *findParser) test(name, value string) findExpr {
	switch name {
	case "-name", "-iname":
		match := glob(value, name == "-iname")
		return func(_ context.Context, at *found) bool { return match(path.Base(at.path)) }
	case "-path", "-wholename", "-ipath", "-iwholename":
		match := glob(value, strings.HasPrefix(name, "-i"))
		return func(_ context.Context, at *found) bool { return match(at.path) }
	case "-type", "-xtype":
		return p.kind(name, value)
	case "-mindepth", "-maxdepth":
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return p.fail("Expected a positive decimal integer argument to " + name + ", but got '" + value + "'")
		}
		if name == "-mindepth" {
			p.minDepth = n
		} else {
			p.maxDepth = n
		}
		return func(context.Context, *found) bool { return true }
	case "-perm":
		return p.perm(value)
	case "-user", "-uid", "-group", "-gid":
		return p.owned(name, value)
	}
	if !strings.HasPrefix(name, "-") {
		return p.fail("paths must precede expression: `" + name + "'")
	}
	return p.unknown(name)
}

// unknown is for a test or action that is not implemented here, or that find has
// not either.
func (p *findParser) unknown(name string) findExpr {
	switch strings.TrimPrefix(name, "-") {
	case "amin", "anewer", "atime", "cmin", "cnewer", "ctime", "mmin", "mtime", "newer", "size", "links", "inum",
		"samefile", "lname", "ilname", "regex", "iregex", "regextype", "readable", "writable", "daystart", "depth", "d",
		"ls", "fls", "fprint", "fprint0", "fprintf", "printf", "delete", "ok", "okdir", "execdir", "fstype",
		"files0-from", "used", "context", "follow", "ignore_readdir_race", "noignore_readdir_race", "help", "version":
		return p.missing(name)
	}
	if strings.HasPrefix(name, "-newer") {
		return p.missing(name)
	}
	return p.fail("unknown predicate `" + name + "'")
}

func (p *findParser) kind(name, value string) findExpr {
	var wanted []uint32
	for _, letter := range strings.Split(value, ",") {
		bits, ok := map[string]uint32{"f": typeBits(0), "d": typeBits(fs.ModeDir), "l": typeBits(fs.ModeSymlink),
			"p": typeBits(fs.ModeNamedPipe), "s": typeBits(fs.ModeSocket), "b": typeBits(fs.ModeDevice),
			"c": typeBits(fs.ModeDevice | fs.ModeCharDevice)}[letter]
		if !ok {
			return p.fail("Unknown argument to " + name + ": " + letter)
		}
		wanted = append(wanted, bits)
	}
	return func(_ context.Context, at *found) bool {
		info := at.info
		if name == "-xtype" {
			if followed, err := p.stat(at.abs, true); err == nil {
				info = followed
			}
		}
		for _, bits := range wanted {
			if typeBits(info.Mode()) == bits {
				return true
			}
		}
		return false
	}
}

func (p *findParser) perm(value string) findExpr {
	octal := strings.TrimLeft(value, "-/")
	n, err := strconv.ParseUint(octal, 8, 16)
	if err != nil {
		return p.missing("-perm " + value)
	}
	bits := uint32(n)
	return func(_ context.Context, at *found) bool {
		mode := permissions(at.info.Mode())
		switch value[0] {
		case '-':
			return mode&bits == bits
		case '/':
			return bits == 0 || mode&bits != 0
		}
		return mode == bits
	}
}

func (p *findParser) owned(name, value string) findExpr {
	users := p.runner.Users
	id, ok := 0, false
	switch name {
	case "-user":
		id, ok = users.UID(value)
	case "-group":
		id, ok = users.GID(value)
	}
	if !ok {
		var err error
		if id, err = strconv.Atoi(value); err != nil {
			return p.fail("'" + value + "' is not the name of a known " + strings.TrimPrefix(name, "-"))
		}
	}
	return func(_ context.Context, at *found) bool {
		uid, gid := owner(at.info)
		if name == "-user" || name == "-uid" {
			return uid == id
		}
		return gid == id
	}
}

func (p *findParser) nobody(name string) findExpr {
	return func(_ context.Context, at *found) bool {
		uid, gid := owner(at.info)
		_, known := p.runner.Users.User(uid)
		if name == "-nogroup" {
			_, known = p.runner.Users.Group(gid)
		}
		return !known
	}
}

func (p *findParser) empty(_ context.Context, at *found) bool {
	if at.info.IsDir() {
		entries, err := p.readDir(at.abs)
		return err == nil && len(entries) == 0
	}
	return at.info.Mode().IsRegular() && at.info.Size() == 0
}

// exec is -exec CMD {} \; and -exec CMD {} +.
func (p *findParser) exec() findExpr {
	p.action = true
	var words []string
	for {
		arg, ok := p.next()
		if !ok {
			return p.fail("missing argument to `-exec'")
		}
		if arg == ";" {
			break
		}
		if arg == "+" && len(words) > 1 && words[len(words)-1] == "{}" {
			collect := &findExec{words: words[:len(words)-1]}
			p.execs = append(p.execs, collect)
			return func(ctx context.Context, at *found) bool {
				collect.files = append(collect.files, at.path)
				if collect.size += len(at.path) + 1; collect.size > xargsBytes {
					p.flush(ctx, collect)
				}
				return true
			}
		}
		words = append(words, arg)
	}
	if len(words) == 0 {
		return p.fail("missing argument to `-exec'")
	}
	return func(ctx context.Context, at *found) bool {
		args := make([]string, len(words))
		for i, w := range words {
			args[i] = strings.ReplaceAll(w, "{}", at.path)
		}
		return p.command(ctx, args) == 0
	}
}

func (f *finder) flush(ctx context.Context, e *findExec) {
	if len(e.files) == 0 {
		return
	}
	args := append(append([]string(nil), e.words...), e.files...)
	e.files, e.size = nil, 0
	if f.command(ctx, args) != 0 {
		f.failed = true
	}
}

// command runs what -exec names.
func (f *finder) command(ctx context.Context, args []string) int {
	f.stdout.Flush()
	child := f.child(args, strings.NewReader(""))
	status, ok := child.run(ctx)
	if !ok {
		status, _ = child.absent(args[0])
		f.errorf("'%s': No such file or directory", args[0])
	}
	return status
}

// glob compiles a pattern of -name or -path. A star there matches a slash too,
// and leading dots are nothing special.
func glob(pat string, fold bool) func(string) bool {
	if !pattern.HasMeta(pat, 0) && !fold && !strings.Contains(pat, `\`) {
		return func(name string) bool { return name == pat }
	}
	expr, err := pattern.Regexp(pat, pattern.EntireString)
	if err != nil {
		return func(name string) bool { return name == pat }
	}
	if fold {
		expr = "(?i)" + expr
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return func(name string) bool { return name == pat }
	}
	return re.MatchString
}
