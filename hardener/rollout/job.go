package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// Times are limits of waiting. None of them is waited for when all is well.
type Times struct {
	Node   time.Duration // for a node's program
	Start  time.Duration // until its container runs
	Settle time.Duration // until the cluster is whole again, and a node may be NotReady meanwhile
	Poll   time.Duration // the longest time between two looks at a Job
}

// defaultTimes leave room for slow machines. A fix watches each component that it
// restarts for minutes.
var defaultTimes = Times{Node: 2 * time.Hour, Start: 5 * time.Minute, Settle: 10 * time.Minute, Poll: 5 * time.Second}

// prepare makes what the Job of a node needs and empties its report. What it says
// of an earlier part of the same rollout is kept beside.
func (a *API) prepare(ctx context.Context, o nodeObjects) error {
	for _, object := range []struct {
		path string
		body any
	}{
		{inNamespace("", "serviceaccounts", ""), &o.Account},
		{inNamespace("rbac.authorization.k8s.io/v1", "roles", ""), &o.Role},
		{inNamespace("rbac.authorization.k8s.io/v1", "rolebindings", ""), &o.Binding},
	} {
		if err := a.create(ctx, object.path, object.body); err != nil && !exists(err) {
			return err
		}
	}
	err := a.create(ctx, inNamespace("", "configmaps", ""), &o.Report)
	if !exists(err) {
		return err
	}
	phase, kept := o.Report.Annotations[annotationPhase], any(nil)
	if phase != "" {
		packed, err := a.earlier(ctx, &o.Report)
		if err != nil {
			return err
		}
		if packed != nil {
			kept = map[string]any{reportKey: nil, earlierKey: packed}
		}
	}
	annotations := map[string]any{annotationNode: o.Report.Annotations[annotationNode], annotationPhase: nil, annotationExit: nil, annotationError: nil, annotationEnded: nil, annotationHandover: nil}
	if phase != "" {
		annotations[annotationPhase] = phase
	}
	return a.merge(ctx, inNamespace("", "configmaps", o.Report.Name), map[string]any{
		"metadata": map[string]any{
			"labels": o.Report.Labels, "ownerReferences": o.Report.OwnerReferences, "annotations": annotations,
		},
		"binaryData": kept,
	})
}

// earlier is the report of what the same rollout did on a node before, packed, nil
// if there is none.
func (a *API) earlier(ctx context.Context, of *corev1.ConfigMap) ([]byte, error) {
	var s stored
	if err := a.get(ctx, inNamespace("", "configmaps", of.Name), &s); err != nil {
		return nil, fmt.Errorf("report: %w", err)
	}
	if s.Metadata.Labels[labelRollout] != of.Labels[labelRollout] {
		return nil, nil
	}
	r, err := s.report()
	if err != nil || r == nil {
		return nil, err
	}
	return pack(*r, maxEarlier)
}

// begin makes the Job of a node, or finds the one that an earlier process of the
// same rollout has made. One that failed is made again.
func (a *API) begin(ctx context.Context, o nodeObjects, settle time.Duration) error {
	path := inNamespace("batch/v1", "jobs", o.Job.Name)
	var job batchv1.Job
	err := a.get(ctx, path, &job)
	if err == nil && job.DeletionTimestamp == nil {
		if done, failed := ended(&job); !done || failed == "" {
			return nil // under way, or done before anybody saw it
		}
	}
	if err == nil {
		if err := a.remove(ctx, path, settle); err != nil {
			return err
		}
	} else if !notFound(err) {
		return err
	}
	if err := a.prepare(ctx, o); err != nil {
		return err
	}
	if err := a.create(ctx, inNamespace("batch/v1", "jobs", ""), &o.Job); err != nil && !exists(err) {
		return err
	}
	return nil
}

// remove deletes a Job and waits until its pod is gone too: two programs on one
// node would get in each other's way.
func (a *API) remove(ctx context.Context, path string, limit time.Duration) error {
	err := a.do(ctx, http.MethodDelete, path, jsonType, map[string]any{
		"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground",
	}, nil)
	if err != nil && !notFound(err) {
		return err
	}
	return until(ctx, limit, func(ctx context.Context) error {
		switch err := a.get(ctx, path, nil); {
		case notFound(err):
			return nil
		case err != nil:
			return err
		}
		return errors.New("its Job of an earlier try is still being deleted")
	})
}

// ended tells whether a Job has ended, and if it failed why.
func ended(job *batchv1.Job) (done bool, failed string) {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return true, ""
		case batchv1.JobFailed:
			return true, cmp.Or(c.Message, c.Reason, "its Job failed")
		}
	}
	return false, ""
}

