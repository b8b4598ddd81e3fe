package rollout

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// maxFollowed is how many nodes' programs are followed at the same time: what a
// person can read, and few enough requests for a large cluster.
const maxFollowed = 4

const (
	followTime   = 3 * time.Second // per request: to follow must not hold a rollout up
	followFaults = 3               // in a row, after which a program is not followed any longer
	followLines  = 10              // of the log that are read
)

// follower tells what the program in a node's Job says while it runs, from the log
// of its pod. Whatever keeps it from that, such as a user who may not read logs,
// is no fault of the rollout's.
type follower struct {
	api  *API
	job  string
	tell func(line string)

	pod    string
	last   string
	faults int
}

// look tells the program's last line unless it has been told. A nil follower looks
// at nothing.
func (f *follower) look(ctx context.Context) {
	if f == nil || f.faults == followFaults {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, followTime)
	defer cancel()
	line, err := f.read(ctx)
	if err != nil {
		f.faults++
		f.pod = "" // there may be another
		return
	}
	f.faults = 0
	if line != "" && line != f.last {
		f.last = line
		f.tell(line)
	}
}

// linePrefix is what the program's own lines begin with, other than a report.
const linePrefix = "hardener: "

func (f *follower) read(ctx context.Context) (last string, err error) {
	if f.pod == "" {
		pods, err := f.api.pods(ctx, f.job)
		if err != nil {
			return "", err
		}
		if len(pods) == 0 {
			return "", fmt.Errorf("Job %s has no pod", f.job)
		}
		f.pod = pods[len(pods)-1].Name
	}
	var text []byte
	path := fmt.Sprintf("%s/log?tailLines=%d", inNamespace("", "pods", f.pod), followLines)
	if err := f.api.once(ctx, "GET", path, "", nil, &text); err != nil { // not again: the next look is
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if words, ok := strings.CutPrefix(line, linePrefix); ok {
			last = oneLine(words)
		}
	}
	return last, nil
}
