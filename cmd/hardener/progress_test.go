package main

import (
	"strconv"
	"strings"
	"testing"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

var events = []rollout.Progress{
	{State: rollout.Note, Text: "going on"},
	{Node: "w2", State: rollout.Running, Text: "Job " + strings.Repeat("x", 100), Total: 4},
	{Node: "w1", State: rollout.Running, Text: "Job y", Total: 4},
	{Node: "w2", State: rollout.Done, Text: "1 PASS", Done: 1, Total: 4},
	{Node: "w1", State: rollout.Failed, Text: "no\x1b\nway", Done: 2, Total: 4},
}

func TestProgressPlain(t *testing.T) {
	var b strings.Builder
	p := newProgress(&b)
	for _, e := range events {
		p.tell(e)
	}
	p.end()
	if n := strings.Count(b.String(), "\n"); n != len(events) {
		t.Errorf("%d lines, want %d:\n%s", n, len(events), b.String())
	}
	for _, want := range []string{"hardener: [1/4] w2: done: 1 PASS\n", "hardener: [2/4] w1: failed: no\ufffd\ufffdway\n"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in:\n%s", want, b.String())
		}
	}
}

// TestProgressTerminal plays a terminal and looks at its screen.
func TestProgressTerminal(t *testing.T) {
	var s screen
	p := &progress{w: &s, width: 60, lines: map[string]string{}}
	for i, e := range events {
		p.tell(e)
		if i == 2 {
			want := []string{"hardener: rollout: going on", "  w1: running: Job y", "  w2: running: Job " + strings.Repeat("x", 40), "  [" + strings.Repeat(" ", barWidth) + "] 0 of 4"}
			if got := strings.Join(s.lines, "\n"); got != strings.Join(want, "\n") {
				t.Errorf("screen:\n%s\nwant:\n%s", got, strings.Join(want, "\n"))
			}
		}
	}
	if last := s.lines[len(s.lines)-1]; last != "  [===============               ] 2 of 4" || len(s.lines) != 4 {
		t.Errorf("screen:\n%s", strings.Join(s.lines, "\n"))
	}
	p.end()
	if len(s.lines) != 3 || !strings.Contains(s.lines[1], "w2: done") {
		t.Errorf("screen at the end:\n%s", strings.Join(s.lines, "\n"))
	}
}

// screen is a terminal whose cursor is always below its last line.
type screen struct{ lines []string }

func (s *screen) Write(b []byte) (int, error) {
	rest := string(b)
	if up, after, ok := strings.Cut(strings.TrimPrefix(rest, "\x1b["), "A\x1b[J"); ok && strings.HasPrefix(rest, "\x1b[") {
		n, err := strconv.Atoi(up)
		if err != nil {
			return 0, err
		}
		s.lines, rest = s.lines[:len(s.lines)-n], after
	}
	if rest != "" {
		s.lines = append(s.lines, strings.Split(strings.TrimSuffix(rest, "\n"), "\n")...)
	}
	return len(b), nil
}
