package report

import "slices"

// WithoutDiffs is the report without the texts of changes, and a note that says
// so.
func (r Report) WithoutDiffs() Report {
	r.Run.Changes = slices.Clone(r.Run.Changes)
	for i := range r.Run.Changes {
		r.Run.Changes[i].Diff = ""
	}
	r.Run.Notes = append(slices.Clone(r.Run.Notes), "the diffs are left out: the report was too large")
	return r
}

// WithoutEvidence is the report without what the verdicts rest on, audits and
// values included, and a note that says so.
func (r Report) WithoutEvidence() Report {
	r.Controls = cloneSections(r.Controls)
	for _, res := range r.Results() {
		res.Evidence, res.Actual, res.Audit, res.AuditEnv, res.AuditConfig = nil, "", "", "", ""
	}
	r.Run.Notes = append(slices.Clone(r.Run.Notes), "evidence and values are left out: the report was too large")
	return r
}
