// Package events owns the words in which Kubernetes Events tell what happened to a
// node: the reasons, which alerts may go by and so do not change, and the notes.
// It makes Events and sends none: whoever has a connection does, and must not
// fail because one was refused.
package events

import (
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/check"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/report"
)

// Reason is the reason of an Event.
type Reason string

// The reasons.
const (
	CheckFailed    Reason = "CheckFailed"    // checks fail, after a fix too
	Compliant      Reason = "Compliant"      // no check fails
	FixApplied     Reason = "FixApplied"     // changes were made and kept
	FixRolledBack  Reason = "FixRolledBack"  // changes were made and taken back
	LostAtUpgrade  Reason = "LostAtUpgrade"  // checks pass until Kubespray's next upgrade writes the manifests anew
	RolloutStopped Reason = "RolloutStopped" // a rollout ended here, before its end
	DriftDetected  Reason = "DriftDetected"  // checks are worse than they were
	DriftGone      Reason = "DriftGone"      // they are as they were, by somebody else
	DriftRepaired  Reason = "DriftRepaired"  // they are as they were, by a repair
	DriftConflict  Reason = "DriftConflict"  // repairs are undone again and again, and paused
	RepairFailed   Reason = "RepairFailed"   // a repair could not be made, or was taken back
	WatchLimited   Reason = "WatchLimited"   // some changes are found late, for want of inotify watches
)

// controller is who reports, action what it was doing (events/v1).
const (
	controller = "kubespray-hardener"
	action     = "Harden"
)

// maxNote limits a note, in bytes (k8s.io/kubernetes/pkg/apis/core/validation,
// NoteLengthLimit).
const maxNote = 1024

// maxChecks is how many checks a note names.
const maxChecks = 20

// Event is something that happened to a node.
type Event struct {
	Reason  Reason `json:"reason"`
	Warning bool   `json:"warning,omitempty"` // else it is normal
	Note    string `json:"note"`
}

// NewName is a name for one Event, and no other's.
func NewName() string { return controller + "." + strings.ToLower(rand.Text()) }

// FromReport tells what a run did to a node, in order, the final state last.
func FromReport(r report.Report) []Event {
	byFix := map[fix.State][]string{}
	var failing, lost []string
	for _, res := range r.Results() {
		if res.Status == check.Fail {
			failing = append(failing, res.ID)
		}
		if res.Fix != nil {
			byFix[res.Fix.State] = append(byFix[res.Fix.State], res.ID)
		}
		if res.Lost() != "" {
			lost = append(lost, res.ID)
		}
	}
	var all []Event
	run := ""
	if r.Run.ID != "" {
		run = " (run " + r.Run.ID + ")"
	}
	if ids := byFix[fix.Applied]; len(ids) > 0 {
		all = append(all, Event{FixApplied, false, fmt.Sprintf("fixed %d%s: %s", len(ids), run, List(ids))})
	}
	if ids := byFix[fix.Undone]; len(ids) > 0 {
		all = append(all, Event{FixRolledBack, true, fmt.Sprintf("taken back %d%s: %s", len(ids), run, List(ids))})
	}
	if len(lost) > 0 {
		all = append(all, Event{LostAtUpgrade, true, fmt.Sprintf("lost at the next upgrade-cluster.yml, as kubeadm-config.yaml says otherwise (hardener vars has the variables that keep them): %s", List(lost))})
	}
	t := r.Totals
	if t.Fail == 0 {
		return append(all, Event{Compliant, false, fmt.Sprintf("%s: no check fails, %d PASS, %d WARN", r.Node.Benchmark, t.Pass, t.Warn)})
	}
	return append(all, Event{CheckFailed, true, fmt.Sprintf("%s: %d FAIL, %d PASS, %d WARN: %s", r.Node.Benchmark, t.Fail, t.Pass, t.Warn, List(failing))})
}

// List names checks, the first of them when there are many.
func List(ids []string) string {
	if n := len(ids) - maxChecks; n > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:maxChecks], ", "), n)
	}
	return strings.Join(ids, ", ")
}

// Object is the Event for the API, and the path to POST it to. Events on objects
// without a namespace, as a Node is, lie in namespace default (events/v1
// validation). instance is who reports, such as a pod; at is when it happened.
func (e Event) Object(name string, about corev1.ObjectReference, instance string, at time.Time) (path string, object eventsv1.Event) {
	namespace := about.Namespace
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	kind := corev1.EventTypeNormal
	if e.Warning {
		kind = corev1.EventTypeWarning
	}
	return "/apis/events.k8s.io/v1/namespaces/" + namespace + "/events", eventsv1.Event{
		TypeMeta:            metav1.TypeMeta{APIVersion: "events.k8s.io/v1", Kind: "Event"},
		ObjectMeta:          metav1.ObjectMeta{Namespace: namespace, Name: name},
		EventTime:           metav1.NewMicroTime(at),
		ReportingController: controller,
		ReportingInstance:   cut(instance, 128),
		Action:              action,
		Reason:              string(e.Reason),
		Regarding:           about,
		Note:                cut(e.Note, maxNote),
		Type:                kind,
	}
}

// cut keeps the first n bytes of a text, and no half character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	const more = "…"
	return strings.ToValidUTF8(s[:n-len(more)], "") + more
}
