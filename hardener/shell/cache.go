package shell

import (
	"bufio"
	"errors"
	"io"
	"regexp"
	"regexp/syntax"
	"strings"
	"sync"

	"mvdan.cc/sh/v3/expand"
	shsyntax "mvdan.cc/sh/v3/syntax"
)

// cache is what a Runner keeps between scripts. A profile asks for the same
// process list in some seventy checks, and each of its scripts is short, so
// most of a check's time would go into parsing and rendering the same things
// again.
type cache struct {
	mu      sync.Mutex // the stages of a pipe share regexps and ps
	parser  *shsyntax.Parser
	files   map[string]*parsed
	regexps map[string]*regexp.Regexp
	ps      *psCache
	env     *environ
	pure    map[string]Result
	pureLen int
	writers []*bufio.Writer
}

// writer is a buffer for one command's output; free takes it back.
func (c *cache) writer(w io.Writer) *bufio.Writer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.writers); n > 0 {
		b := c.writers[n-1]
		c.writers = c.writers[:n-1]
		b.Reset(w)
		return b
	}
	return bufio.NewWriterSize(w, 4096)
}

func (c *cache) free(b *bufio.Writer) {
	b.Reset(nil)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writers = append(c.writers, b)
}

// parsed is a script's tree, or as much of it as a shell would have run before
// it met the error.
type parsed struct {
	file  *shsyntax.File
	err   error
	lacks string
}

// Limits of the cache: a node with thousands of processes must not be held in
// memory once per script.
const (
	maxPureResult = 256 << 10
	maxPureTotal  = 2 << 20
	maxRegexps    = 256
	maxParsed     = 512
)

// remember keeps the result of a script that depends on nothing but the
// Runner's process table, users and environment.
func (r *Runner) remember(script string, s *state, res Result) {
	if s.impure || s.limit != "" || len(s.reads) > 0 || len(s.stats) > 0 {
		return
	}
	if res.Err != nil {
		if _, ok := res.Err.(*ExitError); !ok {
			return
		}
	}
	if len(res.Output) > maxPureResult || r.cache.pureLen+len(res.Output) > maxPureTotal {
		return
	}
	if r.cache.pure == nil {
		r.cache.pure = make(map[string]Result)
	}
	r.cache.pure[script] = res
	r.cache.pureLen += len(res.Output) + len(script)
}

// compile is regexp.Compile with leftmost-longest matching, as POSIX has it.
func (s *state) compile(expr string) (*regexp.Regexp, error) {
	c := &s.runner.cache
	c.mu.Lock()
	defer c.mu.Unlock()
	if re := c.regexps[expr]; re != nil {
		return re, nil
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return nil, refused(err)
	}
	re.Longest()
	if c.regexps == nil || len(c.regexps) >= maxRegexps {
		c.regexps = make(map[string]*regexp.Regexp)
	}
	c.regexps[expr] = re
	return re, nil
}

// refused is Go's answer to a translated pattern, as the C library would have
// said it. Limits of Go's own are none of the pattern.
func refused(err error) error {
	var bad *syntax.Error
	if errors.As(err, &bad) && bad.Code == syntax.ErrInvalidCharRange {
		return &regexpError{text: "Invalid range end"}
	}
	return &regexpError{text: err.Error(), unsupported: true}
}

// environ is the environment of a script, without the variables that the script
// itself sets.
type environ struct {
	names  []string
	values map[string]string
}

// Defaults for what the environment of kube-bench always has.
const (
	defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	defaultHome = "/root"
)

func (r *Runner) environ() *environ {
	if r.cache.env != nil {
		return r.cache.env
	}
	e := &environ{values: map[string]string{}}
	for _, pair := range append([]string{"PATH=" + defaultPath, "HOME=" + defaultHome}, r.Env...) {
		if name, value, ok := strings.Cut(pair, "="); ok && name != "" {
			e.set(name, value)
		}
	}
	r.cache.env = e
	return e
}

func (e *environ) set(name, value string) {
	if _, ok := e.values[name]; !ok {
		e.names = append(e.names, name)
	}
	e.values[name] = value
}

// noTempDir is a directory that cannot exist. The interpreter creates FIFOs for
// process substitution in TMPDIR and opens files of that name there without
// asking its OpenHandler, so it must never have a real one.
const noTempDir = "/\x00"

// Get implements expand.Environ. Besides variables, the expand package asks for
// "HOME name" when it expands ~name; answering keeps it from looking at the
// real machine's users.
func (e *environ) Get(name string) expand.Variable {
	if name == "TMPDIR" {
		return expand.Variable{Set: true, Kind: expand.String, Str: noTempDir}
	}
	if user, ok := strings.CutPrefix(name, "HOME "); ok {
		return expand.Variable{Set: true, Kind: expand.String, Str: "~" + user}
	}
	value, ok := e.values[name]
	if !ok {
		return expand.Variable{}
	}
	return expand.Variable{Set: true, Exported: true, Kind: expand.String, Str: value}
}

// Each implements expand.Environ.
func (e *environ) Each(yield func(string, expand.Variable) bool) {
	for _, name := range e.names {
		if !yield(name, e.Get(name)) {
			return
		}
	}
}
