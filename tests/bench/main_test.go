package main

import (
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		in   []time.Duration
		want time.Duration
	}{
		{[]time.Duration{3}, 3},
		{[]time.Duration{9, 1, 5}, 5},
		{[]time.Duration{9, 1, 5, 7}, 6},
	} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("median(%v) = %v, want %v", tt.in, got, tt.want)
		}
	}
}

// TestReport keeps the floors: the figures of a too slow or too large program
// must fail the run.
func TestReport(t *testing.T) {
	slow := []time.Duration{4 * time.Second}
	for name, tt := range map[string]struct {
		wall  time.Duration
		rss   int64
		extra bool
		want  bool
	}{
		"fast and small":     {50 * time.Millisecond, 30 << 20, false, true},
		"just 40 times":      {100 * time.Millisecond, 30 << 20, false, true},
		"too slow":           {101 * time.Millisecond, 30 << 20, false, false},
		"too large":          {50 * time.Millisecond, 64 << 20, false, false},
		"slow but does more": {101 * time.Millisecond, 30 << 20, true, true},
		"large, does more":   {50 * time.Millisecond, 64 << 20, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			got := report([]contender{{name: "kube-bench", wall: slow}, {name: "hardener", same: !tt.extra, wall: []time.Duration{tt.wall}, rss: tt.rss}}, 1, 0, minRatio)
			if got != tt.want {
				t.Errorf("report: %v, want %v", got, tt.want)
			}
		})
	}
}
