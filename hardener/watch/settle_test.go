package watch

import (
	"testing"
	"time"
)

func TestSettler(t *testing.T) {
	const quiet, longest = 10, 35
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	for _, tt := range []struct {
		reason string
		events []int // in milliseconds
		now    int
		want   int
		idle   bool
	}{
		{"nothing has come", nil, 1000, 0, true},
		{"one event, just now", []int{0}, 0, quiet, false},
		{"one event, a while ago", []int{0}, 4, 6, false},
		{"one event, quiet since", []int{0}, 10, 0, false},
		{"looked at late", []int{0}, 5000, 0, false},
		{"another event begins the quiet time anew", []int{0, 8}, 8, quiet, false},
		{"the longest wait cuts the quiet time", []int{0, 8, 16, 24, 30}, 30, 5, false},
		{"the longest wait is over, and events still come", []int{0, 8, 16, 24, 32, 40}, 40, 0, false},
	} {
		s := settler{quiet: quiet * time.Millisecond, longest: longest * time.Millisecond}
		for _, e := range tt.events {
			s.event(at(e))
		}
		got, waiting := s.wait(at(tt.now))
		if got != time.Duration(tt.want)*time.Millisecond || waiting == tt.idle {
			t.Errorf("%s: %v, waiting %v; want %d ms, %v", tt.reason, got, waiting, tt.want, !tt.idle)
		}
		s.reset()
		if _, waiting := s.wait(at(tt.now)); waiting {
			t.Errorf("%s: still waiting after a reset", tt.reason)
		}
		s.event(at(9000))
		if got, _ := s.wait(at(9000)); got != quiet*time.Millisecond {
			t.Errorf("%s: the next burst waits for %v", tt.reason, got)
		}
	}
}

// TestEndlessBurst wants events that come faster than the quiet time for ever to be
// waited for no longer than the longest time.
func TestEndlessBurst(t *testing.T) {
	s := settler{quiet: time.Second, longest: 10 * time.Second}
	now := time.Now()
	begin := now
	for {
		s.event(now)
		left, _ := s.wait(now)
		if left == 0 {
			break
		}
		if now = now.Add(min(left, s.quiet/2)); now.Sub(begin) > s.longest {
			t.Fatalf("still waiting after %v", now.Sub(begin))
		}
	}
	if now.Sub(begin) != s.longest {
		t.Errorf("waited for %v", now.Sub(begin))
	}
}
