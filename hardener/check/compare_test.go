package check

import (
	"errors"
	"testing"
)

func TestCompare(t *testing.T) {
	for _, tt := range []struct {
		op, observed, wanted string
		ok                   bool
		expected             string
	}{
		{"eq", "TRUE", "true", true, "'f' is equal to 'true'"},
		{"eq", "true", "True", false, "'f' is equal to 'True'"},
		{"eq", "No", "no", false, "'f' is equal to 'no'"},
		{"noteq", "False", "false", false, "'f' is not equal to 'false'"},
		{"noteq", "", "x", true, "'f' is not equal to 'x'"},
		{"gt", "030", "29", true, "'f' is greater than 29"},
		{"gte", " +5 ", "5", true, "'f' is greater or equal to 5"},
		{"lt", "5", "5", false, "'f' is lower than 5"},
		{"lte", "-1", "0", true, "'f' is lower or equal to 0"},
		{"gt", "5m", "0", false, "Invalid Number(s) used for comparison: '5m' '0'"},
		{"gte", "1e+06", "1", false, "Invalid Number(s) used for comparison: '1e+06' '1'"},
		{"gte", "5", "", false, "Invalid Number(s) used for comparison: '5' ''"},
		{"has", "NodeRestriction", "Node", true, "'f' has 'Node'"},
		{"nothave", "NodeRestriction", "Node", false, "'f' does not have 'Node'"},
		{"regex", "xy", "^x", true, "'f' matched by regex expression '^x'"},
		{"valid_elements", " a , b,,", "b,a", true, "'f' contains valid elements from 'b,a'"},
		{"valid_elements", "a,A", "a", false, "'f' contains valid elements from 'a'"},
		{"valid_elements", ",", "", true, "'f' contains valid elements from ''"},
		{"valid_elements", "", "a", false, "'f' contains valid elements from 'a'"},
		{"valid_elements", "a,,b", "a,b", false, "'f' contains valid elements from 'a,b'"},
		{"bitmask", "600", "644", true, "f has permissions 600, expected 644 or more restrictive"},
		{"bitmask", "0", "600", true, "f has permissions 0, expected 600 or more restrictive"},
		{"bitmask", "4600", "644", false, "f has permissions 4600, expected 644 or more restrictive"},
		{"bitmask", "-10", "777", false, "f has permissions -10, expected 777 or more restrictive"},
		{"bitmask", "800", "644", false, "Not numeric value - flag: 800"},
		{"bitmask", "600", "rw", false, "Not numeric value - flag: rw"},
		{"noteqx", "a", "b", false, ""},
		{"", "a", "a", false, ""},
	} {
		ok, expected, err := Compare(tt.op, tt.observed, tt.wanted, "f")
		if ok != tt.ok || expected != tt.expected || err != nil {
			t.Errorf("%q %s %q: %v %q %v, want %v %q", tt.observed, tt.op, tt.wanted, ok, expected, err, tt.ok, tt.expected)
		}
	}
	var bad *PatternError
	if _, _, err := Compare("regex", "x", "(", "f"); !errors.As(err, &bad) || bad.Pattern != "(" {
		t.Errorf("an invalid pattern: %v", err)
	}
}
