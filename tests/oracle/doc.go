// Package oracle owns the proof that package check judges as kube-bench does: its
// tests give the same checks and the same audit outputs to kube-bench's own
// check package and to ours, and compare state, actual value and expected
// result.
//
// It is a module of its own, so that the program does not inherit kube-bench's
// dependencies.
package oracle
