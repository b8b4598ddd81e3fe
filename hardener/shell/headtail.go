package shell

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// headTail reads the options that head and tail share, with the old form -5.
func (c *invocation) headTail() (n int, from, byBytes, quiet bool, files []string, ok bool) {
	n = 10
	args := c.args[1:]
	if len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "0123456789") == "" {
		args = append([]string{"-n", args[0][1:]}, args[1:]...)
	}
	spec := optionSpec{short: "n:c:qv", long: map[string]string{"lines": "n:", "bytes": "c:", "quiet": "q", "silent": "q"}}
	opts, files, bad := spec.parse(args)
	if bad != "" {
		c.lacksOption(bad)
		return 0, false, false, false, nil, false
	}
	for _, o := range opts {
		switch o.name {
		case "n", "c":
			byBytes = o.name == "c"
			from = strings.HasPrefix(o.value, "+")
			v, err := strconv.Atoi(strings.TrimPrefix(o.value, "+"))
			if err != nil || v < 0 && (c.args[0] == "head") {
				c.lacksOption("-" + o.name + " " + o.value)
				return 0, false, false, false, nil, false
			}
			n = max(v, -v)
		case "q":
			quiet = true
		case "v":
			c.lacksOption("-v")
			return 0, false, false, false, nil, false
		}
	}
	return n, from, byBytes, quiet, files, true
}

// titled prints the header that head and tail put before each of several files.
func (c *invocation) titled(files []string, quiet bool, f func(r io.Reader) error) int {
	first := true
	return c.eachInput(files, func(name string, r io.Reader) error {
		if len(files) > 1 && !quiet {
			if !first {
				c.stdout.WriteByte('\n')
			}
			if name == "-" {
				name = "standard input"
			}
			fmt.Fprintf(c.stdout, "==> %s <==\n", name)
			first = false
		}
		return f(r)
	})
}

func head(_ context.Context, c *invocation) int {
	n, _, byBytes, quiet, files, ok := c.headTail()
	if !ok {
		return 1
	}
	return c.titled(files, quiet, func(r io.Reader) error {
		if byBytes {
			return c.copy(c.stdout, io.LimitReader(r, int64(n)))
		}
		if n == 0 {
			return nil
		}
		left := n
		return c.rawLines(r, func(line []byte) bool {
			c.stdout.Write(line)
			left--
			return left > 0
		})
	})
}

// rawLines is lines with each line's newline, if it has one.
func (c *invocation) rawLines(r io.Reader, f func(line []byte) bool) error {
	br := bufio.NewReaderSize(r, 16<<10)
	for {
		var line []byte
		for {
			part, err := br.ReadSlice('\n')
			if err == bufio.ErrBufferFull && len(line) <= c.maxOutput {
				line = append(line, part...)
				continue
			}
			if line == nil {
				line = part
			} else {
				line = append(line, part...)
			}
			if len(line) > c.maxOutput {
				c.tooMuch()
				return errLimit
			}
			if len(line) > 0 && !f(line) {
				return nil
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			break
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
}

func tail(_ context.Context, c *invocation) int {
	n, from, byBytes, quiet, files, ok := c.headTail()
	if !ok {
		return 1
	}
	return c.titled(files, quiet, func(r io.Reader) error {
		if from {
			return c.tailFrom(r, max(n, 1), byBytes)
		}
		if byBytes {
			data, err := c.readAll(r)
			c.stdout.Write(data[max(0, len(data)-n):])
			return err
		}
		var kept [][]byte
		err := c.rawLines(r, func(line []byte) bool {
			if n > 0 {
				if len(kept) == n {
					copy(kept, kept[1:])
					kept = kept[:n-1]
				}
				kept = append(kept, bytes.Clone(line))
			}
			return true
		})
		for _, line := range kept {
			c.stdout.Write(line)
		}
		return err
	})
}

// tailFrom prints everything from the nth line or byte on, counting from 1.
func (c *invocation) tailFrom(r io.Reader, n int, byBytes bool) error {
	if byBytes {
		if _, err := io.CopyN(io.Discard, r, int64(n-1)); err != nil {
			return nil
		}
		return c.copy(c.stdout, r)
	}
	at := 0
	return c.rawLines(r, func(line []byte) bool {
		if at++; at >= n {
			c.stdout.Write(line)
		}
		return true
	})
}
