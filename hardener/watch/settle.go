package watch

import "time"

// settler says when a burst of events has settled: nothing more has come for a
// quiet time, or the first has waited for the longest.
type settler struct {
	quiet, longest time.Duration
	first, last    time.Time // zero: nothing is waiting
}

func (s *settler) event(now time.Time) {
	if s.first.IsZero() {
		s.first = now
	}
	s.last = now
}

// wait is how long there is to wait yet; false when nothing is waiting.
func (s *settler) wait(now time.Time) (time.Duration, bool) {
	if s.first.IsZero() {
		return 0, false
	}
	due := s.last.Add(s.quiet)
	if end := s.first.Add(s.longest); end.Before(due) {
		due = end
	}
	return max(0, due.Sub(now)), true
}

func (s *settler) reset() { s.first, s.last = time.Time{}, time.Time{} }
