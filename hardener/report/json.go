package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// document is the JSON of a Report. The first two keys are kube-bench's.
type document struct {
	Controls []Section
	Totals   Totals
	Node     *NodeInfo   `json:"node,omitempty"`
	Layout   *node.Facts `json:"layout,omitempty"`
	Run      *RunInfo    `json:"run,omitempty"`
}

// raw says whether only kube-bench's own keys and words are wanted. A report
// that kube-bench itself wrote has no mode.
func (r Report) raw() bool { return r.Run.Mode != Adjudicated }

// MarshalJSON is the JSON of the report on one line: kube-bench's keys in
// kube-bench's order and escaping, and unless the mode is Raw the others after
// them.
func (r Report) MarshalJSON() ([]byte, error) {
	d := document{Controls: r.Controls, Totals: r.Totals}
	if r.raw() {
		d.Controls = cloneSections(r.Controls)
		for _, res := range (Report{Controls: d.Controls}).Results() {
			res.StatusBefore, res.KubeBenchStatus, res.VerdictReason, res.Evidence, res.Fix = "", "", "", nil, nil
		}
	} else {
		d.Node, d.Layout, d.Run = &r.Node, &r.Layout, &r.Run
	}
	return json.Marshal(d)
}

// WriteJSON writes the report as kube-bench does: one line and a newline
// (cmd/common.go:421).
func (r Report) WriteJSON(w io.Writer) error {
	b, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("write report: %w", err)
	}
	return nil
}

// UnmarshalJSON reads what MarshalJSON wrote, or a document of kube-bench's.
func (r *Report) UnmarshalJSON(b []byte) error {
	var keys struct{ Controls json.RawMessage }
	if err := json.Unmarshal(b, &keys); err != nil {
		return err
	}
	if keys.Controls == nil { // kube-bench writes null when no section ran
		return errors.New("no key Controls")
	}
	var d document
	if err := json.Unmarshal(b, &d); err != nil {
		return err
	}
	*r = Report{Controls: d.Controls, Totals: d.Totals}
	if d.Node != nil {
		r.Node = *d.Node
	}
	if d.Layout != nil {
		r.Layout = *d.Layout
	}
	if d.Run != nil {
		r.Run = *d.Run
	}
	return nil
}

// Decode reads a JSON report: one that WriteJSON wrote, or one of kube-bench,
// also its bare list of sections (--nototals). Keys that it does not know are
// ignored, as kube-bench adds some from time to time.
func Decode(in io.Reader) (Report, error) {
	b, err := io.ReadAll(in)
	if err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	var r Report
	switch trimmed := bytes.TrimSpace(b); {
	case len(trimmed) == 0:
		return Report{}, errors.New("read report: it is empty")
	case trimmed[0] == '[':
		var sections []Section
		if err := json.Unmarshal(trimmed, &sections); err != nil {
			return Report{}, fmt.Errorf("read report: %w", err)
		}
		r = New(sections)
	default:
		if err := json.Unmarshal(trimmed, &r); err != nil {
			return Report{}, fmt.Errorf("read report: %w", err)
		}
	}
	if err := r.validate(); err != nil {
		return Report{}, fmt.Errorf("read report: %w", err)
	}
	return r, nil
}

// validate finds what would make a report count wrongly.
func (r Report) validate() error {
	switch r.Run.Mode {
	case "", Raw, Adjudicated:
	default:
		return fmt.Errorf("unknown mode %q", r.Run.Mode)
	}
	var t Totals
	for s, res := range r.Results() {
		switch res.Status {
		case check.Pass, check.Fail, check.Warn, check.Info:
			t.add(res.Status)
		default:
			return fmt.Errorf("check %s of %s: unknown status %q", res.ID, s.Target, res.Status)
		}
	}
	if t != r.Totals {
		return fmt.Errorf("the totals say %+v, the results %+v", r.Totals, t)
	}
	return nil
}
