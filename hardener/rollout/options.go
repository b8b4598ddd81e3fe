package rollout

import (
	"cmp"
	"fmt"
)

// Options say what to roll out, and how.
type Options struct {
	Command string   // check, fix or undo
	Args    []string // the command's flags on each node
	Once    []string // more of them, which do not make it another rollout
	Image   string
	Choice  Choice
	Steps   []Step // across nodes, after all nodes are done
	Undo    bool   // take the steps back, and do nothing else
	Restart bool   // do not go on with an earlier rollout that stopped
	Holding Holding
	Times   Times // zero values: the usual ones

	// Tell takes what happens, as it happens, from several goroutines one at a
	// time. It may be nil.
	Tell func(Progress)
}

// Progress is something that happens in a rollout.
type Progress struct {
	Node  string // "" for the rollout as a whole
	State State
	Text  string
	Done  int // nodes that are behind us
	Total int // nodes of the plan
}

// State is where a node, or the whole rollout, is.
type State string

// The states.
const (
	Note     State = "note"    // nothing changes
	Skipping State = "skipped" // left alone
	Waiting  State = "waiting" // for the cluster to be whole
	Running  State = "running" // its Job
	Done     State = "done"
	Failed   State = "failed"
)

// ChoiceError is a mistake in what was asked for.
type ChoiceError struct{ Err error }

func (e *ChoiceError) Error() string { return e.Err.Error() }
func (e *ChoiceError) Unwrap() error { return e.Err }

// StoppedError says that a rollout did not get to all its nodes.
type StoppedError struct {
	Why  error
	Left []string // nodes not begun, in order
}

func (e *StoppedError) Error() string {
	if len(e.Left) == 0 {
		return fmt.Sprintf("stopped: %v", e.Why)
	}
	return fmt.Sprintf("stopped: %v; not begun: %s", e.Why, names(e.Left))
}

func (e *StoppedError) Unwrap() error { return e.Why }

// names lists some nodes.
func names(all []string) string {
	const few = 5
	text := ""
	for i, name := range all {
		if i == few {
			return fmt.Sprintf("%s and %d more", text, len(all)-few)
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// fill puts usual values where there are none.
func (o *Options) fill() {
	o.Times.Node = cmp.Or(o.Times.Node, defaultTimes.Node)
	o.Times.Start = cmp.Or(o.Times.Start, defaultTimes.Start)
	o.Times.Settle = cmp.Or(o.Times.Settle, defaultTimes.Settle)
	o.Times.Poll = cmp.Or(o.Times.Poll, defaultTimes.Poll)
	o.Holding = o.Holding.filled()
	if o.Tell == nil {
		o.Tell = func(Progress) {}
	}
}
