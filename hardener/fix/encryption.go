package fix

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	sigsyaml "sigs.k8s.io/yaml"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// The phases of encryption at rest, in their order, each on every control plane
// but for the rewrites, which one makes for all. Whatever an API server writes,
// every other can read at any moment: the key is known everywhere before anyone
// writes with it.
const (
	// EncryptionLook changes nothing: which key there is already.
	EncryptionLook Phase = "encryption-at-rest:look"
	// EncryptionRead has the API server read with the key, and still write plainly.
	EncryptionRead Phase = "encryption-at-rest:read"
	// EncryptionWrite has it write with the key.
	EncryptionWrite Phase = "encryption-at-rest:write"
	// EncryptionRewrite changes no file: every Secret is written anew.
	EncryptionRewrite Phase = "encryption-at-rest:rewrite"

	EncryptionUndoWrite   Phase = "encryption-at-rest:undo-write"
	EncryptionUndoRewrite Phase = "encryption-at-rest:undo-rewrite"
	EncryptionUndoRead    Phase = "encryption-at-rest:undo-read"
)

const (
	encryptionFlag = "encryption-provider-config"

	// encryptionName is where Kubespray has the file, in the directory of the
	// cluster's certificates, which kubeadm mounts as a whole. It reads the key back
	// from there (roles/kubernetes/control-plane/tasks/encrypt-at-rest.yml), and a
	// file anywhere else would be given up for a new one with another key.
	encryptionName = "secrets_encryption.yaml"

	// encryptionAlgorithm is Kubespray's default since 2.19.
	encryptionAlgorithm = "secretbox"

	// EncryptionPrefix is what a value begins with in etcd that is encrypted like
	// this (k8s.io/apiserver/pkg/server/options/encryptionconfig): provider and the
	// key's name.
	EncryptionPrefix = "k8s:enc:" + encryptionAlgorithm + ":v1:" + encryptionKeyName + ":"

	encryptionKeyName = "key"
)

// EncryptionKeyLength is that of a key, in ASCII letters and digits. Kubespray
// decodes it as text, and secretbox wants 32 bytes.
const EncryptionKeyLength = 32

const keyLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

// NewEncryptionKey makes a key.
func NewEncryptionKey() string {
	key := make([]byte, 0, EncryptionKeyLength)
	for len(key) < EncryptionKeyLength {
		var b [EncryptionKeyLength]byte
		rand.Read(b[:]) // never fails
		for _, c := range b {
			// Four times the letters fit into a byte; the rest would favour some.
			if int(c) < 4*len(keyLetters) && len(key) < EncryptionKeyLength {
				key = append(key, keyLetters[int(c)%len(keyLetters)])
			}
		}
	}
	return string(key)
}

func validKey(key string) error {
	if len(key) != EncryptionKeyLength {
		return fmt.Errorf("the key has %d characters, not %d", len(key), EncryptionKeyLength)
	}
	for i := range len(key) {
		if !bytes.Contains([]byte(keyLetters), []byte{key[i]}) {
			return errors.New("the key holds something that is neither a letter nor a digit, which Kubespray might not read back")
		}
	}
	return nil
}

// encryptionConfig is the part of EncryptionConfiguration that is written
// (k8s.io/apiserver/pkg/apis/apiserver/v1); decoded strictly, it keeps out the rest.
type encryptionConfig struct {
	APIVersion string               `json:"apiVersion"`
	Kind       string               `json:"kind"`
	Resources  []encryptionResource `json:"resources"`
}

type encryptionResource struct {
	Resources []string             `json:"resources"`
	Providers []encryptionProvider `json:"providers"`
}

type encryptionProvider struct {
	Secretbox *struct {
		Keys []struct {
			Name   string `json:"name"`
			Secret string `json:"secret"`
		} `json:"keys"`
	} `json:"secretbox,omitempty"`
	Identity *struct{} `json:"identity,omitempty"`
}

