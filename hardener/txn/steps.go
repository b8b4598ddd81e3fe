//go:build linux

package txn

// onStep, when set, is told each operation just before any Store does it, as
// disk.step is. Nothing sets it in the program that users get, see steps_faults.go.
var onStep func(op, path string)
