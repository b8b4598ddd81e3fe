package drift

import (
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
)

// badness orders verdicts. What does not apply to a node is as good as what
// passes.
func badness(s check.State) int {
	switch s {
	case check.Fail:
		return 2
	case check.Warn:
		return 1
	}
	return 0
}

// compared is what came of comparing a look with what was good.
type compared struct {
	opened []string         // keys of checks that are worse since now, sorted
	closed map[string]Drift // that are as good as before again
}

// compare brings the memory up to date with what was seen of some checks, those
// of components in restless left out. changed are the files that are known to have
// changed, with the paths that rest on them.
func (m *Memory) compare(seen hardener.Observation, changed map[string][]string, restless map[string]bool, now time.Time) compared {
	c := compared{closed: map[string]Drift{}}
	for _, key := range slices.Sorted(maps.Keys(seen.Checks)) {
		s := seen.Checks[key]
		if slices.ContainsFunc(s.Components, func(name string) bool { return restless[name] }) {
			continue
		}
		good, known := m.Good[key]
		open, drifted := m.Open[key]
		switch {
		case known && s.Unread && maps.Equal(s.Values, good.Values):
			// Something else in the file is otherwise: this is in force as it was.
		case !known || badness(s.State) <= badness(good.State):
			if drifted {
				delete(m.Open, key)
				c.closed[key] = open
			}
			m.Good[key] = stateOf(s)
		case drifted:
			open.To = s.State
			open.Was, open.Is = difference(s, good)
			m.Open[key] = open
		default:
			d := Drift{Since: now, Title: s.Title, From: good.State, To: s.State, Files: brief(seen.FilesOf(key, changed))}
			d.Was, d.Is = difference(s, good)
			m.Open[key] = d
			c.opened = append(c.opened, key)
		}
	}
	return c
}

// brief names the directories in place of many files: a person would not read them,
// and an Event has no room for them beside the check.
func brief(files []string) []string {
	if len(files) <= maxTold {
		return files
	}
	dirs := map[string]bool{}
	for _, file := range files {
		dirs[path.Dir(file)] = true
	}
	all := slices.Sorted(maps.Keys(dirs))
	return all[:min(len(all), maxTold)]
}

func difference(s hardener.Subject, good State) (was, is string) {
	if good.Values == nil && good.Seen == nil { // from a report, which has no more
		good.Values, good.Seen = map[string]string{}, nil
		_, is = s.Difference(hardener.Subject{Values: good.Values})
		return "", is
	}
	return s.Difference(hardener.Subject{Values: good.Values, Seen: good.Seen})
}

// rebase takes what is seen now as what is good: hardener itself has changed the
// node, at somebody's wish.
func (m *Memory) rebase(seen hardener.Observation) {
	m.Good, m.Open, m.Tries = map[string]State{}, map[string]Drift{}, map[string]Tries{}
	m.Benchmark = seen.Report.Node.Benchmark
	for key, s := range seen.Checks {
		m.Good[key] = stateOf(s)
	}
}

// forget drops what is remembered of checks that are no more.
func (m *Memory) forget(seen hardener.Observation) {
	gone := func(key string) bool { _, there := seen.Checks[key]; return !there }
	maps.DeleteFunc(m.Good, func(key string, _ State) bool { return gone(key) })
	maps.DeleteFunc(m.Open, func(key string, _ Drift) bool { return gone(key) })
	maps.DeleteFunc(m.Tries, func(key string, _ Tries) bool { return gone(key) })
}

// number is the number of a check in its key.
func number(key string) string {
	_, id, _ := strings.Cut(key, "/")
	return id
}
