package shell

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// psUsage is what procps-ng 4 prints after an error.
const psUsage = `
Usage:
 ps [options]

 Try 'ps --help <simple|list|output|threads|misc|all>'
  or 'ps --help <s|l|o|t|m|a>'
 for additional help text.

For more details see ps(1).
`

// psQuery is a command line of ps.
type psQuery struct {
	every    bool // -e, -A
	full     bool // -f
	byName   bool // -C
	names    []string
	byPID    bool // -p
	pids     map[int]bool
	columns  []psColumn
	noHeader bool
}

// ps is procps-ng's ps 4.0.2 (Debian 12): -e, -A, -f, -C, -p, -o, -w and
// --no-headers.
func ps(_ context.Context, c *invocation) int {
	q, problem := c.psOptions()
	if problem != "" {
		fmt.Fprintf(c.stderr, "error: %s\n%s", problem, psUsage)
		return 1
	}
	if q == nil {
		return 1
	}
	info := c.psInfo()
	columns := q.columns
	switch {
	case columns != nil:
	case q.full:
		columns = info.full()
	default:
		columns = info.short()
	}
	procs := c.selectProcesses(q)
	width := psWidth(c.env.Get("COLUMNS").String())
	if q.every && q.full && q.columns == nil && !q.noHeader && width == psUnlimited {
		c.give(info.fullList(procs, columns))
	} else {
		c.give(info.render(procs, columns, width, !q.noHeader))
	}
	if len(procs) == 0 {
		return 1
	}
	return 0
}

// psOptions reads the command line. A problem is an error that ps itself would
// report; a nil query means that something is not supported here.
func (c *invocation) psOptions() (*psQuery, string) {
	q := &psQuery{}
	args := c.args[1:]
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		if strings.HasPrefix(arg, "--") {
			switch arg {
			case "--no-headers", "--no-heading", "--no-headings", "--noheaders", "--noheading", "--noheadings", "--no-header", "--noheader":
				q.noHeader = true
				continue
			}
			c.lacksOption(arg)
			return nil, ""
		}
		if list, ok := strings.CutPrefix(arg, "p"); ok && strings.Trim(list, "0123456789, \t") != "" {
			// kube-bench's "ps -C  -o pid=" when it knows no process name: -C
			// takes -o, and pid= is the BSD option p with a list.
			return nil, "process ID list syntax error"
		}
		if len(arg) < 2 || arg[0] != '-' {
			c.lacksOption(arg) // BSD options
			return nil, ""
		}
		for i := 1; i < len(arg); i++ {
			switch letter := arg[i]; letter {
			case 'e', 'A':
				q.every = true
			case 'f':
				q.full = true
			case 'w':
			case 'C', 'o', 'p':
				value := arg[i+1:]
				if value == "" && len(args) > 0 {
					value, args = args[0], args[1:]
				}
				if problem, ok := c.psValue(q, letter, value); !ok {
					return nil, problem
				}
				i = len(arg)
			default:
				c.lacksOption(arg)
				return nil, ""
			}
		}
	}
	if !q.every && !q.byName && !q.byPID {
		c.lacksOption("for the current terminal")
		return nil, ""
	}
	return q, ""
}

func (c *invocation) psValue(q *psQuery, letter byte, value string) (problem string, ok bool) {
	switch letter {
	case 'C':
		if value == "" {
			return "list of command names must follow -C", false
		}
		names, ok := psList(value)
		if !ok {
			return "improper list", false
		}
		q.byName, q.names = true, append(q.names, names...)
	case 'p':
		if value == "" {
			return "list of process IDs must follow -p", false
		}
		items, ok := psList(value)
		if !ok {
			return "improper list", false
		}
		q.byPID = true
		if q.pids == nil {
			q.pids = map[int]bool{}
		}
		for _, item := range items {
			pid, err := strconv.Atoi(item)
			if err != nil || pid < 0 {
				return "process ID list syntax error", false
			}
			q.pids[pid] = true
		}
	case 'o':
		if value == "" {
			return "format specification must follow -o", false
		}
		columns, unknown := c.psInfo().userColumns(value)
		if unknown != "" {
			c.lacksOption("-o " + unknown)
			return "", false
		}
		q.columns = append(q.columns, columns...)
	}
	return "", true
}

// psList splits a list as ps does: on blanks, tabs and commas, without empty
// items (measured on 4.0.2).
func psList(value string) ([]string, bool) {
	items := strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })
	seps := strings.Count(value, " ") + strings.Count(value, ",") + strings.Count(value, "\t")
	return items, len(items) > 0 && len(items) == seps+1
}

func (c *invocation) selectProcesses(q *psQuery) node.Processes {
	all := c.runner.Processes
	if q.every {
		return all
	}
	if len(q.names) == 1 && !q.byPID {
		return all.Named(q.names[0])
	}
	selected := map[int]bool{}
	for _, name := range q.names {
		for _, p := range all.Named(name) {
			selected[p.PID] = true
		}
	}
	var found node.Processes
	for _, p := range all {
		if selected[p.PID] || q.pids[p.PID] {
			found = append(found, p)
		}
	}
	return found
}

// psInfo is what ps reads besides the process table, once per Runner.
type psInfo struct {
	utf8     bool // the locale is a UTF-8 one
	boot     time.Time
	now      time.Time
	pidWidth int
	users    node.Users
	cache    *psCache
}

type psCache struct {
	info psInfo
	list []byte // the output of ps -ef
}

// maxPSList is the longest output of ps -ef that is kept: some thousand
// processes.
const maxPSList = 1 << 20

func (c *invocation) psInfo() *psInfo {
	r := c.runner
	r.cache.mu.Lock()
	defer r.cache.mu.Unlock()
	if r.cache.ps == nil {
		p := &psCache{info: psInfo{utf8: c.utf8(), now: r.now(), pidWidth: pidWidth(r.FS), users: r.Users}}
		zone := timeZone(r.FS, c.env.Get("TZ").String())
		if boot, err := node.BootTime(r.FS); err == nil {
			p.info.boot = time.Unix(boot, 0).In(zone)
		}
		p.info.now = p.info.now.In(zone)
		p.info.cache = p
		r.cache.ps = p
	}
	return &r.cache.ps.info
}

// fullList is the output of ps -ef, which most audits begin with.
func (i *psInfo) fullList(procs node.Processes, columns []psColumn) []byte {
	if i.cache.list != nil {
		return i.cache.list
	}
	list := i.render(procs, columns, psUnlimited, true)
	if len(list) <= maxPSList {
		i.cache.list = list
	}
	return list
}

// pidWidth is the width of the PID columns: that of the largest PID of this
// kernel (procps-ng library/pids.c, get_pid_digits).
func pidWidth(fsys fs.FS) int {
	const usual = 5
	data, err := fs.ReadFile(fsys, "proc/sys/kernel/pid_max")
	if err != nil {
		return usual
	}
	n, err := strconv.Atoi(string(bytes.TrimSpace(data)))
	if err != nil || n < 42 {
		return usual
	}
	return len(strconv.Itoa(n - 1))
}

// timeZone is the zone of TZ, else of the host. An unknown one is UTC, as in
// the C library.
func timeZone(fsys fs.FS, tz string) *time.Location {
	file := "etc/localtime"
	if tz = strings.TrimPrefix(tz, ":"); tz != "" {
		file = "usr/share/zoneinfo/" + tz
	}
	if !fs.ValidPath(file) {
		return time.UTC
	}
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return time.UTC
	}
	zone, err := time.LoadLocationFromTZData("host", data)
	if err != nil {
		return time.UTC
	}
	return zone
}