// drive waits for the Job of a node. A nil error means that its program ended by
// itself and said how. A look is one request, for the Job alone: a list of the
// Job's pods has the API server go through those of all nodes. Of the few programs
// that are followed, it is one more.
func (a *API) drive(ctx context.Context, id, node, job string, t Times, f *follower) (Outcome, error) {
	path := inNamespace("batch/v1", "jobs", job)
	begin := time.Now()
	started := false
	var away time.Time // since when the node is NotReady
	looked := begin    // at the node
	for wait := min(time.Second, t.Poll); ; wait = min(wait*3/2, t.Poll) {
		var j batchv1.Job
		switch err := a.get(ctx, path, &j); {
		case notFound(err):
			return Outcome{}, errors.New("somebody has deleted its Job")
		case err != nil:
			return Outcome{}, fmt.Errorf("its Job: %w", err)
		}
		done, failed := ended(&j)
		if done {
			return a.finish(ctx, id, node, job, failed)
		}
		started = started || j.Status.Ready != nil && *j.Status.Ready > 0
		if !started && time.Since(begin) > t.Start {
			why := ""
			if started, why = a.started(ctx, job); !started {
				// Nothing has begun, so that nothing is lost.
				err := fmt.Errorf("its pod did not start within %s: %s", t.Start, why)
				return Outcome{}, errors.Join(err, a.remove(ctx, path, t.Settle))
			}
		}
		if started {
			f.look(ctx)
		}
		if started && time.Since(looked) > 6*t.Poll {
			looked = time.Now()
			switch err := a.ready(ctx, node); {
			case err == nil:
				away = time.Time{}
			case away.IsZero():
				away = time.Now()
			case time.Since(away) > t.Settle:
				return Outcome{}, fmt.Errorf("%w; for %s already, with its Job under way", err, time.Since(away).Round(time.Second))
			}
		}
		if grace := time.Duration(*j.Spec.Template.Spec.TerminationGracePeriodSeconds) * time.Second; time.Since(begin) > t.Node+grace+t.Settle {
			return Outcome{}, fmt.Errorf("its Job did not end within %s", t.Node)
		}
		if err := sleep(ctx, wait); err != nil {
			return Outcome{}, fmt.Errorf("not waited for any longer: %w", err)
		}
	}
}

// finish reads how the program of an ended Job fared. failed is why the Job
// failed, "" if it did not.
func (a *API) finish(ctx context.Context, id, node, job, failed string) (Outcome, error) {
	o, err := a.outcome(ctx, id, node)
	switch {
	case err == nil && failed == "":
		return o, nil
	case err == nil && o.Error != "":
		return o, errors.New(o.Error)
	case failed == "":
		return o, err
	}
	words := a.lastWords(ctx, job)
	if words == "" {
		return o, errors.New(failed)
	}
	return o, fmt.Errorf("%s: %s", failed, words)
}

// pods are those of a Job, of which there is one.
func (a *API) pods(ctx context.Context, job string) ([]corev1.Pod, error) {
	var list corev1.PodList
	err := a.get(ctx, inNamespace("", "pods", "")+"?labelSelector="+url.QueryEscape("job-name="+job), &list)
	return list.Items, err
}

// started tells whether the program of a Job runs or ran, by its pods, else what
// keeps it.
func (a *API) started(ctx context.Context, job string) (bool, string) {
	pods, err := a.pods(ctx, job)
	if err != nil {
		return false, err.Error()
	}
	if len(pods) == 0 {
		return false, "the Job controller has made no pod"
	}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil || c.State.Terminated != nil {
				return true, ""
			}
			if w := c.State.Waiting; w != nil {
				return false, oneLine(w.Reason + ": " + w.Message)
			}
		}
	}
	return false, cmp.Or(oneLine(pods[0].Status.Message), "the node's kubelet has not taken it up")
}

// lastWords are what the pod of a failed Job says of itself.
func (a *API) lastWords(ctx context.Context, job string) string {
	pods, err := a.pods(ctx, job)
	if err != nil {
		return ""
	}
	for _, p := range pods {
		for _, c := range p.Status.ContainerStatuses {
			if t := c.State.Terminated; t != nil {
				lines := strings.Split(strings.TrimSpace(t.Message), "\n")
				return oneLine(fmt.Sprintf("exit code %d: %s", t.ExitCode, cmp.Or(lines[len(lines)-1], t.Reason)))
			}
		}
		if p.Status.Message != "" {
			return oneLine(p.Status.Message)
		}
	}
	return ""
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
