package rollout

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Where a ConfigMap holds a node's report and how its program ended.
const (
	reportKey       = "report.json.gz"  // in binaryData
	earlierKey      = "earlier.json.gz" // likewise: of what the same rollout did on the node before
	annotationExit  = Namespace + "/exit"
	annotationError = Namespace + "/error"
	annotationEnded = Namespace + "/ended" // RFC 3339

	annotationHandover = Namespace + "/handover" // see Outcome
)

// maxReport limits a compressed report, in bytes: a ConfigMap holds 1 MiB, and
// base64 and the rest of the object count (k8s.io/api/core/v1, MaxSecretSize).
const maxReport = 700 << 10

// maxEarlier limits the report of what was done before, which lies beside it.
const maxEarlier = 250 << 10

// maxReportJSON limits a report once it is unpacked, in bytes.
const maxReportJSON = 64 << 20

// maxError limits the words of a failure, in bytes.
const maxError = 2 << 10

// Outcome is what a node's program tells a rollout.
type Outcome struct {
	Exit   int            // its exit code
	Error  string         // one line, "" if it did its work
	Report *report.Report // nil if it did not get that far

	// Handover is what a phase has for the other control planes: HandoverKey or
	// HandoverNone and something sealed that only they can open.
	Handover string
}

// Kinds of Outcome.Handover.
const (
	HandoverKey  = "key:"  // the key of encryption at rest
	HandoverNone = "none:" // there is none; a word that everybody knows
)

// Deliver writes an outcome to the ConfigMap that the rollout has made for it. It
// goes on trying while the API server is away: it may be restarting because of
// what the node's program did.
func Deliver(ctx context.Context, api *API, to Destination, o Outcome) error {
	annotations := map[string]any{
		annotationExit: fmt.Sprint(o.Exit), annotationError: nil, annotationEnded: time.Now().UTC().Format(time.RFC3339),
	}
	if o.Handover != "" {
		annotations[annotationHandover] = o.Handover
	}
	if o.Error != "" {
		annotations[annotationError] = strings.ToValidUTF8(o.Error[:min(len(o.Error), maxError)], "")
	}
	patch := map[string]any{"metadata": map[string]any{"annotations": annotations}}
	if o.Report != nil {
		packed, err := pack(*o.Report, maxReport)
		if err != nil {
			return err
		}
		patch["binaryData"] = map[string][]byte{reportKey: packed}
	}
	if err := api.merge(ctx, "/api/v1/namespaces/"+to.Namespace+"/configmaps/"+to.Name, patch); err != nil {
		return fmt.Errorf("deliver report to %s: %w", to, err)
	}
	return nil
}

// pack compresses a report. One that is larger than the limit loses what is
// longest in it, and says so; verdicts are never left out.
func pack(r report.Report, limit int) ([]byte, error) {
	for _, slim := range []func(report.Report) report.Report{
		func(r report.Report) report.Report { return r },
		report.Report.WithoutDiffs,
		report.Report.WithoutEvidence,
	} {
		r = slim(r)
		var b bytes.Buffer
		z := gzip.NewWriter(&b)
		if err := r.WriteJSON(z); err != nil {
			return nil, err
		}
		if err := z.Close(); err != nil {
			return nil, fmt.Errorf("compress report: %w", err)
		}
		if b.Len() <= limit {
			return b.Bytes(), nil
		}
	}
	return nil, fmt.Errorf("report: even without diffs and evidence it is larger than %d bytes", limit)
}

// unpack reads what pack wrote.
func unpack(packed []byte) (*report.Report, error) {
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(z, maxReportJSON+1))
	if err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if len(data) > maxReportJSON {
		return nil, fmt.Errorf("report: unpacked it is larger than %d bytes", maxReportJSON)
	}
	r, err := report.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return &r, nil
}

// stored is the ConfigMap of a node's report, as far as it is of interest.
type stored struct {
	Metadata struct {
		Name        string            `json:"name"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
	} `json:"metadata"`
	BinaryData map[string][]byte `json:"binaryData"`
}

// errNoOutcome says that a node's program has not delivered.
var errNoOutcome = errors.New("its program has said nothing of itself")

// outcome reads what the program of a node delivered in a rollout.
func (a *API) outcome(ctx context.Context, id, node string) (Outcome, error) {
	var s stored
	err := a.get(ctx, inNamespace("", "configmaps", reportName(node)), &s)
	if notFound(err) {
		return Outcome{}, errNoOutcome
	}
	if err != nil {
		return Outcome{}, fmt.Errorf("report: %w", err)
	}
	if s.Metadata.Labels[labelRollout] != id {
		return Outcome{}, errNoOutcome
	}
	return s.outcome()
}

func (s stored) outcome() (o Outcome, err error) {
	exit, ok := s.Metadata.Annotations[annotationExit]
	if !ok {
		return o, errNoOutcome
	}
	if err := json.Unmarshal([]byte(exit), &o.Exit); err != nil {
		return o, fmt.Errorf("exit code %q: %w", exit, err)
	}
	o.Error, o.Handover = s.Metadata.Annotations[annotationError], s.Metadata.Annotations[annotationHandover]
	o.Report, err = s.report()
	return o, err
}

// report is what is known of a node, nil if nothing is.
func (s stored) report() (*report.Report, error) {
	var all [2]*report.Report
	for i, key := range []string{reportKey, earlierKey} {
		packed, ok := s.BinaryData[key]
		if !ok {
			continue
		}
		var err error
		if all[i], err = unpack(packed); err != nil {
			return nil, err
		}
	}
	now, earlier := all[0], all[1]
	if now == nil || earlier == nil {
		return cmp.Or(now, earlier), nil
	}
	both := now.Following(*earlier)
	return &both, nil
}
