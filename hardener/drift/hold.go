package drift

import "time"

// hold is the holding of fire while somebody installs: what changes then is looked
// at once, when it is over.
type hold struct {
	quiet time.Duration // without an installer, for it to be over

	since, last time.Time // zero: nobody is at work
	who         string
}

// seen notes that an installer is at work.
func (h *hold) seen(who string, now time.Time) (began bool) {
	if began = h.since.IsZero(); began {
		h.since = now
	}
	h.who, h.last = who, now
	return began
}

// held tells whether fire is still held.
func (h *hold) held(now time.Time) bool {
	return !h.since.IsZero() && now.Sub(h.last) < h.quiet
}

// over ends a holding whose time has passed, and says so once.
func (h *hold) over(now time.Time) bool {
	if h.since.IsZero() || h.held(now) {
		return false
	}
	h.since, h.last = time.Time{}, time.Time{}
	return true
}
