package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/kubespray-hardener/kubespray-hardener/hardener"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/fix"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/host"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
	"github.com/kubespray-hardener/kubespray-hardener/hardener/rollout"
)

// phaseGate adds to a node's gates what a phase of a step across nodes needs: a
// look at other nodes before and after.
type phaseGate struct {
	*liveNode
	phase fix.Phase
}

// Fit is the gates', and of a phase that it can be made at all: nothing is written
// before.
func (g phaseGate) Fit(ctx context.Context, components []string) error {
	if err := g.liveNode.Fit(ctx, components); err != nil {
		return err
	}
	switch g.phase {
	case fix.ServingAPIServer:
		return g.gates.KubeletsTrusted(ctx)
	case fix.EncryptionWrite:
		// What it writes every other has to read.
		file, err := g.encryptionFile()
		if err != nil {
			return err
		}
		return g.gates.EveryServerHas(ctx, "encryption-provider-config", file)
	case fix.EncryptionUndoRead:
		return g.gates.SecretsStored(ctx, "")
	case fix.EncryptionRead, fix.EncryptionUndoWrite:
		return g.gates.SecretsAgree(ctx)
	}
	return nil
}

// encryptionFile is what API servers call the file with the key.
func (n *liveNode) encryptionFile() (string, error) {
	facts, err := n.gates.Detect()
	if err != nil {
		return "", err
	}
	return fix.EncryptionFile(facts), nil
}

// writes proves how the API server of this node writes Secrets, and that all read
// them.
func (n *liveNode) writes(ctx context.Context, prefix string) error {
	if err := n.gates.SecretsWritten(ctx, prefix); err != nil {
		return err
	}
	return n.gates.SecretsAgree(ctx)
}

// Before is the gates'. An API server that takes or gives up the authority of
// kubelets has to reach each of them afterwards as it did before.
func (g phaseGate) Before(ctx context.Context, component string) (func(context.Context) error, error) {
	take, err := g.liveNode.Before(ctx, component)
	if err != nil || component != node.APIServer {
		return take, err
	}
	if g.phase.Encrypts() {
		return g.encrypting(take), nil
	}
	reached, err := g.gates.ReachKubelets(ctx)
	if err != nil {
		return take, err
	}
	return func(ctx context.Context) error {
		if err := take(ctx); err != nil {
			return err
		}
		return g.gates.StillReach(ctx, reached)
	}, nil
}

// encrypting adds that Secrets are written as the API server's files say then, be
// it after a change or after its undoing.
func (g phaseGate) encrypting(take func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := take(ctx); err != nil {
			return err
		}
		prefix, err := g.prefix()
		if err != nil {
			return err
		}
		return g.writes(ctx, prefix)
	}
}

// prefix is what Secrets begin with that this node's API server writes.
func (n *liveNode) prefix() (string, error) {
	facts, err := n.gates.Detect()
	if err != nil {
		return "", err
	}
	writes, err := fix.EncryptionWrites(n.tree, facts)
	if err != nil || !writes {
		return "", err
	}
	return fix.EncryptionPrefix, nil
}

// trustTime is how long a kubelet may take to answer that has just been restarted.
const trustTime = time.Minute

// holds proves a phase that there was nothing to do for: made before, by this
// program or another, or one that changes nothing.
func (n *liveNode) holds(ctx context.Context, phase fix.Phase) (err error) {
	switch phase {
	case fix.ServingKubelet:
		err = n.gates.ServingCertificate(ctx)
	case fix.ServingVerify, fix.ServingAPIServer:
		for end := time.Now().Add(trustTime); ; {
			if err = n.gates.KubeletsTrusted(ctx); err == nil || time.Now().After(end) || ctx.Err() != nil {
				break
			}
			time.Sleep(2 * time.Second)
		}
		if err == nil && phase == fix.ServingAPIServer {
			_, err = n.gates.ReachKubelets(ctx)
		}
	case fix.EncryptionLook, fix.EncryptionRead:
		err = n.gates.SecretsAgree(ctx)
	case fix.EncryptionWrite:
		err = n.writes(ctx, fix.EncryptionPrefix)
	case fix.EncryptionRewrite:
		err = n.gates.RewriteSecrets(ctx, fix.EncryptionPrefix)
	case fix.EncryptionUndoWrite:
		err = n.writes(ctx, "")
	case fix.EncryptionUndoRewrite:
		err = n.gates.RewriteSecrets(ctx, "")
	case fix.EncryptionUndoRead:
		err = n.gates.SecretsStored(ctx, "")
	}
	if err != nil {
		return fmt.Errorf("phase %s: %w", phase, err)
	}
	return nil
}

// phaseKey is the key of encryption at rest, on this node and for the next one.
type phaseKey struct {
	tree  *host.FS
	facts node.Facts
	key   string // "" where there is none yet
}

// openPhaseKey finds out the key: this node's own, that which another control plane
// has sealed, or for the first of all a new one.
func openPhaseKey(tree *host.FS, options hardener.Options, phase fix.Phase, sealed string) (*phaseKey, error) {
	facts, err := hardener.Detect(options)
	if err != nil {
		return nil, err
	}
	own, err := fix.EncryptionKeyOf(tree, facts)
	if err != nil {
		return nil, err
	}
	k := &phaseKey{tree: tree, facts: facts, key: own}
	if sealed != "" {
		if k.key, err = fix.OpenKey(tree, facts, sealed); err != nil {
			return nil, err
		}
	}
	switch {
	case own != "" && own != k.key:
		return nil, errors.New("this node has another key than the other control planes")
	case k.key == "" && phase == fix.EncryptionRead:
		k.key = fix.NewEncryptionKey()
	}
	return k, nil
}

// handover is the key for the other control planes, sealed. A node that has none
// seals a word that everybody knows, which shows whether others could open it. One
// without the key of the authority has nothing to hand over.
func (k *phaseKey) handover() (string, error) {
	own, err := fix.EncryptionKeyOf(k.tree, k.facts)
	if err != nil {
		return "", err
	}
	kind := rollout.HandoverKey
	if own == "" {
		kind, own = rollout.HandoverNone, strings.Repeat("0", fix.EncryptionKeyLength)
	}
	sealed, err := fix.SealKey(k.tree, k.facts, own)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	return kind + sealed, err
}
