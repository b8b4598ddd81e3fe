package shell

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"mvdan.cc/sh/v3/interp"
)

// Run runs a script the way kube-bench runs an audit (check/check.go:291-313):
// a shell that reads the script from standard input, with stdout and stderr in
// one buffer. Commands see an empty standard input.
func (r *Runner) Run(ctx context.Context, script string) (res Result) {
	script = strings.TrimSpace(script)
	if script == "" {
		return Result{}
	}
	if res, ok := r.cache.pure[script]; ok {
		return res
	}
	s := &state{runner: r, maxOutput: r.MaxOutput}
	if s.maxOutput <= 0 {
		s.maxOutput = DefaultMaxOutput
	}
	timeout := r.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	limited, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	s.ctx, s.cancel = context.WithCancel(limited)
	defer s.cancel()
	s.out = &output{state: s}

	defer s.closePipes()
	defer func() {
		if p := recover(); p != nil {
			res = s.result(fmt.Errorf("shell: interpreter failed: %v", p))
		}
	}()
	err := s.script(s.ctx, script, shellOptions{stdout: s.out, stderr: s.out, dir: "/", env: r.environ()})
	if ctx.Err() == nil && errors.Is(limited.Err(), context.DeadlineExceeded) {
		s.stopped(fmt.Sprintf("it ran longer than %v", timeout))
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("shell: %w", ctx.Err())
	}
	res = s.result(err)
	r.remember(script, s, res)
	return res
}

// state is what one Run has in common in all its pipes, subshells and nested
// shells.
type state struct {
	runner    *Runner
	ctx       context.Context
	cancel    context.CancelFunc
	out       *output
	maxOutput int
	depth     int // of nested shells, only used by the goroutine that nests

	copies sync.WaitGroup // of asFile

	mu      sync.Mutex // pipes run commands at the same time
	stats   []string
	reads   map[string]struct{}
	listed  map[string]listing // by patterns
	unknown string
	limit   string
	pipes   []*os.File
	failure error // of a command's implementation
	impure  bool  // a command of Runner.Commands ran
	quirk   bool  // see Result.Quirk
}

func (s *state) result(err error) Result {
	s.mu.Lock()
	defer s.mu.Unlock()
	res := Result{Output: s.out.String(), Stats: s.stats, Quirk: s.quirk}
	for name := range s.reads {
		res.Reads = append(res.Reads, name)
	}
	slices.Sort(res.Reads)
	var status interp.ExitStatus
	switch {
	case s.limit != "":
		res.Err = &LimitError{What: s.limit}
		// A copy, so that the rest can be freed.
		res.Output = strings.Clone(res.Output[:min(len(res.Output), stoppedOutput)])
	case s.failure != nil:
		res.Err = s.failure
	case s.unknown != "":
		res.Err = &UnknownCommandError{Name: s.unknown}
	case errors.As(err, &status):
		res.Err = &ExitError{Code: int(status)}
	case err != nil:
		res.Err = err
	}
	return res
}

// stoppedOutput is how much of a stopped script's output is kept, in bytes: it is
// no result, only a hint at what went wrong, and ends up in a reason.
const stoppedOutput = 4 << 10

// stopped ends the script because of a limit.
func (s *state) stopped(what string) {
	s.mu.Lock()
	if s.limit == "" {
		s.limit = what
	}
	s.mu.Unlock()
	s.cancel()
}

// broken ends the script because a command's implementation failed.
func (s *state) broken(err error) {
	s.mu.Lock()
	if s.failure == nil {
		s.failure = err
	}
	s.mu.Unlock()
	s.cancel()
}

// lacks records that the script needed something that is not there.
func (s *state) lacks(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unknown == "" {
		s.unknown = name
	}
}

func (s *state) read(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reads == nil {
		s.reads = make(map[string]struct{})
	}
	s.reads[path] = struct{}{}
}

func (s *state) statted(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats = append(s.stats, path)
}

// output collects what a script prints. Once it is full it ends the script.
type output struct {
	state *state
	mu    sync.Mutex
	buf   strings.Builder
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	room := o.state.maxOutput - o.buf.Len()
	if len(p) > room {
		o.buf.Write(p[:room])
		o.state.tooMuch()
		return room, errLimit
	}
	return o.buf.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}

var errLimit = errors.New("output limit reached")

func (s *state) tooMuch() {
	s.stopped(fmt.Sprintf("it printed more than %d bytes", s.maxOutput))
}

// limitWriter applies the script's limit to one command, so that nothing can
// fill the memory between the stages of a pipe or in a command substitution.
type limitWriter struct {
	state *state
	w     interface{ Write([]byte) (int, error) }
	n     int
}

func (l *limitWriter) Write(p []byte) (int, error) {
	if err := l.state.ctx.Err(); err != nil {
		return 0, err
	}
	if room := l.state.maxOutput - l.n; len(p) > room {
		n, _ := l.w.Write(p[:room])
		l.n += n
		l.state.tooMuch()
		return n, errLimit
	}
	n, err := l.w.Write(p)
	l.n += n
	return n, err
}

func (r *Runner) now() time.Time {
	if r.Now != nil {
		return r.Now()
	}
	return time.Now()
}