// encryptionFile is the file in the shape that Kubespray writes and reads: one
// group, one key, and identity, which comes first as long as only reading is meant.
func encryptionFile(key string, writes bool) []byte {
	secretbox := fmt.Sprintf("    - %s:\n        keys:\n        - name: %s\n          secret: %s\n", encryptionAlgorithm, encryptionKeyName, base64.StdEncoding.EncodeToString([]byte(key)))
	const identity = "    - identity: {}\n"
	providers := identity + secretbox
	if writes {
		providers = secretbox + identity
	}
	return []byte("apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n  - resources:\n    - secrets\n    providers:\n" + providers)
}

// readEncryption reads a file of that shape. An error says nothing of its content.
func readEncryption(data []byte) (key string, writes bool, err error) {
	var c encryptionConfig
	if err := sigsyaml.UnmarshalStrict(data, &c); err != nil {
		return "", false, errors.New("it is no EncryptionConfiguration with one key of secretbox for Secrets: another is not taken over")
	}
	ours := c.Kind == "EncryptionConfiguration" && c.APIVersion == "apiserver.config.k8s.io/v1" && len(c.Resources) == 1 &&
		slices.Equal(c.Resources[0].Resources, []string{"secrets"}) && len(c.Resources[0].Providers) == 2
	if !ours {
		return "", false, errors.New("it encrypts otherwise than with one key of secretbox for Secrets and identity: that is not taken over")
	}
	first, second := c.Resources[0].Providers[0], c.Resources[0].Providers[1]
	writes = first.Secretbox != nil
	if !writes {
		first, second = second, first
	}
	if first.Secretbox == nil || first.Identity != nil || second.Identity == nil || second.Secretbox != nil || len(first.Secretbox.Keys) != 1 || first.Secretbox.Keys[0].Name != encryptionKeyName {
		return "", false, errors.New("it encrypts otherwise than with one key of secretbox and identity: that is not taken over")
	}
	text, err := base64.StdEncoding.DecodeString(first.Secretbox.Keys[0].Secret)
	if err != nil {
		return "", false, errors.New("its key is no base64")
	}
	return string(text), writes, validKey(string(text))
}

// encryption is how a control plane's API server encrypts.
type encryption struct {
	file   string // on the host and in the pod alike
	set    bool   // the flag
	key    string // "" when there is no file
	writes bool   // with the key
}

// encryptionOf finds out, and refuses what is not of our making or Kubespray's.
func encryptionOf(tx *workspace, facts node.Facts, pod *podPlace) (e encryption, err error) {
	if facts.PKIDir == "" {
		return e, errors.New("the directory of the cluster's certificates is not known")
	}
	e.file = EncryptionFile(facts)
	value, set := pod.flag(encryptionFlag)
	if e.set = set; set && value != e.file {
		return e, fmt.Errorf("--%s is %s: another configuration is not taken over", encryptionFlag, value)
	}
	if host, _, ok := pod.hostPath(e.file); !ok || host != e.file {
		return e, fmt.Errorf("the API server does not see %s at the same path", e.file)
	}
	data, err := tx.read(e.file)
	if errors.Is(err, fs.ErrNotExist) {
		if set {
			return e, fmt.Errorf("--%s is set and %s is not there", encryptionFlag, e.file)
		}
		return e, nil
	}
	if err != nil {
		return e, err
	}
	if e.key, e.writes, err = readEncryption(data); err != nil {
		return e, fmt.Errorf("%s: %w", e.file, err)
	}
	if e.writes && !set {
		return e, fmt.Errorf("%s writes with its key and --%s is not set: what was written with it cannot be read now", e.file, encryptionFlag)
	}
	return e, nil
}

// EncryptionFile is where the API servers of a cluster have their configuration of
// encryption.
func EncryptionFile(facts node.Facts) string { return path.Join(facts.PKIDir, encryptionName) }

