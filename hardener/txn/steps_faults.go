//go:build linux && faults

package txn

// OnStep has told be told of every operation of the Stores that are opened from
// now on, just before it is done: what it is called ("rename", "fsync", ...), and
// the path. Only a program for the fault trials has it.
func OnStep(told func(op, path string)) { onStep = told }
