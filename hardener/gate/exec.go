package gate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/transport/websocket"
)

// The way of kubectl exec: from the API server through the kubelet to the
// container runtime, and back.

// noProgram is what exec is asked to run: a program that no image has, so that
// nothing runs in anybody's container. Whoever finds it in an audit log reads in
// its name where it comes from.
const noProgram = "/kubespray-hardener-tries-whether-exec-works"

// execProtocol is the last version that the API server passes through. It
// translates v5 for the kubelet: it accepts the stream first and then tells of a
// kubelet that it cannot reach in the same words in which the runtime would
// (k8s.io/apiserver/pkg/util/proxy, StreamTranslatorHandler). Whoever is answered
// in v4 is answered by the runtime.
const execProtocol = "v4.channel.k8s.io"

// errorChannel is the first byte of a message that tells how a command ended, as
// a Status in JSON (k8s.io/kubelet/pkg/cri/streaming/remotecommand).
const errorChannel = 3

// exec asks for noProgram in a container, NAMESPACE/POD/CONTAINER, and wants to
// hear from the container runtime that it does not exist. What an API server or a
// kubelet says is a *statusError.
func (a *api) exec(ctx context.Context, container string) error {
	ctx, cancel := context.WithTimeout(ctx, a.http.Timeout)
	defer cancel()
	namespace, rest, _ := strings.Cut(container, "/")
	pod, name, _ := strings.Cut(rest, "/")
	query := url.Values{"container": {name}, "command": {noProgram}, "stdout": {"true"}}
	target := a.base + "/api/v1/namespaces/" + namespace + "/pods/" + pod + "/exec?" + query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return err
	}
	req.Header.Set("User-Agent", "kubespray-hardener")
	transport, holder, err := websocket.RoundTripperFor(a.config)
	if err != nil {
		return err
	}
	conn, err := websocket.Negotiate(transport, holder, req, execProtocol)
	if err != nil {
		return notUpgraded(err)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	conn.SetReadLimit(1 << 20)
	for {
		_, message, err := conn.ReadMessage()
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx)
			}
			return fmt.Errorf("the stream ended without a status: %w", err)
		}
		if len(message) > 1 && message[0] == errorChannel {
			return reachedRuntime(message[1:])
		}
	}
}

// notUpgraded gives the answer of a server that made no stream of a request. An
// error that is none of an answer is left as it is.
func notUpgraded(err error) error {
	var upgrade *httpstream.UpgradeFailureError
	if !errors.As(err, &upgrade) {
		return err
	}
	var status *apierrors.StatusError
	if errors.As(upgrade.Cause, &status) {
		return &statusError{int(status.ErrStatus.Code), short(status.ErrStatus.Message)}
	}
	return errors.New(firstLines(upgrade.Cause.Error()))
}

// reachedRuntime holds for the status of a command that the runtime tried to
// start. Which words it finds for a program that is not there is its own: runc,
// crun and others name the program, or the error of exec(2); Docker tells an exit
// code of 126 or 127.
func reachedRuntime(data []byte) error {
	var status struct{ Status, Reason, Message string }
	if err := json.Unmarshal(data, &status); err != nil {
		return fmt.Errorf("its status is no JSON: %w", err)
	}
	switch {
	case status.Status == "Success", status.Reason == "NonZeroExitCode",
		strings.Contains(status.Message, noProgram), strings.Contains(strings.ToLower(status.Message), "no such file"):
		return nil
	}
	return fmt.Errorf("the container runtime does not try: %s", short(status.Message))
}

// tryable are containers, NAMESPACE/POD/CONTAINER, in which exec can be tried on
// this node: of pods of the cluster's own, never of its users, that are up. A
// runtime puts a process of its own into the container's cgroups before it finds
// no program, so one with a limit of memory, which might have none left, is not
// taken. Other static pods come last: without an API server a controller manager
// and a scheduler may end as well.
func (a *api) tryable(ctx context.Context, at place, not string) ([]string, error) {
	pods, err := a.pods(ctx, "fieldSelector", "spec.nodeName="+at.facts.NodeName+",status.phase=Running,metadata.namespace=kube-system")
	if err != nil {
		return nil, err
	}
	var first, last []string
	for _, pod := range pods {
		name := pod.roomy()
		switch {
		case pod.Metadata.Name == not || name == "":
		case pod.static():
			last = append(last, pod.path()+"/"+name)
		default:
			first = append(first, pod.path()+"/"+name)
		}
	}
	all := append(first, last...)
	return all[:min(len(all), 4)], nil
}

// roomy is a container that is up and has no limit of memory, "" when there is
// none or the pod is being deleted, or runs in a way of its own.
func (p podObject) roomy() string {
	if p.Metadata.DeletionTimestamp != nil || p.Spec.RuntimeClassName != "" || p.Spec.Resources.Limits["memory"] != "" {
		return ""
	}
	for _, c := range p.Spec.Containers {
		// Ready of the container, not of the pod: a pod's is lost with the node's.
		if is, ok := p.container(c.Name); ok && is.Ready && c.Resources.Limits["memory"] == "" {
			return c.Name
		}
	}
	return ""
}

// execBefore finds a container that exec reaches. A policy of the cluster may
// forbid it, and a kubelet may have it switched off.
func (g *Gates) execBefore(ctx context.Context, a *api, at place, p staticPod, before *PodSnapshot) error {
	all, err := a.tryable(ctx, at, p.name)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("none of kube-system is up and without a limit of memory")
	}
	var first error
	for _, name := range all {
		err := a.exec(ctx, name)
		if err == nil {
			before.Exec = name
			return nil
		}
		first = cmp.Or(first, fmt.Errorf("%s: %w", name, err))
	}
	return first
}

// executes holds when the way of exec works that worked before: through the same
// container, or when that is gone through another, one at each look, because every
// try leaves an event in the audit log and an error in that of the runtime.
func (t *taking) executes(ctx context.Context, a *api) error {
	all, err := a.tryable(ctx, t.at, t.p.name)
	if err != nil {
		return err
	}
	if i := slices.Index(all, t.before.Exec); i > 0 {
		all[0], all[i] = all[i], all[0]
	}
	if len(all) == 0 {
		return fmt.Errorf("exec, which worked before in %s: no container of kube-system on this node is up", t.before.Exec)
	}
	in := all[t.tries%len(all)]
	t.tries++
	if err := a.exec(ctx, in); err != nil {
		return untrusted(fmt.Errorf("exec in %s, which worked before: %w", in, err))
	}
	return nil
}