// Encrypts reports a phase of encryption at rest.
func (p Phase) Encrypts() bool { return strings.HasPrefix(string(p), "encryption-at-rest:") }

// EncryptionKeyOf is the key in a control plane's file, "" when there is none.
func EncryptionKeyOf(fsys fs.FS, facts node.Facts) (string, error) {
	e, err := encryptionOn(fsys, facts)
	return e.key, err
}

// EncryptionWrites reports whether the files of a control plane have its API server
// encrypt what it writes.
func EncryptionWrites(fsys fs.FS, facts node.Facts) (bool, error) {
	e, err := encryptionOn(fsys, facts)
	return e.writes, err
}

func encryptionOn(fsys fs.FS, facts node.Facts) (encryption, error) {
	tx := &workspace{fsys: fsys, edits: map[string]edit{}, known: newMemory()}
	comp, ok := facts.Components[node.APIServer]
	if !ok || comp.Manifest == "" {
		return encryption{}, errors.New("no API server with a manifest on this node")
	}
	pod, err := openPod(tx, node.APIServer, comp.Manifest)
	if err != nil {
		return encryption{}, err
	}
	return encryptionOf(tx, facts, pod)
}

// restartAnnotation has the kubelet start the pod anew, which a changed file does
// not by itself.
const restartAnnotation = "kubespray-hardener/encryption-at-rest"

// encrypt plans a phase of encryption at rest.
func (p *planner) encrypt(tx *workspace) error {
	comp, ok := p.in.Facts.Components[node.APIServer]
	if !ok || comp.Manifest == "" {
		return errors.New("no API server with a manifest on this node")
	}
	pod, err := openPod(tx, node.APIServer, comp.Manifest)
	if err != nil {
		return err
	}
	e, err := encryptionOf(tx, p.in.Facts, pod)
	if err != nil {
		return err
	}
	if p.in.EncryptionKey != "" && e.key != "" && e.key != p.in.EncryptionKey {
		return fmt.Errorf("%s holds another key than the other control planes have", e.file)
	}
	if why := rootless(pod); why != "" {
		return errors.New(why)
	}
	switch p.in.Phase {
	case EncryptionRead:
		if e.key == "" {
			if err := validKey(p.in.EncryptionKey); err != nil {
				return err
			}
			if err := p.encryptionWrite(tx, e.file, p.in.EncryptionKey, false); err != nil {
				return err
			}
		}
		if !e.set {
			pod.setFlag(encryptionFlag, e.file)
		}
	case EncryptionWrite:
		if !e.set || e.key == "" {
			return errors.New("this API server does not read with the key yet: the phase before was not made here")
		}
		if !e.writes {
			if err := p.encryptionWrite(tx, e.file, e.key, true); err != nil {
				return err
			}
			pod.change.annotations[restartAnnotation] = "write"
		}
	case EncryptionUndoWrite:
		if e.set && e.writes {
			if err := p.encryptionWrite(tx, e.file, e.key, false); err != nil {
				return err
			}
			pod.change.annotations[restartAnnotation] = "read"
		}
	case EncryptionUndoRead:
		if e.writes {
			return errors.New("this API server still writes with the key")
		}
		// The file stays: an older snapshot of etcd cannot be read without its key.
		if e.set {
			pod.change.flags[encryptionFlag] = nil
		}
	case EncryptionLook, EncryptionRewrite, EncryptionUndoRewrite:
		return nil
	}
	return p.write(tx, node.APIServer, pod)
}

// encryptionWrite plans the file, which no diff shows.
func (p *planner) encryptionWrite(tx *workspace, file, key string, writes bool) error {
	content := encryptionFile(key, writes)
	if k, w, err := readEncryption(content); err != nil || k != key || w != writes {
		return fmt.Errorf("%s: not what was meant", file)
	}
	note := "Secrets are read with the key, and written plainly"
	if writes {
		note = "Secrets are read and written with the key"
	}
	return tx.write(file, content, node.APIServer, 0o600, true, note)
}
