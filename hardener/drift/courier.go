package drift

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
)

// Letter is an Event that the cluster does not have yet.
type Letter struct {
	Name  string       `json:"name"` // of the Event, so that it is delivered once
	At    time.Time    `json:"at"`   // when it happened
	Event events.Event `json:"event"`
}

// maxLetters is how many wait for an API server that is away. The oldest go first:
// what is still so is told again by the state that the newest describe.
const maxLetters = 256

// Pauses between attempts to deliver.
const (
	firstRetry   = 500 * time.Millisecond
	longestRetry = 30 * time.Second
)

// maxRefusals is how often an Event may be refused before it is given up: an API
// server that has just started knows nobody's rights for a while.
const maxRefusals = 8

// courier delivers Events in order, for as long as it takes.
type courier struct {
	send    func(context.Context, Letter) error
	refused func(error) bool     // that no retry mends
	told    func(delivered bool) // an Event was delivered, or given up
	say     func(line string)    // a line for a person
	wake    chan struct{}        // there is one
	sleep   func(time.Duration) <-chan time.Time

	mu      sync.Mutex
	waiting []Letter
}

func newCourier(send func(context.Context, Letter) error) *courier {
	return &courier{
		send: send, refused: func(error) bool { return false }, told: func(bool) {}, say: func(string) {},
		wake: make(chan struct{}, 1), sleep: time.After,
	}
}

// put has Events delivered, after those that wait.
func (c *courier) put(now time.Time, all ...events.Event) {
	c.mu.Lock()
	for _, e := range all {
		c.waiting = append(c.waiting, Letter{Name: events.NewName(), At: now, Event: e})
	}
	dropped := max(0, len(c.waiting)-maxLetters)
	c.waiting = c.waiting[dropped:]
	c.mu.Unlock()
	for range dropped {
		c.told(false)
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// letters are those that wait.
func (c *courier) letters() []Letter {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]Letter(nil), c.waiting...)
}

// run delivers until the context ends.
func (c *courier) run(ctx context.Context) {
	retry := firstRetry
	said := false // that it cannot be delivered
	tries := 0
	for {
		c.mu.Lock()
		var next *Letter
		if len(c.waiting) > 0 {
			next = &c.waiting[0]
		}
		c.mu.Unlock()
		if next == nil {
			select {
			case <-ctx.Done():
				return
			case <-c.wake:
			}
			continue
		}
		letter := *next
		err := c.send(ctx, letter)
		if ctx.Err() != nil {
			return
		}
		if tries++; err != nil && (!c.refused(err) || tries < maxRefusals) {
			if !said {
				c.say("Events wait for the API server: " + firstLine(err))
				said = true
			}
			select {
			case <-ctx.Done():
				return
			case <-c.sleep(retry):
			}
			retry = min(2*retry, longestRetry)
			continue
		}
		if err != nil {
			c.say("an Event was refused: " + firstLine(err))
		}
		retry, said, tries = firstRetry, false, 0
		c.mu.Lock()
		if len(c.waiting) > 0 && c.waiting[0].Name == letter.Name {
			c.waiting = c.waiting[1:]
		}
		c.mu.Unlock()
		c.told(err == nil)
	}
}

func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}
