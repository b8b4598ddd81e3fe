package shell

import (
	"bytes"
	"context"
	"io"
	"slices"
	"strconv"
	"strings"
)

// sortQuery is a command line of sort.
type sortQuery struct {
	unique, reverse, numeric, fold, stable bool
	separator                              string
	key                                    sortKey
}

// sortTool sorts lines by their bytes (the C locale): -u, -r, -n, -f and one
// key of whole fields, -k N or -k N,N with -t.
func sortTool(_ context.Context, c *invocation) int {
	q, files, ok := c.sortOptions()
	if !ok {
		return 2
	}
	var lines [][]byte
	status := c.eachInput(files, func(_ string, r io.Reader) error {
		data, err := c.readAll(r)
		for line := range bytes.Lines(data) {
			lines = append(lines, bytes.TrimSuffix(line, []byte("\n")))
		}
		return err
	})
	if status != 0 {
		status = 2
	}
	slices.SortStableFunc(lines, func(a, b []byte) int {
		n := q.compare(a, b)
		if n == 0 && !q.unique && !q.stable { // the last resort of sort
			if n = bytes.Compare(a, b); q.reverse {
				n = -n
			}
		}
		return n
	})
	for i, line := range lines {
		if q.unique && i > 0 && q.compare(lines[i-1], line) == 0 {
			continue
		}
		c.stdout.Write(line)
		c.stdout.WriteByte('\n')
	}
	return status
}

func (c *invocation) sortOptions() (q sortQuery, files []string, ok bool) {
	spec := optionSpec{short: "urnfbst:k:", long: map[string]string{"unique": "u", "reverse": "r", "numeric-sort": "n",
		"ignore-case": "f", "field-separator": "t:", "key": "k:", "stable": "s"}}
	opts, files, bad := spec.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return q, nil, false
	}
	for _, o := range opts {
		switch o.name {
		case "u":
			q.unique = true
		case "r":
			q.reverse = true
		case "n":
			q.numeric = true
		case "f":
			q.fold = true
		case "s":
			q.stable = true
		case "t":
			q.separator = o.value
		case "k":
			if q.key, ok = parseSortKey(o.value); !ok {
				c.lacksOption("-k " + o.value)
				return q, nil, false
			}
			q.numeric = q.numeric || q.key.numeric
			q.reverse = q.reverse || q.key.reverse
		}
	}
	return q, files, true
}

func (q *sortQuery) compare(a, b []byte) int {
	x, y := q.key.of(a, q.separator), q.key.of(b, q.separator)
	n := 0
	switch {
	case q.numeric:
		n = compareNumbers(x, y)
	case q.fold:
		n = bytes.Compare(bytes.ToUpper(x), bytes.ToUpper(y))
	default:
		n = bytes.Compare(x, y)
	}
	if q.reverse {
		return -n
	}
	return n
}

// sortKey is the fields from-to, counted from 1; 0 means the whole line.
type sortKey struct {
	from, to         int
	numeric, reverse bool
}

func parseSortKey(text string) (k sortKey, ok bool) {
	body := strings.TrimRight(text, "nr")
	k.numeric = strings.Contains(text[len(body):], "n")
	k.reverse = strings.Contains(text[len(body):], "r")
	from, to, ranged := strings.Cut(body, ",")
	var err error
	if k.from, err = strconv.Atoi(strings.TrimRight(from, "nr")); err != nil || k.from < 1 {
		return k, false
	}
	if ranged {
		if k.to, err = strconv.Atoi(to); err != nil || k.to < k.from {
			return k, false
		}
	}
	return k, true
}

// of is the key of a line. Without a separator, fields begin with the blanks
// before them.
func (k sortKey) of(line []byte, separator string) []byte {
	if k.from == 0 {
		return line
	}
	start, end := fieldAt(line, k.from, separator), len(line)
	if k.to > 0 {
		end = fieldAt(line, k.to+1, separator)
		if separator != "" && end > start && end < len(line) {
			end--
		}
	}
	return line[min(start, end):end]
}

// fieldAt is where the nth field begins.
func fieldAt(line []byte, n int, separator string) int {
	at := 0
	for ; n > 1 && at < len(line); n-- {
		if separator != "" {
			i := bytes.IndexByte(line[at:], separator[0])
			if i < 0 {
				return len(line)
			}
			at += i + 1
			continue
		}
		for at < len(line) && (line[at] == ' ' || line[at] == '\t') {
			at++
		}
		for at < len(line) && line[at] != ' ' && line[at] != '\t' {
			at++
		}
	}
	return at
}

func compareNumbers(a, b []byte) int {
	x, y := leadingNumber(a), leadingNumber(b)
	switch {
	case x < y:
		return -1
	case x > y:
		return 1
	}
	return 0
}

func leadingNumber(b []byte) float64 {
	b = bytes.TrimLeft(b, " \t")
	end := 0
	for end < len(b) && (b[end] >= '0' && b[end] <= '9' || b[end] == '.' || b[end] == '-' && end == 0) {
		end++
	}
	n, _ := strconv.ParseFloat(string(b[:end]), 64)
	return n
}

// comm compares two sorted files.
func comm(_ context.Context, c *invocation) int {
	opts, files, bad := optionSpec{short: "123"}.parse(c.args[1:])
	if bad != "" {
		c.lacksOption(bad)
		return 1
	}
	if len(files) != 2 {
		c.usage("missing operand")
		return 1
	}
	var hide [4]bool
	for _, o := range opts {
		hide[o.name[0]-'0'] = true
	}
	var sides [2][][]byte
	for i, name := range files {
		err := c.withInput(name, func(_ string, r io.Reader) error {
			data, err := c.readAll(r)
			for line := range bytes.Lines(data) {
				sides[i] = append(sides[i], bytes.TrimSuffix(line, []byte("\n")))
			}
			return err
		})
		if err != nil {
			c.errorf("%s: %s", name, reason(err))
			return 1
		}
	}
	print := func(column int, line []byte) {
		if hide[column] {
			return
		}
		for i := 1; i < column; i++ {
			if !hide[i] {
				c.stdout.WriteByte('\t')
			}
		}
		c.stdout.Write(line)
		c.stdout.WriteByte('\n')
	}
	a, b := sides[0], sides[1]
	for len(a) > 0 || len(b) > 0 {
		n := 0
		switch {
		case len(a) == 0:
			n = 1
		case len(b) == 0:
			n = -1
		default:
			n = bytes.Compare(a[0], b[0])
		}
		switch {
		case n < 0:
			print(1, a[0])
			a = a[1:]
		case n > 0:
			print(2, b[0])
			b = b[1:]
		default:
			print(3, a[0])
			a, b = a[1:], b[1:]
		}
	}
	return 0
}
