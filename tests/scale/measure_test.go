//go:build e2e

package scale

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// ran is a program that has ended.
type ran struct {
	code   int
	stdout []byte
	stderr string
	took   time.Duration
	peak   int64 // its peak resident memory, in bytes
	read   int64 // what it read, from the network too, in bytes
}

// run runs a program and looks at its memory when it writes its first output: more
// of that than fits into a small pipe, so that the program cannot end before. What
// wait4 tells is no use, as it counts the memory of the process that forked. It is
// told to stop when the context ends.
func run(ctx context.Context, program string, args []string, env ...string) (r ran, err error) {
	out, in, err := os.Pipe()
	if err != nil {
		return r, err
	}
	defer out.Close()
	if _, err := unix.FcntlInt(in.Fd(), unix.F_SETPIPE_SZ, os.Getpagesize()); err != nil {
		return r, errors.Join(fmt.Errorf("pipe: %w", err), in.Close())
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), env...)
	var errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = in, &errs
	begin := time.Now()
	err = cmd.Start()
	in.Close()
	if err != nil {
		return r, err
	}
	output := bufio.NewReader(out)
	_, first := output.Peek(1)
	peak, noPeak := procValue(cmd.Process.Pid, "status", "VmHWM:") // in KiB
	read, noRead := procValue(cmd.Process.Pid, "io", "rchar:")
	r.stdout, err = io.ReadAll(output)
	var exit *exec.ExitError
	if wait := cmd.Wait(); wait != nil && !errors.As(wait, &exit) && ctx.Err() == nil {
		return r, wait
	}
	r.peak, r.read = peak<<10, read
	r.code, r.stderr, r.took = cmd.ProcessState.ExitCode(), errs.String(), time.Since(begin)
	if err := errors.Join(err, first, noPeak, noRead); err != nil {
		return r, fmt.Errorf("%s: exit code %d, %w: %s", strings.Join(args, " "), r.code, err, tail(r.stderr))
	}
	return r, nil
}

// procValue reads a number from a file of proc(5).
func procValue(pid int, file, key string) (n int64, err error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(text), key)
	if _, err := fmt.Sscan(rest, &n); err != nil {
		return 0, fmt.Errorf("no %s in %q: %w", key, text, err)
	}
	return n, nil
}

// tail is the end of a text.
func tail(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// counts are requests by verb and resource, such as "create jobs".
type counts map[string]int

func (c counts) sum(keys ...string) (n int) {
	for _, key := range keys {
		n += c[key]
	}
	return n
}

func (c counts) all() (n int) {
	for _, one := range c {
		n += one
	}
	return n
}

// audited are the requests that the API server has answered: those of the
// rollout's account, and those of the accounts of the nodes' Jobs.
func (c *cluster) audited() (ofRollout, ofPrograms counts, err error) {
	f, err := os.Open(c.audit)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	ofRollout, ofPrograms = counts{}, counts{}
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var e struct {
			Stage, Verb string
			User        struct{ Username string }
			ObjectRef   struct{ Resource string }
		}
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, nil, fmt.Errorf("audit log: %w", err)
		}
		if e.Stage != "ResponseComplete" {
			continue
		}
		of := ofPrograms
		if e.User.Username == "system:serviceaccount:"+rollout.Namespace+":rollout" {
			of = ofRollout
		}
		of[e.Verb+" "+e.ObjectRef.Resource]++
	}
	return ofRollout, ofPrograms, lines.Err()
}
