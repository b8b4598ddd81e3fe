package drift

import (
	"fmt"
	"slices"
	"strings"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/events"
)

// maxTold is how many checks of one change are told in full. The others are
// named.
const maxTold = 3

// detected tells of checks that are worse than they were, those of one file
// together: a line of the file, each check with what it was and is, and who did
// it.
func detected(open map[string]Drift, keys []string) (all []events.Event) {
	var files []string
	byFile := map[string][]string{}
	for _, key := range keys {
		file := strings.Join(open[key].Files, ", ")
		if !slices.Contains(files, file) {
			files = append(files, file)
		}
		byFile[file] = append(byFile[file], key)
	}
	for _, file := range files {
		var b strings.Builder
		if file != "" {
			b.WriteString(file + ": ")
		}
		keys := byFile[file]
		for i, key := range keys[:min(len(keys), maxTold)] {
			if i > 0 {
				b.WriteString("; ")
			}
			b.WriteString(open[key].line(key))
		}
		if more := keys[min(len(keys), maxTold):]; len(more) > 0 {
			var ids []string
			for _, key := range more {
				ids = append(ids, number(key))
			}
			fmt.Fprintf(&b, "; and %d more: %s", len(ids), events.List(ids))
		}
		if origin := open[keys[0]].Origin; origin != "" {
			b.WriteString(" | " + origin)
		}
		all = append(all, events.Event{Reason: events.DriftDetected, Warning: true, Note: b.String()})
	}
	return all
}

// line is one check: "1.2.15 PASS -> FAIL: --profiling=false -> --profiling=true".
func (d Drift) line(key string) string {
	line := fmt.Sprintf("%s %s -> %s", number(key), d.From, d.To)
	switch {
	case d.Was != "" && d.Is != "":
		line += ": " + d.Was + " -> " + d.Is
	case d.Is != "":
		line += ": now " + d.Is
	case d.Was != "":
		line += ": was " + d.Was
	default:
		line += ": " + d.Title
	}
	return line
}

// about tells of checks by their numbers.
func about(reason events.Reason, warning bool, format string, keys []string, args ...any) events.Event {
	var ids []string
	for _, key := range keys {
		ids = append(ids, number(key))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	return events.Event{Reason: reason, Warning: warning, Note: fmt.Sprintf(format, append([]any{events.List(ids)}, args...)...)}
}
