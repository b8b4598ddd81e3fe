package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Compare compares an observed value with the one that a test item wants
// (check/test.go:259-347), and says what was expected of the flag, as
// expected_result has it. An operation that is not known is false without a
// text. The error is a *PatternError.
func Compare(op, observed, wanted, flagName string) (ok bool, expected string, err error) {
	switch op {
	case "eq":
		return equal(observed, wanted), fmt.Sprintf("'%s' is equal to '%s'", flagName, wanted), nil
	case "noteq":
		return !equal(observed, wanted), fmt.Sprintf("'%s' is not equal to '%s'", flagName, wanted), nil
	case "gt", "gte", "lt", "lte":
		ok, expected = compareNumbers(op, observed, wanted, flagName)
		return ok, expected, nil
	case "has":
		return strings.Contains(observed, wanted), fmt.Sprintf("'%s' has '%s'", flagName, wanted), nil
	case "nothave":
		return !strings.Contains(observed, wanted), fmt.Sprintf("'%s' does not have '%s'", flagName, wanted), nil
	case "regex":
		pattern, err := compile(wanted, wanted)
		if err != nil {
			return false, "", err
		}
		return pattern.MatchString(observed), fmt.Sprintf("'%s' matched by regex expression '%s'", flagName, wanted), nil
	case "valid_elements":
		return validElements(elements(observed), elements(wanted)),
			fmt.Sprintf("'%s' contains valid elements from '%s'", flagName, wanted), nil
	case "bitmask":
		ok, expected = compareModes(observed, wanted, flagName)
		return ok, expected, nil
	}
	return false, "", nil
}

// equal ignores the case of an observed boolean, not of the wanted one.
func equal(observed, wanted string) bool {
	if lower := strings.ToLower(observed); lower == "true" || lower == "false" {
		return lower == wanted
	}
	return observed == wanted
}

func compareNumbers(op, observed, wanted, flagName string) (bool, string) {
	a, errA := strconv.Atoi(strings.TrimSpace(observed))
	b, errB := strconv.Atoi(strings.TrimSpace(wanted))
	if errA != nil || errB != nil {
		return false, fmt.Sprintf("Invalid Number(s) used for comparison: '%s' '%s'", observed, wanted)
	}
	switch op {
	case "gt":
		return a > b, fmt.Sprintf("'%s' is greater than %s", flagName, wanted)
	case "gte":
		return a >= b, fmt.Sprintf("'%s' is greater or equal to %s", flagName, wanted)
	case "lt":
		return a < b, fmt.Sprintf("'%s' is lower than %s", flagName, wanted)
	}
	return a <= b, fmt.Sprintf("'%s' is lower or equal to %s", flagName, wanted)
}

// compareModes asks for an observed mode without a bit that the wanted one does
// not have. Both are octal.
func compareModes(observed, wanted, flagName string) (bool, string) {
	mode, err := strconv.ParseInt(observed, 8, 64)
	if err != nil {
		return false, "Not numeric value - flag: " + observed
	}
	most, err := strconv.ParseInt(wanted, 8, 64)
	if err != nil {
		return false, "Not numeric value - flag: " + wanted
	}
	return most&mode == mode, fmt.Sprintf("%s has permissions %s, expected %s or more restrictive", flagName, observed, wanted)
}

// elements are the trimmed elements of a comma-separated list, which may end in
// commas.
func elements(list string) []string {
	list = strings.TrimRight(strings.TrimSpace(list), ",")
	if list == "" {
		return nil
	}
	all := strings.Split(list, ",")
	for i := range all {
		all[i] = strings.TrimSpace(all[i])
	}
	return all
}

// validElements wants every element among those allowed, and none only where
// none is allowed.
func validElements(list, allowed []string) bool {
	if len(list) == 0 || len(allowed) == 0 {
		return len(list) == len(allowed)
	}
	for _, element := range list {
		if !slices.Contains(allowed, element) {
			return false
		}
	}
	return true
}
