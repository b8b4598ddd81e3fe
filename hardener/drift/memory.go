package drift

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// memoryVersion is that of the form of Memory. A memory of another form is not
// read: the watcher begins anew.
const memoryVersion = 1

// Memory is what a watcher knows of a node, as it lies on its disk. It holds no
// secrets: no content of files but settings that checks judge.
type Memory struct {
	Version   int               `json:"version"`
	Benchmark string            `json:"benchmark"`         // that the checks are of
	Run       string            `json:"run,omitempty"`     // newest run of hardener that is known
	Good      map[string]State  `json:"good"`              // by fix.Key: how each check was at its best since
	Open      map[string]Drift  `json:"open,omitempty"`    // by fix.Key: checks that are worse now
	Tries     map[string]Tries  `json:"tries,omitempty"`   // by fix.Key: repairs
	Letters   []Letter          `json:"letters,omitempty"` // not yet delivered
	Read      map[string]Read   `json:"read,omitempty"`    // by component
	Running   map[string]string `json:"running,omitempty"` // components that ran, and since when
}

// State is how a check is.
type State struct {
	State  check.State       `json:"state"`
	Values map[string]string `json:"values,omitempty"` // see hardener.Subject
	Seen   []string          `json:"seen,omitempty"`
}

// Drift is a check that is worse than it was.
type Drift struct {
	Since  time.Time   `json:"since"`
	Title  string      `json:"title"`
	From   check.State `json:"from"`
	To     check.State `json:"to"`
	Was    string      `json:"was,omitempty"` // settings or modes before, one line
	Is     string      `json:"is,omitempty"`
	Files  []string    `json:"files,omitempty"` // that changed, as far as known
	Origin string      `json:"origin,omitempty"`
	Told   bool        `json:"told,omitempty"`   // the cluster knows, or will by a Letter
	Failed string      `json:"failed,omitempty"` // why it was not repaired
}

// Read is what a running component has read of its files.
type Read struct {
	Process string            `json:"process"` // its id and start
	Files   map[string]string `json:"files"`   // SHA-256 by path
}

func newMemory() *Memory {
	return &Memory{
		Version: memoryVersion, Good: map[string]State{}, Open: map[string]Drift{}, Tries: map[string]Tries{},
		Read: map[string]Read{}, Running: map[string]string{},
	}
}

// decodeMemory reads what encode wrote. Nothing, and what is damaged or of
// another form, is an empty memory; the error then says what was the matter.
func decodeMemory(data []byte) (*Memory, error) {
	m := newMemory()
	if len(data) == 0 {
		return m, nil
	}
	d := json.NewDecoder(bytes.NewReader(data))
	if err := d.Decode(m); err != nil {
		return newMemory(), fmt.Errorf("what was known of this node cannot be read, and is begun anew: %w", err)
	}
	if m.Version != memoryVersion {
		return newMemory(), fmt.Errorf("what was known of this node is of another version (%d), and is begun anew", m.Version)
	}
	for _, fill := range []func(){ // a null in the file
		func() { m.Good = orEmpty(m.Good) }, func() { m.Open = orEmpty(m.Open) }, func() { m.Tries = orEmpty(m.Tries) },
		func() { m.Read = orEmpty(m.Read) }, func() { m.Running = orEmpty(m.Running) },
	} {
		fill()
	}
	return m, nil
}

func orEmpty[V any](m map[string]V) map[string]V {
	if m == nil {
		return map[string]V{}
	}
	return m
}

func (m *Memory) encode() ([]byte, error) { return json.Marshal(m) }

// begin takes what a run of hardener left as what is good, for a node that was not
// watched before. Without a report it is what is seen first.
func (m *Memory) begin(r *report.Report) {
	if r == nil {
		return
	}
	m.Benchmark = r.Node.Benchmark
	for s, res := range r.Results() {
		m.Good[fix.Key(s.Target, res.ID)] = State{State: res.Status}
	}
}

// maxSeen is how many lines are remembered of what was seen of a check.
const maxSeen = 40

func stateOf(s hardener.Subject) State {
	return State{State: s.State, Values: s.Values, Seen: s.Seen[:min(len(s.Seen), maxSeen)]}
}
