// Package check owns kube-bench's verdicts: given a check and what its audits
// printed, PASS, FAIL, WARN or INFO, exactly as kube-bench v0.15.6 says it.
//
// It leaves to others where the output came from (package shell) and whether
// kube-bench's verdict is true for the layout of the node (package adjudicate).
package check

// State is the verdict of a check.
type State string

// The four states of kube-bench (check/check.go).
const (
	Pass State = "PASS"
	Fail State = "FAIL"
	Warn State = "WARN"
	Info State = "INFO"
)

// Result is what evaluating one check gave.
type Result struct {
	State    State
	Actual   string // actual_value
	Expected string // expected_result
	Reason   string // why a check could not be evaluated; empty for a plain PASS or FAIL

	// Items are the test items as judged, in their order; nil when the check did
	// not get that far.
	Items []Item
}
