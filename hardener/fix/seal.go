package fix

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/kubespray-hardener/kubespray-hardener/hardener/node"
)

// A key goes from the first control plane to the others sealed: only who has the
// key of the cluster's authority, ca.key, can open it, which every control plane of
// kubeadm's has and nobody else. So it may lie in a Job's arguments and in a
// ConfigMap, and no Secret and no right to read one is needed. Whoever has ca.key
// can make himself an administrator anyway.

const sealInfo = "kubespray-hardener: key of encryption at rest, v1"

// sealing gives the cipher, and the secret that nonces come from.
func sealing(fsys fs.FS, facts node.Facts) (cipher.AEAD, []byte, error) {
	file := path.Join(facts.PKIDir, "ca.key")
	data, err := fs.ReadFile(fsys, node.Name(file))
	if err != nil {
		return nil, nil, fmt.Errorf("the key of the cluster's authority, by which control planes know each other: %w", err)
	}
	block, _ := pem.Decode(data)
	if block == nil || len(block.Bytes) < 32 {
		return nil, nil, fmt.Errorf("%s: no key in PEM", file)
	}
	secret, err := hkdf.Key(sha256.New, block.Bytes, nil, sealInfo, 64)
	if err != nil {
		return nil, nil, err
	}
	c, err := aes.NewCipher(secret[:32])
	if err != nil {
		return nil, nil, err
	}
	aead, err := cipher.NewGCM(c)
	return aead, secret[32:], err
}

// SealKey seals a key for the other control planes of this node's cluster. The same
// key gives the same text, so that two that are sealed can be compared.
func SealKey(fsys fs.FS, facts node.Facts, key string) (string, error) {
	aead, secret, err := sealing(fsys, facts)
	if err != nil {
		return "", err
	}
	// A nonce that follows from what is sealed is never used for anything else.
	nonce, err := hkdf.Key(sha256.New, append(secret, key...), nil, sealInfo+", nonce", aead.NonceSize())
	if err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(aead.Seal(nonce, nonce, []byte(key), []byte(sealInfo))), nil
}

// OpenKey opens what another control plane of the same cluster has sealed.
func OpenKey(fsys fs.FS, facts node.Facts, sealed string) (string, error) {
	aead, _, err := sealing(fsys, facts)
	if err != nil {
		return "", err
	}
	data, err := base64.RawURLEncoding.DecodeString(sealed)
	if err != nil || len(data) < aead.NonceSize() {
		return "", errors.New("the sealed key is not whole")
	}
	key, err := aead.Open(nil, data[:aead.NonceSize()], data[aead.NonceSize():], []byte(sealInfo))
	if err != nil {
		return "", errors.New("the sealed key cannot be opened: ca.key is not the one it was sealed with")
	}
	return string(key), validKey(string(key))
}
