package rollout

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
)

// stateName is the ConfigMap that says what the last rollout was. How far it got
// with each node is read from the node's own report and Job, so that two places
// cannot disagree.
const (
	stateName = "rollout"
	stateKey  = "rollout.json"
)

// state is the last rollout.
type state struct {
	ID      string    `json:"id"`
	Command string    `json:"command"`
	Args    []string  `json:"args"`
	Image   string    `json:"image"`
	Started time.Time `json:"started"`
	Ended   time.Time `json:"ended,omitzero"`
	Stopped string    `json:"stopped,omitempty"` // why it did not get to all nodes
	Plan    Plan      `json:"plan"`

	Steps []Step    `json:"steps,omitempty"`
	Undo  bool      `json:"undo,omitempty"`
	Phase fix.Phase `json:"phase,omitempty"` // that it is in, "" while nodes are taken by themselves

	// Sealed is the key of encryption at rest as control planes hand it over.
	Sealed string `json:"sealed,omitempty"`
}

// ErrNoRollout says that there has been none.
var ErrNoRollout = errors.New("there has been no rollout")

func (a *API) readState(ctx context.Context) (s state, err error) {
	var object struct{ Data map[string]string }
	err = a.get(ctx, inNamespace("", "configmaps", stateName), &object)
	if notFound(err) {
		return s, ErrNoRollout
	}
	if err != nil {
		return s, fmt.Errorf("last rollout: %w", err)
	}
	if err := json.Unmarshal([]byte(object.Data[stateKey]), &s); err != nil {
		return s, fmt.Errorf("last rollout: ConfigMap %s/%s: %w", Namespace, stateName, err)
	}
	return s, nil
}

func (a *API) writeState(ctx context.Context, s state) error {
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	data := map[string]any{stateKey: string(text)}
	err = a.merge(ctx, inNamespace("", "configmaps", stateName), map[string]any{"data": data})
	if notFound(err) {
		err = a.create(ctx, inNamespace("", "configmaps", ""), map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "data": data,
			"metadata": map[string]any{"name": stateName, "labels": map[string]any{labelComponent: "rollout", "app.kubernetes.io/name": Namespace}},
		})
	}
	if err != nil {
		return fmt.Errorf("state of the rollout: %w", err)
	}
	return nil
}

// goesOn tells whether a rollout of the same thing goes on with an earlier one:
// one that stopped or died before it had got to all its nodes.
func (s state) goesOn(o Options) bool {
	return (s.Ended.IsZero() || s.Stopped != "") && s.Command == o.Command && s.Image == o.Image && slices.Equal(s.Args, o.Args) &&
		slices.Equal(s.Steps, o.Steps) && s.Undo == o.Undo
}

// newID is short, as it is part of names, and no word.
func newID() string { return strings.ToLower(rand.Text()[:8]) }

// reached are the nodes that a rollout is done with in a phase. Only metadata are read: the
// reports themselves are large.
func (a *API) reached(ctx context.Context, id string, phase fix.Phase) (map[string]bool, error) {
	done := map[string]bool{}
	for next := ""; ; {
		var list metav1.PartialObjectMetadataList
		path := fmt.Sprintf("%s?labelSelector=%s&limit=%d&continue=%s", inNamespace("", "configmaps", ""), url.QueryEscape(labelRollout+"="+id), pageSize, url.QueryEscape(next))
		if err := a.get(ctx, path, &list); err != nil {
			return nil, fmt.Errorf("reports: %w", err)
		}
		for _, item := range list.Items {
			if exit := item.Annotations[annotationExit]; (exit == "0" || exit == "1") && item.Annotations[annotationPhase] == string(phase) {
				done[item.Annotations[annotationNode]] = true
			}
		}
		if next = list.Continue; next == "" {
			return done, nil
		}
	}
}
