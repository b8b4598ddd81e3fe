package node

import "strings"

// Flags are the flags of an argv by name, without their dashes. Where a flag is
// given twice the last one counts, as in the Kubernetes components (pflag). A
// flag without a value is "true".
//
// A word after a flag is taken as its value only if it does not look like a
// flag itself. pflag would not do so for a boolean flag, but which flags are
// boolean is not known here; no component takes other words.
func Flags(argv []string) map[string]string {
	flags := map[string]string{}
	for i := 1; i < len(argv); i++ {
		if argv[i] == "--" {
			break
		}
		name, value, given, ok := splitFlag(argv[i])
		if !ok {
			continue
		}
		if !given {
			value = "true"
			if i+1 < len(argv) && !strings.HasPrefix(argv[i+1], "-") {
				i++
				value = argv[i]
			}
		}
		flags[name] = value
	}
	return flags
}

// FlagValue is the value of one flag, and whether the flag is there at all.
func FlagValue(argv []string, name string) (string, bool) {
	for _, arg := range argv { // most argv do not hold it
		if strings.Contains(arg, name) {
			v, ok := Flags(argv)[name]
			return v, ok
		}
	}
	return "", false
}

// splitFlag reads --name, --name=value, -name and -name=value. A lone - and
// negative numbers are no flags.
func splitFlag(arg string) (name, value string, given, ok bool) {
	name, isFlag := strings.CutPrefix(arg, "-")
	if !isFlag {
		return "", "", false, false
	}
	name = strings.TrimPrefix(name, "-")
	name, value, given = strings.Cut(name, "=")
	if name == "" || '0' <= name[0] && name[0] <= '9' || strings.ContainsAny(name, " \t\n") {
		return "", "", false, false
	}
	return name, value, given, true
}
