package shell

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
)

// eachInput calls f for each file operand, or for standard input when there is
// none or the operand is "-". It says why files cannot be read, and returns 1
// then.
func (c *invocation) eachInput(files []string, f func(name string, r io.Reader) error) int {
	if len(files) == 0 {
		files = []string{"-"}
	}
	status := 0
	for _, name := range files {
		if err := c.withInput(name, f); err != nil {
			c.cannotRead(name, err)
			status = 1
		}
		if c.ctx.Err() != nil {
			return 1
		}
	}
	return status
}

func (c *invocation) cannotRead(name string, err error) {
	switch isDir := errors.Is(err, errIsDir); {
	case c.args[0] != "head" && c.args[0] != "tail":
		c.errorf("%s: %s", c.quoteColon(name), reason(err))
	case isDir:
		c.errorf("error reading %s: %s", c.quote(name), reason(err))
	default:
		c.errorf("cannot open %s for reading: %s", c.quote(name), reason(err))
	}
}

func (c *invocation) withInput(name string, f func(name string, r io.Reader) error) error {
	if name == "-" {
		return f(name, c.stdin)
	}
	file, err := c.open(c.path(name))
	if err != nil {
		return err
	}
	defer file.Close()
	err = f(name, file)
	if isDirError(file, err) {
		return &fs.PathError{Op: "read", Path: name, Err: errIsDir}
	}
	return err
}

// lines calls f for each line of r, without its newline, until f returns false.
// Lines longer than the script's limit end the script.
func (c *invocation) lines(r io.Reader, f func(line []byte) bool) error {
	if b, ok := r.(*pipeBuffer); ok {
		return c.bufferLines(b, f)
	}
	br := bufio.NewReaderSize(r, 16<<10)
	var long []byte
	for {
		part, err := br.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			if long = append(long, part...); len(long) > c.maxOutput {
				c.tooMuch()
				return errLimit
			}
			continue
		}
		line := part
		if len(long) > 0 {
			line = append(long, part...)
			long = long[:0]
		}
		if len(line) > 0 {
			if line[len(line)-1] == '\n' {
				line = line[:len(line)-1]
			}
			if !f(line) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
	}
}

// bufferLines is lines without a copy.
func (c *invocation) bufferLines(b *pipeBuffer, f func(line []byte) bool) error {
	for text := b.rest(); len(text) > 0 && c.ctx.Err() == nil; {
		line := text
		if end := bytes.IndexByte(text, '\n'); end >= 0 {
			line, text = text[:end], text[end+1:]
		} else {
			text = nil
		}
		if !f(line) {
			break
		}
	}
	return c.ctx.Err()
}

func cat(_ context.Context, c *invocation) int {
	_, files, bad := optionSpec{short: "u"}.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	return c.eachInput(files, func(_ string, r io.Reader) error {
		return c.copy(c.stdout, r)
	})
}

// copy is io.Copy in steps of the output's limit, and without the copy that
// would read a file past that limit.
func (c *invocation) copy(w *bufio.Writer, r io.Reader) error {
	buf := make([]byte, 8<<10)
	for c.ctx.Err() == nil {
		n, err := r.Read(buf)
		if _, werr := w.Write(buf[:n]); werr != nil {
			return nil // the reader has gone, or the limit has been recorded
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// readAll reads everything, within the script's limit.
func (c *invocation) readAll(r io.Reader) ([]byte, error) {
	if b, ok := r.(*pipeBuffer); ok {
		return b.rest(), nil
	}
	data, err := io.ReadAll(io.LimitReader(r, int64(c.maxOutput)+1))
	if len(data) > c.maxOutput {
		c.tooMuch()
		return nil, errLimit
	}
	return data, err
}

func wc(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "lwcm", long: map[string]string{"lines": "l", "words": "w", "bytes": "c", "chars": "m"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	want := map[string]bool{}
	for _, o := range opts {
		want[o.name] = true
	}
	if len(want) == 0 {
		want = map[string]bool{"l": true, "w": true, "c": true}
	}
	var total [3]int
	width := 1
	if len(want) > 1 || len(files) > 1 {
		width = 7
	}
	print := func(counts [3]int, name string) {
		sep := ""
		for i, letter := range []string{"l", "w", "c"} {
			if want[letter] || letter == "c" && want["m"] {
				fmt.Fprintf(c.stdout, "%s%*d", sep, width, counts[i])
				sep = " "
			}
		}
		if name != "" {
			c.stdout.WriteString(" " + name)
		}
		c.stdout.WriteByte('\n')
	}
	status := c.eachInput(files, func(name string, r io.Reader) error {
		counts, err := c.count(r)
		if err != nil {
			return err
		}
		for i := range total {
			total[i] += counts[i]
		}
		if len(files) == 0 {
			name = ""
		}
		print(counts, name)
		return nil
	})
	if len(files) > 1 {
		print(total, "total")
	}
	return status
}

// count counts lines, words and bytes.
func (c *invocation) count(r io.Reader) (counts [3]int, err error) {
	buf := make([]byte, 32<<10)
	word := false
	for c.ctx.Err() == nil {
		n, err := r.Read(buf)
		for _, b := range buf[:n] {
			switch b {
			case '\n':
				counts[0]++
				word = false
			case ' ', '\t', '\r', '\v', '\f':
				word = false
			default:
				if !word {
					counts[1]++
				}
				word = true
			}
		}
		counts[2] += n
		if err == io.EOF {
			break
		}
		if err != nil {
			return counts, err
		}
	}
	return counts, nil
}

func uniq(_ context.Context, c *invocation) int {
	spec := optionSpec{short: "cdui", long: map[string]string{"count": "c", "repeated": "d", "unique": "u", "ignore-case": "i"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" || len(files) > 1 {
		c.lacksOption(bad + strings.Join(files, " "))
		return 1
	}
	var counts, repeated, unique, fold bool
	for _, o := range opts {
		counts = counts || o.name == "c"
		repeated = repeated || o.name == "d"
		unique = unique || o.name == "u"
		fold = fold || o.name == "i"
	}
	var last []byte
	n := 0
	flush := func() {
		if n == 0 || repeated && n == 1 || unique && n > 1 {
			return
		}
		if counts {
			fmt.Fprintf(c.stdout, "%7d ", n)
		}
		c.stdout.Write(last)
		c.stdout.WriteByte('\n')
	}
	status := c.eachInput(files, func(_ string, r io.Reader) error {
		return c.lines(r, func(line []byte) bool {
			if n > 0 && (bytes.Equal(line, last) || fold && bytes.EqualFold(line, last)) {
				n++
				return true
			}
			flush()
			last, n = append(last[:0], line...), 1
			return true
		})
	})
	flush()
	return status
}
