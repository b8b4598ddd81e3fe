// Package faults breaks fixes of a live cluster in every way it can, again and
// again, and wants each to end in the old or the new state, healthy: make faults.
package faults
