package drift

import "time"

// Tries are the repairs of a check.
type Tries struct {
	Made  []time.Time `json:"made,omitempty"`  // that held at first, oldest first; those of the last day
	Pause int         `json:"pause,omitempty"` // how often it was given up for a while
	Until time.Time   `json:"until,omitzero"`  // when it is tried again
	Unfit int         `json:"unfit,omitempty"` // how often in a row a restart was not made
}

// When a repair that somebody else undoes is not fought over: after some rounds
// within an hour, for an hour, then for twice as long each time.
const (
	roundsWithin = time.Hour
	firstPause   = time.Hour
	longestPause = 24 * time.Hour
)

// A restart is often refused because the node is just not fit for one: what drifted
// may be restarting itself. It is tried again soon, some times, before that is told.
const (
	unfitTries = 4
	unfitAgain = 20 * time.Second
)

// paused tells whether a check is not repaired now.
func (t Tries) paused(now time.Time) bool { return now.Before(t.Until) }

// repaired notes a repair.
func (t Tries) repaired(now time.Time) Tries {
	var made []time.Time
	for _, at := range t.Made {
		if now.Sub(at) < longestPause {
			made = append(made, at)
		}
	}
	t.Made, t.Unfit = append(made, now), 0
	return t
}

// undone tells whether a check that drifts again has been repaired so often that
// somebody else wants it otherwise, and pauses it then.
func (t Tries) undone(rounds int, now time.Time) (Tries, bool) {
	n := 0
	for _, at := range t.Made {
		if now.Sub(at) < roundsWithin {
			n++
		}
	}
	if n < rounds {
		return t, false
	}
	t.Until = now.Add(min(longestPause, firstPause<<min(t.Pause, 5)))
	t.Pause++
	t.Made = nil
	return t, true
}
