package shell

import (
	"strconv"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// psColumn is one column of ps (procps-ng src/ps/output.c).
type psColumn struct {
	header    string
	width     int
	right     bool // numbers are aligned right
	unlimited bool
	value     func(b []byte, p *node.Process) []byte
}

// psUnlimited is the screen width when the output is no terminal and COLUMNS is
// unset: the size of ps's own buffer.
const psUnlimited = 128 << 10

// psWidth is the width that COLUMNS asks for. A wrong value is ignored.
func psWidth(columns string) int {
	n, err := strconv.ParseInt(columns, 0, 64)
	if err != nil || n <= 0 || n >= psUnlimited {
		return psUnlimited
	}
	return int(n)
}

// full are the columns of ps -f.
func (i *psInfo) full() []psColumn {
	return []psColumn{
		i.userColumn("UID"),
		i.number("PID", i.pidWidth, func(p *node.Process) int { return p.PID }),
		i.number("PPID", i.pidWidth, func(p *node.Process) int { return p.PPID }),
		i.cpuColumn(),
		i.startColumn(),
		ttyColumn(),
		timeColumn("TIME"),
		i.commandColumn("CMD"),
	}
}

// short are the columns of ps without a format.
func (i *psInfo) short() []psColumn {
	return []psColumn{
		i.number("PID", i.pidWidth, func(p *node.Process) int { return p.PID }),
		ttyColumn(),
		timeColumn("TIME"),
		i.nameColumn("CMD"),
	}
}

// userColumns are the columns of -o, which may carry their own headers:
// pid,cmd or pid=.
func (i *psInfo) userColumns(format string) (columns []psColumn, unknown string) {
	for format != "" {
		var name string
		header, named := "", false
		at := strings.IndexAny(format, ",= \t")
		if at < 0 {
			name, format = format, ""
		} else if format[at] == '=' {
			// The header runs to the end of the argument.
			name, header, named, format = format[:at], format[at+1:], true, ""
		} else {
			name, format = format[:at], format[at+1:]
		}
		column, ok := i.column(name)
		if !ok {
			return nil, name
		}
		if named {
			column.header = header
			column.width = max(column.width, len(header))
		}
		columns = append(columns, column)
	}
	return columns, ""
}

func (i *psInfo) column(name string) (psColumn, bool) {
	switch name {
	case "pid", "tgid":
		return i.number("PID", i.pidWidth, func(p *node.Process) int { return p.PID }), true
	case "ppid":
		return i.number("PPID", i.pidWidth, func(p *node.Process) int { return p.PPID }), true
	case "user", "euser", "uname":
		return i.userColumn("USER"), true
	case "uid", "euid":
		return i.number(strings.ToUpper(name), 5, func(p *node.Process) int { return p.UID }), true
	case "cmd":
		return i.commandColumn("CMD"), true
	case "args", "command":
		return i.commandColumn("COMMAND"), true
	case "comm", "ucmd", "ucomm":
		return i.nameColumn(map[string]string{"comm": "COMMAND", "ucmd": "CMD", "ucomm": "COMMAND"}[name]), true
	case "stime":
		return i.startColumn(), true
	case "tty", "tname", "tt":
		c := ttyColumn()
		if name != "tname" {
			c.header = "TT"
		}
		return c, true
	case "time", "cputime":
		return timeColumn("TIME"), true
	case "c":
		return i.cpuColumn(), true
	case "s", "state":
		return psColumn{header: "S", width: 1, value: func(b []byte, p *node.Process) []byte { return append(b, p.State) }}, true
	}
	return psColumn{}, false
}

func (i *psInfo) number(header string, width int, value func(*node.Process) int) psColumn {
	return psColumn{header: header, width: width, right: true, value: func(b []byte, p *node.Process) []byte {
		return strconv.AppendInt(b, int64(value(p)), 10)
	}}
}

// userColumn prints names of up to 8 bytes, and longer ones cut with a "+". A
// user without a name has its number.
func (i *psInfo) userColumn(header string) psColumn {
	const width = 8
	return psColumn{header: header, width: width, value: func(b []byte, p *node.Process) []byte {
		name, ok := i.users.User(p.UID)
		switch {
		case !ok:
			return strconv.AppendInt(b, int64(p.UID), 10)
		case len(name) > width:
			return append(append(b, name[:width-1]...), '+')
		}
		return append(b, name...)
	}}
}

// cpuColumn is the processor use in percent since the start, at most 99.
func (i *psInfo) cpuColumn() psColumn {
	return psColumn{header: "C", width: 2, right: true, value: func(b []byte, p *node.Process) []byte {
		percent := uint64(0)
		if alive := i.now.Sub(i.started(p)) / time.Second; alive > 0 && !i.boot.IsZero() {
			percent = min(p.CPU/uint64(alive), 99)
		}
		return strconv.AppendUint(b, percent, 10)
	}}
}

func (i *psInfo) started(p *node.Process) time.Time {
	return i.boot.Add(time.Duration(p.Start/ticksPerSecond) * time.Second)
}

// ticksPerSecond is USER_HZ, the same on every architecture that Kubernetes
// runs on.
const ticksPerSecond = 100

// startColumn is the start time: hour and minute today, month and day this
// year, else the year (procps-ng src/ps/output.c, pr_stime).
func (i *psInfo) startColumn() psColumn {
	return psColumn{header: "STIME", width: 5, value: func(b []byte, p *node.Process) []byte {
		t := i.started(p)
		switch {
		case t.Year() != i.now.Year():
			return t.AppendFormat(b, "2006")
		case t.YearDay() != i.now.YearDay():
			return t.AppendFormat(b, "Jan02")
		}
		return t.AppendFormat(b, "15:04")
	}}
}

// ttyColumn names a terminal by its device number, as far as that says it
// without looking into /dev.
func ttyColumn() psColumn {
	return psColumn{header: "TTY", width: 8, value: func(b []byte, p *node.Process) []byte {
		major := p.TTY >> 8 & 0xfff
		minor := p.TTY&0xff | p.TTY>>12&0xfff00
		switch {
		case p.TTY == 0:
			return append(b, '?')
		case major >= 136 && major <= 143:
			return strconv.AppendInt(append(b, "pts/"...), int64(minor+(major-136)*256), 10)
		case major == 4 && minor < 64:
			return strconv.AppendInt(append(b, "tty"...), int64(minor), 10)
		case major == 4:
			return strconv.AppendInt(append(b, "ttyS"...), int64(minor-64), 10)
		case major == 5 && minor == 0:
			return append(b, "tty"...)
		case major == 5 && minor == 1:
			return append(b, "console"...)
		case major == 229:
			return strconv.AppendInt(append(b, "hvc"...), int64(minor), 10)
		}
		return append(b, '?')
	}}
}

// timeColumn is the processor time, [DD-]HH:MM:SS.
func timeColumn(header string) psColumn {
	return psColumn{header: header, width: 8, right: true, value: func(b []byte, p *node.Process) []byte {
		s := p.CPU / ticksPerSecond
		if days := s / 86400; days > 0 {
			b = append(strconv.AppendUint(b, days, 10), '-')
		}
		two := func(b []byte, n uint64) []byte { return append(b, byte('0'+n/10), byte('0'+n%10)) }
		b = append(two(b, s/3600%24), ':')
		b = append(two(b, s/60%60), ':')
		return two(b, s%60)
	}}
}

func (i *psInfo) commandColumn(header string) psColumn {
	return psColumn{header: header, width: 27, unlimited: true, value: func(b []byte, p *node.Process) []byte {
		if i.utf8 {
			return append(b, p.Command()...)
		}
		return append(b, p.CommandASCII()...)
	}}
}

// nameColumn is the command name alone.
func (i *psInfo) nameColumn(header string) psColumn {
	return psColumn{header: header, width: 15, unlimited: true, value: func(b []byte, p *node.Process) []byte {
		bare := node.Process{Comm: p.Comm, State: p.State}
		name := bare.Command()
		if !i.utf8 {
			name = bare.CommandASCII()
		}
		name = strings.Replace(strings.TrimPrefix(name, "["), "]", "", 1)
		return append(b, name...)
	}}
}

// render prints the table. Columns that are too long push the rest to the
// right only as far as there are no blanks to take it back from (show_one_proc
// in procps-ng src/ps/output.c).
func (i *psInfo) render(procs node.Processes, columns []psColumn, screen int, header bool) []byte {
	size := 0
	for k := range procs {
		size += 80
		for _, arg := range procs[k].Args {
			size += len(arg) + 1
		}
	}
	out := make([]byte, 0, size)
	screen = enough(screen, columns)
	for _, c := range columns {
		if c.header != "" && header {
			out = renderLine(out, columns, screen, func(b []byte, c *psColumn) []byte { return append(b, c.header...) })
			break
		}
	}
	for k := range procs {
		out = renderLine(out, columns, screen, func(b []byte, c *psColumn) []byte { return c.value(b, &procs[k]) })
	}
	return out
}

// enough is the screen's width times as much as the columns need at least, since
// a line that is too long for them goes on in the next row (check_header_width
// in procps-ng src/ps/output.c).
func enough(screen int, columns []psColumn) int {
	const unlimited = 3
	total := len(columns) - 1
	for _, c := range columns {
		if c.unlimited {
			total += unlimited
		} else {
			total += c.width
		}
	}
	for width := screen; ; width += screen {
		if width >= total || width >= psUnlimited/2 {
			return width
		}
	}
}

func renderLine(out []byte, columns []psColumn, screen int, value func([]byte, *psColumn) []byte) []byte {
	correct, actual, gap := 0, 0, 0 // where the line should be, where it is, blanks needed
	var cell [64]byte
	for k := range columns {
		c := &columns[k]
		last := k == len(columns)-1
		var text []byte
		if last {
			text = value(out[len(out):len(out):len(out)], c)
		} else {
			text = value(cell[:0], c)
			if c.unlimited && len(text) > c.width {
				text = text[:c.width]
			}
		}
		lead := 0
		if c.right {
			lead = max(c.width-len(text), 0)
		}
		space := correct - actual + lead
		if space < 1 {
			space = gap
		}
		if last {
			if room := screen - actual - space; len(text) > room {
				text = text[:max(room, 0)]
			}
		}
		for range space {
			out = append(out, ' ')
		}
		out = append(out, text...)
		actual += space + len(text)
		correct += c.width + 1
		gap = 1
	}
	return append(out, '\n')
}
